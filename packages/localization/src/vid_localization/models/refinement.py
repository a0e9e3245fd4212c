"""Refinement of segments: offsets to the true segments, and the features that they are predicted from.

Segments are (..., 2) fractions of what the features cover. Offsets are relative to the width of the segment: either of
its start and end, or of its centre and (as the logarithm of a factor) its width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "centre_width_offsets",
    "move_boundaries",
    "move_centre_width",
    "paired_iou",
    "sample_regions",
    "start_end_offsets",
]

EPS = 1e-5
"""Least width that offsets are relative to; also added to unions."""


def paired_iou(segments: Tensor, truth: Tensor, eps: float = EPS) -> Tensor:
    """Intersection over (union + ``eps``) of each segment with the true one at its place: (..., 2) -> (...)."""
    inside = torch.minimum(segments[..., 1], truth[..., 1]) - torch.maximum(segments[..., 0], truth[..., 0])
    inside = inside.clamp(min=0)
    return inside / (_width(segments) + _width(truth) - inside + eps)


def start_end_offsets(segments: Tensor, truth: Tensor) -> Tensor:
    """Offsets of start and end from segments to true ones."""
    return (truth - segments) / _width(segments).clamp(min=EPS)[..., None]


def centre_width_offsets(segments: Tensor, truth: Tensor) -> Tensor:
    """Offsets of centre and width from segments to true ones."""
    (own, centre), (other, wanted) = (_width_and_centre(s) for s in (segments, truth))
    return torch.stack(((wanted - centre) / own, (other / own).log()), -1)


def move_boundaries(segments: Tensor, offsets: Tensor, weight: float) -> Tensor:
    """Segments moved by ``weight`` times these offsets of start and end."""
    return segments + weight * offsets * _width(segments)[..., None]


def move_centre_width(segments: Tensor, offsets: Tensor, centre_weight: float, width_weight: float) -> Tensor:
    """Segments moved by weighted offsets of centre and width."""
    width = _width(segments)
    centre = segments[..., 0] + 0.5 * width + centre_weight * offsets[..., 0] * width
    half = 0.5 * (width * (width_weight * offsets[..., 1]).exp())
    return torch.stack((centre - half, centre + half), -1)


def sample_regions(
    features: Tensor, segments: Tensor, extension: float, boundary_samples: int, inside_samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features before the start, inside, and after the end of segments.

    Regions are clipped to the bounds of the features. Each is split into equal parts, one for each sample, and
    features are interpolated at the middle of each part.

    Args:
        features: (B, C, T).
        segments: (B, P, 2).
        extension: width of the outer regions as a fraction of the segment's width.
        boundary_samples, inside_samples: number of samples of the outer regions and of the inner one.

    Returns:
        Three (B, C, P, samples).
    """
    start, end = segments.float().unbind(-1)
    reach = extension * (end - start)
    regions = (
        (start - reach, start, boundary_samples),
        (start, end, inside_samples),
        (end, end + reach, boundary_samples),
    )
    before, inside, after = (_sample(features, first.clamp(0, 1), last.clamp(0, 1), n) for first, last, n in regions)
    return before, inside, after


def _sample(features: Tensor, first: Tensor, last: Tensor, number: int) -> Tensor:
    # grid_sample maps the features to [-1, 1]; rounded as published, because gradients jump at each feature
    first, last = 2 * first - 1, 2 * last - 1
    half, middle = ((last - first) / 2)[..., None], ((first + last) / 2)[..., None]
    x = torch.linspace(-1, 1, number, device=first.device) * ((number - 1) / number) * half + middle
    grid = torch.stack((x, torch.zeros_like(x)), -1)
    return F.grid_sample(features[:, :, None].float(), grid, align_corners=False)


def _width_and_centre(segments: Tensor) -> tuple[Tensor, Tensor]:
    width = _width(segments).clamp(min=EPS)
    return width, segments[..., 0] + 0.5 * width


def _width(segments: Tensor) -> Tensor:
    return segments[..., 1] - segments[..., 0]
