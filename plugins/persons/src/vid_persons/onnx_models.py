"""Pose estimators in ONNX files: RTMPose (arXiv:2303.07399) and RTMO (arXiv:2312.07526), as MMPose publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vid_persons.boxes import letterbox, warp
from vid_persons.onnx_network import GREY, MEAN, STD, Network
from vidcore.errors import UserError
from vidcore.persons import Persons
from vidcore.typing import Array

__all__ = ["RTMO", "RTMPose"]

PADDING = 1.25
"""Side of the part of a frame that a network gets, divided by that of the box."""
JOINTS = 17
"""Of COCO; the first ones of Halpe (26) and of COCO-WholeBody (133)."""


class RTMPose:
    """Finds joints in boxes: a top-down network with SimCC outputs.

    Of networks with 26 (Halpe) or 133 joints (COCO-WholeBody), the first 17 are used, which are those of COCO.

    Args:
        weights: ONNX file; input (n, 3, height, width), outputs of x (n, joints, bins) and y.
        batch_size: persons per forward pass, if the file allows several.
        threads: of the network.
        providers: of ONNX Runtime, such as ``["CUDAExecutionProvider"]``.
    """

    layout = "coco"
    needs_boxes = True

    def __init__(
        self,
        weights: Path,
        batch_size: int = 16,
        threads: int = 2,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self._network = Network.open("RTMPose", weights, threads, providers)
        self._size = self._network.size(256, 192)
        self.batch_size = batch_size if self._network.takes_batches else 1

    def begin(self) -> None:
        """Do nothing: frames do not depend on each other."""

    def __call__(self, frames: Array, persons: Sequence[Persons] | None = None) -> list[Persons]:
        """Return the persons with joints; boxes and scores are those of the detector."""
        assert persons is not None, "needs_boxes"
        owners = [(frame, box) for frame, found in zip(frames, persons, strict=True) for box in found.boxes]
        points = np.zeros((len(owners), JOINTS, 2), np.float32)
        scores = np.zeros((len(owners), JOINTS), np.float32)
        for first in range(0, len(owners), self.batch_size):
            rows = slice(first, first + self.batch_size)
            points[rows], scores[rows] = self._joints(owners[rows])
        return with_joints(persons, points, scores)

    def _joints(self, owners: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
        matrices = [box_matrix(box, self._size) for _, box in owners]
        parts = [warp(frame, matrix, self._size) for (frame, _), matrix in zip(owners, matrices, strict=True)]
        batch = ((np.stack(parts) - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
        across, down = self._network.run(batch)[:2]
        if across.ndim != 3 or down.ndim != 3 or across.shape[1] < JOINTS:
            shapes = f"{across.shape} and {down.shape}"
            raise UserError(f"RTMPose: {self._network.path} must return x and y of {JOINTS} joints, got {shapes}")
        bins = np.array([across.shape[2] / self._size[1], down.shape[2] / self._size[0]])  # per pixel
        places = np.stack([across[:, :JOINTS].argmax(-1), down[:, :JOINTS].argmax(-1)], -1) / bins
        scores = np.minimum(across[:, :JOINTS].max(-1), down[:, :JOINTS].max(-1))
        return to_frames(places, matrices, scores > 0), np.clip(scores, 0, 1)


class RTMO:
    """Finds persons and their joints at once: a one-stage network.

    Args:
        weights: ONNX file; input (1, 3, height, width), outputs of boxes (1, n, 5) and joints (1, n, 17, 3).
        min_score: score from which something is a person.
        threads: of the network.
        providers: of ONNX Runtime.
    """

    layout = "coco"
    needs_boxes = False

    def __init__(
        self,
        weights: Path,
        min_score: float = 0.3,
        threads: int = 2,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self._network = Network.open("RTMO", weights, threads, providers)
        self._size = self._network.size(640, 640)
        self.min_score = min_score

    def begin(self) -> None:
        """Do nothing: frames do not depend on each other."""

    def __call__(self, frames: Array, persons: Sequence[Persons] | None = None) -> list[Persons]:
        """Return the persons in each frame with joints; ``persons`` is not used."""
        return [self._persons(frame) for frame in frames]

    def _persons(self, frame: Array) -> Persons:
        image, factor, corner = letterbox(frame, self._size, GREY)
        found = self._network.run(image[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32))  # BGR
        if len(found) < 2 or found[0].shape[-1] != 5 or found[1].shape[2:] != (JOINTS, 3):
            shapes = ", ".join(str(output.shape) for output in found)
            raise UserError(f"RTMO: {self._network.path} must return (1, n, 5) and (1, n, {JOINTS}, 3), got {shapes}")
        boxes, joints = found[0][0], found[1][0]
        kept = boxes[:, 4] >= self.min_score
        boxes, joints = boxes[kept], joints[kept]
        points = (joints[..., :2] - corner) / factor
        scores = np.clip(joints[..., 2], 0, 1)
        points[scores <= 0] = np.nan
        return Persons(
            ((boxes[:, :4] - np.tile(corner, 2)) / factor).astype(np.float32),
            boxes[:, 4].astype(np.float32),
            points.astype(np.float32),
            scores.astype(np.float32),
        )


def box_matrix(box: Array, size: tuple[int, int]) -> Array:
    """Return the matrix (2, 3) from the input of a top-down network to the frame: the box, padded, in its middle."""
    height, width = size
    middle, sides = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1)
    scale = PADDING * max(sides[0] / width, sides[1] / height)
    return np.array([[scale, 0, middle[0] - scale * width / 2], [0, scale, middle[1] - scale * height / 2]])


def to_frames(places: Array, matrices: Sequence[Array], seen: Array) -> Array:
    """Return places (n, joints, 2) in inputs as points of the frames, float32; NaN for joints that are not ``seen``."""
    both = np.stack(matrices)
    points = np.einsum("nji,nki->nkj", both[:, :, :2], places) + both[:, None, :, 2]
    points[~seen] = np.nan
    return np.asarray(points, np.float32)


def with_joints(persons: Sequence[Persons], points: Array, scores: Array) -> list[Persons]:
    """Return the persons in each frame with their joints, which are given for all frames, one after the other."""
    ends = np.cumsum([len(found) for found in persons])[:-1]
    parts = zip(persons, np.split(points, ends), np.split(scores, ends), strict=True)
    return [Persons(found.boxes, found.scores, place, score) for found, place, score in parts]
