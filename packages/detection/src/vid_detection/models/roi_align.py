"""RoIAlign: features of boxes by bilinear sampling, without rounding the boxes to cells.

Paper: Mask R-CNN, arXiv:1703.06870, section 3.
Shapes: B samples, N boxes of each, C channels, H and W of a map, P and Q bins; output (B, N, C, P, Q).
What differs: bilinear interpolation is separable, so the mean of a bin is two products with matrices, one for each
axis, that say how much each cell counts. The matrices are exact sums over the samples of a bin, however many these are.
There is no loop over boxes or samples, and no shape depends on the values of the boxes, so that it can be exported.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vidcore.errors import DataError
from vidcore.nn import require

__all__ = ["PoolMode", "roi_align"]

PoolMode = Literal["avg", "max"]
TINY = 1e-6
"""Least distance of samples, in cells."""
EMPTY = -10000.0
"""Maximum of a bin without samples, as published."""


def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: PoolMode = "avg",
    aligned: bool = True,
) -> Tensor:
    """Return the features of boxes: (B, N, C, P, Q).

    A sample more than one cell outside of the map is 0. A bin without samples, of a box without area, has a mean of 0
    and, as published, a maximum of -10000.

    Args:
        features: (B, C, H, W).
        boxes: (B, N, 4) float32 ``x1, y1, x2, y2``, before scaling.
        output_size: P and Q.
        spatial_scale: cells of the map per unit of the boxes.
        sampling_ratio: samples along each side of a bin; 0: as many as the bin has cells, rounded up.
        pool_mode: the mean or the maximum of the samples of a bin.
        aligned: a coordinate is half a cell before the centre of its cell. Otherwise coordinates are those of centres,
            and boxes have at least the size of a cell.

    Raises:
        DataError: a box ends before it begins (only if ``aligned``; not checked in compiled graphs).
    """
    require(pool_mode in ("avg", "max"), f"pool_mode must be avg or max, got {pool_mode!r}")
    require(sampling_ratio >= 0, f"sampling_ratio must not be negative, got {sampling_ratio}")
    scaled = boxes.float() * spatial_scale - (0.5 if aligned else 0.0)
    first, extent = scaled[..., :2], scaled[..., 2:] - scaled[..., :2]
    if not aligned:
        extent = extent.clamp(min=1)
    elif not torch.compiler.is_compiling() and bool((extent < 0).any()):
        raise DataError("a box ends before it begins: boxes are x1, y1, x2, y2")
    if pool_mode == "max":
        return _maxima(features, first, extent, output_size, sampling_ratio)
    (channels, height, width), (rows, columns) = features.shape[1:], output_size
    down = _shares(first[..., 1], extent[..., 1], rows, height, sampling_ratio).to(features.dtype)
    across = _shares(first[..., 0], extent[..., 0], columns, width, sampling_ratio).to(features.dtype)
    cells = features.permute(0, 2, 3, 1).flatten(2)
    strips = (down.flatten(1, 2) @ cells).view(*boxes.shape[:2], rows, width, channels)
    return (across[:, :, None] @ strips).permute(0, 1, 4, 2, 3)


def _spacing(extent: Tensor, bins: int, ratio: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the length of a bin, the number of samples in it and their distance, each in the shape of ``extent``."""
    length = extent / bins
    count = torch.full_like(length, ratio) if ratio else length.ceil()
    return length, count, length / count.clamp(min=1)


def _shares(first: Tensor, extent: Tensor, bins: int, cells: int, ratio: int) -> Tensor:
    """Return how much each cell counts in the mean of the samples of each bin: (B, N, bins, cells).

    The samples between two neighbouring cells are evenly spaced, so their number and their mean are enough.
    """
    length, count, step = (value[..., None, None] for value in _spacing(extent, bins, ratio))
    start = first[..., None, None] + length * torch.arange(bins, device=first.device)[:, None]
    edges = torch.arange(-1, cells + 1, device=first.device, dtype=first.dtype)
    places = (edges - start) / step.clamp(min=TINY) - 0.5  # sample i is at start + (i + 0.5) * step
    before = torch.cat((places[..., :-1].ceil(), places[..., -1:].floor() + 1), -1)  # the last edge is inside
    before = torch.minimum(before.clamp(min=0), count)
    number = before.diff(dim=-1)
    mean = start + step * (before[..., 1:] + before[..., :-1]) / 2
    to_next = number * (mean.clamp(0, cells - 1) - edges[:-1])  # samples beyond the outer cells count for these
    shares = to_next[..., :-1] + (number - to_next)[..., 1:]
    return shares / count.clamp(min=1)


def _maxima(features: Tensor, first: Tensor, extent: Tensor, output_size: tuple[int, int], ratio: int) -> Tensor:
    """Return the maxima of the samples of each bin; with a ``ratio`` of 0 their number depends on the boxes."""
    weights, used = [], []
    for axis, bins in ((1, output_size[0]), (0, output_size[1])):
        length, count, step = (value[..., None, None] for value in _spacing(extent[..., axis], bins, ratio))
        most = ratio or max(int(count.max()) if count.numel() else 1, 1)
        start = first[..., axis, None, None] + length * torch.arange(bins, device=first.device)[:, None]
        index = torch.arange(most, device=first.device)
        places = start + (index + 0.5) * step  # (B, N, bins, most)
        cells = features.shape[-1 - axis]
        inside = (places >= -1) & (places <= cells)
        near = places.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=first.device)
        weights.append(((1 - near.abs()).clamp(min=0) * inside[..., None]).flatten(2, 3).to(features.dtype))
        used.append((index < count).expand(*places.shape))
    sampled = torch.einsum("bnph,bchw,bnqw->bncpq", weights[0], features, weights[1])
    sampled = sampled.unflatten(4, used[1].shape[2:]).unflatten(3, used[0].shape[2:])  # (B, N, C, P, i, Q, j)
    counted = used[0][:, :, None, :, :, None, None] & used[1][:, :, None, None, None]
    best = sampled.masked_fill(~counted, -torch.inf).amax((4, 6))
    return best.masked_fill(~counted.any(6).any(4), EMPTY)
