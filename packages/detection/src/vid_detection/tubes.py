"""Tubes: the boxes of an action over the frames of a video; linking detections of frames into tubes; overlaps of tubes.

Online linking as in Kalogeiton et al. 2017 (arXiv:1705.01861), with the numbers of MultiSports (Li et al. 2021,
arXiv:2105.07404).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from attrs import field, frozen

from vid_detection.overlaps import iou
from vidcore.matching import near, number_groups, take_turns
from vidcore.typing import Array
from vidcore.validators import at_least, in_range

__all__ = ["Linking", "Tubes", "link", "spatial_overlaps", "suppress", "temporal_overlaps", "tube_overlaps"]

BLOCK = 1 << 18
"""Boxes that are compared at once."""


@frozen(eq=False)
class Tubes:
    """Tubes of many videos, one after the other."""

    videos: Array
    """(n,) int64 index of the video of each."""
    labels: Array
    """(n,) int64 class of each."""
    scores: Array
    """(n,) float64."""
    offsets: Array
    """(n + 1,) int64: boxes of tube i are ``offsets[i]:offsets[i + 1]``, in ascending order of frames."""
    frames: Array
    """(boxes,) int64 number of the frame of each box."""
    boxes: Array
    """(boxes, 4) float64."""
    box_scores: Array
    """(boxes,) float64."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Array:
        """(n,) int64 number of boxes of each tube."""
        return np.diff(self.offsets)

    def first_and_last(self) -> tuple[Array, Array]:
        """Return the numbers of the first and of the last frame of each tube."""
        return self.frames[self.offsets[:-1]], self.frames[self.offsets[1:] - 1]

    def select(self, rows: Array) -> Tubes:
        """Return the tubes with these indices, in this order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Tubes(
            self.videos[rows],
            self.labels[rows],
            self.scores[rows],
            offsets,
            self.frames[place],
            self.boxes[place],
            self.box_scores[place],
        )


@frozen
class Linking:
    """How detections of frames become tubes.

    In each frame the detections of a class suppress each other softly (``suppress``), and the best ``boxes_per_frame``
    remain. The tubes that reach the frame before take turns, the highest mean score first; each takes the detection
    with the highest score that overlaps its last box enough, or ends. Detections that are left begin tubes.
    """

    suppression: float = field(default=0.6, validator=in_range(0, 1))
    """Detections that overlap a better one by more lose score."""
    boxes_per_frame: int = field(default=10, validator=at_least(1))
    """Of each class."""
    overlap: float = field(default=0.5, validator=in_range(0, 1))
    """Least overlap of neighbouring boxes of a tube."""
    min_score: float = 0.005
    """Tubes with a lower mean score are dropped."""
    min_length: int = field(default=15, validator=at_least(1))
    """Shorter tubes are dropped, in frames."""
    tube_suppression: float | None = None
    """Tubes that overlap a better one of their class by more are dropped; default: none."""
    pixels: bool = False
    """Overlaps of tubes by the rules of ACT (``tube_overlaps``)."""
    last_score: bool = False
    """Every linked box gets the score of the last of all detections, as MMAction2 publishes it: tubes tie."""


def suppress(boxes: Array, scores: Array, groups: Array, overlap: float, limit: int | None) -> tuple[Array, Array]:
    """Lower the scores of detections that overlap a better one.

    Detections take turns, best first. Each multiplies the score of every detection that it overlaps by more than
    ``overlap``, and that has not lost score yet, by 1 - overlap; these do not take a turn. The last pixel is part of a
    box.

    Args:
        boxes: (n, 4) in pixels.
        scores: (n,).
        groups: (n,) non-negative numbers of the groups (a class in a frame), which do not affect each other.
        overlap: see above.
        limit: detections of each group that remain; default: all.

    Returns:
        Indices of the remaining detections by group, best first, and their scores.
    """
    order = np.lexsort((-scores, groups))
    boxes, groups, lowered = boxes[order], groups[order], scores[order].astype(np.float64)
    first, second, shared = near(groups, groups, lambda p, t: iou(boxes[p], boxes[t], pixels=True), overlap)
    pairs = np.flatnonzero((first < second) & (shared > overlap))
    rank = np.arange(len(groups)) - np.searchsorted(groups, groups)
    pairs = pairs[np.lexsort((second[pairs], rank[first[pairs]]))]
    first, second, shared = first[pairs], second[pairs], shared[pairs]
    lost = np.zeros(len(groups), bool)
    for part in _runs(rank[first]):  # one detection of each group at a time
        part = part[~lost[first[part]] & ~lost[second[part]]]
        lowered[second[part]] *= 1 - shared[part]
        lost[second[part]] = True
    again = np.lexsort((-lowered, groups))
    if limit is not None:
        again = again[rank < limit]
    return order[again], lowered[again]


def link(
    boxes: Array, frames: Array, scores: Array, labels: Array, videos: Array, linking: Linking = Linking()
) -> Tubes:
    """Link detections of frames into tubes.

    Args:
        boxes: (n, 4) in pixels.
        frames: (n,) int64 numbers of frames, which are consecutive in a video.
        scores: (n,).
        labels: (n,) non-negative class numbers.
        videos: (n,) non-negative indices of videos.
        linking: see there.

    Returns:
        Tubes by class, video, last frame and score.
    """
    stride = int(videos.max(initial=0)) + 1
    kinds, of_kind = np.unique(labels.astype(np.int64) * stride + videos, return_inverse=True)
    in_frame = number_groups(*[of_kind * (int(frames.max(initial=0)) + 1) + frames] * 2)[0]
    kept, lowered = suppress(boxes, scores, in_frame, linking.suppression, linking.boxes_per_frame)
    order = np.argsort(frames[kept], kind="stable")
    kept, lowered = kept[order], lowered[order]
    if linking.last_score and len(scores):
        lowered = np.full(len(kept), scores[-1], np.float64)
    tube = _linked(boxes[kept].astype(np.float64), frames[kept], lowered, of_kind[kept], linking)
    order = np.lexsort((frames[kept], tube))
    kept, lowered, tube = kept[order], lowered[order], tube[order]
    offsets = np.concatenate((np.flatnonzero(np.diff(tube, prepend=-1)), [len(tube)]))
    lengths, group = np.diff(offsets), of_kind[kept][offsets[:-1]]
    means = np.add.reduceat(lowered, offsets[:-1]) / lengths if len(lengths) else np.zeros(0)
    found = Tubes(
        kinds[group] % stride,
        kinds[group] // stride,
        means,
        offsets,
        frames[kept],
        boxes[kept].astype(np.float64),
        lowered,
    )
    chosen = np.flatnonzero((lengths >= linking.min_length) & (means >= linking.min_score))
    last = found.first_and_last()[1][chosen] if len(chosen) else np.zeros(0)
    found = found.select(chosen[np.lexsort((means[chosen], last, found.videos[chosen], found.labels[chosen]))])
    return found if linking.tube_suppression is None else _without_copies(found, linking)


def _without_copies(tubes: Tubes, linking: Linking) -> Tubes:
    """Return the tubes that overlap no better tube of their video and class too much."""
    groups = number_groups(*[tubes.labels * (int(tubes.videos.max(initial=0)) + 1) + tubes.videos] * 2)[0]
    order = np.lexsort((-tubes.scores, groups))
    better = np.empty(len(order), np.int64)
    better[order] = np.arange(len(order))
    limit = linking.tube_suppression or 0.0
    one, other, shared = near(groups, groups, lambda p, t: tube_overlaps(tubes, tubes, p, t, linking.pixels), limit)
    lost = np.zeros(len(tubes), bool)
    pairs = np.flatnonzero((better[one] < better[other]) & (shared > limit))
    for i in pairs[np.argsort(better[one[pairs]], kind="stable")].tolist():
        lost[other[i]] |= not lost[one[i]]
    return tubes.select(np.flatnonzero(~lost))


def _linked(boxes: Array, frames: Array, scores: Array, kinds: Array, linking: Linking) -> Array:
    """Return the number of the tube of each detection; detections are in ascending order of frames."""
    tube = np.full(len(boxes), -1)
    sums, lengths = np.zeros(len(boxes)), np.zeros(len(boxes))
    # the number of a tube is the index of its first detection
    live = np.zeros(0, np.int64)  # last detection of each tube that reaches the frame before
    before = None
    for rows in _runs(frames):
        if before is None or frames[rows[0]] != before + 1:
            live = live[:0]
        before = frames[rows[0]]
        mean = sums[tube[live]] / lengths[tube[live]]
        live = live[np.argsort(-mean, kind="stable")]
        old, new = boxes[live], boxes[rows]
        one, other, _ = near(kinds[live], kinds[rows], partial(_iou_of, old, new), linking.overlap)
        one, other = take_turns(one, other, scores[rows[other]], kinds[live[one]])
        tube[rows[other]] = tube[live[one]]
        begun = rows[tube[rows] < 0]
        tube[begun] = begun
        sums[tube[rows]] += scores[rows]
        lengths[tube[rows]] += 1
        live = rows
    return tube


def _iou_of(boxes: Array, others: Array, one: Array, other: Array) -> Array:
    return iou(boxes[one], others[other])


def _runs(values: Array) -> Iterator[Array]:
    """Yield the indices of equal neighbours."""
    yield from np.split(np.arange(len(values)), np.flatnonzero(np.diff(values)) + 1) if len(values) else ()


def spatial_overlaps(found: Tubes, others: Tubes, one: Array, other: Array, pixels: bool = False) -> Array:
    """Mean intersection over union of boxes in the common frames of pairs of tubes; 0 without common frames.

    Args:
        found, others: tubes.
        one, other: (pairs,) indices in each.
        pixels: the last pixel is part of a box.
    """
    out = np.zeros(len(one))
    stride = max(int(found.frames.max(initial=0)), int(others.frames.max(initial=0))) + 1
    keys = np.repeat(np.arange(len(others)), others.lengths) * stride + others.frames
    lengths = found.lengths[one]
    block = (np.cumsum(lengths) - lengths) // BLOCK
    for pairs in _runs(block):
        wide = lengths[pairs]
        starts = np.cumsum(wide) - wide
        row = np.arange(wide.sum()) + np.repeat(found.offsets[one[pairs]] - starts, wide)
        pair = np.repeat(np.arange(len(pairs)), wide)
        wanted = other[pairs][pair] * stride + found.frames[row]
        place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        common = np.flatnonzero(keys[place] == wanted) if len(keys) else np.zeros(0, np.int64)
        shared = iou(found.boxes[row[common]], others.boxes[place[common]], pixels)
        total = np.bincount(pair[common], shared, len(pairs))
        out[pairs] = total / np.maximum(np.bincount(pair[common], minlength=len(pairs)), 1)
    return out


def temporal_overlaps(found: Tubes, others: Tubes, one: Array, other: Array, pixels: bool = False) -> Array:
    """Intersection over union in time of pairs of tubes.

    Args:
        found, others: tubes.
        one, other: (pairs,) indices in each.
        pixels: a tube from frame a to b has the length b - a + 1 instead of b - a. With b - a, two tubes of a single
            frame have no overlap that is defined: nan.
    """
    (first, last), (first_other, last_other) = found.first_and_last(), others.first_and_last()
    start, end = np.maximum(first[one], first_other[other]), np.minimum(last[one], last_other[other])
    more = int(pixels)
    shared = np.maximum(end - start + more, 0)
    union = last[one] - first[one] + last_other[other] - first_other[other] + 2 * more - shared
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Array = np.where(end >= start, shared / union, 0.0)
    return out


def tube_overlaps(found: Tubes, others: Tubes, one: Array, other: Array, pixels: bool = False) -> Array:
    """Product of the overlaps in space and in time of pairs of tubes; arguments as in ``spatial_overlaps``.

    ``pixels``: by the rules of ACT, where the last pixel is part of a box and the last frame part of a tube; otherwise
    by those of MultiSports.
    """
    out = temporal_overlaps(found, others, one, other, pixels)
    near_in_time = np.flatnonzero(out > 0)
    out[near_in_time] *= spatial_overlaps(found, others, one[near_in_time], other[near_in_time], pixels)
    return out
