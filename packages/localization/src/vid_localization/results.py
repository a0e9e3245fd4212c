"""Result files: ActivityNet's submission format, and tables of boundary probabilities."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vid_localization.names import result_name, video_name
from vidcore.data.classes import check_file
from vidcore.data.fields import finite_number
from vidcore.errors import AnnotationError, DataError, nearest
from vidcore.files import parse_json, write_json, write_text
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Detection", "read_results", "write_boundaries", "write_results"]

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
    results: dict[str, list[dict[str, Any]]] = {}
    for sample in predictions:
        name = result_name(video_name(sample))
        if name in results:
            raise DataError(f"{path}: two videos are named {name!r}, which identifies videos in a result file")
        if sample.segments is None:
            raise DataError(f"{path}: {sample.path}: the model predicts no segments, so there is nothing to write")
        names = class_names or sample.class_names or ()
        results[name] = [
            {"score": score, "segment": segment} | ({} if label is None else {"label": _class(names, label)})
            for score, segment, label in _rows(sample)
        ]
    write_json(path, {"version": VERSION, "results": results, "external_data": {}})


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


def write_boundaries(path: Path, rows: Array) -> None:
    """Write a table of boundary probabilities, see ``Boundaries``."""
    text = io.StringIO()
    np.savetxt(text, rows, delimiter=",", header=COLUMNS, comments="")
    write_text(path, text.getvalue())


def _rows(sample: Sample) -> list[tuple[float, list[float], int | None]]:
    found = sample.segments
    assert found is not None
    spans = np.asarray(found.spans, np.float64)
    scores = np.ones(len(spans)) if found.scores is None else np.asarray(found.scores, np.float64)
    labels = [None] * len(spans) if found.labels is None else found.labels.tolist()
    return list(zip(scores.tolist(), spans.tolist(), labels, strict=True))


def _class(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else str(label)
