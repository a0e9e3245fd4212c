"""Batch norm over parts of a batch.

Paper: A Multigrid Method for Efficiently Training Video Models, arXiv:1912.00998, section 3 (batch norm of parts of a
batch whose size does not depend on that of the batch).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["SubBatchNorm3D"]


class SubBatchNorm3D(nn.Module):
    """Batch norm with statistics over every ``num_splits``-th sample of a batch, and one weight and bias for all.

    In evaluation, the statistics are those of all parts together; ``eval()`` makes them from those of the parts.

    Args:
        num_features: channels.
        num_splits: parts of a batch; must divide its size.
        eps, momentum, affine: as of ``nn.BatchNorm3d``.

    ``forward``: (N, C, T, H, W) -> the same shape. Raises ``UserError`` if a training batch cannot be divided.
    """

    def __init__(
        self, num_features: int, num_splits: int = 1, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__()
        require(num_splits > 0, f"num_splits must be positive, got {num_splits}")
        self.num_splits = num_splits
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.bn = nn.BatchNorm3d(num_features, eps, momentum, affine=False)
        self.split_bn = nn.BatchNorm3d(num_features * num_splits, eps, momentum, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.split_bn.training:
            if len(x) % self.num_splits:
                raise UserError(f"SubBatchNorm3D cannot divide a batch of {len(x)} into {self.num_splits} parts")
            parts = x.reshape(len(x) // self.num_splits, -1, *x.shape[2:])  # every num_splits-th sample is one part
            x = self.split_bn(parts).view_as(x)
        else:
            x = self.bn(x)
        if self.weight is None or self.bias is None:
            return x
        shape = (-1, 1, 1, 1)
        return x * self.weight.view(shape) + self.bias.view(shape)

    def train(self, mode: bool = True) -> Self:
        if self.training and not mode:
            self.aggregate_stats()
        return super().train(mode)

    @torch.no_grad()
    def aggregate_stats(self) -> None:
        """Set the statistics for evaluation: mean of the means; mean of the variances plus variance of the means."""
        means, variances = self.split_bn.running_mean, self.split_bn.running_var
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert means is not None and variances is not None and mean is not None and variance is not None
        means = means.view(self.num_splits, -1)
        mean.copy_(means.mean(0))
        variance.copy_(variances.view(self.num_splits, -1).mean(0) + means.var(0, correction=0))
