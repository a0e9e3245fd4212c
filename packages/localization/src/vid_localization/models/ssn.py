"""SSN: Structured Segment Networks (Zhao et al. 2017, arXiv:1704.06228).

An image network describes frames of a proposal and of the stages before and after it; a pyramid over these three stages
predicts activity, completeness and exact location. In training a sample is a few proposals of one video. In prediction
it is evenly spaced frames of the whole video, each of which passes the network once, for all proposals.

Shapes: B videos, P proposals of each, S segments of a proposal, T frames, K classes.

Differs from published training if a video has no proposal of a kind: see ``SampleProposals``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from vid_localization.models.spans import proposal_spans
from vid_localization.models.ssn_head import SSNHead
from vid_localization.models.ssn_loss import SSNLoss
from vid_localization.post.detections import nms_by_class
from vid_localization.records import ProposalStages
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.nn import Model, Preprocessor, chunked, image_weights, pool_positions, require, require_type
from vidcore.protocols import Transform
from vidcore.records import Segments, Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["SSN"]


class SSN(Model):
    """Detect actions among proposals, from frames.

    Args:
        backbone: network from images (n, 3, H, W) to features (n, C, ...).
        cls_head: the classifiers, an ``SSNHead``.
        loss: loss of sampled proposals, whose numbers must be those of ``SampleProposals``; default: ``SSNLoss()``.
        data_preprocessor: normalises a batch of uint8 frames; default: conversion to float.
        dropout_ratio: dropout rate of the features of frames.
        reg_normalize_constants: mean and standard deviation of shift and growth of positive proposals, which
            normalise regression: ((mean, mean), (deviation, deviation)). ``SSNDataset`` reports them.
        max_testing_views: number of frames that pass the backbone at once outside of training.
        nms: largest overlap of a detection with a better one of its class.
        top_k: number of pairs of a proposal and a class, the best of a video, that suppression starts from.
    """

    def __init__(
        self,
        backbone: nn.Module,
        cls_head: nn.Module,
        loss: nn.Module | None = None,
        data_preprocessor: nn.Module | None = None,
        dropout_ratio: float = 0.5,
        reg_normalize_constants: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (1.0, 1.0)),
        max_testing_views: int = 16,
        nms: float = 0.2,
        top_k: int = 2000,
    ) -> None:
        super().__init__()
        require(max_testing_views > 0, "max_testing_views must be positive")
        require(min(reg_normalize_constants[1]) > 0, "standard deviations must be positive")
        self.backbone = backbone
        self.cls_head = require_type(cls_head, SSNHead, "cls_head")
        self.losses = loss or SSNLoss()
        preprocessor = Preprocessor() if data_preprocessor is None else data_preprocessor
        self.data_preprocessor = require_type(preprocessor, Preprocessor, "data_preprocessor")
        self.dropout = nn.Dropout(dropout_ratio)
        self.reg_normalize_constants = reg_normalize_constants
        self.max_testing_views = max_testing_views
        self.nms = nms
        self.top_k = top_k

    def sample_step(self) -> Transform:
        """Allow whole videos to differ in their number of frames."""
        return _WholeVideos()

    def preprocess(self, batch: Batch) -> Batch:
        """Return the batch as it is: frames are normalised chunk by chunk, see ``features``."""
        return batch

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Convert the weights of an image network to weights of the backbone; None if they belong to an SSN."""
        if any(key.startswith("cls_head.") for key in state_dict):
            return None
        return image_weights(self.backbone, state_dict)

    def features(self, frames: Tensor) -> Tensor:
        """Features of frames (B, n, C, H, W), averaged over space: (B, n, C').

        The frames of a whole video stay uint8 and are normalised a few at a time.
        """
        if frames.ndim != 5:
            raise UserError(f"SSN needs frames (B, n, C, H, W), got {tuple(frames.shape)}: use FormatShape with NCHW")
        found = chunked(self._describe, frames.flatten(0, 1), None if self.training else self.max_testing_views)
        out: Tensor = self.dropout(found).unflatten(0, frames.shape[:2])
        return out

    def _describe(self, views: Tensor) -> Tensor:
        """(n, C, H, W) frames of a batch -> (n, C')."""
        return pool_positions(self.backbone(self.data_preprocessor.normalise(views[None])[0]))

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        """Scores of sampled proposals, or of the frames of whole videos.

        Args:
            inputs: ``imgs`` (B, P * S, 3, H, W) and ``scales`` (B, P, 2), or frames (B, T, 3, H, W).

        Returns:
            What ``SSNHead.forward`` returns for B * P proposals, or ``SSNHead.score_frames`` for (B, T) frames.
        """
        if not isinstance(inputs, Mapping):
            return self.cls_head.score_frames(self.features(inputs))
        scales = inputs["scales"].flatten(0, 1)
        segments = self.features(inputs["imgs"]).flatten(0, 1).unflatten(0, (len(scales), -1))
        scores: dict[str, Tensor] = self.cls_head(segments, scales)
        return scores

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Losses of the sampled proposals, see ``SSNLoss``.

        Raises:
            UserError: the batch has no sampled proposals.
        """
        names = ("proposal_types", "proposal_labels", "regression_targets")
        if missing := [name for name in names if name not in batch.targets]:
            raise UserError(f"SSN needs the target {missing[0]!r}, which SampleProposals sets")
        types, labels, targets = (cast(Tensor, batch.targets[name]).flatten(0, 1) for name in names)
        mean, deviation = (targets.new_tensor(row) for row in self.reg_normalize_constants)
        losses: dict[str, Tensor] = self.losses(
            outputs["activity"],
            outputs["completeness"],
            types,
            labels,
            (targets - mean) / deviation,
            outputs.get("regression"),
        )
        return losses

    def predict(self, outputs: dict[str, Tensor], batch: Batch) -> list[Sample]:
        """The samples with ``segments`` that have classes and scores, best first."""
        longest = max(sample.num_crops * _stages(sample).frame_count for sample in batch.samples)
        if (found := outputs["activity"].shape[1]) != longest:
            raise UserError(f"SSN got {found} frames of a video, not {longest}: only flow has a clip_len above 1")
        return [
            self._detect(sample, {name: scores[i] for name, scores in outputs.items()})
            for i, sample in enumerate(batch.samples)
        ]

    def _detect(self, sample: Sample, frames: dict[str, Tensor]) -> Sample:
        segments, stages = proposal_spans(sample), _stages(sample)
        crops, count = sample.num_crops, stages.frame_count
        # the rest is padding to the longest video of the batch
        frames = {k: v[: crops * count].unflatten(0, (crops, count)).float().mean(0) for k, v in frames.items()}
        device = frames["activity"].device
        ticks, scales = (torch.from_numpy(rows).to(device) for rows in (stages.ticks, stages.scales))
        scores = {k: v.detach().cpu().numpy() for k, v in self.cls_head.pool(frames, ticks, scales).items()}
        activity = np.exp(scores["activity"] - scores["activity"].max(1, keepdims=True))
        activity /= activity.sum(1, keepdims=True)
        combined = activity[:, 1:] * np.exp(scores["completeness"])
        best = np.argsort(-combined, axis=None, kind="stable")[: self.top_k]
        rows, labels = np.unravel_index(best, combined.shape)
        found = segments[rows]
        if "regression" in scores:
            found = self._moved(found, scores["regression"][rows, labels])
        found = found.clip(0, np.inf if sample.duration is None else sample.duration)
        kept = nms_by_class(found, labels, self.nms)
        return sample.replace(segments=Segments(found[kept], labels[kept], combined[rows, labels][kept]))

    def _moved(self, segments: Array, regression: Array) -> Array:
        mean, deviation = np.array(self.reg_normalize_constants)
        shift, growth = (regression * deviation + mean).T
        lengths = segments[:, 1] - segments[:, 0]
        centres = segments.mean(1) + shift * lengths
        half = lengths * np.exp(growth) / 2
        return np.stack((centres - half, centres + half), 1)


def _stages(sample: Sample) -> ProposalStages:
    stages = sample.extra.get("stages")
    if not isinstance(stages, ProposalStages):
        raise UserError("SSN needs the stages of proposals, which SampleProposalFrames sets in test mode")
    return stages


@frozen
class _WholeVideos:
    """Marks the frames of whole videos as varying in number; a batch pads them to the longest video."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        frames = sample.inputs.get("imgs")
        if "stages" not in sample.extra or not isinstance(frames, np.ndarray):
            return sample
        return sample.with_inputs(imgs=Varying(frames))
