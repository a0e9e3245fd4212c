"""Parts with the names that ``transformers`` gives them, as published weights have them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

__all__ = ["Dense", "Layers"]


class Dense(nn.Module):
    """A linear layer called ``dense``. (..., C) -> (..., C')."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense(x)
        return out


class Layers(nn.Module):
    """Blocks in a list called ``layer``, which is run from outside."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(blocks)
