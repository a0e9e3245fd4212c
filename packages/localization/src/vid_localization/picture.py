"""Draws the segments of a video on a time axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vid_localization.names import video_name
from vidcore.errors import DataError
from vidcore.sample import Sample
from vidcore.tools.draw import BLUE, Figure, add_axes, drawing, new_figure, save_figure, time_axis, tint
from vidcore.typing import Array

__all__ = [
    "class_name",
    "draw_timeline",
    "finite_rows",
    "segment_scores",
    "span_of",
    "write_timelines",
]

WIDTH, LINE, TRUE = 7.5, 0.17, "#606060"
"""Inches of the time axis and of a line of text; the colour of true segments."""


@frozen
class Row:
    """One row of bars."""

    text: str
    spans: list[tuple[float, float]]
    """Start and length, in seconds."""
    colour: Any
    alpha: float = 1.0


def draw_timeline(predicted: Sample, truth: Sample | None = None, top_k: int = 10, font: Path | None = None) -> Figure:
    """Draw the best predicted segments of a video below its true ones.

    Grey bars are true segments, one row for each class. Blue bars are predicted segments, one row for each, with class
    and score beside it; a darker bar has a higher score.

    Args:
        predicted: sample with ``segments``, whose scores and classes are optional.
        truth: sample with ``segments``.
        top_k: number of predicted segments that are drawn.
        font: font file that is preferred to the installed fonts.
    """
    names = [*(predicted.class_names or ()), *((truth and truth.class_names) or ())]
    title = Path(predicted.path or "video").stem
    rows = [*(_true_rows(truth) if truth else []), *_predicted_rows(predicted, top_k)]
    ends = [start + length for row in rows for start, length in row.spans]
    seconds = max([predicted.duration or 0.0, (truth and truth.duration) or 0.0, *ends, 1e-3])
    with drawing([title, *names], font) as letters:
        texts = [letters.name(row.text, i, 36) for i, row in enumerate(rows, 1)]
        heights = np.array([LINE * (text.count("\n") + 1) + 0.04 for text in texts] or [LINE])
        edges = np.cumsum([0.0, *heights])
        figure = new_figure(WIDTH + 3, edges[-1] + 1)
        axes = add_axes(figure, 2.5, 0.5, WIDTH, edges[-1])
        axes.set_title(letters.text(title))
        axes.set_ylim(edges[-1], 0)
        middles = (edges[:-1] + heights / 2)[: len(rows)]
        for row, middle in zip(rows, middles, strict=True):
            spans = [(start, max(length, seconds / 700)) for start, length in row.spans]  # always visible
            axes.broken_barh(spans, (middle - LINE / 2, LINE), facecolor=row.colour, linewidth=0, alpha=row.alpha)
        axes.set_yticks(middles, texts)
        time_axis(axes, seconds)
        axes.tick_params("y", length=0)
        axes.grid(axis="x")
    return figure


def write_timelines(folder: Path, predictions: Iterable[Sample], font: Path | None = None) -> None:
    """Draw the predicted segments of each video into ``folder/NAME.png``; a second video NAME becomes ``NAME_2``.

    Raises ``DataError`` if the model predicts no segments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen: Counter[str] = Counter()
    for sample in predictions:
        if sample.segments is None:
            raise DataError(f"{folder}: {sample.path}: the model predicts no segments, so there is nothing to draw")
        name = video_name(sample)
        seen[name] += 1
        path = folder / f"{name if seen[name] == 1 else f'{name}_{seen[name]}'}.png"
        save_figure(draw_timeline(sample, font=font), path)


def _true_rows(sample: Sample) -> list[Row]:
    """Return a row for each class, in the order of first segments; overlapping segments look darker."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for i in finite_rows(sample, np.argsort(_segments(sample)[:, 0], kind="stable")):
        spans.setdefault(class_name(sample, i), []).append(span_of(sample, i))
    return [Row(f"{name} (true)".strip(), found, TRUE, alpha=0.75) for name, found in spans.items()]


def _predicted_rows(sample: Sample, top_k: int) -> list[Row]:
    """Return a row for each of the best segments, best first."""
    scores = segment_scores(sample)
    best = max(float(scores.max(initial=0)), 1e-9)
    rows = []
    for i in finite_rows(sample, np.argsort(-scores, kind="stable"))[:top_k]:
        strength = 0.25 + 0.75 * min(max(float(scores[i]) / best, 0.0), 1.0)
        rows.append(Row(f"{class_name(sample, i)} {scores[i]:.2f}".strip(), [span_of(sample, i)], tint(BLUE, strength)))
    return rows


def _segments(sample: Sample) -> Array:
    return np.zeros((0, 2)) if sample.segments is None else sample.segments.spans


def segment_scores(sample: Sample) -> Array:
    """Return (n,) scores of all segments, 1 if they have none."""
    found = sample.segments
    return np.ones(len(_segments(sample))) if found is None or found.scores is None else np.nan_to_num(found.scores)


def finite_rows(sample: Sample, order: Array) -> Sequence[int]:
    """Return the segments whose times are finite, in the given order."""
    return [int(i) for i in order if np.isfinite(_segments(sample)[i]).all()]


def span_of(sample: Sample, i: int) -> tuple[float, float]:
    """Return start and length of a segment, in seconds."""
    start, end = _segments(sample)[i].tolist()
    return max(start, 0.0), max(end, 0.0) - max(start, 0.0)


def class_name(sample: Sample, i: int) -> str:
    """Return the class of a segment; an empty string for proposals."""
    if sample.segments is None or sample.segments.labels is None:
        return ""
    names, number = sample.class_names or (), int(sample.segments.labels[i])
    return names[number] if 0 <= number < len(names) else f"class {number}"
