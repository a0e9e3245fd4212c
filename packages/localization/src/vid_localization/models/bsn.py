"""BSN: Boundary-Sensitive Network (Lin et al. 2018, arXiv:1806.02964), its two trained stages.

``TEM`` predicts probabilities of action, start and end at every position of a video. Proposals and their features are
generated from them. ``PEM`` predicts how much each proposal overlaps an action.

Shapes: B samples, C channels, T positions, P proposals.

Follows the paper; a bug of published training is reproduced only on request, see ``subsampling`` of ``PEM``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_localization.models.losses import BinaryLogisticRegressionLoss
from vid_localization.models.spans import (
    ProposalSelection,
    check_features,
    check_lengths,
    covered_seconds,
    proposal_scores,
    proposal_spans,
    required_targets,
    target_segments,
)
from vid_localization.overlaps import best_coverage, best_iou
from vid_localization.records import Boundaries
from vidcore.batch import Batch, Ragged
from vidcore.nn import Model
from vidcore.protocols import Transform
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["PEM", "TEM", "temporal_labels"]


def temporal_labels(segments: Array, length: int, boundary_ratio: float) -> tuple[Array, Array, Array]:
    """Fraction of every position that lies within an action, near a start, and near an end (section 3.3).

    Args:
        segments: (n, 2) fractions, of one sample.
        length: T.
        boundary_ratio: width of the neighbourhood of a boundary as a fraction of its segment; at least one position.

    Returns:
        Three (T,) float32.
    """
    segments = np.asarray(segments, np.float64).reshape(-1, 2)
    edges = np.arange(length + 1, dtype=np.float64) / length
    positions = np.stack((edges[:-1], edges[1:]), 1)
    radius = np.maximum(boundary_ratio * (segments[:, 1] - segments[:, 0]), 1 / length) / 2
    near = (np.stack((at - radius, at + radius), 1) for at in segments.T)
    action, start, end = (best_coverage(positions, zone).astype(np.float32) for zone in (segments, *near))
    return action, start, end


class TEM(Model):
    """Temporal evaluation: predict probabilities of action, start and end (section 3.2).

    Args:
        temporal_dim: positions of the features, T.
        boundary_ratio: width of the neighbourhood of a boundary as a fraction of its segment.
        tem_feat_dim: channels of the features.
        tem_hidden_dim: channels of the hidden layers.
        tem_match_threshold: labels above it are positive.
        loss_cls: loss of each of the three; default: ``BinaryLogisticRegressionLoss()``.
        loss_weight: factor of the loss of actions.
        conv1_ratio, conv2_ratio, conv3_ratio: factors of the outputs of the layers.
    """

    def __init__(
        self,
        temporal_dim: int,
        boundary_ratio: float,
        tem_feat_dim: int,
        tem_hidden_dim: int,
        tem_match_threshold: float,
        loss_cls: nn.Module | None = None,
        loss_weight: float = 2.0,
        conv1_ratio: float = 1.0,
        conv2_ratio: float = 1.0,
        conv3_ratio: float = 0.01,
    ) -> None:
        super().__init__()
        self.temporal_dim, self.feat_dim = temporal_dim, tem_feat_dim
        self.boundary_ratio = boundary_ratio
        self.tem_match_threshold = tem_match_threshold
        self.loss_cls = loss_cls or BinaryLogisticRegressionLoss()
        self.loss_weight = loss_weight
        self.ratios = (conv1_ratio, conv2_ratio, conv3_ratio)
        self.conv1 = nn.Conv1d(tem_feat_dim, tem_hidden_dim, 3, padding=1)
        self.conv2 = nn.Conv1d(tem_hidden_dim, tem_hidden_dim, 3, padding=1)
        self.conv3 = nn.Conv1d(tem_hidden_dim, 3, 1)

    def preprocess(self, batch: Batch) -> Batch:
        """Features as float32. Raises ``UserError`` if they have a different shape."""
        check_features(batch.inputs, self.feat_dim, self.temporal_dim)
        check_lengths(batch, self.temporal_dim)
        return batch.replace(inputs=batch.inputs.float())

    def sample_step(self) -> Transform:
        """Label every position of an annotated video."""
        return _BoundaryLabels(self.temporal_dim, self.boundary_ratio)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, T) -> probabilities (B, 3, T) of action, start, end."""
        first, second, third = self.ratios
        x = F.relu(first * self.conv1(inputs))
        x = F.relu(second * self.conv2(x))
        return torch.sigmoid(third * self.conv3(x))

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``loss_action`` (weighted), ``loss_start``, ``loss_end``.

        Raises:
            UserError: a sample is not annotated.
        """
        labels = required_targets(batch, Tensor, "action", "start", "end")
        action, start, end = (
            self.loss_cls(outputs[:, i], label, self.tem_match_threshold) for i, label in enumerate(labels)
        )
        return {"loss_action": self.loss_weight * action, "loss_start": start, "loss_end": end}

    def predict(self, outputs: Tensor, batch: Batch) -> list[Sample]:
        """The samples with ``extra["boundaries"]``, from which proposals are generated."""
        edges = np.arange(self.temporal_dim + 1) / self.temporal_dim
        scores = outputs.detach().float().cpu().numpy()
        return [
            sample.with_extra(boundaries=Boundaries(np.column_stack((*rows, edges[:-1], edges[1:]))))
            for sample, rows in zip(batch.samples, scores, strict=True)
        ]


class PEM(Model):
    """Proposal evaluation: predict the overlap of proposals with actions from their features (section 3.2).

    Args:
        pem_feat_dim: channels of the features of a proposal.
        pem_hidden_dim: channels of the hidden layer.
        pem_u_ratio_m, pem_u_ratio_l: proposals of middle and of low overlap for each one of high overlap in the loss.
        pem_high_temporal_iou_threshold, pem_low_temporal_iou_threshold: bounds of middle overlaps.
        soft_nms_alpha, soft_nms_low_threshold, soft_nms_high_threshold: see ``soft_picks``.
        post_process_top_k: largest number of proposals of a video.
        feature_extraction_interval: frames of the video per feature; used only for samples without
            ``feature_duration``.
        fc1_ratio, fc2_ratio: factors of the outputs of the layers.
        subsampling: ``balanced`` samples proposals by these ratios (eq. 6); ``none`` is the plain mean that published
            training computed, because a bug cancelled the weights.
    """

    def __init__(
        self,
        pem_feat_dim: int,
        pem_hidden_dim: int,
        pem_u_ratio_m: float,
        pem_u_ratio_l: float,
        pem_high_temporal_iou_threshold: float,
        pem_low_temporal_iou_threshold: float,
        soft_nms_alpha: float,
        soft_nms_low_threshold: float,
        soft_nms_high_threshold: float,
        post_process_top_k: int,
        feature_extraction_interval: int = 16,
        fc1_ratio: float = 0.1,
        fc2_ratio: float = 0.1,
        subsampling: Literal["balanced", "none"] = "balanced",
    ) -> None:
        super().__init__()
        self.bands = (
            (pem_low_temporal_iou_threshold, pem_high_temporal_iou_threshold, pem_u_ratio_m),
            (-1.0, pem_low_temporal_iou_threshold, pem_u_ratio_l),
        )
        self.selection = ProposalSelection(
            soft_nms_alpha,
            soft_nms_low_threshold,
            soft_nms_high_threshold,
            post_process_top_k,
            feature_extraction_interval,
        )
        self.ratios = (fc1_ratio, fc2_ratio)
        self.subsampling = subsampling
        self.fc1 = nn.Linear(pem_feat_dim, pem_hidden_dim)
        self.fc2 = nn.Linear(pem_hidden_dim, 1)

    def preprocess(self, batch: Batch) -> Batch:
        """Features as float32. Raises ``UserError`` if they have a different number of channels."""
        check_features(batch.inputs.mT, self.fc1.in_features)
        return batch.replace(inputs=batch.inputs.float())

    def sample_step(self) -> Transform:
        """Compute the overlaps of the proposals of an annotated video with true segments."""
        return _TrueOverlaps()

    def forward(self, inputs: Tensor) -> Tensor:
        """Features of proposals (B, P, C) -> overlaps (B, P)."""
        first, second = self.ratios
        hidden = F.relu(first * self.fc1(inputs))
        return torch.sigmoid(second * self.fc2(hidden)).squeeze(-1)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``temporal_iou_loss`` over the proposals of all samples, without padding.

        Raises:
            UserError: a sample is not annotated.
        """
        (overlaps,) = required_targets(batch, Ragged, "overlaps")
        predicted = outputs[overlaps.owners, overlaps.places]
        return {"temporal_iou_loss": self.overlap_loss(predicted, overlaps.values)}

    def overlap_loss(self, predicted: Tensor, overlap: Tensor) -> Tensor:
        """Smooth L1 distance of predicted and true overlaps, both (n,)."""
        distance = F.smooth_l1_loss(predicted.float(), overlap, reduction="none")
        if self.subsampling == "none":
            return distance.mean()
        (_, high, _), _ = self.bands
        weights = best = (overlap > high).float()
        for above, upto, ratio in self.bands:
            band = ((overlap > above) & (overlap <= upto)).float()
            share = ratio * best.sum().clamp(min=1) / band.sum().clamp(min=1)
            weights = weights + band * (torch.rand_like(band) < share)
        return (distance * weights).sum() / weights.sum().clamp(min=1)

    def predict(self, outputs: Tensor, batch: Batch) -> list[Sample]:
        """The samples with ``segments``: at most ``post_process_top_k`` proposals.

        The score is the predicted overlap times the score of the proposal (probability of start times that of end).
        """
        found = []
        for sample, row in zip(batch.samples, outputs.detach().double().cpu().numpy(), strict=True):
            segments = proposal_spans(sample) / covered_seconds(sample, self.selection.interval)
            scores = row[: len(segments)] * proposal_scores(sample)
            found.append(self.selection.apply(sample, np.column_stack((segments, scores))))
        return found


@frozen
class _BoundaryLabels:
    """Sets the targets ``action``, ``start`` and ``end``: (T,) float32."""

    length: int
    boundary_ratio: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.segments is None:
            return sample
        action, start, end = temporal_labels(target_segments(sample), self.length, self.boundary_ratio)
        return sample.with_targets(action=action, start=start, end=end)


@frozen
class _TrueOverlaps:
    """Sets the target ``overlaps`` (P,) float32, unless it was read from the file of proposals."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.segments is None or "overlaps" in sample.targets:
            return sample
        overlaps = best_iou(proposal_spans(sample) / covered_seconds(sample), target_segments(sample))
        return sample.with_targets(overlaps=Varying(overlaps.astype(np.float32)))
