"""What moves before a background: a detector that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from attrs import define, field

from vidcore.geometry import Box
from vidcore.persons import Persons
from vidcore.typing import Array
from vidcore.validators import at_least, in_range

__all__ = ["MovingRegions"]

SIDE = 320
"""Pixels of the longer side at which frames are compared."""
SAMPLES = 24
"""Frames that make up the background."""
CORNERS, FEWEST = 200, 8
"""Corners that tell how the camera moved: most, and fewest."""
SAME, SIMILAR = 0.3, 0.6
"""Share of corners that agree below which a frame shows another scene, or is compared with a new anchor."""
STILL = 0.05
"""Pixels that a corner of a frame moves by at most if the camera is still."""
NEAR = 0.06
"""How far a frame may have moved, as a share of ``SIDE``, to be a part of the background."""
WHOLE = 0.6
"""Share of a frame that differs from the background when the light or the scene has changed."""


@define(eq=False)
class MovingRegions:
    """Finds regions that differ from the background: whoever moves, and not who that is.

    The background is the median of frames that are spread over the last ``memory`` frames; it follows a camera that
    pans, tilts or zooms slowly. Persons are not found in the first frames, nor after they have stood in one place for
    half of ``memory``; two persons who touch are one region. The score of a region, from 0.5 to 1, says how clearly it
    differs.
    """

    threshold: int = field(default=24, validator=in_range(1, 254))
    """Difference from the background, of 255, from which a pixel is in motion."""
    min_size: float = field(default=0.15, validator=in_range(0, 1))
    """Height or width from which a region is a person, as a share of the shorter side of the frame."""
    gap: float = field(default=0.02, validator=in_range(0, 1))
    """Distance up to which parts are one region, as a share of the shorter side of the frame."""
    memory: int = field(default=320, validator=at_least(SAMPLES))
    """Frames that the background is made of."""
    _samples: list[Array] = field(factory=list, init=False)
    """Some of the last frames, small."""
    _places: list[Array] = field(factory=list, init=False)
    """Matrices (3, 3) from the anchor to these frames."""
    _anchor: Array | None = field(default=None, init=False)
    """A small, grey frame of this scene."""
    _place: Array = field(factory=lambda: np.eye(3), init=False)
    """Matrix (3, 3) from the anchor to the last frame."""
    _seen: int = field(default=0, init=False)
    """Frames since the scene began."""
    _step: int = field(default=1, init=False)
    """Every Nth frame becomes a sample."""
    _background: Array | None = field(default=None, init=False)
    """(height, width, 3) uint8, as seen from the last frame."""

    def begin(self) -> None:
        """Forget the background: the next frame belongs to a different video."""
        self._samples, self._places, self._background = [], [], None
        self._anchor, self._place = None, np.eye(3)
        self._seen, self._step = 0, 1

    def __call__(self, frames: Array) -> list[Persons]:
        """Return the regions in each frame, the clearest first."""
        return [self._regions(frame) for frame in frames]

    def _regions(self, frame: Array) -> Persons:
        factor = min(SIDE / max(frame.shape[:2]), 1.0)
        height, width = (max(round(side * factor), 1) for side in frame.shape[:2])
        small = cv2.GaussianBlur(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), (3, 3), 0)
        self._follow(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        found = self._against_background(small)
        if self._seen % self._step == 0:
            self._remember(small)
        self._seen += 1
        scale = np.array([frame.shape[1] / width, frame.shape[0] / height] * 2, np.float32)
        boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4) * scale
        return Persons(boxes, np.array([score for _, score in found], np.float32))

    def _follow(self, grey: Array) -> None:
        """Find how the camera moved; begin with this frame if it shows another scene."""
        if self._anchor is None or self._anchor.shape != grey.shape:
            self.begin()
            self._anchor = grey
            return
        place, agree = camera_motion(self._anchor, grey, self._place)
        if agree < SAME:
            self.begin()
            self._anchor = grey
            return
        if shift(place, self._place, grey.shape) > STILL:
            self._background, self._place = None, place
            near = [i for i, one in enumerate(self._places) if shift(one, place, grey.shape) <= NEAR * SIDE]
            self._samples = [self._samples[i] for i in near]
            self._places = [self._places[i] for i in near]
        if agree < SIMILAR:  # little of the anchor is left to be seen
            back = np.linalg.inv(self._place)
            self._places = [one @ back for one in self._places]
            self._anchor, self._place = grey, np.eye(3)

    def _remember(self, small: Array) -> None:
        self._samples.append(small)
        self._places.append(self._place)
        self._background = None
        if len(self._samples) > SAMPLES:
            if self._step * SAMPLES < self.memory:  # spread the samples: keep every second one
                self._step *= 2
                self._samples, self._places = self._samples[::2], self._places[::2]
            else:
                del self._samples[0], self._places[0]

    def _against_background(self, small: Array) -> list[tuple[Box, float]]:
        if not self._samples:
            return []
        if self._background is None:
            self._background = background(self._samples, self._places, self._place, small)
        difference = unlike(small, self._background)
        moving = (difference >= self.threshold).astype(np.uint8)
        moving = np.minimum(moving, cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)))
        if moving.mean() > WHOLE:
            self.begin()
            return []
        return self._boxes(moving, difference)

    def _boxes(self, moving: Array, difference: Array) -> list[tuple[Box, float]]:
        shorter = min(moving.shape)
        reach = max(round(self.gap * shorter), 1)
        count, labels = cv2.connectedComponents(cv2.dilate(moving, np.ones((2 * reach + 1,) * 2, np.uint8)))
        labels[moving == 0] = 0
        rows, columns = np.nonzero(labels)
        if not len(rows):
            return []
        names = labels[rows, columns].astype(np.int64)
        edges = np.full((count, 4), np.iinfo(np.int32).max, np.int64)
        for place, values in enumerate((columns, rows, -columns - 1, -rows - 1)):
            np.minimum.at(edges[:, place], names, values)
        strength = np.minimum(difference[rows, columns] / (2 * self.threshold), 1)
        scores = np.bincount(names, strength, count) / np.maximum(np.bincount(names, minlength=count), 1)
        boxes = np.concatenate([edges[:, :2], -edges[:, 2:]], 1)
        sides = boxes[:, 2:] - boxes[:, :2]
        large = np.flatnonzero((sides.max(1) >= self.min_size * shorter) & (np.bincount(names, minlength=count) > 0))
        order = large[np.argsort(-scores[large], kind="stable")]
        return [(tuple(boxes[i].tolist()), float(scores[i])) for i in order]


def camera_motion(before: Array, after: Array, guess: Array) -> tuple[Array, float]:
    """Find how the camera moved between two grey frames.

    Args:
        guess: (3, 3) of a frame near ``after``.

    Returns:
        The matrix (3, 3) that moves the corners of the first frame to where the second one shows them, and the share of
        corners within both frames that agree: 0 after a cut.
    """
    corners = cv2.goodFeaturesToTrack(before, CORNERS, 1e-4, 8)
    if corners is None or len(corners) < FEWEST:
        return guess, 1.0  # a plain scene does not tell
    expected = cv2.perspectiveTransform(corners, guess).astype(np.float32)
    inside = ((expected > 0) & (expected < np.array(after.shape[::-1]))).all((1, 2))
    corners, expected = corners[inside], expected[inside]
    if len(corners) < FEWEST:
        return guess, 0.0
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, expected.copy(), flags=flags)
    known = found.ravel() == 1
    if known.sum() < FEWEST:
        return guess, 0.0
    matrix, agree = cv2.findHomography(corners[known], moved[known], cv2.RANSAC, 1.0)
    return (guess, 0.0) if matrix is None else (matrix, float(agree.sum() / len(corners)))


def background(samples: Sequence[Array], places: Sequence[Array], place: Array, frame: Array) -> Array:
    """Return the median of frames as seen from a frame, which also fills what they do not show.

    Args:
        samples: each (height, width, 3) uint8.
        places: matrices (3, 3) from the anchor to them.
        place: matrix from the anchor to ``frame``.
        frame: (height, width, 3) uint8.
    """
    height, width = frame.shape[:2]
    moved = [
        sample
        if shift(own, place, frame.shape) <= STILL
        else cv2.warpPerspective(
            sample, place @ np.linalg.inv(own), (width, height), dst=frame.copy(), borderMode=cv2.BORDER_TRANSPARENT
        )
        for sample, own in zip(samples, places, strict=True)
    ]
    return median(moved)


def median(frames: Sequence[Array]) -> Array:
    """Return the upper median of at most 255 uint8 arrays of one shape, bit by bit: much faster than sorting.

    >>> median([np.array([7, 1], np.uint8), np.array([200, 1], np.uint8), np.array([9, 0], np.uint8)]).tolist()
    [9, 1]
    """
    needed = len(frames) - len(frames) // 2
    found = np.zeros_like(frames[0])
    for bit in (128, 64, 32, 16, 8, 4, 2, 1):
        trial = found | np.uint8(bit)
        reached = np.zeros_like(found)
        for frame in frames:
            reached += frame >= trial
        np.copyto(found, trial, where=reached >= needed)
    return found


def unlike(frame: Array, behind: Array) -> Array:
    """Return (height, width) uint8: how much each pixel differs from all near it in the background, in any colour.

    A change of the light that all pixels share does not count.
    """
    near = np.ones((3, 3), np.uint8)
    change = np.median(frame.astype(np.int16) - behind, axis=(0, 1))
    same = np.clip(frame - change, 0, 255).astype(np.uint8)
    low, high = cv2.erode(behind, near), cv2.dilate(behind, near)
    return np.asarray(np.maximum(cv2.subtract(same, high), cv2.subtract(low, same)).max(-1))


def shift(matrix: Array, other: Array, size: Sequence[int]) -> float:
    """Return how far two matrices move the corners of a frame apart at most, in pixels."""
    height, width = size[:2]
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], np.float64)
    return float(np.abs(cv2.perspectiveTransform(corners, matrix) - cv2.perspectiveTransform(corners, other)).max())
