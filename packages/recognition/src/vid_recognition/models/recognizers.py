"""Recognizers: a backbone and a head that classify videos.

Shapes: B samples, V views per sample (clips times crops; for 2D networks frames), C channels,
T frames of a clip, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vid_recognition.models.heads import FeatureHead, Head
from vid_recognition.models.layer_options import LayerOptions
from vid_recognition.models.layers import Backbone
from vid_recognition.models.losses import ClassLoss
from vid_recognition.models.neck import Neck
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
    """Base of recognizers: preprocessing, backbone and head.

    Args:
        backbone: network that maps frames or clips to features.
        cls_head: head that maps features to class scores; default: ``FeatureHead``, for ``vidcore features``.
        data_preprocessor: preprocessing of a batch; default: conversion to float32.
        max_testing_views: views that the backbone processes at once outside of training, to save memory; default: all.
        neck: network between them, for a backbone that returns several stages.
        layers: other norms and activations in the backbone.
    """

    def __init__(
        self,
        backbone: nn.Module,
        cls_head: nn.Module | None = None,
        data_preprocessor: nn.Module | None = None,
        max_testing_views: int | None = None,
        neck: nn.Module | None = None,
        layers: LayerOptions | None = None,
    ) -> None:
        super().__init__()
        require(max_testing_views is None or max_testing_views > 0, "max_testing_views must be positive")
        self.backbone = backbone
        if layers is not None:
            layers.apply(backbone)
        self.cls_head = require_type(FeatureHead() if cls_head is None else cls_head, Head, "cls_head")
        preprocessor = Preprocessor() if data_preprocessor is None else data_preprocessor
        self.data_preprocessor = require_type(preprocessor, Preprocessor, "data_preprocessor")
        self.max_testing_views = max_testing_views
        self.neck = None if neck is None else require_type(neck, Neck, "neck")
        blended, scored = self.data_preprocessor.num_classes, self.cls_head.num_classes
        require(
            blended is None or scored in (None, blended),
            f"data_preprocessor.blending.num_classes is {blended}, but cls_head.num_classes is {scored}",
        )

    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        loss = self.cls_head.loss_cls
        if isinstance(loss, ClassLoss) and loss.labels != labels:
            takes = "one label for each sample" if labels == "multi" else "several labels for a sample"
            raise UserError(f"cls_head.loss_cls ({type(loss).__name__}) is for {takes}")
        return f"{'sigmoid' if self.cls_head.multi_class else 'softmax'} and {type(loss).__name__}"

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        loss, classes = self.cls_head.loss_cls, self.cls_head.num_classes
        if not isinstance(loss, ClassLoss) or classes is None:
            raise UserError(f"{type(loss).__name__} takes no weights of classes from the data")
        known = torch.zeros(classes, dtype=torch.int64)
        known[: len(counts)] = counts
        return loss.weight_classes(known.to(next(self.parameters()).device), samples)

    def preprocess(self, batch: Batch) -> Batch:
        """Normalise inputs on the device; while training, also blend samples."""
        out: Batch = self.data_preprocessor(batch)
        return out

    def extract_features(self, inputs: Tensor) -> Any:
        """Return the features of each view: (B * V, C, ...), or a tuple of these if the backbone returns one.

        Args:
            inputs: preprocessed, in the layout of ``forward``.
        """
        if not isinstance(inputs, Tensor):
            raise UserError(
                f"{type(self).__name__} takes one input, got {', '.join(inputs)}: choose one with PackActionInputs"
            )
        if inputs.ndim != len(self.layout.split()):
            raise UserError(
                f"{type(self).__name__} needs inputs with the axes {self.layout}, got shape {tuple(inputs.shape)}:"
                " see input_format of FormatShape"
            )
        return chunked(self.backbone, inputs.flatten(0, 1), None if self.training else self.max_testing_views)

    def clip_features(self, inputs: Tensor) -> Tensor:
        """Return features averaged over space, time and views: (B, C); those of several pathways are concatenated.

        Args:
            inputs: preprocessed, in the layout of ``forward``.
        """
        features = self.extract_features(inputs)
        if isinstance(self.cls_head, FeatureHead):
            return self.cls_head(features, len(inputs)).mean(1)
        paths = [features] if isinstance(features, Tensor) else features
        pooled = torch.cat([pool_positions(path) for path in paths], 1)
        return average_views(pooled, len(pooled) // len(inputs))

    def clip_logits(self, inputs: Tensor) -> Tensor:
        """Return class scores averaged over views: (B, K).

        Args:
            inputs: preprocessed, in the layout of ``forward``.
        """
        if isinstance(self.cls_head, FeatureHead):
            raise UserError("the model has no classifier, and so no class scores: see cls_head")
        outputs = self(inputs)
        scores: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        return scores.mean(1)

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Convert the weights of an image network to those of the backbone, inflated for 3D networks.

        Returns:
            Weights of the backbone, or None if ``state_dict`` is that of a video network. The head may select classes.

        Raises:
            CheckpointError: they belong to a different image network.
        """
        own = self.state_dict()
        same_kind = any(k in own and own[k].ndim == v.ndim for k, v in state_dict.items() if v.ndim > 2)
        if same_kind and any(k.startswith("cls_head.") for k in state_dict):
            return self.cls_head.select_classes(state_dict)  # image networks may use the same names, but lack this head
        return image_weights(self.backbone, state_dict)

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the class scores of each view: (B, V', K); V' is 1 if the head averages over views.

        With gradients, a neck with auxiliary scores adds these, (N, K).
        """
        features = self.extract_features(inputs)
        if self.neck is None:
            return self.cls_head(features, inputs.shape[0])
        if isinstance(features, Tensor):
            raise UserError("the neck needs several stages of the backbone: see its out_indices")
        stages = [self.as_clips(stage, inputs.shape[1]) for stage in features]
        scores = self.cls_head(self.neck(stages), inputs.shape[0])
        auxiliary = self.neck.auxiliary(stages) if torch.is_grad_enabled() else None  # inference does without
        return scores if auxiliary is None else (scores, auxiliary)

    def as_clips(self, features: Tensor, views: int) -> Tensor:
        """Return features of a stage as (N, C, T, H, W)."""
        return features

    def loss(self, outputs: Tensor | tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return loss and accuracies of the scores of ``forward``, the mean over all views."""
        if batch.labels is None:
            raise UserError("training needs a label for each sample")
        scores, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        views = scores.shape[1]
        targets = {k: v.repeat_interleave(views, 0) for k, v in batch.targets.items() if isinstance(v, Tensor)}
        losses = self.cls_head.loss(scores.flatten(0, 1), batch.labels.repeat_interleave(views, 0), targets)
        if self.neck is not None and auxiliary is not None:
            times = len(auxiliary) // len(batch.labels)
            losses |= self.neck.loss(auxiliary, batch.labels.repeat_interleave(times, 0))
        return losses

    def class_scores(self, outputs: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        scores = outputs[0] if isinstance(outputs, tuple) else outputs
        mode = self.cls_head.average_clips
        return self.cls_head.average(scores.float(), "score" if mode == "none" else mode)

    def predict(self, outputs: Tensor | tuple[Tensor, Tensor], batch: Batch) -> list[Sample]:
        """Return the samples of the batch with ``scores``: (K,) float32, averaged over views.

        With ``average_clips = "none"``, ``scores`` is the mean, and ``extra["views"]`` has the scores
        of each view.
        """
        scores = _numpy(self.class_scores(outputs))
        if self.cls_head.average_clips != "none":
            return [sample.replace(scores=row) for sample, row in zip(batch.samples, scores, strict=True)]
        views = _numpy((outputs[0] if isinstance(outputs, tuple) else outputs).float())
        return [
            sample.replace(scores=row).with_extra(views=ViewScores(rows))
            for sample, row, rows in zip(batch.samples, scores, views, strict=True)
        ]


def _numpy(scores: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    out: np.ndarray[Any, np.dtype[np.float32]] = scores.detach().cpu().numpy()
    return out


class Recognizer2D(Recognizer):
    """For networks on frames. ``forward``: (B, V, C, H, W) -> (B, V', K); V is segments times crops."""

    layout = "batch segments channels height width"

    def as_clips(self, features: Tensor, views: int) -> Tensor:
        """Join the frames of a clip: (B * V, C, H, W) -> (N, C, T, H, W); T is that of the backbone, or V."""
        frames = (self.backbone.num_segments if isinstance(self.backbone, Backbone) else None) or views
        clips: Tensor = features.unflatten(0, (-1, frames))
        return clips.transpose(1, 2)


class Recognizer3D(Recognizer):
    """For networks on clips. ``forward``: (B, V, C, T, H, W) -> (B, V, K)."""

    layout = "batch views channels time height width"
    averages_clips = True
