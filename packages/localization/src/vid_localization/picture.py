"""Drawing the segments of a video along its time."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from vid_localization.names import video_name
from vid_localization.overlaps import Array
from vidcore.errors import DataError
from vidcore.files import write_png
from vidcore.sample import Sample

__all__ = ["draw_timeline", "write_timelines"]

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, LINE, TRUE = (32, 32, 32), (222, 222, 222), (96, 96, 96)
FOUND = np.array((46, 98, 168))  # RGB
WIDTH, BAR, GAP, PAD, SCALE = 900, 16, 4, 12, 0.4
LONGEST = 28
"""Characters of a class name that are shown."""
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds between marks of the axis."""


def draw_timeline(predicted: Sample, truth: Sample | None = None, top_k: int = 10) -> Array:
    """Draw the best predicted segments of a video below its true ones.

    Grey bars are true, blue ones predicted: one row each, the darker the higher the score, which is written
    beside them with the class.

    Args:
        predicted: with ``segments``, and scores and classes where there are any.
        truth: with ``segments``.
        top_k: predicted segments that are shown.

    Returns:
        (height, 900 and more, 3) uint8 RGB.
    """
    rows = _rows(truth, None) if truth is not None else []
    rows += _rows(predicted, top_k)
    ends = [end for _, end, _, _ in rows]
    seconds = max([predicted.duration or 0.0, (truth.duration if truth is not None else None) or 0.0, *ends, 1e-3])
    left = PAD + max([_size(text)[0] for _, _, text, _ in rows], default=0) + 8
    top = PAD + _size("Ag")[1] + 8
    height = top + max(len(rows), 1) * (BAR + GAP) + PAD + 18
    image = np.full((height, left + WIDTH + PAD, 3), 255, np.uint8)
    _write(image, _plain(Path(predicted.path or "video").stem), (left, top - 6))
    step = next((s for s in STEPS if seconds / s <= 12), STEPS[-1] * np.ceil(seconds / STEPS[-1] / 12))
    for mark in np.arange(0, seconds + step / 1e6, step):
        x = left + round(mark / seconds * (WIDTH - 1))
        image[top : height - PAD - 14, x] = LINE
        _write(image, f"{mark:g} s", (x, height - PAD))
    for row, (start, end, text, colour) in enumerate(rows):
        y = top + row * (BAR + GAP)
        first, last = (left + round(min(max(t / seconds, 0), 1) * (WIDTH - 1)) for t in (start, end))
        image[y : y + BAR, first : last + 1] = colour
        _write(image, text, (PAD, y + BAR - 4))
    return image


def write_timelines(folder: Path, predictions: Iterable[Sample]) -> None:
    """Draw the predicted segments of videos into ``folder``, a ``.png`` for each; ``NAME_2`` is the next of a name.

    Raises ``DataError`` where a model predicts no segments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen: Counter[str] = Counter()
    for sample in predictions:
        if sample.segments is None:
            raise DataError(f"{folder}: {sample.path}: the model predicts no segments, which would be drawn")
        name = video_name(sample)
        seen[name] += 1
        write_png(folder / f"{name if seen[name] == 1 else f'{name}_{seen[name]}'}.png", draw_timeline(sample))


def _rows(sample: Sample, top_k: int | None) -> list[tuple[float, float, str, tuple[int, ...]]]:
    """Start, end, text and colour of every segment; true ones in time, predicted ones by score."""
    if sample.segments is None:
        return []
    drawn: Array = np.all(np.isfinite(sample.segments), axis=1)
    names = [_class(sample.class_names or (), sample.segment_labels, i) for i in range(len(sample.segments))]
    if top_k is None:
        order = np.argsort(sample.segments[:, 0], kind="stable")
        return [(*sample.segments[i].tolist(), _plain(f"{names[i]} (true)".strip()), TRUE) for i in order if drawn[i]]
    scores = np.ones(len(names)) if sample.segment_scores is None else np.nan_to_num(sample.segment_scores)
    order = np.argsort(-scores, kind="stable")
    order = order[drawn[order]][:top_k]
    best = max(float(scores.max(initial=0)), 1e-9)
    found = []
    for i in order:
        strength = 0.25 + 0.75 * min(max(float(scores[i]) / best, 0.0), 1.0)
        colour = tuple((255 + (FOUND - 255) * strength).round().astype(int).tolist())
        found.append((*sample.segments[i].tolist(), _plain(f"{names[i]} {scores[i]:.2f}".strip()), colour))
    return found


def _class(names: Sequence[str], labels: Array | None, i: int) -> str:
    if labels is None:
        return ""
    number = int(labels[i])
    return names[number] if 0 <= number < len(names) else f"class {number}"


def _write(image: Array, text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, FONT, SCALE, INK, 1, cv2.LINE_AA)


def _size(text: str) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, FONT, SCALE, 1)
    return int(width), int(height)


def _plain(name: str) -> str:
    """A name the font can show: accents dropped, cut in the middle where too long."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip()
    return plain if len(plain) <= LONGEST + 7 else f"{plain[: LONGEST - 8]}..{plain[-13:]}"
