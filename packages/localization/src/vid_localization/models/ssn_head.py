"""Structured temporal pyramid pooling and the classifiers of SSN (Zhao et al. 2017, arXiv:1704.06228, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["SSNHead", "pyramid_bounds", "pyramid_means"]


def pyramid_bounds(ticks: Tensor, stages: Sequence[Sequence[int]]) -> Tensor:
    """First and last position (exclusive) of every part of the pyramid: (P, parts, 2) int64, none empty.

    Args:
        ticks: (P, 4) int64, first positions of the starting stage, the course and the ending stage, and end of that.
        stages: levels of the pyramid of each stage; a level is the number of equal parts that it has.
    """
    bounds = []
    for stage, levels in enumerate(stages):
        first, last = ticks[:, stage], torch.maximum(ticks[:, stage + 1], ticks[:, stage] + 1)
        for count in levels:
            edges = first[:, None] + torch.arange(count + 1, device=ticks.device) * (last - first)[:, None] // count
            bounds.append(torch.stack((edges[:, :-1], torch.maximum(edges[:, 1:], edges[:, :-1] + 1)), 2))
    return torch.cat(bounds, 1)


def pyramid_means(rows: Tensor, bounds: Tensor) -> Tensor:
    """Mean of the rows within bounds, from differences of cumulative sums: (P, parts, C) float64.

    Args:
        rows: (T, C), or (T, parts, C) if the rows differ between parts.
        bounds: (P, parts, 2) from ``pyramid_bounds``, within T.
    """
    sums = torch.cat((rows.new_zeros(1, *rows.shape[1:], dtype=torch.float64), rows.double().cumsum(0)))
    if rows.ndim == 3:
        parts = torch.arange(bounds.shape[1], device=bounds.device)
        total = sums[bounds[..., 1], parts] - sums[bounds[..., 0], parts]
    else:
        total = sums[bounds[..., 1]] - sums[bounds[..., 0]]
    return total / (bounds[..., 1] - bounds[..., 0])[..., None]


class SSNHead(nn.Module):
    """Predict the activity, completeness and exact location of a proposal.

    Activity is predicted from the course alone; completeness and regression from the pyramid of starting stage, course
    and ending stage. Starting and ending stage are weighted by the fraction of them that lies within the video.

    Args:
        dropout_ratio: dropout rate of the features of segments.
        in_channels: channels of the features, C.
        num_classes: number of classes without background, K.
        num_segments: segments of starting stage, course and ending stage in training.
        stpp_stage: levels of the pyramid of each of the three; (1, 2) is the whole and both halves.
        use_regression: predict the location too.
        init_std: standard deviation of the initial weights.
    """

    def __init__(
        self,
        dropout_ratio: float = 0.8,
        in_channels: int = 1024,
        num_classes: int = 20,
        num_segments: tuple[int, int, int] = (2, 5, 2),
        stpp_stage: Sequence[Sequence[int]] = ((1,), (1,), (1,)),
        use_regression: bool = True,
        init_std: float = 0.001,
    ) -> None:
        super().__init__()
        levels = [level for stage in stpp_stage for level in stage]
        require(len(stpp_stage) == 3 and min(levels, default=0) > 0, "stpp_stage needs the levels of three stages")
        require(min(num_segments) > 0, "num_segments must be positive")
        self.num_classes = num_classes
        self.num_segments = tuple(num_segments)
        self.stages = tuple(map(tuple, stpp_stage))
        self.parts = sum(levels)
        self.dropout = nn.Dropout(dropout_ratio)
        self.activity_fc = nn.Linear(in_channels, num_classes + 1)
        self.completeness_fc = nn.Linear(in_channels * self.parts, num_classes)
        self.regressor_fc = nn.Linear(in_channels * self.parts, num_classes * 2) if use_regression else None
        for layer in (self.activity_fc, self.completeness_fc, self.regressor_fc):
            if layer is not None:
                nn.init.normal_(layer.weight, std=init_std)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, scales: Tensor) -> dict[str, Tensor]:
        """Scores of proposals from the features of their segments, for training.

        Args:
            features: (P, sum of num_segments, C).
            scales: (P, 2) fractions of starting and ending stage that lie within the video.

        Returns:
            ``activity`` (P, K + 1), ``completeness`` (P, K) and ``regression`` (P, K, 2).

        Raises:
            UserError: a proposal has a different number of segments.
        """
        if features.shape[1] != sum(self.num_segments):
            raise UserError(
                f"a proposal has {features.shape[1]} segments, but num_segments of SSNHead is {self.num_segments}; set "
                "aug_segments and body_segments of SampleProposalFrames (only flow has a clip_len above 1)"
            )
        ticks = torch.tensor([[0, *self.num_segments]], device=features.device).cumsum(1)
        bounds = pyramid_bounds(ticks, self.stages)[0].tolist()
        features = self.dropout(features)
        first, second = (sum(self.num_segments[:i]) for i in (1, 2))
        pyramid = torch.stack([features[:, a:b].mean(1) for a, b in bounds], 1)
        pyramid = (pyramid * self._weights(scales).to(pyramid.dtype)).flatten(1)
        scores = {
            "activity": self.activity_fc(features[:, first:second].mean(1)),
            "completeness": self.completeness_fc(pyramid),
        }
        if self.regressor_fc is not None:
            scores["regression"] = self.regressor_fc(pyramid).unflatten(1, (-1, 2))
        return scores

    def score_frames(self, features: Tensor) -> dict[str, Tensor]:
        """Contribution of every frame to the scores of proposals: pooling is linear, so it can come last.

        Args:
            features: (..., C).

        Returns:
            ``activity`` (..., K + 1), ``completeness`` (..., parts, K) and ``regression`` (..., parts, 2 K), the
            last two without bias.
        """
        scores = {"activity": self.activity_fc(features), "completeness": self._by_part(features, self.completeness_fc)}
        if self.regressor_fc is not None:
            scores["regression"] = self._by_part(features, self.regressor_fc)
        return scores

    def pool(self, frames: dict[str, Tensor], ticks: Tensor, scales: Tensor) -> dict[str, Tensor]:
        """Scores of all proposals of a video, in float64; the same as ``forward`` returns for the same frames.

        Args:
            frames: scores of the T frames of one video, from ``score_frames``.
            ticks: (P, 4) int64 as in ``pyramid_bounds``; clipped to the frames.
            scales: (P, 2) as in ``forward``.
        """
        count = len(frames["activity"])
        ticks = torch.cat((ticks[:, :3].clamp(0, count - 1), ticks[:, 3:].clamp(1, count)), 1)
        bounds = pyramid_bounds(ticks, self.stages)
        course = pyramid_bounds(ticks[:, 1:3].repeat_interleave(2, 1), ((), (1,), ()))
        weights = self._weights(scales.double())
        scores = {"activity": pyramid_means(frames["activity"], course)[:, 0]}
        for name, layer in (("completeness", self.completeness_fc), ("regression", self.regressor_fc)):
            if layer is not None:
                pooled = (pyramid_means(frames[name], bounds) * weights).sum(1)
                scores[name] = pooled + layer.bias.double()
        if "regression" in scores:
            scores["regression"] = scores["regression"].unflatten(1, (-1, 2))
        return scores

    def _by_part(self, features: Tensor, layer: nn.Linear) -> Tensor:
        weight = layer.weight.view(layer.out_features, self.parts, -1).transpose(0, 1).flatten(0, 1)
        out: Tensor = nn.functional.linear(features, weight).unflatten(-1, (self.parts, -1))
        return out

    def _weights(self, scales: Tensor) -> Tensor:
        """Factor of every part: (P, parts, 1)."""
        start, course, end = (sum(levels) for levels in self.stages)
        ones = scales.new_ones(len(scales), course)
        return torch.cat((scales[:, :1].expand(-1, start), ones, scales[:, 1:].expand(-1, end)), 1)[..., None]
