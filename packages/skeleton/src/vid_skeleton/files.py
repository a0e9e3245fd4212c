"""The file of skeletons: one ``.npz`` archive for many videos, which NumPy alone can read. Its page: skeleton-data.md.

The archive holds plain arrays and no pickles, uncompressed, so a reader maps them instead of loading them: 600,000
samples take no memory until they are used, and worker processes share the pages.

Shapes: N videos, K tracks (one person in consecutive frames), R rows (one person in one frame), V joints.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from attrs import define, field, frozen

from vidcore.errors import AnnotationError, DataError
from vidcore.files import atomic_write
from vidcore.typing import Array

__all__ = ["SkeletonWriter", "Skeletons", "Track", "read_skeletons", "skeleton_writer"]

FORMAT = "vidcore-skeletons 1"
UNITS = ("pixels", "metres")
BIGGEST = 1 << 31
"""Bytes that the joints of one video may take when they are laid out for all of its frames."""
PIECE = 1 << 24


@frozen(eq=False)
class Track:
    """One person in consecutive frames of a video."""

    start: int
    """First frame, from 0."""
    points: Array
    """(frames, V, 2 or 3) float16 or float32: pixels, or metres; NaN: not found."""
    scores: Array | None = None
    """(frames, V): confidence of each joint, 0: not found; None: 1 for each joint that was found."""
    boxes: Array | None = None
    """(frames, 4): ``x1, y1, x2, y2`` of the person in pixels."""


@frozen(eq=False, kw_only=True)
class Skeletons:
    """Skeletons of many videos, in flat arrays. ``read_skeletons`` opens a file of them."""

    source: str
    """Where they come from, for messages."""
    names: Array
    """(N,) str: unique name of each video."""
    frames: Array
    """(N,) int64: number of frames."""
    sizes: Array
    """(N, 2) int32: height and width of the frames; 0 in metres."""
    fps: Array
    """(N,) float64: frames per second; NaN: unknown."""
    track_sample: Array
    """(K,) int64: video of each track; never falling."""
    track_start: Array
    """(K,) int64: first frame of each track, from 0."""
    track_length: Array
    """(K,) int64: frames of each track."""
    points: Array
    """(R, V, 2 or 3) float16 or float32: joints of all tracks, one track after the other; NaN: not found."""
    scores: Array
    """(R, V) float16 or float32: confidence of each joint."""
    boxes: Array | None = None
    """(R, 4) float32."""
    labels: Array | None = None
    """(N,) int64: class numbers; -1: unknown."""
    class_names: tuple[str, ...] | None = None
    joint_names: tuple[str, ...] = ()
    """Names of the joints, if known."""
    edges: Array | None = None
    """(E, 2) int64: pairs of joints that are connected, if known."""
    units: str = "pixels"
    splits: Mapping[str, Array] = field(factory=dict)
    """Name of a split -> (n,) int64 numbers of its videos."""
    _first_track: Array = field(init=False)
    _first_row: Array = field(init=False)

    def __attrs_post_init__(self) -> None:
        first = np.searchsorted(self.track_sample, np.arange(len(self.names) + 1))
        object.__setattr__(self, "_first_track", first)
        object.__setattr__(self, "_first_row", np.concatenate([[0], np.cumsum(self.track_length)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.names)

    def tracks(self, index: int) -> Iterator[Track]:
        """Yield the tracks of video ``index``: views of the arrays, not copies."""
        for k in range(self._first_track[index], self._first_track[index + 1]):
            rows = slice(self._first_row[k], self._first_row[k + 1])
            boxes = None if self.boxes is None else self.boxes[rows]
            yield Track(int(self.track_start[k]), self.points[rows], self.scores[rows], boxes)

    def dense(self, index: int) -> tuple[Array, Array]:
        """Return the joints of video ``index`` for all of its frames, missing joints as zeros.

        Returns:
            points (M, T, V, 2 or 3) and scores (M, T, V) of M tracks in T frames, with the dtypes of the file.

        Raises:
            AnnotationError: they would take more than 2 GiB, or a joint or a score is not finite.
        """
        tracks = list(self.tracks(index))
        shape = (len(tracks), int(self.frames[index]), *self.points.shape[1:])
        if np.prod(shape, dtype=object) * self.points.itemsize > BIGGEST:
            raise AnnotationError(
                f"{self.source}: {self.names[index]}: {shape[0]} tracks in {shape[1]} frames take more than 2 GiB: "
                "cut the video, or drop short tracks"
            )
        points, scores = np.zeros(shape, self.points.dtype), np.zeros(shape[:3], self.scores.dtype)
        for m, track in enumerate(tracks):
            frames = slice(track.start, track.start + len(track.points))
            points[m, frames] = track.points
            if track.scores is not None:
                scores[m, frames] = track.scores
        missing = np.isnan(points).any(-1)
        points[missing], scores[missing] = 0, 0
        for what, numbers in (("joint", points), ("score", scores)):
            if not np.isfinite(numbers).all():
                m, t, v = np.argwhere(~np.isfinite(numbers))[0][:3].tolist()
                raise AnnotationError(
                    f"{self.source}: {self.names[index]}: the {what} {v} of person {m} in frame {t} is not finite"
                )
        return points, scores


FIELDS = {
    "names": ("U", (None,)),
    "frames": ("iu", (None,)),
    "sizes": ("iu", (None, 2)),
    "fps": ("f", (None,)),
    "track_sample": ("iu", (None,)),
    "track_start": ("iu", (None,)),
    "track_length": ("iu", (None,)),
    "points": ("f", (None, None, None)),
    "scores": ("f", (None, None)),
    "boxes": ("f", (None, 4)),
    "labels": ("iu", (None,)),
    "class_names": ("U", (None,)),
    "joint_names": ("U", (None,)),
    "edges": ("iu", (None, 2)),
    "units": ("U", ()),
    "format": ("U", ()),
}
"""Array of the file -> kinds of its dtype, and its shape."""
OPTIONAL = {"boxes", "labels", "class_names", "joint_names", "edges"}


def read_skeletons(file: Path) -> Skeletons:
    """Map a file of skeletons into memory, after checking that its arrays fit together.

    Raises ``DataError`` for other files, and ``AnnotationError``, which names array and video, if the content is wrong.
    """
    try:
        arrays = dict(_members(file))
    except FileNotFoundError:
        raise DataError(f"file of skeletons {file} does not exist") from None
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is not a file of skeletons that can be read: {error}") from None
    splits = {name.removeprefix("split_"): a for name, a in arrays.items() if name.startswith("split_")}
    for name in [*FIELDS, *(f"split_{split}" for split in splits)]:
        _check_array(file, name, arrays)
    if str(arrays["format"]) != FORMAT:
        raise DataError(f"{file}: has the format {str(arrays['format'])!r}, this version reads {FORMAT!r}")
    units = str(arrays["units"])
    if units not in UNITS:
        raise AnnotationError(f"{file}: units is {units!r}, expected one of: {', '.join(UNITS)}")
    texts: dict[str, Any] = {
        name: tuple(map(str, arrays[name])) for name in ("class_names", "joint_names") if name in arrays
    }
    plain: dict[str, Any] = {
        name: arrays[name] for name in arrays if name in FIELDS and name not in {*texts, "units", "format"}
    }
    _check_tables(file, arrays, splits)
    return Skeletons(source=str(file), units=units, splits=splits, **texts, **plain)


def _members(file: Path) -> Iterator[tuple[str, Array]]:
    """Yield name and mapped array of each member of an archive that ``numpy.savez`` could have written."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as raw:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed: write it with numpy.savez")
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                if version not in ((1, 0), (2, 0)):
                    raise ValueError(f"{member.filename} has the version {version} of NumPy's format")
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(stream)
                header = stream.tell()
            if dtype.hasobject or not dtype.itemsize or (fortran and len(shape) > 1):
                raise ValueError(f"{member.filename} holds Python objects or nothing, or is stored by columns")
            count = int(np.prod(shape, dtype=object))
            if count * dtype.itemsize != member.file_size - header:
                raise ValueError(
                    f"{member.filename} promises {count * dtype.itemsize} bytes, has {member.file_size - header}"
                )
            raw.seek(member.header_offset + 26)
            lengths = np.frombuffer(raw.read(4), "<u2")
            start = member.header_offset + 30 + int(lengths.sum()) + header
            name = member.filename.removesuffix(".npy")
            yield name, np.memmap(file, dtype, "r", start, shape) if count else np.zeros(shape, dtype)


