"""What is in a file of skeletons, and whether it is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vid_skeleton.estimates.layouts import LAYOUTS as ESTIMATED
from vid_skeleton.files import Skeletons, read_skeletons
from vid_skeleton.graphs import LAYOUTS
from vid_skeleton.published import read_published
from vidcore.errors import AnnotationError
from vidcore.tools.progress import progress_bar
from vidcore.typing import Array

__all__ = ["check_contents"]

ROWS = 1 << 16
"""Rows that are read at once."""


def check_contents(file: Path) -> list[tuple[str, str]]:
    """Check all numbers of a file of skeletons or a published pickle; return what it holds, as names and texts.

    Raises ``DataError`` for other files, and ``AnnotationError``, which names sample and field, for wrong content.
    """
    published = read_published(file) if file.suffix in (".pkl", ".pickle") else None
    found = read_skeletons(file) if published is None else published.skeletons
    _check_rates(found)
    missing, low, high = _check_rows(found)
    people = np.bincount(found.track_sample, minlength=len(found)) if len(found) else np.zeros(0, np.int64)
    lines = [
        ("file", f"{file}: fine"),
        ("videos", f"{len(found)}" + _some(int((people == 0).sum()), "without persons")),
    ]
    if len(found):
        rates = np.unique(found.fps[~np.isnan(found.fps)])
        rate = "" if not len(rates) else f", {_span(rates)} per second"
        lines.append(("frames", f"{_span(np.asarray(found.frames))}{rate}"))
    if published is not None and published.raw_files is not None:
        lines.append(("joints", "in separate files, which are not checked"))
    else:
        lines.append(
            ("people", f"{_span(people)} in a video, {len(found.track_sample)} tracks" if len(people) else "0")
        )
        lines.append(("joints", f"{found.points.shape[1]}{_layout(found)}, {_axes(found)} in {found.units}"))
    total = found.points.shape[0] * found.points.shape[1]
    if total:
        lines.append(("missing", f"{missing / total:.1%} of the joints of the tracks"))
        odd = "" if low >= 0 and high <= 1 else "; 0 to 1 is expected"
        lines.append(("scores", f"{low:.3g} to {high:.3g}{odd}"))
    if found.units == "pixels" and len(found):
        unknown = int((np.asarray(found.sizes) == 0).any(1).sum())
        lines.append(
            ("sizes", "unknown in all videos" if unknown == len(found) else f"known{_some(unknown, 'unknown')}")
        )
    lines.append(("boxes", "no" if found.boxes is None else "yes"))
    lines += _classes(found)
    splits = ", ".join(f"{name} {len(numbers)}" for name, numbers in found.splits.items())
    return [*lines, ("splits", splits or "none")]


def _some(count: int, what: str) -> str:
    return f", {count} {what}" if count else ""


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _span(values: Array) -> str:
    low, high = values.min(), values.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _axes(found: Skeletons) -> str:
    return "x, y and z" if found.points.shape[2] == 3 else "x and y"


def _layout(found: Skeletons) -> str:
    known = {layout.names: name for name, layout in (*ESTIMATED.items(), *LAYOUTS.items())}
    if name := known.get(found.joint_names):
        return f" ({name})"
    return f" ({', '.join(found.joint_names[:3])}, ...)" if found.joint_names else " without names"


def _classes(found: Skeletons) -> Iterator[tuple[str, str]]:
    labels = np.zeros(0, np.int64) if found.labels is None else np.asarray(found.labels)
    known = labels[labels >= 0]
    if not len(known):
        yield "classes", "no labels"
        return
    used, counts = np.unique(known, return_counts=True)
    named = len(found.class_names) if found.class_names else int(used[-1]) + 1
    names = "" if found.class_names else " without names"
    each = "1 video each" if counts.max() == 1 else f"{_span(counts)} videos each"
    without = (
        f"; {len(labels) - len(known)} of {len(labels)} videos without a class" if len(known) < len(labels) else ""
    )
    yield "classes", f"{named}{names}{_some(named - len(used), 'without videos')}, {each}{without}"


def _check_rates(found: Skeletons) -> None:
    wrong = ~np.isnan(found.fps) & ~((found.fps > 0) & np.isfinite(found.fps))
    if wrong.any():
        index = int(wrong.argmax())
        rate = found.fps[index]
        raise AnnotationError(
            f"{found.source}: {found.names[index]}: fps is {rate}, expected above 0, or NaN if it is unknown"
        )


def _check_rows(found: Skeletons) -> tuple[int, float, float]:
    """Return the number of missing joints, and the lowest and highest score of the others."""
    missing, low, high = 0, np.inf, -np.inf
    starts = range(0, len(found.points), ROWS)
    for start in progress_bar(starts, "checking") if len(starts) > 1 else starts:
        rows = slice(start, start + ROWS)
        points, scores = np.asarray(found.points[rows]), np.asarray(found.scores[rows])
        nan = np.isnan(points)
        lost = nan.any(-1)
        for name, wrong, what in (
            ("points", np.isinf(points).any(-1), "an infinite coordinate"),
            ("points", lost & ~nan.all(-1), "NaN in a part of its coordinates"),
            ("scores", ~np.isfinite(scores), "a score that is not finite"),
        ):
            if wrong.any():
                row, joint = np.argwhere(wrong)[0].tolist()
                raise AnnotationError(f"{_place(found, start + row)}: {name}: joint {_joint(found, joint)} has {what}")
        if found.boxes is not None:
            boxes = np.asarray(found.boxes[rows])
            wrong = np.isinf(boxes).any(-1) | (boxes[:, 2:] < boxes[:, :2]).any(-1)
            if wrong.any():
                row = int(wrong.argmax())
                raise AnnotationError(
                    f"{_place(found, start + row)}: boxes: {boxes[row].tolist()} is not left, top, right, bottom"
                )
        present = ~lost & (points.any(-1) | (scores > 0))
        missing += int((~present).sum())
        if present.any():
            low, high = min(low, float(scores[present].min())), max(high, float(scores[present].max()))
    return missing, low if np.isfinite(low) else 0, high if np.isfinite(high) else 0


def _place(found: Skeletons, row: int) -> str:
    ends = np.cumsum(found.track_length)
    track = int(np.searchsorted(ends, row, "right"))
    frame = int(found.track_start[track]) + row - (int(ends[track - 1]) if track else 0)
    return f"{found.source}: {found.names[found.track_sample[track]]}: track {track}, frame {frame}"


def _joint(found: Skeletons, joint: int) -> str:
    return f"{joint} ({found.joint_names[joint]})" if found.joint_names else str(joint)
