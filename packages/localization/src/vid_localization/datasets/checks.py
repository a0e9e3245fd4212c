"""Checks of annotated segments: problems are reported, repaired or refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import frozen

from vidcore.errors import AnnotationError
from vidcore.typing import Array

__all__ = ["SegmentPolicy", "ValidSegments", "problem_notes", "validate_segments"]

SegmentPolicy = Literal["repair", "keep", "raise"]
"""``repair`` clips segments that reach beyond the video, and drops those without length, outside of the video, or
repeated; ``keep`` changes nothing, as published scores require; ``raise`` refuses the file. Overlapping segments of
one class are only reported."""


@frozen(eq=False)
class ValidSegments:
    """What remains of the segments of a file."""

    indices: Array
    """(n,) int64: which of the given segments are kept."""
    segments: Array
    """(n, 2) start and end of these."""
    problems: tuple[str, ...]
    """One ``file: video: segment: ...`` for each segment with a problem, kept or not."""


def validate_segments(
    file: Path,
    policy: SegmentPolicy,
    *,
    names: Sequence[str],
    durations: Array,
    offsets: Array,
    segments: Array,
    labels: Array,
) -> ValidSegments:
    """Check the segments of v videos.

    Args:
        file: the annotation file, for messages.
        policy: what happens to segments with a problem.
        names: v names of videos.
        durations: (v,) seconds, nan if unknown.
        offsets: (v + 1,) the segments of video i are ``offsets[i]`` to ``offsets[i + 1]``.
        segments: (m, 2) start and end in seconds.
        labels: (m,) class numbers.

    Raises:
        AnnotationError: there is a problem and the policy is ``raise``, or ``repair`` would keep no segment.
    """
    video = np.repeat(np.arange(len(names)), np.diff(offsets))
    start, end = segments[:, 0], segments[:, 1]
    duration = np.where(np.isnan(durations), np.inf, durations)[video]
    repeated, overlapping = _conflicts(video, labels, segments)
    tests = {
        "ends before it starts": end < start,
        "has no length": end == start,
        "starts before the video": start < 0,
        "is repeated": repeated,
        "overlaps another of its class": overlapping & ~repeated,
        "starts after the end of the video": start >= duration,
        "reaches beyond the end of the video": (end > duration) & (start < duration),
    }
    problems = []
    for i in np.flatnonzero(np.logical_or.reduce(list(tests.values()))):
        v = video[i]
        what = " and ".join(problem for problem, found in tests.items() if found[i])
        length = f" of {durations[v]:g} s" if "video" in what and np.isfinite(durations[v]) else ""
        where = f"{file}: {names[v]}: segment {i - offsets[v]}"
        problems.append(f"{where}: {start[i]:g} to {end[i]:g} s {what}{length}")
    if problems and policy == "raise":
        raise AnnotationError("\n".join(problems[:20] + [f"and {len(problems) - 20} more"] * (len(problems) > 20)))
    if policy != "repair":
        return ValidSegments(np.arange(len(segments)), segments, tuple(problems))
    clipped = np.stack((start.clip(0, duration), end.clip(0, duration)), 1)
    kept = np.flatnonzero((clipped[:, 1] > clipped[:, 0]) & ~repeated)
    if len(segments) and not len(kept):
        raise AnnotationError(f"{problems[0]}; no other segment is valid either: are times in seconds?")
    return ValidSegments(kept, clipped[kept], tuple(problems))


def _conflicts(video: Array, labels: Array, segments: Array) -> tuple[Array, Array]:
    """Which segments repeat, and which overlap, another one of the same video and class: two (m,) bool.

    Of two such segments the one that starts later counts; of equal ones the later in the file.
    """
    repeated, overlapping = np.zeros((2, len(video)), bool)
    if not len(video):
        return repeated, overlapping
    start, end = segments.T
    order = np.lexsort((np.arange(len(video)), end, start, labels, video))
    keys = np.stack((video, labels, start, end), 1)[order]
    same = np.zeros(len(video), bool)
    same[1:] = (keys[1:, :2] == keys[:-1, :2]).all(1)
    repeated[order[1:]] = (keys[1:] == keys[:-1]).all(1)
    # overlapping: it starts before the latest end so far of its video and class
    group = np.cumsum(~same)
    span = max(np.ptp(segments), 1.0) * 2 + 1
    latest = np.maximum.accumulate(keys[:, 3] + group * span) - group * span
    overlapping[order[1:]] = same[1:] & (keys[1:, 2] < latest[:-1])
    return repeated, overlapping


def problem_notes(problems: Sequence[str]) -> list[str]:
    """One line about problems, none if there are none."""
    if not problems:
        return []
    many = "1 segment looks" if len(problems) == 1 else f"{len(problems)} segments look"
    return [f'{many} wrong, for example {problems[0]} (bad_segments = "raise" lists them)']
