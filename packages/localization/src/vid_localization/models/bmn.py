"""BMN: Boundary-Matching Network (Lin et al. 2019, arXiv:1907.09702).

From the features of a video, (B, C, T), one branch predicts probabilities of a start and an end at every position, the
other the overlap of every proposal (duration, start) with an action, once by regression, once by classification.
Proposals between likely starts and ends, scored by all four, go through soft suppression.

Shapes: B samples, C channels, T positions.

No difference to the paper is known; the layer that samples features of proposals is computed in a different order,
with the same result (see ``BoundaryMatching``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from vid_localization.models.boundary_matching import BoundaryMatching, matching_labels, valid_proposals
from vid_localization.models.losses import BMNLoss
from vid_localization.models.spans import (
    ProposalSelection,
    check_features,
    check_lengths,
    required_targets,
    target_segments,
)
from vid_localization.post.proposals import boundary_candidates
from vidcore.batch import Batch
from vidcore.errors import CheckpointError
from vidcore.nn import Model
from vidcore.protocols import Transform
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["BMN", "boundary_proposals"]


class BMN(Model):
    """Predict proposals from features.

    Args:
        temporal_dim: positions of the features, T.
        boundary_ratio: fraction of a proposal's length added on both sides when its features are sampled.
        num_samples: samples of a proposal.
        num_samples_per_bin: points averaged for each sample.
        feat_dim: channels of the features.
        soft_nms_alpha, soft_nms_low_threshold, soft_nms_high_threshold: see ``soft_picks``.
        post_process_top_k: largest number of proposals of a video.
        feature_extraction_interval: frames of the video per feature; used only for samples without
            ``feature_duration``.
        loss_cls: default: ``BMNLoss()``.
        hidden_dim_1d, hidden_dim_2d, hidden_dim_3d: channels of the hidden layers.
    """

    valid: Tensor

    def __init__(
        self,
        temporal_dim: int,
        boundary_ratio: float,
        num_samples: int,
        num_samples_per_bin: int,
        feat_dim: int,
        soft_nms_alpha: float,
        soft_nms_low_threshold: float,
        soft_nms_high_threshold: float,
        post_process_top_k: int,
        feature_extraction_interval: int = 16,
        loss_cls: nn.Module | None = None,
        hidden_dim_1d: int = 256,
        hidden_dim_2d: int = 128,
        hidden_dim_3d: int = 512,
    ) -> None:
        super().__init__()
        self.temporal_dim, self.feat_dim = temporal_dim, feat_dim
        self.selection = ProposalSelection(
            soft_nms_alpha,
            soft_nms_low_threshold,
            soft_nms_high_threshold,
            post_process_top_k,
            feature_extraction_interval,
        )
        self.loss_cls = loss_cls or BMNLoss()
        self.register_buffer("valid", valid_proposals(temporal_dim), persistent=False)

        d1, d2, d3 = hidden_dim_1d, hidden_dim_2d, hidden_dim_3d
        self.x_1d_b = nn.Sequential(
            nn.Conv1d(feat_dim, d1, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv1d(d1, d1, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
        )
        self.x_1d_s, self.x_1d_e = (
            nn.Sequential(
                nn.Conv1d(d1, d1, 3, padding=1, groups=4), nn.ReLU(inplace=True), nn.Conv1d(d1, 1, 1), nn.Sigmoid()
            )
            for _ in range(2)
        )
        self.x_1d_p = nn.Sequential(nn.Conv1d(d1, d1, 3, padding=1), nn.ReLU(inplace=True))
        self.boundary_matching = BoundaryMatching(temporal_dim, num_samples, num_samples_per_bin, boundary_ratio)
        self.x_3d_p = nn.Sequential(nn.Conv3d(d1, d3, (num_samples, 1, 1)), nn.ReLU(inplace=True))
        self.x_2d_p = nn.Sequential(
            nn.Conv2d(d3, d2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d2, d2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d2, d2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d2, 2, 1),
            nn.Sigmoid(),
        )
        self.register_load_state_dict_pre_hook(_drop_masks)  # type: ignore[no-untyped-call]

    def preprocess(self, batch: Batch) -> Batch:
        """Features as float32. Raises ``UserError`` if they have a different shape."""
        check_features(batch.inputs, self.feat_dim, self.temporal_dim)
        check_lengths(batch, self.temporal_dim)
        return batch.replace(inputs=batch.inputs.float())

    def sample_step(self) -> Transform:
        """Label the proposals and positions of an annotated video."""
        return _Labels(self.temporal_dim)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, T) -> overlaps of proposals (B, 2, T, T), probabilities of starts and of ends (B, T)."""
        base = self.x_1d_b(inputs)
        start, end = (branch(base).squeeze(1) for branch in (self.x_1d_s, self.x_1d_e))
        mix: Any = self.x_3d_p[0]
        sampled = self.boundary_matching(self.x_1d_p(base), mix.weight.flatten(2))
        return self.x_2d_p(torch.relu(sampled + mix.bias[:, None, None])), start, end

    def loss(self, outputs: tuple[Tensor, Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
        """``loss``, and its parts ``tem``, ``pem_reg``, ``pem_cls``, which are only reported.

        Raises:
            UserError: a sample is not annotated.
        """
        targets = required_targets(batch, Tensor, "overlaps", "start", "end")
        losses: dict[str, Tensor] = self.loss_cls(*outputs, *targets, self.valid)
        return losses

    def predict(self, outputs: tuple[Tensor, Tensor, Tensor], batch: Batch) -> list[Sample]:
        """The samples with ``segments``: at most ``post_process_top_k`` proposals."""
        maps, starts, ends = (t.detach().float().cpu().numpy() for t in outputs)
        return [
            self.selection.apply(sample, boundary_proposals(*probabilities))
            for sample, *probabilities in zip(batch.samples, maps, starts, ends, strict=True)
        ]


@frozen
class _Labels:
    """Sets the targets ``overlaps`` (T, T), ``start`` and ``end`` (T,): float32."""

    length: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.segments is None:
            return sample
        overlaps, start, end = matching_labels(target_segments(sample), self.length)
        return sample.with_targets(overlaps=overlaps, start=start, end=end)


def boundary_proposals(maps: Array, start: Array, end: Array) -> Array:
    """Proposals from probabilities (section 4.5).

    Boundaries are positions with a probability above half of the highest, or higher than both neighbours. The first
    position is always a start, the last always an end.

    Args:
        maps: (2, T, T) overlaps of proposals (duration, start).
        start, end: (T,) probabilities.

    Returns:
        (n, 3) float64: start and end as fractions, and the product of all four probabilities.
    """
    length = len(start)
    begins, finishes = boundary_candidates(start), boundary_candidates(end)
    begins[0] = finishes[-1] = True
    first, last = np.nonzero(begins[:, None] & finishes & (np.arange(length)[:, None] < np.arange(length)))
    # a cell is one position longer than its index
    duration = last - first - 1
    score = start[first] * end[last] * maps[0, duration, first] * maps[1, duration, first]
    # an overlap may equal the threshold of the suppression, where one bit decides: rounded as published
    return np.stack((first * (1 / length), last / length, score), 1).astype(np.float64)


def _drop_masks(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Published checkpoints contain two masks that follow from the arguments."""
    assert isinstance(module, BMN)
    masks = {key: state_dict.pop(prefix + key) for key in ("sample_mask", "bm_mask") if prefix + key in state_dict}
    if problems := module.boundary_matching.check_published(masks):
        raise CheckpointError("the weights belong to a different model: " + "; ".join(problems))
