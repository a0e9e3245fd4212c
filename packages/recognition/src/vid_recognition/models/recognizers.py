"""Recognizers: a backbone and a head that name the action in a video.

Shapes: B samples, V views of a sample (clips times crops; for 2D networks frames), C channels,
T frames of a clip, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vid_recognition.models.heads import Head
from vid_recognition.records import ViewScores
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.nn import (
    FeatureModel,
    Preprocessor,
    average_views,
    chunked,
    image_weights,
    pool_positions,
    require,
    require_type,
)
from vidcore.sample import Sample

__all__ = ["Recognizer", "Recognizer2D", "Recognizer3D"]


class Recognizer(FeatureModel):
    """Backbone, head and preprocessing of a batch.

    Args:
        backbone: network from frames or clips to features.
        cls_head: head from features to class scores.
        data_preprocessor: conversion of a batch; by default to float32 without normalisation.
        max_testing_views: views that go through the backbone at once outside of training, to save memory.
    """

    layout: str
    """The axes of the inputs."""

    def __init__(
        self,
        backbone: nn.Module,
        cls_head: nn.Module,
        data_preprocessor: nn.Module | None = None,
        max_testing_views: int | None = None,
    ) -> None:
        super().__init__()
        require(max_testing_views is None or max_testing_views > 0, "max_testing_views must be positive")
        self.backbone = backbone
        self.cls_head = require_type(cls_head, Head, "cls_head")
        preprocessor = Preprocessor() if data_preprocessor is None else data_preprocessor
        self.data_preprocessor = require_type(preprocessor, Preprocessor, "data_preprocessor")
        self.max_testing_views = max_testing_views
        mixed, scored = self.data_preprocessor.num_classes, self.cls_head.num_classes
        require(
            mixed is None or scored in (None, mixed),
            f"data_preprocessor.blending.num_classes is {mixed}, but cls_head.num_classes is {scored}",
        )

    def preprocess(self, batch: Batch) -> Batch:
        """Convert inputs on the device; while training mix samples as well."""
        out: Batch = self.data_preprocessor(batch)
        return out

    def extract_features(self, inputs: Tensor) -> Any:
        """Features of every view: what the backbone returns, (B * V, C, ...) or a tuple of such.

        Args:
            inputs: preprocessed, in the layout that ``forward`` takes.
        """
        if inputs.ndim != len(self.layout.split()):
            raise UserError(
                f"{type(self).__name__} needs inputs with the axes {self.layout}, got shape {tuple(inputs.shape)}:"
                " see input_format of FormatShape"
            )
        return chunked(self.backbone, inputs.flatten(0, 1), None if self.training else self.max_testing_views)

    def clip_features(self, inputs: Tensor) -> Tensor:
        """Features averaged over space, time and the views of a sample: (B, C); several pathways side by side.

        Args:
            inputs: preprocessed, in the layout that ``forward`` takes.
        """
        features = self.extract_features(inputs)
        paths = [features] if isinstance(features, Tensor) else features
        pooled = torch.cat([pool_positions(path) for path in paths], 1)
        return average_views(pooled, len(pooled) // len(inputs))

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Turn the weights of an image network into those of the backbone, inflated for 3D networks.

        Returns:
            Weights for part of this model, or None where they are of a video network already.

        Raises:
            CheckpointError: they are of an image network of another kind.
        """
        own = self.state_dict()
        same_kind = any(k in own and own[k].ndim == v.ndim for k, v in state_dict.items() if v.ndim > 2)
        if same_kind and any(k.startswith("cls_head.") for k in state_dict):
            return None  # some image networks have the same names as ours, but none has our head
        return image_weights(self.backbone, state_dict)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores of every view: (B, V', K); V' is 1 where the head takes the views together."""
        out: Tensor = self.cls_head(self.extract_features(inputs), inputs.shape[0])
        return out

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Loss and accuracies of the scores that ``forward`` gave; every view counts on its own."""
        if batch.labels is None:
            raise UserError("training needs a label for every sample")
        labels = batch.labels.repeat_interleave(outputs.shape[1], 0)
        return self.cls_head.loss(outputs.flatten(0, 1), labels)

    def predict(self, outputs: Tensor, batch: Batch) -> list[Sample]:
        """The samples of the batch with ``scores``: (K,) float32, the views put together.

        With ``average_clips = "none"`` scores are the mean of the views, and ``extra["views"]``
        holds all of them.
        """
        head = self.cls_head
        mode = head.average_clips
        scores = _numpy(head.average(outputs.float(), "score" if mode == "none" else mode))
        if mode != "none":
            return [sample.replace(scores=row) for sample, row in zip(batch.samples, scores, strict=True)]
        views = _numpy(outputs.float())
        return [
            sample.replace(scores=row).with_extra(views=ViewScores(rows))
            for sample, row, rows in zip(batch.samples, scores, views, strict=True)
        ]


def _numpy(scores: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    out: np.ndarray[Any, np.dtype[np.float32]] = scores.detach().cpu().numpy()
    return out


class Recognizer2D(Recognizer):
    """For networks on frames. ``forward``: (B, V, C, H, W) -> (B, V', K); V are segments times crops."""

    layout = "batch segments channels height width"


class Recognizer3D(Recognizer):
    """For networks on clips. ``forward``: (B, V, C, T, H, W) -> (B, V, K)."""

    layout = "batch views channels time height width"
