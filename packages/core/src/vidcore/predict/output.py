"""Predictions as plain data, and files of them: text, JSON, JSON lines and CSV, written as they become ready.

Nothing here imports torch.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from attrs import frozen

from vidcore.files import dump_json, to_jsonable
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Entry", "entry", "top_classes", "window_entry", "writing"]

CLASS_CELLS = ("class", "score")


@frozen
class Entry:
    """The predictions for a video, or for a window of it."""

    record: dict[str, Any]
    """For JSON."""
    lines: list[str]
    """For people."""
    cells: list[dict[str, Any]]
    """For CSV: one row per class or segment."""
    columns: tuple[str, ...]
    """Columns of ``cells``."""


def top_classes(sample: Sample, k: int) -> list[tuple[str, float]]:
    """Return the k best (class name or number, score) of a predicted Sample, best first.

    >>> top_classes(Sample(scores=np.array([0.1, 0.7, 0.2]), class_names=("run", "sit", "eat")), 2)
    [('sit', 0.7), ('eat', 0.2)]
    """
    if sample.scores is None:
        return []
    order = np.argsort(-sample.scores, kind="stable")[:k]
    names = sample.class_names
    return [(names[i] if names else str(i), float(sample.scores[i])) for i in order]


def entry(sample: Sample, top: int, thresholds: Sequence[float] | None = None) -> Entry:
    """Return the best predictions for a video: classes, and rows of every predicted record.

    Args:
        sample: the prediction.
        top: number of classes, and of rows of a record.
        thresholds: score of each class from which the video has that label. Then all of its labels are returned, and
            further classes up to ``top``; people see the labels only.
    """
    video = sample.path
    if sample.error is not None:
        reason = sample.error.removeprefix(f"{video}: ")
        record = {"video": video, "error": sample.error}
        return Entry(record, [str(video), f"  cannot be read: {reason}"], [{"video": video, "error": reason}], ())
    found: dict[str, Any] = {"video": video}
    lines: list[str] = [str(video)]
    cells: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    best: list[dict[str, Any]]
    best = [{"class": name, "score": round(score, 6)} for name, score in top_classes(sample, top)]
    if thresholds is not None and sample.scores is not None:
        best = _labels(sample, sample.scores, top, thresholds)
    records = {name: (record, record.rows(sample.class_names)) for name, record in sample.records()}
    for name, (record_, rows) in records.items():
        if rows is None or name == "proposals":
            continue
        found[name] = rows[:top]
        columns |= dict.fromkeys(record_.cell_names)
        cells += [{"video": video, **record_.cells(row)} for row in found[name]]
        lines += [f"  {record_.line(row)}" for row in found[name]]
    if len(found) > 1:  # classes of the whole video, with 0 for those that do not count
        best = [row for row in best if row["score"]]
    if best or len(found) == 1:
        found["classes"] = best
        columns |= dict.fromkeys((*CLASS_CELLS, *(["label"] if thresholds is not None else [])))
        cells = [{"video": video, **row} for row in best] + cells
        shown = [row for row in best if row.get("label", True)]
        lines[1:1] = [f"  {row['score']:8.4f}  {row['class']}" for row in shown]
        if best and not shown:
            lines.insert(1, f"  no label; the best, {best[0]['class']}, has {best[0]['score']:.4f}")
    return Entry(found, lines, cells, tuple(columns))


def _labels(sample: Sample, scores: Array, top: int, thresholds: Sequence[float]) -> list[dict[str, Any]]:
    """Return the classes with a score of at least their threshold, and others up to ``top``; the best first."""
    above = scores >= np.array(thresholds)
    order = np.argsort(-scores, kind="stable").tolist()
    named = top_classes(sample, len(scores))
    return [
        {"class": name, "score": round(score, 6), "label": bool(above[number])}
        for place, (number, (name, score)) in enumerate(zip(order, named, strict=True))
        if above[number] or place < top
    ]


def window_entry(
    sample: Sample,
    top: int,
    seconds: tuple[float, float] | None,
    frames: tuple[int, int],
    width: int | None = None,
    person: int | None = None,
    box: Array | None = None,
) -> Entry:
    """Return the best classes in a window of a video.

    Args:
        sample: the prediction.
        top: number of classes.
        seconds: start and end; None if the frame rate is not known.
        frames: first frame, and the frame after the last one.
        width: columns of the terminal; classes that do not fit on the line are left out.
        person: identity of the person whom the prediction is for; default: it is for the whole picture.
        box: (4,) where the person is in the middle of the window, in pixels.
    """
    best = [{"class": name, "score": round(score, 6)} for name, score in top_classes(sample, top)]
    if seconds is None:
        place: dict[str, Any] = {"start_frame": frames[0], "end_frame": frames[1]}
        line = f"  frames {frames[0]:6} to {frames[1]:6}"
    else:
        place = {"start": round(seconds[0], 3), "end": round(seconds[1], 3)}
        line = f"  {seconds[0]:8.2f} to {seconds[1]:8.2f} s"
    if person is not None:
        place, line = {"person": person, **place}, f"  person {person:2}{line}"
    for number, row in enumerate(best):
        part = f"  {row['class']} {row['score']:.4f}"
        if number and width is not None and len(line) + len(part) > width:
            break
        line += part
    video = {"video": sample.path}
    edges = [] if box is None else [round(edge, 2) for edge in box.tolist()]
    record = video | place | ({} if box is None else {"box": edges}) | {"classes": best}
    columns = place | dict(zip(Boxes.cell_names, edges, strict=False))
    return Entry(record, [line], [video | columns | row for row in best], (*columns, *CLASS_CELLS))


@contextmanager
def writing(path: Path | None, out: IO[str], as_json: bool) -> Iterator[Callable[[Entry], None]]:
    """Return a function that writes entries as they come, in the format of the file's suffix.

    ``.csv``: a header, and a row for each class or segment; ``error`` is the reason if a video cannot be read.
    ``.json``: an array with an object for each entry. ``.jsonl``: an object per line. Others: text for people.

    Args:
        path: of the file; None for the terminal.
        out: the open file.
        as_json: write an object per line if the suffix does not name a format.
    """
    suffix = path.suffix.lower() if path else ""
    if suffix == ".csv":
        with _csv(out) as write:
            yield write
    elif suffix == ".json":
        with _json_array(out) as write:
            yield write
    elif suffix == ".jsonl" or as_json:
        yield lambda made: _line(out, _text(made))
    else:
        yield lambda made: _line(out, "\n".join(made.lines))


def _text(made: Entry) -> str:
    return dump_json(to_jsonable(made.record))


def _line(out: IO[str], text: str) -> None:
    out.write(text + "\n")
    out.flush()


@contextmanager
def _json_array(out: IO[str]) -> Iterator[Callable[[Entry], None]]:
    between = "[\n"

    def write(made: Entry) -> None:
        nonlocal between
        out.write(between + _text(made))
        out.flush()
        between = ",\n"

    try:
        yield write
    finally:  # also after an interruption, so that what is there can be read
        out.write("[]\n" if between == "[\n" else "\n]\n")


@contextmanager
def _csv(out: IO[str]) -> Iterator[Callable[[Entry], None]]:
    waiting: list[Entry] = []
    table: csv.DictWriter[str] | None = None

    def begin(columns: Sequence[str]) -> None:
        nonlocal table
        table = csv.DictWriter(out, ["video", *columns, "error"], lineterminator="\n")
        table.writeheader()
        for made in waiting:
            table.writerows(made.cells)

    def write(made: Entry) -> None:
        if table is not None:
            table.writerows(made.cells)
        elif made.columns:
            waiting.append(made)
            begin(made.columns)
        else:  # only a prediction tells the columns
            waiting.append(made)
        out.flush()

    try:
        yield write
    finally:
        if table is None:
            begin(CLASS_CELLS)
