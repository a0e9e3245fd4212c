"""Published annotations of skeletons: one pickle of records, read without running anything in it.

A file is ``{"split": {name: [identifier, ...]}, "annotations": [record, ...]}``, or only the list of records. A record
has ``frame_dir`` or ``filename``, ``label``, ``total_frames``, and its joints: ``keypoint`` (M, T, V, C),
``keypoint_score`` (M, T, V) and ``img_shape`` (height, width). Records of Kinetics name a file of joints, ``raw_file``,
instead, with a person of some frame per row, and the frame (``frame_inds``) and score of each box (``box_score``) here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from vid_skeleton.files import Skeletons
from vid_skeleton.records import Detections
from vidcore.data.index import Ragged, StringTable
from vidcore.errors import AnnotationError, DataError
from vidcore.pickles import UnsafeError, read_pickle
from vidcore.typing import Array

__all__ = ["THRESHOLDS", "Published", "read_published"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Scores of a box for which records count the frames that have one."""


@frozen(eq=False, kw_only=True)
class Published:
    """The records of a file, in flat arrays."""

    skeletons: Skeletons
    """Joints of all records; those of Kinetics have none here."""
    paths: StringTable
    """File of each video, or folder of its frames, as the record names it."""
    raw_files: StringTable | None = None
    """Kinetics: file of the joints of each record, relative to some folder."""
    frames: Ragged[np.int64] | None = None
    """Kinetics: frame of each row of joints."""
    box_scores: Ragged[np.float32] | None = None
    """Score of each person's box."""
    valid: Array | None = None
    """(N, 5) int64: number of frames with a box of at least each of ``THRESHOLDS``."""
    notes: Sequence[str] = field(default=())

    def confident(self, index: int, threshold: float) -> Array:
        """Return which boxes of a record have at least this score: (boxes,) bool."""
        if self.box_scores is None:
            raise DataError(f"{self.skeletons.source}: valid_ratio needs records with box_score")
        return self.box_scores[index] >= threshold

    def detections(self, index: int, folder: Path | None, threshold: float | None) -> Detections | None:
        """Read the joints of a record of Kinetics from its file; None if its joints are in ``skeletons``.

        Args:
            index: number of the record.
            folder: that ``raw_files`` are relative to.
            threshold: keep people whose box has at least this score; None: all.

        Raises:
            AnnotationError: the file cannot be read, or does not fit to the record.
        """
        if self.raw_files is None or self.frames is None or not self.raw_files[index]:
            return None
        name, path = str(self.skeletons.names[index]), Path(folder or "", self.raw_files[index])
        try:
            points = read_pickle(path)[name]["keypoint"]
        except FileNotFoundError:
            raise AnnotationError(f"{name}: its file of joints {path} does not exist: is kp_root right?") from None
        except Exception as error:  # whatever is in the file
            raise AnnotationError(f"{name}: its file of joints {path} cannot be read: {_text(error)}") from None
        frames = self.frames[index]
        if (
            not isinstance(points, np.ndarray)
            or points.ndim != 3
            or points.shape[0] != len(frames)
            or points.shape[2] != 3
        ):
            raise AnnotationError(
                f"{path}: keypoint of {name} is {_shape(points)}, expected ({len(frames)}, joints, 3)"
            )
        rows = np.arange(len(frames)) if threshold is None else np.flatnonzero(self.confident(index, threshold))
        rows = rows[np.argsort(frames[rows], kind="stable")]
        return Detections(points[rows, :, :2], points[rows, :, 2], frames[rows])


