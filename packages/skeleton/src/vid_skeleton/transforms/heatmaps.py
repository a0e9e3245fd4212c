"""GeneratePoseTarget: joints or limbs drawn as maps, the input of PoseC3D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import field, frozen

from vid_skeleton.graphs import COCO
from vid_skeleton.missing import check_person, joints_of, title
from vidcore.errors import AnnotationError, UserError
from vidcore.records import Heatmaps
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.typing import Array
from vidcore.validators import at_least

__all__ = ["LIMBS", "GeneratePoseTarget"]

# fmt: off
LIMBS = ((0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10),
         (5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16), (11, 12))
"""Limbs between the joints of COCO."""
# fmt: on
FAINT = 1e-3
"""Joints and limbs with a lower score are not drawn."""
REACH = 3
"""Standard deviations around a joint that are drawn."""


@frozen
class GeneratePoseTarget:
    """Draw joints or limbs as ``heatmaps``, one map for each (Duan et al., arXiv:2104.13586, section 3.2).

    A joint becomes a Gaussian times its score, cut at three standard deviations; a limb a Gaussian of the distance
    to it, times the lower score of its ends. All people share the maps, which keep the larger value at each pixel:
    for a result per person, give the model a sample per person. The step comes after all resizes, crops and flips.

    Raises ``UserError`` for 3-D joints, or joints of another layout; ``AnnotationError`` for coordinates that are not
    finite, and if no joint was found.
    """

    sigma: float = field(default=0.6, validator=at_least(0, above=True))
    """Standard deviation in pixels of the maps."""
    use_score: bool = True
    """Whether scores weaken the maps; otherwise, and without scores, each joint has score 1, also a missing one, which
    is drawn at (0, 0): published scores depend on it."""
    with_kp: bool = True
    """Whether to draw joints."""
    with_limb: bool = False
    """Whether to draw limbs, after the joints."""
    skeletons: Sequence[Sequence[int]] = LIMBS
    """Limbs: pairs of joints."""
    double: bool = False
    """Whether to append the mirrored maps, as further clips, with left and right exchanged."""
    left_kp: Sequence[int] = COCO.left
    """Joints that mirroring exchanges with those of ``right_kp``."""
    right_kp: Sequence[int] = COCO.right
    left_limb: Sequence[int] = (0, 2, 4, 5, 6, 10, 11, 12)
    """Positions in ``skeletons`` of limbs that mirroring exchanges with those of ``right_limb``."""
    right_limb: Sequence[int] = (1, 3, 7, 8, 9, 13, 14, 15)
    scaling: float = field(default=1.0, validator=at_least(0, above=True))
    """Size of the maps relative to that of the frames."""

    def __attrs_post_init__(self) -> None:
        if not (self.with_kp or self.with_limb):
            raise UserError("GeneratePoseTarget: with_kp and with_limb are both false, so nothing would be drawn")
        for kind, left, right in (("kp", self.left_kp, self.right_kp), ("limb", self.left_limb, self.right_limb)):
            if len(left) != len(right):
                raise UserError(
                    f"GeneratePoseTarget: left_{kind} has {len(left)} entries, but right_{kind} {len(right)}: "
                    "they are pairs"
                )
        if self.double and self.with_limb:
            paired = max((*self.left_limb, *self.right_limb), default=-1)
            if paired >= len(self.skeletons):
                raise UserError(
                    f"GeneratePoseTarget: left_limb or right_limb names limb {paired}, but skeletons has "
                    f"{len(self.skeletons)} limbs"
                )
        if wrong := [limb for limb in self.skeletons if len(limb) != 2 or min(limb) < 0]:
            raise UserError(f"GeneratePoseTarget: skeletons must be pairs of joints, got {list(wrong[0])}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        _, frames, count, axes = joints.points.shape
        self._check(count, axes)
        check_person(sample, joints.points)
        clips = sample.clip.count if sample.clip else 1
        if frames % clips:
            raise AnnotationError(f"{title(sample)}: joints of {frames} frames cannot be divided into {clips} clips")
        height, width = (int(side * self.scaling + 0.5) for side in current(sample).size)
        points = np.asarray(joints.points, np.float32) * np.float32(self.scaling)
        peaks = joints.scores if self.use_score else None
        if peaks is None:
            peaks = np.ones(points.shape[:3], np.float32)
        limbs = np.array(self.skeletons, np.int64).reshape(-1, 2)
        drawn = count * self.with_kp + len(limbs) * self.with_limb
        maps = np.zeros((clips, drawn, frames // clips, height, width), np.float32)  # in the order of FormatShape
        for at, score in zip(points, peaks, strict=True):
            if self.with_kp:
                _draw(maps, 0, at, at, score, self.sigma)
            if self.with_limb:
                start, end, weaker = at[:, limbs[:, 0]], at[:, limbs[:, 1]], score[:, limbs].min(-1)
                dots = ((end - start) ** 2).sum(-1) < 1  # too short for a direction
                end = np.where(dots[..., None], start, end)
                weaker = np.where(dots & (weaker >= FAINT), score[:, limbs[:, 0]], weaker)
                _draw(maps, drawn - len(limbs), start, end, weaker, self.sigma)
        by_frame = maps.transpose(0, 2, 1, 3, 4).reshape(frames, drawn, height, width)
        if self.double:
            by_frame = np.concatenate([by_frame, by_frame[:, self._mirrored(count, len(limbs)), :, ::-1]])
        return sample.replace(heatmaps=Heatmaps(by_frame))

    def _check(self, count: int, axes: int) -> None:
        if axes != 2:
            raise UserError(
                f"GeneratePoseTarget: heatmaps are drawn of 2-D joints in pixels, got joints of {axes} coordinates: "
                "use 2-D annotations, or a graph network, which takes 3-D joints"
            )
        tables = {"left_kp": self.left_kp, "right_kp": self.right_kp} if self.double and self.with_kp else {}
        if self.with_limb:
            tables["skeletons"] = [joint for limb in self.skeletons for joint in limb]
        for name, used in tables.items():
            if used and max(used) >= count:
                raise UserError(
                    f"GeneratePoseTarget: {name} names joint {max(used)}, but the sample has {count} joints"
                )

    def _mirrored(self, joints: int, limbs: int) -> Array:
        """Return the map that takes the place of each map when left and right are exchanged."""
        order: list[int] = []
        if self.with_kp:
            order += _swapped(joints, self.left_kp, self.right_kp)
        if self.with_limb:
            order += [len(order) + limb for limb in _swapped(limbs, self.left_limb, self.right_limb)]
        return np.array(order)


def _swapped(total: int, left: Sequence[int], right: Sequence[int]) -> list[int]:
    order = list(range(total))
    for first, second in zip(left, right, strict=True):
        order[first], order[second] = second, first
    return order


def _draw(maps: Array, first_map: int, start: Array, end: Array, peaks: Array, sigma: float) -> None:
    """Draw a line between two points, or a point, into each of C maps; larger values stay.

    Args:
        maps: (clips, maps, T, H, W) float32, contiguous.
        first_map: index of the first of the C maps.
        start, end: (clips * T, C, 2) float32 x and y in pixels of the maps.
        peaks: (clips * T, C) values on the line; those below ``FAINT`` are not drawn.
    """
    _, total, time, height, width = maps.shape
    flat = maps.reshape(-1)
    frame, channel = np.nonzero(peaks >= FAINT)
    base = (((frame // time) * total + first_map + channel) * time + frame % time) * (height * width)
    start, end, peaks = start[frame, channel], end[frame, channel], peaks[frame, channel]
    reach, limit = REACH * sigma, np.array([width, height], np.float32)
    first = np.clip(np.minimum(start, end) - reach, 0, limit).astype(np.int32)
    after = np.clip(np.maximum(start, end) + reach, -1, limit - 1).astype(np.int32) + 1
    sides = np.maximum(after - first, 0)
    sizes = sides.prod(1)
    owner = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    place = np.arange(len(owner), dtype=np.int32) - np.repeat(sizes.cumsum(dtype=np.int32) - sizes, sizes)
    row, column = np.divmod(place, sides[owner, 0])
    row, column = row + first[owner, 1], column + first[owner, 0]
    x, y = column - start[owner, 0], row - start[owner, 1]
    line = end - start
    if line.any():
        length = (line**2).sum(1)
        line_x, line_y = line[owner, 0], line[owner, 1]
        along = np.clip((x * line_x + y * line_y) / np.where(length > 0, length, 1)[owner], 0, 1)
        x, y = x - along * line_x, y - along * line_y
    values = np.exp((x * x + y * y) * np.float32(-0.5 / sigma**2)) * peaks[owner]
    pixels = (base[owner] + row * width) + column
    flat[pixels] = np.maximum(flat[pixels], values)
