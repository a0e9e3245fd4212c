"""Predictions in a file: kept by a metric, scored again later, fused with those of other models.

One ``.npz`` file without pickled objects holds what was predicted and what is true, field by field of
``Sample``: arrays of one shape stacked, others end to end with their lengths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, fields, frozen

from vidcore.errors import DataError
from vidcore.files import atomic_write
from vidcore.sample import Sample

__all__ = ["PredictionFile", "fuse"]

LEFT_OUT = {"frames", "inputs", "video", "geometry", "heatmaps", "joints", "frame_indices", "class_names", "meta"}
"""Fields that are neither predicted nor needed to score predictions, or kept in another way."""
FORMAT = 1

Array = np.ndarray[Any, np.dtype[Any]]


@frozen
class PredictionFile:
    """What a model predicted for the samples of a data set, and the truth, in the same order."""

    predictions: tuple[Sample, ...]
    targets: tuple[Sample, ...]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        columns: dict[str, Array] = {"format": np.array(FORMAT)}
        for side, samples in (("predicted", self.predictions), ("true", self.targets)):
            for name in (a.name for a in fields(Sample) if a.name not in LEFT_OUT):
                columns |= _column(f"{side}.{name}", [getattr(s, name) for s in samples])
            columns |= _column(f"{side}.meta", [json.dumps(_plain(s.meta)) for s in samples])
        names = next((s.class_names for s in (*self.predictions, *self.targets) if s.class_names), ())
        columns["class_names"] = np.array(names, dtype=np.str_)
        with atomic_write(path) as file:
            np.savez_compressed(file, allow_pickle=False, **columns)

    @classmethod
    def load(cls, path: Path) -> PredictionFile:
        """Read a file that ``save`` wrote.

        Raises ``DataError`` where there is none, or it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                columns = {name: archive[name] for name in archive.files}
            if int(columns["format"]) != FORMAT:
                raise DataError(f"{path}: has format {columns['format']}, this vidcore reads {FORMAT}")
            names = tuple(map(str, columns["class_names"])) or None
            sides = [_samples(columns, side, names) for side in ("predicted.", "true.")]
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file") from None
        except DataError:
            raise
        except Exception as error:  # of many types; NumPy's own words are about unpickling it nevertheless
            raise DataError(f"{path}: is no file of predictions, or damaged") from error
        return cls(*sides)


def fuse(files: Sequence[PredictionFile], weights: Sequence[float], names: Sequence[str]) -> PredictionFile:
    """Add up the scores of several models (late fusion of streams).

    Args:
        files: predictions for the same videos; matched by position in the data set.
        weights: one per file.
        names: what to call the files in messages.

    Raises:
        DataError: the files are of different data, or have no class scores.
    """
    tables = [{p.index: p for p in file.predictions} for file in files]
    for table, name in zip(tables, names, strict=True):
        missing = tables[0].keys() ^ table.keys()
        if missing:
            raise DataError(
                f"{name}: covers other samples than {names[0]}: {len(missing)} are in one of them only, "
                f"for example number {min(missing)}"
            )
    fused = []
    for first in files[0].predictions:
        rows = [_scores(table[first.index], name) for table, name in zip(tables, names, strict=True)]
        for row, name in zip(rows, names, strict=True):
            if row.shape != rows[0].shape:
                raise DataError(f"{name}: has scores of {len(row)} classes, {names[0]} of {len(rows[0])}")
        total = sum(w * row.astype(np.float64) for w, row in zip(weights, rows, strict=True))
        fused.append(first.replace(scores=np.asarray(total, np.float32)))
    return evolve(files[0], predictions=tuple(fused))


def _scores(prediction: Sample, name: str) -> Array:
    if prediction.scores is None:
        raise DataError(f"{name}: has no class scores for {prediction.path}, and only those can be fused")
    return prediction.scores


def _column(name: str, values: Sequence[Any]) -> dict[str, Array]:
    """The entries of a file for one field; none where no sample has it."""
    given = [v for v in values if v is not None]
    if not given:
        return {}
    out: dict[str, Array] = {}
    if len(given) < len(values):
        out[f"{name}?"] = np.array([v is not None for v in values])
    if isinstance(given[0], str):
        out[name] = np.frombuffer("".join(given).encode("utf-8", "surrogateescape"), np.uint8)
        out[f"{name}#"] = np.array([len(v.encode("utf-8", "surrogateescape")) for v in given], np.int64)
    elif isinstance(given[0], np.ndarray) and len({v.shape for v in given}) > 1:
        out[name] = np.concatenate(given)
        out[f"{name}#"] = np.array([len(v) for v in given], np.int64)
    else:
        out[name] = np.stack([np.asarray(v) for v in given])
    return out


def _samples(columns: dict[str, Array], side: str, names: tuple[str, ...] | None) -> tuple[Sample, ...]:
    table: dict[str, list[Any]] = {}
    for full in (n for n in columns if n.startswith(side) and n[-1] not in "?#"):
        values = _values(columns, full)
        known = columns.get(f"{full}?")
        if known is not None:
            given = iter(values)
            values = [next(given) if k else None for k in known]
        table[full.removeprefix(side)] = values
    table["meta"] = [_restored(json.loads(text)) for text in table["meta"]]
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return tuple(Sample(class_names=names, **row) for row in rows)


def _values(columns: dict[str, Array], name: str) -> list[Any]:
    column, lengths = columns[name], columns.get(f"{name}#")
    if lengths is None:
        return list(column) if column.ndim > 1 else column.tolist()
    parts = np.split(column, np.cumsum(lengths)[:-1])
    field = name.partition(".")[2]
    if field == "meta" or getattr(fields(Sample), field).type in ("str", "str | None"):
        return [part.tobytes().decode("utf-8", "surrogateescape") for part in parts]
    return parts


def _plain(value: Any) -> Any:
    """Meta data as JSON: arrays as lists that remember their type, what has no such form left out."""
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else None


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype"}:
            return np.array(value["array"], value["dtype"])
        return {k: _restored(v) for k, v in value.items()}
    return [_restored(v) for v in value] if isinstance(value, list) else value