def read_published(file: Path) -> Published:
    """Read a pickle of records.

    Raises ``DataError`` if the file is not one, and ``AnnotationError``, which names record and field, if a record is
    wrong.
    """
    try:
        content = read_pickle(file)
    except FileNotFoundError:
        raise DataError(f"file of skeletons {file} does not exist") from None
    except UnsafeError as error:
        raise DataError(
            f"{file}: holds {error}, which is neither a plain value nor an array of numbers: such a file can run code"
        ) from None
    except Exception as error:  # whatever is in the file
        raise DataError(f"{file} is not a pickle that can be read: {_text(error)}") from None
    splits: Mapping[str, Sequence[str]] = {}
    if isinstance(content, dict):
        if not isinstance(content.get("split"), dict) or not isinstance(content.get("annotations"), list):
            keys = ", ".join(map(repr, list(content)[:5]))
            raise DataError(f"{file}: a file of skeletons has the keys 'split' and 'annotations', this one {keys}")
        splits, records = content["split"], content["annotations"]
    elif isinstance(content, list):
        records = content
    else:
        raise DataError(f"{file}: a file of skeletons is a list of records, this one is a {type(content).__name__}")
    return _Reader(file).read(records, splits)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@frozen
class _Reader:
    file: Path

    def read(self, records: Sequence[Any], splits: Mapping[str, Sequence[str]]) -> Published:
        if not records:
            raise DataError(f"{self.file}: has no records")
        for number, record in enumerate(records):
            if not isinstance(record, dict):
                raise AnnotationError(f"{self.file}: record {number} is a {type(record).__name__}, expected a dict")
        paths = [self._name(number, record) for number, record in enumerate(records)]
        names = [
            record["frame_dir"] if "frame_dir" in record else Path(path).stem
            for record, path in zip(records, paths, strict=True)
        ]
        places: dict[str, int] = {}
        for number, (name, path) in enumerate(zip(names, paths, strict=True)):
            if name in places:
                raise AnnotationError(f"{self.file}: records {places[name]} and {number} have one name, {name!r}")
            places[name] = number
            places.setdefault(path, number)
        lengths = [self._integer(name, record, "total_frames", 0) for name, record in zip(names, records, strict=True)]
        labels = [self._integer(name, record, "label", -1, -1) for name, record in zip(names, records, strict=True)]
        sizes = [self._size(name, record) for name, record in zip(names, records, strict=True)]
        joints = [
            self._joints(name, record, total) for name, record, total in zip(names, records, lengths, strict=True)
        ]
        tables, missing = {}, 0
        for split, members in splits.items():
            found = [places[str(member)] for member in members if str(member) in places]
            tables[str(split)], missing = np.array(found, np.int64), missing + len(members) - len(found)
        notes = [f"{missing} names in the splits of {self.file} have no record"] if missing else []
        published = self._kinetics(names, records)
        return Published(
            skeletons=self._table(names, lengths, labels, sizes, joints, tables),
            paths=StringTable.from_strings(paths),
            notes=notes,
            **published,
        )

    def _table(
        self, names: list[str], lengths: list[int], labels: list[int], sizes: Any, joints: Any, splits: Any
    ) -> Skeletons:
        kinds = {name: points.shape[2:] for name, (points, _) in zip(names, joints, strict=True) if points is not None}
        shape = next(iter(kinds.values()), (0, 2))
        if other := next((name for name, kind in kinds.items() if kind != shape), None):
            raise AnnotationError(
                f"{self.file}: {other}: has joints of shape {kinds[other]}, but {next(iter(kinds))} of {shape}"
            )
        people = [0 if points is None else len(points) for points, _ in joints]
        frames = [0 if points is None else points.shape[1] for points, _ in joints]
        points = [p.reshape(-1, *shape) for p, _ in joints if p is not None]
        scores = [s.reshape(-1, shape[0]) for _, s in joints if s is not None]
        none = np.zeros((0, *shape), np.float32)
        return Skeletons(
            source=str(self.file),
            names=np.array(names, np.str_),
            frames=np.array(lengths, np.int64),
            sizes=np.array(sizes, np.int32),
            fps=np.full(len(names), np.nan),
            track_sample=np.repeat(np.arange(len(names)), people),
            track_start=np.zeros(sum(people), np.int64),
            track_length=np.repeat(np.array(frames, np.int64), people),
            points=np.concatenate(points) if points else none,
            scores=np.concatenate(scores) if scores else none[..., 0],
            labels=np.array(labels, np.int64),
            units="pixels" if shape[1] == 2 else "metres",
            splits=splits,
        )

    def _name(self, number: int, record: Mapping[str, Any]) -> str:
        for key in ("frame_dir", "filename"):
            if isinstance(record.get(key), str):
                name: str = record[key]
                return name
        keys = ", ".join(map(repr, list(record)[:8]))
        raise AnnotationError(f"{self.file}: record {number} has no frame_dir or filename, it has {keys}")

    def _integer(self, name: str, record: Mapping[str, Any], key: str, least: int, default: int | None = None) -> int:
        value = record.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < 2**31:
            raise AnnotationError(f"{self.file}: {name}: {key} is {value!r}, expected a whole number from {least}")
        return int(value)

    def _size(self, name: str, record: Mapping[str, Any]) -> tuple[int, int]:
        value = record.get("img_shape", (0, 0))
        if (
            not isinstance(value, tuple | list)
            or len(value) != 2
            or not all(isinstance(n, int | np.integer) for n in value)
        ):
            raise AnnotationError(f"{self.file}: {name}: img_shape is {value!r}, expected (height, width)")
        return int(value[0]), int(value[1])

    def _joints(self, name: str, record: Mapping[str, Any], total: int) -> tuple[Array | None, Array | None]:
        points, scores = record.get("keypoint"), record.get("keypoint_score")
        if points is None:
            if "raw_file" not in record:
                raise AnnotationError(f"{self.file}: {name}: has neither keypoint nor raw_file")
            return None, None
        if (
            not isinstance(points, np.ndarray)
            or points.ndim != 4
            or points.dtype.kind != "f"
            or points.shape[3] not in (2, 3)
        ):
            raise AnnotationError(
                f"{self.file}: {name}: keypoint is {_shape(points)}, expected floats (people, frames, joints, 2 or 3)"
            )
        if points.shape[1] != total:
            raise AnnotationError(
                f"{self.file}: {name}: has {total} frames (total_frames), but joints of {points.shape[1]}"
            )
        if scores is None:
            scores = np.ones(points.shape[:3], points.dtype)
        elif not isinstance(scores, np.ndarray) or scores.shape != points.shape[:3]:
            raise AnnotationError(
                f"{self.file}: {name}: keypoint_score is {_shape(scores)}, expected {points.shape[:3]}"
            )
        return points, scores

    def _kinetics(self, names: list[str], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if any("raw_file" in record for record in records):
            found["raw_files"] = StringTable.from_strings(str(record.get("raw_file", "")) for record in records)
            found["frames"] = self._ragged(names, records, "frame_inds", np.int64)
        if all("box_score" in record for record in records):
            found["box_scores"] = self._ragged(names, records, "box_score", np.float32)
        if all(isinstance(record.get("valid"), dict) for record in records):
            counts = [[self._count(record["valid"], t) for t in THRESHOLDS] for record in records]
            found["valid"] = np.array(counts, np.int64)
        return found

    def _ragged(self, names: list[str], records: Sequence[Mapping[str, Any]], key: str, dtype: Any) -> Ragged[Any]:
        rows = []
        for name, record in zip(names, records, strict=True):
            try:
                row = np.asarray(record.get(key, ()), dtype)
            except (TypeError, ValueError, OverflowError):
                row = np.zeros((0, 0), dtype)
            if row.ndim != 1:
                raise AnnotationError(f"{self.file}: {name}: {key} is {_shape(record[key])}, expected a row of numbers")
            rows.append(row)
        return Ragged(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))

    def _count(self, valid: Mapping[Any, Any], threshold: float) -> int:
        value = valid.get(threshold, valid.get(str(threshold), 0))
        return int(value) if isinstance(value, int | float | np.number) else 0


def _shape(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
