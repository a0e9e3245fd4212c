"""ViTPose (arXiv:2204.12484) of the library ``transformers``, with its steps before and after the network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from vid_persons.weights import opening, requires
from vidcore.errors import UserError
from vidcore.persons import Persons, existing_weights
from vidcore.typing import Array

__all__ = ["ViTPose"]

WEIGHTS = (
    "download a model such as usyd-community/vitpose-base-simple from Hugging Face, with 'hf download NAME --local-dir"
    " FOLDER', and give the folder"
)
JOINTS = 17


class ViTPose:
    """Finds joints in boxes: a top-down network of ``transformers``.

    Args:
        weights: folder with ``config.json``, ``preprocessor_config.json`` and the weights; nothing is downloaded.
        batch_size: persons per forward pass.
        device: ``cpu``, ``cuda``, ...; default: a GPU if there is one.
    """

    layout = "coco"
    needs_boxes = True

    def __init__(self, weights: Path, batch_size: int = 16, device: str | None = None) -> None:
        existing_weights("ViTPose", weights, WEIGHTS)
        with requires("ViTPose", "transformers", "transformers"):
            import torch
            from transformers import VitPoseForPoseEstimation
            from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil
        with opening("ViTPose", weights):
            model: Any = VitPoseForPoseEstimation.from_pretrained(str(weights), local_files_only=True)
            self._processor: Any = VitPoseImageProcessorPil.from_pretrained(str(weights), local_files_only=True)
        if model.config.num_labels < JOINTS:
            raise UserError(f"ViTPose: {weights} finds {model.config.num_labels} joints; COCO's {JOINTS} are needed")
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = model.eval().to(self._device)
        self.batch_size = batch_size

    def begin(self) -> None:
        """Do nothing: frames do not depend on each other."""

    def __call__(self, frames: Array, persons: Sequence[Persons] | None = None) -> list[Persons]:
        """Return the persons with joints; boxes and scores are those of the detector."""
        assert persons is not None, "needs_boxes"
        owners = [(number, box) for number, found in enumerate(persons) for box in found.boxes]
        results: list[tuple[Array, Array]] = []
        for first in range(0, len(owners), self.batch_size):
            results += self._joints(frames, owners[first : first + self.batch_size])
        found = iter(results)
        return [self._with_joints(one, [next(found) for _ in range(len(one))]) for one in persons]

    def _joints(self, frames: Array, owners: Sequence[tuple[int, Array]]) -> list[tuple[Array, Array]]:
        """Return points (joints, 2) and scores (joints,) of boxes; an owner is the number of a frame and a box."""
        import torch

        images, boxes = [], []
        for number, group in groupby(owners, key=lambda owner: owner[0]):
            images.append(frames[number])
            boxes.append([[*box[:2].tolist(), *np.maximum(box[2:] - box[:2], 1).tolist()] for _, box in group])
        inputs = self._processor(images, boxes=boxes, return_tensors="pt", input_data_format="channels_last")
        pixels = inputs["pixel_values"].to(self._device, torch.float32)
        experts = {}
        if self._model.config.backbone_config.num_experts > 1:  # one of them for COCO: the first
            experts["dataset_index"] = torch.zeros(len(pixels), dtype=torch.int64, device=self._device)
        with torch.inference_mode():
            outputs = self._model(pixels, **experts)
        made = self._processor.post_process_pose_estimation(outputs, boxes=boxes)
        return [(one["keypoints"].numpy(), one["scores"].numpy()) for image in made for one in image]

    def _with_joints(self, persons: Persons, found: Sequence[tuple[Array, Array]]) -> Persons:
        if not found:
            return Persons.nobody(JOINTS)
        points = np.stack([place[:JOINTS] for place, _ in found]).astype(np.float32)
        scores = np.clip(np.stack([score[:JOINTS] for _, score in found]), 0, 1).astype(np.float32)
        points[scores <= 0] = np.nan
        return Persons(persons.boxes, persons.scores, points, scores)
