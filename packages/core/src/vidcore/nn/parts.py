"""Small functions that models of several tasks share: checks of arguments, pooling, chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["average_views", "chunked", "make_divisible", "pool_positions", "require", "require_type"]

Part = TypeVar("Part", bound=nn.Module)


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError`` unless a condition on the arguments of a constructor holds."""
    if not condition:
        raise ValueError(message)


def require_type(module: nn.Module, wanted: type[Part], name: str) -> Part:
    """Return a part of a model; raise ``ValueError`` if it is not an instance of ``wanted``."""
    if not isinstance(module, wanted):
        raise ValueError(f"{name} must be a {wanted.__module__}.{wanted.__name__}, got {type(module).__name__}")
    return module


def make_divisible(width: float, by: int = 8) -> int:
    """Round to a multiple, never down by more than a tenth (arXiv:1704.04861 and its successors).

    >>> make_divisible(33), make_divisible(11)
    (32, 16)
    """
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded


def chunked(net: Callable[[Tensor], Any], rows: Tensor, size: int | None) -> Any:
    """Run a network on ``size`` rows at a time, to save memory, and concatenate the results.

    Args:
        net: maps rows (n, ...) to a tensor (n, ...) or a tuple of such tensors.
        rows: (N, ...).
        size: rows per chunk; None: all at once.
    """
    if size is None or len(rows) <= size:
        return net(rows)
    chunks = [net(chunk) for chunk in rows.split(size)]
    if isinstance(chunks[0], Tensor):
        return torch.cat(chunks)
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))


def pool_positions(features: Tensor) -> Tensor:
    """Average over space and time: (N, C, ...) -> (N, C)."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def average_views(rows: Tensor, views: int) -> Tensor:
    """Average over the views of each sample, which are adjacent: (B * V, ...) -> (B, ...)."""
    out: Tensor = rows.unflatten(0, (-1, views)).mean(1)
    return out