def _check_array(file: Path, name: str, arrays: Mapping[str, Array]) -> None:
    kinds, shape = FIELDS.get(name, ("iu", (None,)))
    if name not in arrays:
        if name in OPTIONAL:
            return
        raise DataError(f"{file}: has no array {name!r}")
    found = arrays[name]
    fits = len(found.shape) == len(shape) and all(w in (None, n) for w, n in zip(shape, found.shape, strict=True))
    if found.dtype.kind not in kinds or not fits:
        wanted = {"U": "strings", "f": "floats", "iu": "whole numbers"}[kinds]
        sizes = ", ".join("any" if n is None else str(n) for n in shape)
        raise AnnotationError(
            f"{file}: {name} has dtype {found.dtype} and shape {found.shape}, expected {wanted} ({sizes})"
        )


def _check_tables(file: Path, arrays: Mapping[str, Array], splits: Mapping[str, Array]) -> None:
    """Raise ``AnnotationError`` if lengths differ, or numbers point outside; the joints themselves are not read."""
    names, total = arrays["names"], len(arrays["names"])
    rows, joints, axes = arrays["points"].shape
    for name, wanted in (
        *((name, total) for name in ("frames", "sizes", "fps", "labels")),
        *((name, len(arrays["track_sample"])) for name in ("track_start", "track_length")),
        *((name, rows) for name in ("scores", "boxes")),
        ("joint_names", joints),
    ):
        if name in arrays and len(arrays[name]) != wanted:
            raise AnnotationError(f"{file}: {name} has {len(arrays[name])} entries, expected {wanted}")
    if axes not in (2, 3) or arrays["scores"].shape[1] != joints:
        raise AnnotationError(f"{file}: points have shape {arrays['points'].shape} and scores {arrays['scores'].shape}")
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[group] != np.arange(total))
    if len(repeated):
        raise AnnotationError(f"{file}: two samples have the name {str(names[repeated[0]])!r}")
    for name in ("frames", "sizes"):
        if total and arrays[name].min() < 0:
            k = int(np.argwhere(arrays[name] < 0)[0][0])
            raise AnnotationError(f"{file}: {names[k]}: {name} is {arrays[name][k]}, which must not be negative")
    owner, start, length = (np.asarray(arrays[f"track_{n}"], np.int64) for n in ("sample", "start", "length"))
    if len(owner):
        if owner.min() < 0 or owner.max() >= total or (np.diff(owner) < 0).any():
            raise AnnotationError(f"{file}: track_sample must be rising numbers from 0 to {total - 1}")
        wrong = np.flatnonzero((start < 0) | (length < 1) | (start > np.asarray(arrays["frames"])[owner] - length))
        if len(wrong):
            k = int(wrong[0])
            raise AnnotationError(
                f"{file}: {names[owner[k]]}: track {k} has {length[k]} frames from frame {start[k]}, "
                f"but the sample has {arrays['frames'][owner[k]]} frames"
            )
    if int(length.sum()) != rows:
        raise AnnotationError(f"{file}: points have {rows} rows, but the tracks {length.sum()} frames")
    labels, classes = arrays.get("labels"), arrays.get("class_names")
    if (
        labels is not None
        and len(labels)
        and (labels.min() < -1 or (classes is not None and labels.max() >= len(classes)))
    ):
        limit = "" if classes is None else f" to {len(classes) - 1}"
        raise AnnotationError(
            f"{file}: labels must be -1 or class numbers from 0{limit}, got {labels.min()} to {labels.max()}"
        )
    for name, numbers, limit in (
        *((f"split_{split}", a, total) for split, a in splits.items()),
        ("edges", arrays.get("edges", np.zeros(0, np.int64)), joints),
    ):
        if numbers.size and (numbers.min() < 0 or numbers.max() >= limit):
            raise AnnotationError(
                f"{file}: {name} must be numbers from 0 to {limit - 1}, got {numbers.min()} to {numbers.max()}"
            )
    for split, numbers in splits.items():
        found, times = np.unique(numbers, return_counts=True)
        if (times > 1).any():
            raise AnnotationError(f"{file}: split_{split} has {names[found[times > 1][0]]} more than once")


