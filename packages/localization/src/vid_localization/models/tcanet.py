"""TCANet: temporal context aggregation for proposals (Qing et al. 2021, arXiv:2103.13141).

Refines the proposals of another network, such as BMN. An encoder mixes near and far features (local-global temporal
encoder, LGTE); three stages (temporal boundary regressors, TBR) then move the bounds of each proposal in turn, and
predict its overlap with an action.

Shapes: B samples, C channels, T positions, P proposals.

Differs from published training and prediction in two bugs that are fixed: the score of a proposal counts in prediction
(the index of its video in the batch had replaced it), and a batch may have several videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_localization.models.refinement import (
    centre_width_offsets,
    move_boundaries,
    move_centre_width,
    paired_iou,
    sample_regions,
    start_end_offsets,
)
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
from vid_localization.overlaps import iou_and_coverage
from vidcore.batch import Batch, Ragged
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import Model
from vidcore.protocols import Transform
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["TCANet", "window_mask"]

HIDDEN = 512
HEADS = 8
DROPOUT = 0.1
EXTENSION = 0.5
"""Width of the context on each side of a proposal, as a fraction of the proposal's width."""
CENTRE_WEIGHT, WIDTH_WEIGHT = 0.1, 0.2
BOUNDARY_WEIGHT = {True: 1.0, False: 0.2}
"""Factor of the predicted offsets of start and end, in training and in prediction."""
POSITIVE_OVERLAP = 0.5
"""Proposals learn offsets if they overlap their true segment by more than this."""

