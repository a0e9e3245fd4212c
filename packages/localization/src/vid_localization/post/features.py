"""Features of proposals from probabilities of action (BSN, arXiv:1806.02964, section 3.3)."""

from __future__ import annotations

import numpy as np

from vidcore.errors import UserError
from vidcore.typing import Array

__all__ = ["proposal_features"]


def proposal_features(
    action: Array,
    proposals: Array,
    boundary_ratio: float = 0.2,
    num_sample_start: int = 8,
    num_sample_end: int = 8,
    num_sample_action: int = 16,
    num_sample_interp: int = 3,
) -> Array:
    """Probabilities of action inside each proposal, around its start and around its end, averaged in bins.

    Probabilities are interpolated between middles of positions; outside of the video they fall to zero. A zone is
    sampled at evenly spaced points, which start half a bin before it; a bin averages its points and the first of the
    next bin.

    Args:
        action: (T,) probabilities.
        proposals: (n, >= 2) start and end as fractions of the video.
        boundary_ratio: half the width of the zones around start and end, in lengths of the proposal.
        num_sample_start, num_sample_end, num_sample_action: number of bins of each zone, at least 2.
        num_sample_interp: points per bin.

    Returns:
        (n, action + start + end bins) float64.

    Raises:
        UserError: a zone has too few bins, or a bin has no points.
    """
    if min(num_sample_start, num_sample_end, num_sample_action) < 2 or num_sample_interp < 1:
        raise UserError("proposal_features needs at least two bins in every zone and one point in a bin")
    proposals = np.asarray(proposals, np.float64)
    starts, ends = proposals[:, 0], proposals[:, 1]
    margin = boundary_ratio * (ends - starts)
    positions = (np.arange(-1, len(action) + 1) + 0.5) / len(action)
    padded = np.pad(np.asarray(action, np.float64), 1)
    zones = (
        (starts, ends, num_sample_action),
        (starts - margin, starts + margin, num_sample_start),
        (ends - margin, ends + margin, num_sample_end),
    )
    parts = []
    for first, last, bins in zones:
        bin_width = (last - first) / (bins - 1)
        steps = np.arange(bins * num_sample_interp + 1) / num_sample_interp - 0.5
        values = np.interp(first[:, None] + bin_width[:, None] * steps, positions, padded)
        within = values[:, :-1].reshape(-1, bins, num_sample_interp).sum(2)
        parts.append((within + values[:, num_sample_interp::num_sample_interp]) / (num_sample_interp + 1))
    return np.concatenate(parts, 1)
