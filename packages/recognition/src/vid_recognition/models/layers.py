"""What several networks share: convolution units, freezing of stages, gradient checkpointing, initial weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.checkpoint import checkpoint

__all__ = ["Backbone", "ConvUnit", "init_conv_net", "pack", "per_block", "require"]

NORMS: dict[type[nn.Module], type[_BatchNorm]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError`` with that message where a constructor's arguments do not fit together."""
    if not condition:
        raise ValueError(message)


def pack(outputs: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Return the one feature map there is, or a tuple of several."""
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def per_block(values: Sequence[int | Sequence[int]], blocks: Sequence[int], name: str) -> list[tuple[int, ...]]:
    """Spread a setting over the blocks of every stage: a number counts for all blocks of its stage.

    >>> per_block([0, [1, 0]], [3, 2], "inflate")
    [(0, 0, 0), (1, 0)]
    """
    require(len(values) >= len(blocks), f"{name} needs one entry for each of the {len(blocks)} stages, got {values}")
    spread = [(v,) * n if isinstance(v, int) else tuple(v) for v, n in zip(values, blocks, strict=False)]
    for stage, (given, n) in enumerate(zip(spread, blocks, strict=True)):
        require(len(given) == n, f"{name}[{stage}] must be a number or {n} numbers (blocks of that stage), got {given}")
    return spread


class ConvUnit(nn.Sequential):
    """Convolution, batch normalisation, activation, under the names ``conv``, ``bn``, ``activate``."""

    conv: _ConvNd
    bn: _BatchNorm

    def __init__(self, conv: _ConvNd, *, norm: bool = True, act: nn.Module | None = None) -> None:
        super().__init__()
        self.add_module("conv", conv)
        if norm:
            self.add_module("bn", NORMS[type(conv)](conv.out_channels))
        if act is not None:
            self.add_module("activate", act)


def init_conv_net(net: nn.Module) -> None:
    """He's normal initialisation for convolutions (arXiv:1502.01852, eq. 10, fan out), ones for normalisation."""
    for module in net.modules():
        if isinstance(module, _ConvNd):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _BatchNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class Backbone(nn.Module):
    """A network of a stem and stages of blocks that can be trained in part.

    Args:
        frozen_stages: how much never learns: -1 nothing, 0 the stem, n the stem and the first n stages.
        norm_eval: batch normalisation keeps its statistics while training.
        with_cp: recompute activations inside blocks in the backward pass instead of keeping them.
    """

    def __init__(self, *, frozen_stages: int = -1, norm_eval: bool = False, with_cp: bool = False) -> None:
        super().__init__()
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    def parts(self) -> list[list[nn.Module]]:
        """The modules of the stem, then those of each stage."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop learning where ``frozen_stages`` says so; constructors call this last."""
        for part in self.parts()[: self.frozen_stages + 1]:
            for module in part:
                module.eval()
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        self.freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def run_stage(self, stage: nn.Module, x: Tensor) -> Tensor:
        """Run the blocks of a stage, with or without keeping what is inside them."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return stage(x)  # type: ignore[no-any-return]
        for block in stage if isinstance(stage, nn.Sequential) else [stage]:
            x = _checkpointed(block, x)
        return x


def _checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _statistics_kept(block)

    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return out


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """While a block is recomputed: its running statistics have seen this batch already."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
