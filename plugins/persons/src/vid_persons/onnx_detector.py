"""Detectors in ONNX files: RTMDet and YOLOX, RT-DETR and D-FINE, RF-DETR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vid_persons.boxes import distinct, letterbox
from vid_persons.onnx_network import GREY, MEAN, STD, Network
from vidcore.errors import UserError
from vidcore.persons import Persons
from vidcore.typing import Array

__all__ = ["OnnxDetector"]

SIZES = "orig_target_sizes"
"""Input of RT-DETR and D-FINE: width and height that the boxes are for."""
STRIDES = (8, 16, 32)
"""Pixels of the cells of YOLOX's three grids."""
SAME = 0.65
"""Overlap from which two boxes of YOLOX are one person."""
COCO_IDS = 91
"""Classes of networks that number them as COCO does, from 1; others have 80, from 0."""


class OnnxDetector:
    """Finds persons with a detector that was exported as ONNX, in one of these forms.

    The outputs of the file tell them apart; n is any number, and the sizes are those of the file:

    - MMDeploy (RTMDet, YOLOX): ``dets`` (1, n, 5) of corners and score, and ``labels`` (1, n) with several classes.
      Pixels are BGR from 0 to 255; the frame is scaled and filled up with grey.
    - YOLOX's own export: (1, n, 5 + classes) of the grids of strides 8, 16 and 32. Pixels as above, not normalised.
    - RT-DETR's and D-FINE's own export: ``labels`` (1, n), ``boxes`` (1, n, 4), ``scores`` (1, n), and a second input
      ``orig_target_sizes`` (1, 2). Pixels are RGB from 0 to 1; the frame is stretched.
    - RF-DETR's export (``dets``, ``labels``), and that of ``transformers`` (``logits``, ``pred_boxes``): boxes
      (1, n, 4) of relative centre and size, and logits (1, n, classes). Pixels as before.

    Args:
        weights: ONNX file; its first input is (1, 3, height, width).
        normalize: subtract ImageNet's means and divide by its deviations; default: for ``dets`` only, as RTMDet and
            RF-DETR require. MMDeploy's YOLOX, which looks like RTMDet, requires False.
        min_score: score from which something is a person.
        person: number of the class; default: 1 of 91 classes, else 0.
        threads: of the network.
        providers: of ONNX Runtime.
    """

    def __init__(
        self,
        weights: Path,
        normalize: bool | None = None,
        min_score: float = 0.3,
        person: int | None = None,
        threads: int = 2,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self._network = Network.open("OnnxDetector", weights, threads, providers, (SIZES,))
        self._size = self._network.size(640, 640)
        outputs = self._network.outputs
        self._logits = next((name for name in ("logits", "labels") if outputs.get(name) == 3), None)
        self.normalize = "dets" in outputs if normalize is None else normalize
        self.min_score, self.person = min_score, person

    def begin(self) -> None:
        """Do nothing: frames do not depend on each other."""

    def __call__(self, frames: Array) -> list[Persons]:
        """Return the persons in each frame."""
        stretched = SIZES in self._network.inputs or self._logits is not None
        return [self._persons(frame, stretched) for frame in frames]

    def _persons(self, frame: Array, stretched: bool) -> Persons:
        height, width = self._size
        if stretched:
            image = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
            corner, factor = np.zeros(2), np.array([width / frame.shape[1], height / frame.shape[0]])
        else:
            image, scale, corner = letterbox(frame, self._size, GREY)
            factor = np.array([scale, scale])
        pixels = (image - MEAN) / STD if self.normalize else image / (255 if stretched else 1)
        channels = pixels if stretched else pixels[..., ::-1]
        sizes = {name: np.array([[width, height]], np.int64) for name in self._network.inputs}
        found = self._network.run(channels[None].transpose(0, 3, 1, 2).astype(np.float32), **sizes)
        boxes, scores, labels = self._read(dict(zip(self._network.outputs, found, strict=True)))
        kept = (scores >= self.min_score) & (labels == (self.person or 0))
        places = (boxes[kept] - np.tile(corner, 2)) / np.tile(factor, 2)
        return Persons(places.astype(np.float32), scores[kept].astype(np.float32))

    def _read(self, outputs: dict[str, Array]) -> tuple[Array, Array, Array]:
        """Return boxes (n, 4) in pixels of the input, scores (n,), and classes (n,)."""
        found = [*outputs.values()]
        if self._logits is not None:
            boxes = outputs.get("pred_boxes", outputs.get("dets", np.zeros(0)))
            if boxes.shape == (1, *outputs[self._logits].shape[1:2], 4):
                return self._decoded(boxes[0], outputs[self._logits][0])
        elif {"labels", "boxes", "scores"} <= {*outputs} and outputs["boxes"].shape[2:] == (4,):
            return outputs["boxes"][0], outputs["scores"][0], outputs["labels"][0]
        elif found[0].ndim == 3 and found[0].shape[2] == 5:
            labels = found[1][0] if len(found) > 1 else np.zeros(found[0].shape[1])
            return found[0][0, :, :4], found[0][0, :, 4], labels
        elif len(found) == 1 and found[0].ndim == 3 and found[0].shape[2] > 5:
            return self._from_grids(found[0][0])
        shapes = ", ".join(f"{name} {output.shape}" for name, output in outputs.items())
        raise UserError(f"OnnxDetector: {self._network.path} has outputs of no known form: {shapes}")

    def _decoded(self, boxes: Array, logits: Array) -> tuple[Array, Array, Array]:
        """Return the person's score of each query, whatever else it may be."""
        person = int(logits.shape[1] == COCO_IDS) if self.person is None else self.person
        if person >= logits.shape[1]:
            raise UserError(f"OnnxDetector: {self._network.path} has {logits.shape[1]} classes, person is {person}")
        scores = 1 / (1 + np.exp(-np.clip(logits[:, person].astype(np.float64), -60, 60)))
        sides = np.array(self._size[::-1] * 2)
        return corners(boxes) * sides, scores, np.full(len(boxes), self.person or 0)

    def _from_grids(self, rows: Array) -> tuple[Array, Array, Array]:
        """Decode the rows of YOLOX: offsets in cells, logarithms of sides in cells, objectness, classes."""
        grids = [(self._size[0] // stride, self._size[1] // stride, stride) for stride in STRIDES]
        if len(rows) != sum(high * wide for high, wide, _ in grids):
            raise UserError(
                f"OnnxDetector: {self._network.path} has {len(rows)} boxes; grids of strides 8, 16, 32 have "
                f"{sum(high * wide for high, wide, _ in grids)}"
            )
        cells = np.concatenate([np.indices((high, wide))[::-1].reshape(2, -1).T for high, wide, _ in grids])
        strides = np.concatenate([np.full((high * wide, 1), stride) for high, wide, stride in grids])
        person = self.person or 0
        scores = rows[:, 4] * rows[:, 5 + person]
        some = np.flatnonzero(scores >= self.min_score)
        middle, sides = (rows[some, :2] + cells[some]) * strides[some], np.exp(rows[some, 2:4]) * strides[some]
        boxes = corners(np.concatenate([middle, sides], 1))
        kept = distinct(boxes, scores[some], SAME)
        return boxes[kept], scores[some][kept], np.full(len(kept), person)


def corners(boxes: Array) -> Array:
    """Return corners of boxes (n, 4) that are given as centre and size."""
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([middle - half, middle + half], 1)
