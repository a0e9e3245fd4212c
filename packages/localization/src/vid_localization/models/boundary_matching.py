"""The boundary-matching layer and its labels (BMN, arXiv:1907.09702, sections 3.2, 4.2 and 4.3).

Shapes: B samples, C channels, T positions. A proposal is a cell (duration, start) of a T x T map: it lasts from
start / T to (start + duration + 1) / T. N samples are taken of every proposal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_localization.overlaps import best_coverage, best_iou
from vidcore.nn import require
from vidcore.typing import Array

__all__ = [
    "BoundaryMatching",
    "matching_labels",
    "position_zones",
    "proposal_cells",
    "sample_mask",
    "valid_proposals",
]


def _taps(length: int, samples: int, per_sample: int, extension: float) -> tuple[Array, Array, Array, Array]:
    """Positions that every point reads: (cells, samples, positions, weights), all one-dimensional.

    A point between two positions is interpolated. A point less than one position before the first reads the first; a
    point after the last loses the part that lies outside; points farther away read nothing.
    """
    duration, start = (a.ravel() for a in np.indices((length, length)))
    inside = np.flatnonzero(duration + start < length)
    duration, start = duration[inside], start[inside]
    margin = extension * (duration + 1)
    step = (duration + 2 * margin) / (samples * per_sample - 1)
    # (cells, points): a proposal is sampled from its first to its last position
    at = (start - margin)[:, None] + step[:, None] * np.arange(samples * per_sample)
    at = np.where((at > -1) & (at < 0), 0.0, at)
    left = np.floor(at).astype(np.int64)
    cells = np.broadcast_to(inside[:, None], at.shape)
    slots = np.broadcast_to(np.arange(samples).repeat(per_sample), at.shape)
    positions = np.stack((left, left + 1))
    weights = np.stack((1 - (at - left), at - left)) / per_sample
    keep = (positions >= 0) & (positions < length) & (weights != 0)
    cells, slots = (np.broadcast_to(a, keep.shape)[keep] for a in (cells, slots))
    return cells, slots, positions[keep], weights[keep].astype(np.float32)


def sample_mask(length: int, samples: int, per_sample: int, extension: float) -> Array:
    """The layer as one matrix: (T, N, T, T) float32, weight of each position in each sample of (duration, start).

    Published checkpoints contain it, flattened, as ``sample_mask``; the layer never builds it (128 MB at the usual
    size).

    Args:
        length: T.
        samples: N.
        per_sample: points averaged for a sample.
        extension: fraction of a proposal's length that is added on both sides.
    """
    cells, slots, positions, weights = _taps(length, samples, per_sample, extension)
    mask = np.zeros((length, samples, length * length), np.float32)
    np.add.at(mask, (positions, slots, cells), weights)
    return mask.reshape(length, samples, length, length)


def valid_proposals(length: int) -> Tensor:
    """(T, T) float32: 1 for proposals (duration, start) that end within the video."""
    index = torch.arange(length)
    return (index[:, None] + index < length).float()


def proposal_cells(length: int) -> Array:
    """Start and end of all proposals as fractions, including those that end outside: (T, T, 2) float64."""
    start = np.broadcast_to(np.arange(length, dtype=np.float64), (length, length))
    end = start + np.arange(1, length + 1, dtype=np.float64)[:, None]
    return np.stack((start, end), -1) / length


def position_zones(length: int) -> Array:
    """Start and end of the neighbourhood of every position, two positions wide, as fractions: (T, 2) float64."""
    middle = np.arange(length, dtype=np.float64) + 0.5
    return np.stack((middle - 1, middle + 1), -1) / length


def matching_labels(segments: Array, length: int) -> tuple[Array, Array, Array]:
    """Targets of the network for one sample.

    Args:
        segments: (n, 2) fractions.
        length: T.

    Returns:
        Highest overlap of each proposal with a segment (T, T); fraction of the neighbourhood of each position that lies
        within one and a half positions of a start (T,), and of an end (T,). float32.
    """
    segments = np.asarray(segments, np.float64).reshape(-1, 2)
    zones, radius = position_zones(length), 1.5 / length
    near = (best_coverage(zones, np.stack((at - radius, at + radius), 1)) for at in segments.T)
    overlap, start, end = (a.astype(np.float32) for a in (best_iou(proposal_cells(length), segments), *near))
    return overlap, start, end


class BoundaryMatching(nn.Module):
    """Samples the features of every proposal and mixes the samples of each.

    Sampling and mixing are both linear. We mix at every position first and interpolate then: at the usual size a
    hundredth of the work, and no tensor of size N x T x T.

    Args:
        length: T.
        samples: N.
        per_sample: points averaged for a sample.
        extension: fraction of a proposal's length that is added on both sides.
    """

    index: Tensor
    offsets: Tensor
    weights: Tensor

    def __init__(self, length: int, samples: int, per_sample: int, extension: float) -> None:
        super().__init__()
        require(samples * per_sample > 1, "num_samples times num_samples_per_bin must be at least 2")
        self.length, self.samples, self.per_sample, self.extension = length, samples, per_sample, extension
        cells, slots, positions, weights = _taps(length, samples, per_sample, extension)
        order = np.argsort(cells, kind="stable")
        bags = np.searchsorted(cells[order], np.arange(length * length))
        self.register_buffer("index", torch.from_numpy((slots * length + positions)[order]), persistent=False)
        self.register_buffer("offsets", torch.from_numpy(bags), persistent=False)
        self.register_buffer("weights", torch.from_numpy(weights[order]), persistent=False)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Features of all proposals.

        Args:
            x: (B, C, T).
            kernel: (C', C, N), weights that mix channels and samples.

        Returns:
            (B, C', T, T), zero for proposals that end outside.
        """
        batch, channels = len(x), len(kernel)
        mixed = torch.einsum("bct,ocn->ntbo", x, kernel).flatten(0, 1).flatten(1)
        out = F.embedding_bag(
            self.index, mixed, self.offsets, mode="sum", per_sample_weights=self.weights.to(mixed.dtype)
        )
        return out.view(self.length, self.length, batch, channels).permute(2, 3, 0, 1)

    def check_published(self, state: Mapping[str, Any]) -> list[str]:
        """Return one line for each mask of a published checkpoint that does not fit this layer."""
        problems = []
        for key, make in (("sample_mask", self.mask), ("bm_mask", lambda: valid_proposals(self.length))):
            if key in state:
                theirs, ours = torch.as_tensor(state[key]).float().cpu().flatten(), make().flatten()
                if theirs.shape != ours.shape or not torch.allclose(theirs, ours, 0, 1e-4):
                    problems.append(f"{key} differs (temporal_dim, num_samples or boundary_ratio)")
        return problems

    def mask(self) -> Tensor:
        """The layer as a matrix: see ``sample_mask``."""
        return torch.from_numpy(sample_mask(self.length, self.samples, self.per_sample, self.extension))
