"""Result files: ActivityNet's submission format, and tables of boundary probabilities."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen

from vid_localization.names import result_name, video_name
from vidcore.data.classes import check_file
from vidcore.data.fields import finite_number
from vidcore.errors import AnnotationError, DataError, nearest
from vidcore.files import atomic_write, dump_json, parse_json, write_text
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Detection", "read_results", "read_submission", "write_boundaries", "write_results"]

VERSION = "VERSION 1.3"
COLUMNS = "action,start,end,tmin,tmax"
"""Columns of tables of boundary probabilities, which proposals are generated from."""


@frozen
class Detection:
    """A segment in a result file."""

    segment: tuple[float, float]
    """Start and end in seconds."""
    score: float
    label: str | None = None


def write_results(path: Path, predictions: Iterable[Sample], class_names: Sequence[str] | None = None) -> None:
    """Write predicted segments in ActivityNet's submission format.

    Args:
        path: the JSON file.
        predictions: with ``segments`` that have scores and, for detections, classes.
        class_names: names by class number; default: those of each sample.

    Raises:
        DataError: two videos have the same name, or the model predicts no segments.
    """
    seen: set[str] = set()
    with atomic_write(path) as file:
        file.write(f'{{\n  "version": "{VERSION}",\n  "results": {{'.encode())
        for sample in predictions:
            name = result_name(video_name(sample))
            if name in seen:
                raise DataError(f"{path}: two videos are named {name!r}, which identifies videos in a result file")
            if sample.segments is None:
                raise DataError(f"{path}: {sample.path}: the model predicts no segments, so there is nothing to write")
            rows = _rows(sample.segments, class_names or sample.class_names or ())
            file.write(f"{',' if seen else ''}\n    {dump_json(name)}: [{rows}]".encode())
            seen.add(name)
        file.write(b'\n  },\n  "external_data": {}\n}\n')


def read_results(path: Path, class_names: Sequence[str] | None = None) -> dict[str, list[Detection]]:
    """Read a result file: detections by the name of the video.

    Args:
        path: the JSON file.
        class_names: labels must be among these; default: any label.

    Raises:
        AnnotationError: an entry is not valid; the message starts with ``file: video: segment``.
        DataError: the file does not exist.
    """
    check_file(path, "result file")
    try:
        results = parse_json(path.read_text(encoding="utf-8"))["results"]
        items = results.items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AnnotationError(f"{path}: not a result file, which is JSON with an object 'results'") from None
    found: dict[str, list[Detection]] = {}
    for name, rows in items:
        if not isinstance(rows, list):
            raise AnnotationError(f"{path}: {name}: must be a list of segments, got {rows!r}")
        found[name] = []
        for number, row in enumerate(rows):
            where = f"{path}: {name}: segment {number}"
            match row:
                case {"segment": [start, end], "score": score}:
                    segment = finite_number(where, start), finite_number(where, end)
                    detection = Detection(segment, finite_number(where, score), row.get("label"))
                case _:
                    raise AnnotationError(f"{where}: needs 'segment' with start and end, and 'score'; got {row!r}")
            if class_names is not None and detection.label not in class_names:
                hint = nearest(str(detection.label), class_names)
                raise AnnotationError(
                    f"{where}: label {detection.label!r} is not one of the {len(class_names)} classes{hint}"
                )
            found[name].append(detection)
    return found


def read_submission(path: Path, targets: Sequence[Sample]) -> list[Sample]:
    """Return the predictions in a result file for annotated samples, in their order: samples with ``segments``.

    A sample that the file does not name has no segments. This warns about videos that are not among the samples.

    Args:
        path: the JSON file.
        targets: the annotated samples.

    Raises:
        AnnotationError: an entry is not valid, or its label is not a class of the samples.
        DataError: the file does not exist, or names none of the samples.
    """
    names = next((sample.class_names for sample in targets if sample.class_names), ())
    found = read_results(path)
    numbers = {name: number for number, name in enumerate(names)}
    predictions = []
    for sample in targets:
        detections = found.pop(result_name(video_name(sample)), [])
        labels = [detection.label for detection in detections]
        for number, label in enumerate(labels):
            if (label is None) != (labels[0] is None):
                raise AnnotationError(f"{path}: {video_name(sample)}: some segments have a label, and others have none")
            if label is not None and label not in numbers:
                hint = nearest(label, names)
                where = f"{path}: {video_name(sample)}: segment {number}"
                raise AnnotationError(f"{where}: label {label!r} is not one of the {len(names)} classes{hint}")
        spans = np.array([detection.segment for detection in detections]).reshape(-1, 2)
        classes = np.array([numbers[label] for label in labels if label is not None], np.int64)
        scores = np.array([detection.score for detection in detections])
        segments = Segments(spans, classes if len(classes) or not len(spans) else None, scores)
        predictions.append(sample.replace(segments=segments))
    if not any(len(sample.segments or ()) for sample in predictions):
        raise DataError(f"{path}: has no segments of the {len(targets)} videos of the dataset")
    if found:
        warnings.warn(f"{path}: {len(found)} videos are not in the dataset, such as {next(iter(found))}", stacklevel=2)
    return predictions


def write_boundaries(path: Path, rows: Array) -> None:
    """Write a table of boundary probabilities, see ``Boundaries``."""
    text = io.StringIO()
    np.savetxt(text, rows, delimiter=",", header=COLUMNS, comments="")
    write_text(path, text.getvalue())


def _rows(found: Segments, names: Sequence[str]) -> str:
    """Return JSON of the segments, each in a line. One template for all: Python's encoder takes five times as long."""
    scores = np.ones(len(found)) if found.scores is None else np.asarray(found.scores, np.float64)
    numbers = np.column_stack((scores, np.asarray(found.spans, np.float64)))
    values: Sequence[float | str] = numbers.ravel().tolist()
    row = '\n      {"score": %r, "segment": [%r, %r]'
    if not np.isfinite(numbers).all():  # NaN and infinity are strings, as in vidcore.files.to_jsonable
        values = [v if math.isfinite(v) else f'"{v}"' for v in numbers.ravel().tolist()]
        row = row.replace("%r", "%s")
    if found.labels is None:
        rows = (row + "},") * len(found)
    else:
        labels = {n: dump_json(_class(names, n)).replace("%", "%%") for n in np.unique(found.labels).tolist()}
        rows = "".join([f'{row}, "label": {labels[label]}}},' for label in found.labels.tolist()])
    return rows[:-1] % tuple(values)


def _class(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else str(label)