Stage = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Segments before, offsets of start and end, offsets of centre and width, overlap, segments after: (B, P, 2), but
overlap (B, P)."""


class TCANet(Model):
    """Refine proposals.

    Args:
        feat_dim: channels of the features.
        se_sample_num: samples of the context before and after a proposal.
        action_sample_num: samples of a proposal.
        temporal_dim: positions of the features, T.
        window_size: positions that a local head attends to.
        lgte_num: blocks of the encoder.
        soft_nms_alpha, soft_nms_low_threshold, soft_nms_high_threshold: see ``soft_picks``.
        post_process_top_k: largest number of proposals of a video.
        feature_extraction_interval: frames of the video per feature; used only for samples without
            ``feature_duration``.
    """

    def __init__(
        self,
        feat_dim: int = 2304,
        se_sample_num: int = 32,
        action_sample_num: int = 64,
        temporal_dim: int = 100,
        window_size: int = 9,
        lgte_num: int = 2,
        soft_nms_alpha: float = 0.4,
        soft_nms_low_threshold: float = 0.0,
        soft_nms_high_threshold: float = 0.0,
        post_process_top_k: int = 100,
        feature_extraction_interval: int = 16,
    ) -> None:
        super().__init__()
        self.temporal_dim, self.feat_dim = temporal_dim, feat_dim
        self.samples = (se_sample_num, action_sample_num)
        self.selection = ProposalSelection(
            soft_nms_alpha,
            soft_nms_low_threshold,
            soft_nms_high_threshold,
            post_process_top_k,
            feature_extraction_interval,
        )
        self.x_1d_b_f = nn.Sequential(
            nn.Conv1d(feat_dim, HIDDEN, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1, groups=4),
            nn.ReLU(inplace=True),
        )
        self.lgtes = nn.ModuleList(_Encoder(temporal_dim, window_size) for _ in range(lgte_num))
        self.tbr1, self.tbr2, self.tbr3 = (_Regressor(se_sample_num, action_sample_num) for _ in range(3))

    def preprocess(self, batch: Batch) -> Batch:
        """Features as float32. Raises ``UserError`` if they have a different shape."""
        if not isinstance(batch.inputs, Mapping):
            raise UserError("TCANet needs features and proposals; sample_step puts the proposals beside the features")
        check_features(batch.inputs["features"], self.feat_dim, self.temporal_dim)
        check_lengths(batch, self.temporal_dim)
        return batch.replace(inputs={**batch.inputs, "features": batch.inputs["features"].float()})

    def sample_step(self) -> Transform:
        """Add the proposals of a video to the inputs, and match them with true segments."""
        return _Matching(self.selection.interval)

    def forward(self, inputs: dict[str, Tensor]) -> list[Stage]:
        """``features`` (B, C, T) and ``proposals`` (B, P, 2) -> predictions of each stage."""
        return self.refine(self.encode(inputs["features"]), inputs["proposals"], BOUNDARY_WEIGHT[self.training])

    def encode(self, features: Tensor) -> Tensor:
        """(B, C, T) -> (B, 512, T)."""
        x: Tensor = self.x_1d_b_f(features).permute(2, 0, 1)
        for block in self.lgtes:
            x = block(x)
        return x.permute(1, 2, 0)

    def refine(self, encoded: Tensor, segments: Tensor, boundary_weight: float) -> list[Stage]:
        """Encoded features and proposals -> predictions of each stage; its segments go to the next one."""
        stages: list[Stage] = []
        for regress in (self.tbr1, self.tbr2, self.tbr3):
            boundaries, centre_width, overlap = regress(*sample_regions(encoded, segments, EXTENSION, *self.samples))
            moved = move_boundaries(segments, boundaries, boundary_weight)
            scaled = move_centre_width(segments, centre_width, CENTRE_WEIGHT, WIDTH_WEIGHT)
            after = (moved + scaled) / 2
            stages.append((segments, boundaries, centre_width, overlap, after))
            segments = after
        return stages

    def loss(self, outputs: list[Stage], batch: Batch) -> dict[str, Tensor]:
        """``rloss1`` to ``rloss3`` of the offsets, ``iloss1`` to ``iloss3`` of the overlaps.

        The target of a proposal is the true segment that it overlaps best.

        Raises:
            UserError: a sample is not annotated.
        """
        (matched,) = required_targets(batch, Ragged, "matched")
        rows, columns, wanted = matched.owners, matched.places, matched.values
        losses: dict[str, Tensor] = {}
        for number, stage in enumerate(outputs, 1):
            segments, boundaries, centre_width, overlap, _ = (t[rows, columns].float() for t in stage)
            true_overlap = paired_iou(segments, wanted)
            losses[f"rloss{number}"] = _regression_loss(segments, boundaries, centre_width, wanted, true_overlap)
            losses[f"iloss{number}"] = F.smooth_l1_loss(overlap, true_overlap)
        return losses

    def predict(self, outputs: list[Stage], batch: Batch) -> list[Sample]:
        """The samples with ``segments``: at most ``post_process_top_k`` proposals.

        Proposals of all stages compete. The score is the predicted overlap times the score of the proposal.
        """
        found = []
        for i, sample in enumerate(batch.samples):
            number, prior = len(proposal_spans(sample)), proposal_scores(sample)
            rows = [
                np.column_stack((_numpy(after[i, :number]), _numpy(overlap[i, :number]) * prior))
                for *_, overlap, after in outputs
            ]
            found.append(self.selection.apply(sample, np.concatenate(rows)))
        return found


class _Encoder(nn.Module):
    """Block of the encoder: attention, in which half of the heads are local, and two layers (section 3.1)."""

    def __init__(self, length: int, window: int) -> None:
        super().__init__()
        self.register_buffer("hidden", window_mask(HEADS, length, window), persistent=False)
        self.atten = _Attention()
        self.norm1, self.norm2 = (nn.LayerNorm(HIDDEN, eps=1e-6) for _ in range(2))
        self.ffn = _FeedForward()
        self.register_load_state_dict_pre_hook(_drop_mask)  # type: ignore[no-untyped-call]

    hidden: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.atten(x, self.hidden))
        out: Tensor = self.norm2(x + self.ffn(x))
        return out


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(HIDDEN, HEADS, DROPOUT)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """(T, B, 512) and the positions hidden from each head (heads, T, T) -> (T, B, 512)."""
        mixed, _ = self.attn(x, x, x, attn_mask=hidden.repeat(x.shape[1], 1, 1))
        out: Tensor = self.drop(mixed)
        return out


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(HIDDEN, HIDDEN // 2), nn.ReLU(inplace=True), nn.Dropout(DROPOUT))
        self.layers = nn.Sequential(first, nn.Linear(HIDDEN // 2, HIDDEN), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class _Regressor(nn.Module):
    """One stage: offsets of bounds from the context, of centre and width from all samples (section 3.2)."""

    def __init__(self, boundary_samples: int, inside_samples: int) -> None:
        super().__init__()
        half = HIDDEN // 2
        length = boundary_samples // 4
        total = (2 * boundary_samples + inside_samples) // 4
        self.reg1se = nn.Sequential(
            nn.Conv1d(2 * HIDDEN, half, 3, stride=2, padding=1, groups=8),
            nn.ReLU(inplace=True),
            nn.Conv1d(half, half, 3, stride=2, padding=1, groups=8),
            nn.ReLU(inplace=True),
            nn.Conv1d(half, 2, length, groups=2),
        )
        self.reg1xw = nn.Sequential(
            nn.Conv1d(HIDDEN, HIDDEN, 3, stride=2, padding=1, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv1d(HIDDEN, HIDDEN, 3, stride=2, padding=1, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv1d(HIDDEN, HIDDEN, total, groups=4),
            nn.ReLU(inplace=True),
            nn.Conv1d(HIDDEN, 3, 1),
        )

    def forward(self, before: Tensor, inside: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three (B, C, P, samples) -> offsets (B, P, 2) twice, overlap (B, P)."""
        size = (before.shape[0], before.shape[2])
        context, everything = torch.cat((before, after), 1), torch.cat((before, inside, after), 3)
        boundaries = self.reg1se(context.transpose(1, 2).flatten(0, 1)).view(*size, 2)
        rest = self.reg1xw(everything.transpose(1, 2).flatten(0, 1)).view(*size, 3).float()
        return boundaries.float(), rest[..., :2], rest[..., 2].sigmoid()


