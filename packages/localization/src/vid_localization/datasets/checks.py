"""What is wrong with segments, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vidcore.errors import AnnotationError
from vidcore.typing import Array

__all__ = ["Policy", "checked", "notes_of"]

Policy = Literal["repair", "keep", "raise"]


def checked(
    file: Path,
    names: Sequence[str],
    durations: Array,
    segments: Array,
    labels: Array,
    offsets: Array,
    policy: Policy,
) -> tuple[Array, Array, tuple[str, ...]]:
    """Find segments that cannot be meant.

    Args:
        file: for messages.
        names: of the n videos.
        durations: (n,) seconds, nan where unknown.
        segments: (m, 2) start and end in seconds, video after video.
        labels: (m,) class numbers.
        offsets: (n + 1,) where the segments of each video start.
        policy: ``repair`` clips what reaches beyond the video, and leaves out what has no length, what lies
            outside altogether, and repetitions; ``keep`` changes nothing, as published scores ask for;
            ``raise`` accepts none of these. Overlapping segments of a class are only reported.

    Returns:
        Numbers of the segments that stay, these segments, and one message per problem.

    Raises:
        AnnotationError: ``raise``, and there is a problem; or ``repair``, and no segment would stay.
    """
    owner = np.repeat(np.arange(len(names)), np.diff(offsets))
    start, end = segments[:, 0], segments[:, 1]
    duration = np.where(np.isnan(durations), np.inf, durations)[owner]
    order = np.lexsort((np.arange(len(owner)), end, start, labels, owner))
    same = np.zeros(len(owner), bool)
    repeated, overlapping = same.copy(), same.copy()
    if len(owner):
        keys = np.stack((owner, labels, start, end), 1)[order]
        same[1:] = (keys[1:, :2] == keys[:-1, :2]).all(1)
        repeated[order[1:]] = (keys[1:] == keys[:-1]).all(1)
        # a segment overlaps one before it where it starts before the latest end of its class so far
        group = np.cumsum(~same)
        span = max(np.ptp(segments), 1.0) * 2 + 1
        latest = np.maximum.accumulate(keys[:, 3] + group * span) - group * span
        overlapping[order[1:]] = same[1:] & (keys[1:, 2] < latest[:-1])
    tests = {
        "ends before it starts": end < start,
        "has no length": end == start,
        "starts before the video": start < 0,
        "is repeated": repeated,
        "overlaps another of its class": overlapping & ~repeated,
        "lies behind the end of the video": start >= duration,
        "reaches beyond the end of the video": (end > duration) & (start < duration),
    }
    problems = []
    for i in np.flatnonzero(np.logical_or.reduce(list(tests.values()))):
        video = owner[i]
        what = " and ".join(text for text, found in tests.items() if found[i])
        length = f" of {durations[video]:g} s" if "video" in what and np.isfinite(durations[video]) else ""
        where = f"{file}: {names[video]}: segment {i - offsets[video]}"
        problems.append(f"{where}: {start[i]:g} to {end[i]:g} s {what}{length}")
    if problems and policy == "raise":
        raise AnnotationError("\n".join(problems[:20] + [f"and {len(problems) - 20} more"] * (len(problems) > 20)))
    if policy != "repair":
        return np.arange(len(owner)), segments, tuple(problems)
    clipped = np.stack((start.clip(0, duration), end.clip(0, duration)), 1)
    kept = np.flatnonzero((clipped[:, 1] > clipped[:, 0]) & ~repeated)
    if len(owner) and not len(kept):
        raise AnnotationError(f"{problems[0]}; nor can any other segment be meant: are times in seconds?")
    return kept, clipped[kept], tuple(problems)


def notes_of(problems: Sequence[str]) -> list[str]:
    """One line about problems, where there are any."""
    if not problems:
        return []
    many = "1 segment looks" if len(problems) == 1 else f"{len(problems)} segments look"
    return [f'{many} wrong, for example {problems[0]} (bad_segments = "raise" lists them)']
