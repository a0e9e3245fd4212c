"""Files of predictions, which can be scored again and fused with those of other models.

One ``.npz`` file without pickled objects holds the predicted and the annotated samples in columns: the plain fields of
``Sample`` and the arrays of its records. Arrays of one shape are stacked; others are concatenated, with their shapes
in ``COLUMN#``. ``COLUMN?`` marks the samples that have a value.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen

from vidcore.errors import DataError
from vidcore.files import atomic_write, check_archive, parse_json, to_jsonable
from vidcore.records import Boxes, Cut, Record, Segments
from vidcore.sample import RECORDS, Sample
from vidcore.typing import Array

__all__ = ["PredictionFile", "fuse", "non_finite", "require_finite"]

FORMAT = 2
SPARE = 1 << 28
"""Bytes to which a file may unpack, beside a hundred times its size."""
STRINGS = ("key", "path", "error")
FIELDS = (*STRINGS, "index", "total_frames", "fps", "duration", "feature_duration", "label", "labels", "scores")
"""Plain fields that a file stores."""


def non_finite(prediction: Sample) -> str | None:
    """Return what is wrong with the numbers of a predicted Sample, such as "its scores contain NaN"; None if nothing.

    Class scores, segments, boxes and the records of packages must be finite.
    """
    arrays = {} if prediction.scores is None else {"scores": np.asarray(prediction.scores)}
    for name, record in prediction.records():
        if name in ("segments", "boxes") or name in prediction.extra:
            arrays |= {f"{name}.{part}": values for part, values in record.arrays().items()}
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"its {name} contain {'NaN' if np.isnan(values).any() else 'Inf'}"
    return None


def require_finite(predictions: Sequence[Sample], targets: Sequence[Sample], where: str) -> None:
    """Raise ``DataError``, naming the sample, if a prediction contains NaN or Inf; ``where`` begins the message."""
    for prediction, target in zip(predictions, targets, strict=True):
        if reason := non_finite(prediction):
            named = " ".join(filter(None, (f"sample {target.index}", f"({target.path})" if target.path else "")))
            raise DataError(f"{where}: {named}: {reason}")


@frozen
class PredictionFile:
    """The predictions of a model for the samples of a dataset, and the annotated samples, in the same order."""

    predictions: tuple[Sample, ...]
    targets: tuple[Sample, ...]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        columns: dict[str, Array] = {"format": np.array(FORMAT)}
        for side, samples in (("predicted", self.predictions), ("true", self.targets)):
            for name in FIELDS:
                columns |= _column(f"{side}.{name}", [getattr(s, name) for s in samples])
            cuts = [s.cut and [s.cut.start, s.cut.end, float(s.cut.in_seconds)] for s in samples]
            columns |= _column(f"{side}.cut", cuts)
            columns |= _column(f"{side}.meta", [json.dumps(to_jsonable(dict(s.meta))) for s in samples])
            columns |= _record_columns(side, samples)
        names = next((s.class_names for s in (*self.predictions, *self.targets) if s.class_names), ())
        columns["class_names"] = np.array(names, dtype=np.str_)
        with atomic_write(path) as file:
            np.savez_compressed(file, allow_pickle=False, **columns)

    @classmethod
    def load(cls, path: Path) -> PredictionFile:
        """Read a file that ``save`` wrote. Records of a class that is not imported are left out.

        Raises ``DataError`` if the file does not exist, is not valid, or has scores that are NaN or Inf.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                check_archive(archive, 100 * path.stat().st_size + SPARE)
                columns = {name.removesuffix(".npy"): _array(archive, name) for name in archive.namelist()}
            written = int(columns["format"])
            if written not in (1, FORMAT):
                raise DataError(f"{path}: has format {written}; this version of vidcore reads 1 to {FORMAT}")
            names = tuple(map(str, columns["class_names"])) or None
            read = _samples if written == FORMAT else _samples_of_format_1
            predictions, targets = (read(columns, side, names) for side in ("predicted.", "true."))
        except FileNotFoundError:
            raise DataError(f"{path}: does not exist") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        except DataError:
            raise
        except Exception as error:  # of many types; NumPy's messages suggest to unpickle the file
            raise DataError(f"{path}: is not a file of predictions, or is damaged") from error
        require_finite(predictions, targets, str(path))
        return cls(predictions, targets)


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """Return an array in an archive. Raises ``ValueError`` if its header promises more than there is."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > archive.getinfo(name).file_size:
        raise ValueError(f"{name} is cut off")
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def fuse(files: Sequence[PredictionFile], weights: Sequence[float], names: Sequence[str]) -> PredictionFile:
    """Add up the scores of several models (late fusion of streams).

    Args:
        files: predictions for the same videos, matched by index.
        weights: one per file.
        names: of the files, for messages.

    Raises:
        DataError: the files are for different data, or have no class scores.
    """
    tables = [{p.index: p for p in file.predictions} for file in files]
    for table, name in zip(tables, names, strict=True):
        missing = tables[0].keys() ^ table.keys()
        if missing:
            raise DataError(
                f"{name}: has different samples than {names[0]}: {len(missing)} are in only one of the files, "
                f"for example number {min(missing)}"
            )
    fused = []
    for first in files[0].predictions:
        rows = [_scores(table[first.index], name) for table, name in zip(tables, names, strict=True)]
        for row, name in zip(rows, names, strict=True):
            if row.shape != rows[0].shape:
                raise DataError(f"{name}: has scores for {len(row)} classes, but {names[0]} for {len(rows[0])}")
        total = sum(w * row.astype(np.float64) for w, row in zip(weights, rows, strict=True))
        with np.errstate(over="ignore"):  # reported below
            fused.append(first.replace(scores=np.asarray(total, np.float32)))
    require_finite(fused, fused, "the sum of the files")
    return evolve(files[0], predictions=tuple(fused))


def _scores(prediction: Sample, name: str) -> Array:
    if prediction.scores is None:
        raise DataError(f"{name}: has no class scores for {prediction.path}, which fusing needs")
    return prediction.scores


def _column(name: str, values: Sequence[Any]) -> dict[str, Array]:
    """Return the entries of a file for one field; empty if no sample has it."""
    given = [v for v in values if v is not None]
    if not given:
        return {}
    out: dict[str, Array] = {}
    if len(given) < len(values):
        out[f"{name}?"] = np.array([v is not None for v in values])
    arrays = [_bytes(v) if isinstance(v, str) else np.asarray(v) for v in given]
    if isinstance(given[0], str) or len({a.shape for a in arrays}) > 1:
        out[name] = np.concatenate([a.ravel() for a in arrays])
        out[f"{name}#"] = np.array([a.shape for a in arrays], np.int64)
    else:
        out[name] = np.stack(arrays)
    return out


def _record_columns(side: str, samples: Sequence[Sample]) -> dict[str, Array]:
    columns: dict[str, Array] = {}
    names = dict.fromkeys(name for sample in samples for name, _ in sample.records())
    for name in names:
        records = [dict(sample.records()).get(name) for sample in samples]
        arrays = [{} if record is None else record.arrays() for record in records]
        for part in dict.fromkeys(part for parts in arrays for part in parts):
            columns |= _column(f"{side}.{name}.{part}", [parts.get(part) for parts in arrays])
        if any(arrays):
            kind = next(type(record).__name__ for record in records if record is not None)
            columns[f"{side}.{name}!"] = np.array(kind)
    return columns


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _values(columns: Mapping[str, Array], name: str) -> list[Any]:
    """Return the entry of every sample in a column."""
    column, shapes = columns[name], columns.get(f"{name}#")
    if shapes is None:
        values = list(column) if column.ndim > 1 else column.tolist()
    else:
        shapes = shapes.reshape(len(shapes), -1)
        values = np.split(column, np.cumsum(shapes.prod(1))[:-1])
        if column.ndim == 1:  # format 1 stored rows unflattened, and only their number
            values = [part.reshape(shape) for part, shape in zip(values, shapes.tolist(), strict=True)]
        if name.rpartition(".")[2] in (*STRINGS, *_OLD_STRINGS):
            values = [part.tobytes().decode("utf-8", "surrogateescape") for part in values]
    if (known := columns.get(f"{name}?")) is not None:
        given = iter(values)
        values = [next(given) if k else None for k in known]
    return values


def _table(columns: Mapping[str, Array], side: str) -> dict[str, list[Any]]:
    names = [n for n in columns if n.startswith(side) and n[-1] not in "?#!"]
    return {name.removeprefix(side): _values(columns, name) for name in names}


def _samples(columns: Mapping[str, Array], side: str, names: tuple[str, ...] | None) -> tuple[Sample, ...]:
    table = _table(columns, side)
    records = {n: [n + p[len(n) :] for p in table if p.startswith(f"{n}.")] for n in _record_names(columns, side)}
    kinds = {kind.__name__: kind for kind in _kinds(Record)}
    found = []
    for i in range(len(table["meta"])):
        fields = {name: table[name][i] for name in FIELDS if name in table}
        if "cut" in table and (cut := table["cut"][i]) is not None:
            start, end, in_seconds = np.asarray(cut).tolist()
            fields["cut"] = Cut(start, end, bool(in_seconds))
        extra: dict[str, Record] = {}
        for name, parts in records.items():
            arrays = {p.partition(".")[2]: table[p][i] for p in parts if table[p][i] is not None}
            kind = kinds.get(str(columns[f"{side}{name}!"]))
            if arrays and kind is not None:
                (fields if name in RECORDS else extra)[name] = kind.from_arrays(_as_arrays(arrays))
        found.append(Sample(class_names=names, meta=parse_json(table["meta"][i]), extra=extra, **fields))
    return tuple(found)


def _record_names(columns: Mapping[str, Array], side: str) -> list[str]:
    return [n.removeprefix(side)[:-1] for n in columns if n.startswith(side) and n.endswith("!")]


def _as_arrays(values: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value) for name, value in values.items()}


def _kinds(of: type[Record]) -> list[type[Record]]:
    return [kind for direct in of.__subclasses__() for kind in (direct, *_kinds(direct))]


_OLD_STRINGS = ("meta", "filename_tmpl", "modality")


def _samples_of_format_1(columns: Mapping[str, Array], side: str, names: tuple[str, ...] | None) -> tuple[Sample, ...]:
    """Read a file from before there were records, when boxes, segments and their scores were separate fields."""
    table = _table(columns, side)
    found = []
    for row in zip(*table.values(), strict=True):
        old = {name: value for name, value in zip(table, row, strict=True) if value is not None}
        meta = _restored(parse_json(old.pop("meta")))
        fields = {name: old[name] for name in FIELDS if name in old} | {"key": meta.pop("video_name", None)}
        if "segments" in old:
            fields["segments"] = Segments(old["segments"], old.get("segment_labels"), old.get("segment_scores"))
        if "proposal_segments" in old:
            fields["proposals"] = Segments(old["proposal_segments"], scores=old.get("proposal_scores"))
        if "boxes" in old:
            fields["boxes"] = Boxes(old["boxes"])
        extra = {}
        if "ambiguous_segments" in meta:
            extra["ambiguous"] = Segments(meta.pop("ambiguous_segments"))
        found.append(Sample(class_names=names, meta=meta, extra=extra, **fields))
    return tuple(found)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype"}:
            return np.array(value["array"], value["dtype"])
        return {k: _restored(v) for k, v in value.items()}
    return [_restored(v) for v in value] if isinstance(value, list) else value
