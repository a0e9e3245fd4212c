"""Predictions along videos in AVA's format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vid_detection.ava import Key, write_table
from vid_detection.classes import AVA_CLASSES, class_index
from vidcore.errors import DataError
from vidcore.persons import Persons, PersonScores
from vidcore.sample import Sample

__all__ = ["write_ava"]

Row = tuple[Key, Sequence[float], int, float]


def write_ava(path: Path, predictions: Iterable[Sample], class_names: Sequence[str] | None = None) -> None:
    """Write the actions of persons as AVA's table of predictions.

    A row has the name of the video, the second (the middle of a window), the box as fractions of the frame, the number
    of the action (of AVA's classes that of AVA, else its place in the list of classes, from 1), and its score.

    Args:
        path: the CSV file.
        predictions: with ``person_scores`` that have boxes; videos without persons have no rows.
        class_names: names by class number; default: those of each sample.

    Raises:
        DataError: two videos have the same name, or the predictions have no boxes of persons.
    """
    write_table(path, _rows(path, predictions, class_names), digits=6)


def _rows(path: Path, predictions: Iterable[Sample], class_names: Sequence[str] | None) -> Iterator[Row]:
    seen: set[str] = set()
    for sample in predictions:
        name = sample.key or Path(sample.path or f"video_{sample.index}").stem
        if name in seen:
            raise DataError(f"{path}: two videos are named {name!r}, which identifies videos in AVA's format")
        seen.add(name)
        scores = sample.extra.get("person_scores")
        if scores is None and isinstance(sample.extra.get("persons"), Persons):
            continue  # nobody
        if not isinstance(scores, PersonScores) or scores.boxes is None:
            raise DataError(f"{path}: {sample.path}: the model predicts no actions of boxes: nothing to write")
        highest = int(scores.labels.max(initial=-1)) + 1
        numbers = _numbers(class_names or sample.class_names or (), highest)
        for row, (start, end) in enumerate(scores.spans.tolist()):
            key = (name, round((start + end) / 2, 6))
            for label, score in zip(scores.labels[row].tolist(), scores.scores[row].tolist(), strict=True):
                yield key, scores.boxes[row].tolist(), numbers[label], score


def _numbers(names: Sequence[str], count: int) -> Sequence[int]:
    """Return AVA's number of each class, or its place, from 1, if not all of them are AVA's."""
    ava, known = class_index(AVA_CLASSES), class_index(names)
    if known and known.keys() <= ava.keys():
        return [ava[name] + 1 for name in known]
    return range(1, max(count, len(names)) + 1)
