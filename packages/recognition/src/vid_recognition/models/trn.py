"""Temporal relation network: classes from ordered sets of frames.

Paper: Temporal Relational Reasoning in Videos, arXiv:1711.08496.
Shapes: N views, T frames of each, D channels after a linear layer, K classes.
What differs: published networks drew the sets of frames at random in evaluation, too. Here they are spread evenly then,
so that a prediction can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vid_recognition.models.heads import ClassificationHead, frames_of_views
from vidcore.nn import require

__all__ = ["MultiScaleRelation", "Relation", "TRNHead"]

SETS = 3
"""Sets of frames of each size in a pass (section 3.2)."""


def _classifier(frames: int, channels: int, hidden: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Linear(frames * channels, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


class Relation(nn.Module):
    """The relation of all frames: (N, T, D) -> (N, K) (equation 1)."""

    def __init__(self, channels: int, num_segments: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = _classifier(num_segments, channels, 512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.flatten(1))


class MultiScaleRelation(nn.Module):
    """The sum of the relations of some sets of 2 to T frames: (N, T, D) -> (N, K) (equation 2)."""

    def __init__(self, channels: int, num_segments: int, num_classes: int) -> None:
        super().__init__()
        self.sizes = range(num_segments, 1, -1)
        self.fc_fusion_scales = nn.ModuleList(_classifier(n, channels, 256, num_classes) for n in self.sizes)
        self.sets = [list(combinations(range(num_segments), n)) for n in self.sizes]
        """Of each size: all sets of frames, in lexicographic order."""

    def chosen(self) -> list[list[tuple[int, ...]]]:
        """Return sets of each size: in training at random, otherwise evenly spread."""
        chosen = []
        for sets in self.sets:
            if self.training:
                order = torch.randperm(len(sets))[:SETS].tolist()
            else:  # without tensors, whose values an exported graph does not have
                order = np.linspace(0, len(sets) - 1, min(SETS, len(sets))).astype(int).tolist()
            chosen.append([sets[i] for i in order])
        return chosen

    def forward(self, x: Tensor, chosen: Sequence[Sequence[tuple[int, ...]]] | None = None) -> Tensor:
        parts = [
            classify(x[:, list(frames)].flatten(1))
            for classify, sets in zip(self.fc_fusion_scales, chosen or self.chosen(), strict=True)
            for frames in sets
        ]
        return torch.stack(parts).sum(0)


class TRNHead(ClassificationHead):
    """Scores the relations of the frames of each view.

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        num_segments: frames of a view; must be ``num_clips`` of the pipeline.
        relation_type: ``TRN`` relates all frames, ``TRNMultiScale`` sets of 2 to ``num_segments`` frames.
        hidden_dim: channels of a frame in a relation.

    and the arguments of ``ClassificationHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_segments: int = 8,
        relation_type: Literal["TRN", "TRNMultiScale"] = "TRNMultiScale",
        hidden_dim: int = 256,
        dropout_ratio: float = 0.8,
        init_std: float = 0.001,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, init_std=init_std, **kwargs)
        require(num_segments > 1, f"num_segments must be at least 2, got {num_segments}")
        self.num_segments = num_segments
        self.fc_cls = nn.Linear(in_channels, hidden_dim)
        nn.init.normal_(self.fc_cls.weight, std=init_std)
        nn.init.zeros_(self.fc_cls.bias)
        relation = Relation if relation_type == "TRN" else MultiScaleRelation
        self.consensus = relation(hidden_dim, num_segments, num_classes)

    def forward(self, features: Any, batch_size: int) -> Tensor:
        hidden = self.row_scores(features, batch_size)
        views = frames_of_views(hidden, self.num_segments)
        scores: Tensor = self.consensus(views.flatten(0, 1)).unflatten(0, (batch_size, -1))
        return scores
