"""Features of boxes in clips.

Papers: SlowFast, arXiv:1812.03982, section 4.2 (boxes of a key frame, extended along time); AVA, arXiv:1705.08421.
Shapes: B clips, N boxes of each, C channels, T frames, H and W of a map, P and Q bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_detection.models.roi_align import PoolMode, roi_align
from vidcore.nn import require

__all__ = ["SingleRoIExtractor3D"]


class SingleRoIExtractor3D(nn.Module):
    """Pools the features of each box, frame by frame, from one map.

    Several pathways are brought to the longest duration and to the map size of the first (nearest neighbours), pooled
    over time, and concatenated.

    Args:
        featmap_stride: pixels of a cell of the map.
        output_size: bins in height and width, or one number for both.
        sampling_ratio, pool_mode, aligned: see ``roi_align``.
        with_temporal_pool: pool over time first, so that there is one map.
        temporal_pool_mode: the mean or the maximum over time.
        with_global: append the features of the whole frame, pooled to the same number of bins, to those of each box.

    ``forward``: (B, C, T, H, W) or several, and boxes (B, N, 4) in pixels -> features of the boxes
    (B, N, C', T', P, Q), and the map (B, C, T', H, W) they are pooled from; C' is 2 * C with ``with_global``.
    """

    def __init__(
        self,
        featmap_stride: int = 16,
        output_size: int | tuple[int, int] = 16,
        sampling_ratio: int = 0,
        pool_mode: PoolMode = "avg",
        aligned: bool = True,
        with_temporal_pool: bool = True,
        temporal_pool_mode: Literal["avg", "max"] = "avg",
        with_global: bool = False,
    ) -> None:
        super().__init__()
        require(featmap_stride > 0, f"featmap_stride must be positive, got {featmap_stride}")
        require(
            temporal_pool_mode in ("avg", "max"), f"temporal_pool_mode must be avg or max, got {temporal_pool_mode!r}"
        )
        self.featmap_stride = featmap_stride
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        require(min(height, width) > 0, f"output_size must be positive, got {output_size}")
        self.output_size = (height, width)
        self.sampling_ratio, self.pool_mode, self.aligned = sampling_ratio, pool_mode, aligned
        self.with_temporal_pool, self.temporal_pool_mode = with_temporal_pool, temporal_pool_mode
        self.with_global = with_global

    def forward(self, features: Tensor | Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        whole = self._joined([features] if isinstance(features, Tensor) else features)
        frames = whole.shape[2]
        pooled = roi_align(
            whole.flatten(1, 2),
            boxes,
            self.output_size,
            1 / self.featmap_stride,
            self.sampling_ratio,
            self.pool_mode,
            self.aligned,
        ).unflatten(2, (-1, frames))
        if self.with_global:
            around = F.adaptive_avg_pool3d(whole, (frames, *self.output_size))
            pooled = torch.cat((pooled, around[:, None].expand(-1, boxes.shape[1], -1, -1, -1, -1)), 2)
        return pooled, whole

    def _joined(self, paths: Sequence[Tensor]) -> Tensor:
        """Return one map (B, C, T', H, W) of all pathways."""
        if len(paths) > 1:
            size = (max(path.shape[2] for path in paths), *paths[0].shape[3:])
            paths = [path if path.shape[2:] == size else F.interpolate(path, size) for path in paths]
        if self.with_temporal_pool:
            mean = self.temporal_pool_mode == "avg"
            paths = [path.mean(2, keepdim=True) if mean else path.amax(2, keepdim=True) for path in paths]
        return torch.cat(list(paths), 1)