@define
class SkeletonWriter:
    """Collects videos one after the other; joints go to temporary files at once, so memory stays small."""

    joint_names: tuple[str, ...]
    edges: Sequence[tuple[int, int]]
    units: str
    class_names: tuple[str, ...] | None
    dtype: Any
    """Of points and scores."""
    axes: int
    _spools: Mapping[str, IO[bytes]]
    splits: dict[str, list[int]] = field(factory=dict)
    """Name of a split -> numbers of its videos; fill it as you add."""
    _videos: list[tuple[str, int, tuple[int, int], float, int]] = field(factory=list)
    _names: set[str] = field(factory=set)
    _tracks: list[tuple[int, int, int]] = field(factory=list)
    _with_boxes: bool | None = None

    def __len__(self) -> int:
        return len(self._videos)

    def add(
        self,
        name: str,
        frames: int,
        tracks: Sequence[Track],
        size: tuple[int, int] = (0, 0),
        fps: float | None = None,
        label: int | None = None,
    ) -> None:
        """Add a video; see ``Skeletons`` for the arguments. Raises ``AnnotationError`` if something does not fit."""
        if name in self._names:
            raise AnnotationError(f"two samples have the name {name!r}")
        for track in tracks:
            self._check(name, frames, track)
        for track in tracks:
            points = np.ascontiguousarray(track.points, self.dtype)
            found = ~np.isnan(points).any(-1)
            scores = found if track.scores is None else np.where(found, track.scores, 0)
            self._spools["points"].write(points.tobytes())
            self._spools["scores"].write(scores.astype(self.dtype).tobytes())
            if track.boxes is not None:
                self._spools["boxes"].write(np.ascontiguousarray(track.boxes, np.float32).tobytes())
            self._tracks.append((len(self._videos), track.start, len(points)))
        self._names.add(name)
        self._videos.append((name, frames, size, np.nan if fps is None else fps, -1 if label is None else label))

    def _check(self, name: str, frames: int, track: Track) -> None:
        wanted = (len(track.points), len(self.joint_names), self.axes)
        if track.points.shape != wanted:
            raise AnnotationError(f"{name}: a track has points of shape {track.points.shape}, expected {wanted}")
        if track.scores is not None and track.scores.shape != wanted[:2]:
            raise AnnotationError(f"{name}: a track has scores of shape {track.scores.shape}, expected {wanted[:2]}")
        if np.isinf(track.points).any():
            raise AnnotationError(f"{name}: a joint is infinite: write NaN for a joint that was not found")
        if not 0 <= track.start <= frames - len(track.points) or not len(track.points):
            raise AnnotationError(
                f"{name}: a track has {len(track.points)} frames from frame {track.start}, the video has {frames}"
            )
        if self._with_boxes not in (None, track.boxes is not None):
            raise AnnotationError(f"{name}: some tracks have boxes, and some have none")
        self._with_boxes = track.boxes is not None

    def _arrays(self) -> dict[str, Array]:
        names, frames, sizes, fps, labels = zip(*self._videos, strict=True) if self._videos else ((),) * 5
        tracks = np.array(self._tracks, np.int64).reshape(-1, 3)
        found = {
            "format": np.array(FORMAT),
            "units": np.array(self.units),
            "joint_names": np.array(self.joint_names, np.str_),
            "edges": np.array(self.edges, np.int64).reshape(-1, 2),
            "names": np.array(names, np.str_),
            "frames": np.array(frames, np.int64),
            "sizes": np.array(sizes, np.int32).reshape(-1, 2),
            "fps": np.array(fps, np.float64),
            "labels": np.array(labels, np.int64),
            **{f"track_{name}": tracks[:, i].copy() for i, name in enumerate(("sample", "start", "length"))},
            **{f"split_{name}": np.array(numbers, np.int64) for name, numbers in self.splits.items()},
        }
        return found | ({} if self.class_names is None else {"class_names": np.array(self.class_names, np.str_)})

    def _write(self, file: IO[bytes]) -> None:
        rows = sum(length for _, _, length in self._tracks)
        wide: dict[str, tuple[tuple[int, ...], Any]] = {
            "points": ((rows, len(self.joint_names), self.axes), self.dtype)
        }
        wide["scores"] = ((rows, len(self.joint_names)), self.dtype)
        if self._with_boxes:
            wide["boxes"] = ((rows, 4), np.float32)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in self._arrays().items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
            for name, (shape, dtype) in wide.items():
                header = {
                    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                    "fortran_order": False,
                    "shape": shape,
                }
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array_header_1_0(stream, header)
                    self._spools[name].seek(0)
                    while piece := self._spools[name].read(PIECE):
                        stream.write(piece)


@contextmanager
def skeleton_writer(
    file: Path,
    joint_names: Sequence[str],
    edges: Sequence[tuple[int, int]] = (),
    units: str = "pixels",
    axes: int = 2,
    class_names: Sequence[str] | None = None,
    dtype: Any = np.float32,
) -> Iterator[SkeletonWriter]:
    """Write a file of skeletons: add videos to the writer; the file appears, whole, when the block ends without error.

    Args:
        file: ends in ``.npz``.
        joint_names: names of the V joints.
        edges: pairs of joints that are connected, as numbers.
        units: ``pixels`` or ``metres``.
        axes: 2 or 3 coordinates.
        class_names: names by class number, if the videos have labels.
        dtype: of points and scores: ``float32`` or ``float16``.
    """
    if units not in UNITS:
        raise ValueError(f"units is {units!r}, expected one of: {', '.join(UNITS)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        spools = {
            name: stack.enter_context(tempfile.TemporaryFile(dir=file.parent)) for name in ("points", "scores", "boxes")
        }
        names = None if class_names is None else tuple(class_names)
        writer = SkeletonWriter(tuple(joint_names), list(edges), units, names, np.dtype(dtype), axes, spools)
        yield writer
        with atomic_write(file) as out:
            writer._write(out)