def window_mask(heads: int, length: int, window: int) -> Tensor:
    """Positions hidden from attention: (heads, length, length) bool; the first half of the heads is local."""
    place = torch.arange(length)
    mask = torch.zeros(heads, length, length, dtype=torch.bool)
    mask[: heads // 2] = (place[:, None] - place).abs() > window // 2
    return mask


def _regression_loss(
    segments: Tensor, boundaries: Tensor, centre_width: Tensor, wanted: Tensor, overlap: Tensor
) -> Tensor:
    positive = (overlap > POSITIVE_OVERLAP).float()
    distance = F.smooth_l1_loss(boundaries, start_end_offsets(segments, wanted), reduction="none")
    distance = distance + F.smooth_l1_loss(centre_width, centre_width_offsets(segments, wanted), reduction="none")
    return (distance.sum(-1) * positive).sum() / positive.sum().clamp(min=1)


@frozen
class _Matching:
    """Sets the input ``proposals`` (P, 2) float32, as fractions, and the target ``matched`` (P, 2) float32.

    A batch pads ``proposals`` with empty ones.
    """

    interval: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``DataError`` for a sample without proposals."""
        proposals = proposal_spans(sample) / covered_seconds(sample, self.interval)
        sample = sample.with_inputs(proposals=Varying(proposals.astype(np.float32)))
        if sample.segments is None:
            return sample
        matched = _best_targets(proposals, target_segments(sample, self.interval))
        return sample.with_targets(matched=Varying(matched.astype(np.float32)))


def _best_targets(proposals: Array, targets: Array) -> Array:
    """The target segment that each proposal overlaps best: (P, 2); zeros if there are no targets."""
    if not len(targets):
        return np.zeros((len(proposals), 2))
    best: Array = targets[iou_and_coverage(proposals[:, None], targets)[0].argmax(1)]
    return best


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().double().cpu().numpy()
    return array


def _drop_mask(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Published checkpoints contain the mask, which follows from the arguments."""
    assert isinstance(module, _Encoder)
    mask = state_dict.pop(prefix + "mask", None)
    if mask is not None and not torch.equal(mask.reshape(module.hidden.shape).bool().cpu(), module.hidden.cpu()):
        raise CheckpointError(f"the weights belong to a different model: {prefix}mask has a different window_size")
