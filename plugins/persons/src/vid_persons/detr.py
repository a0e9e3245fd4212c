"""RT-DETR (arXiv:2304.08069), RT-DETRv2 (arXiv:2407.17140), D-FINE (arXiv:2410.13842) and RF-DETR (arXiv:2511.09554) of
the library ``transformers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vid_persons.weights import opening, requires
from vidcore.errors import UserError, nearest
from vidcore.persons import Persons, existing_weights
from vidcore.typing import Array

__all__ = ["TransformersDetector"]

WEIGHTS = (
    "download a model such as PekingU/rtdetr_v2_r18vd or ustc-community/dfine-small-obj2coco from Hugging Face, with"
    " 'hf download NAME --local-dir FOLDER', and give the folder"
)
FAMILIES = ("rt_detr", "rt_detr_v2", "d_fine", "rf_detr")


class TransformersDetector:
    """Finds persons with a detection transformer of ``transformers``: RT-DETR, RT-DETRv2, D-FINE or RF-DETR.

    Args:
        weights: folder with ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``; nothing is
            downloaded, and code in the folder is not run.
        min_score: probability from which something is a person.
        person: name of the class.
        batch_size: frames per forward pass.
        device: ``cpu``, ``cuda``, ...; default: a GPU if there is one.
    """

    def __init__(
        self,
        weights: Path,
        min_score: float = 0.3,
        person: str = "person",
        batch_size: int = 8,
        device: str | None = None,
    ) -> None:
        name = type(self).__name__
        existing_weights(name, weights, WEIGHTS)
        with requires(name, "transformers", "transformers"):
            import torch
            from transformers import AutoConfig, AutoModelForObjectDetection
            from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
        local = {"local_files_only": True, "trust_remote_code": False}
        with opening(name, weights):
            config: Any = AutoConfig.from_pretrained(str(weights), **local)
            if config.model_type not in FAMILIES:
                raise UserError(f"{name}: {weights} is a {config.model_type}; known are {', '.join(FAMILIES)}")
            model: Any = AutoModelForObjectDetection.from_pretrained(str(weights), use_safetensors=True, **local)
            # RF-DETR's own processor needs torchvision; its steps are those of RT-DETR with other settings
            self._processor: Any = RTDetrImageProcessorPil.from_pretrained(str(weights), local_files_only=True)
        names = {str(label): int(number) for number, label in model.config.id2label.items()}
        if person not in names:
            raise UserError(f"{name}: {weights} has no class {person!r}{nearest(person, names)}")
        self._person = names[person]
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = model.eval().to(self._device)
        self.min_score, self.batch_size = min_score, batch_size

    def begin(self) -> None:
        """Do nothing: frames do not depend on each other."""

    def __call__(self, frames: Array) -> list[Persons]:
        """Return the persons in each frame, best first."""
        found: list[Persons] = []
        for first in range(0, len(frames), self.batch_size):
            found += self._persons(frames[first : first + self.batch_size])
        return found

    def _persons(self, frames: Array) -> list[Persons]:
        import torch

        inputs = self._processor(list(frames), return_tensors="pt", input_data_format="channels_last")
        pixels = inputs["pixel_values"].to(self._device, torch.float32)
        with torch.inference_mode():
            outputs = self._model(pixels)
        made = self._processor.post_process_object_detection(
            outputs, threshold=self.min_score, target_sizes=[frames.shape[1:3]] * len(frames)
        )
        return [self._of_class(**{name: value.cpu().numpy() for name, value in one.items()}) for one in made]

    def _of_class(self, scores: Array, labels: Array, boxes: Array) -> Persons:
        rows = np.flatnonzero(labels == self._person)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        return Persons(boxes[rows].astype(np.float32), scores[rows].astype(np.float32))
