"""Gradient checkpointing: activations of a block are recomputed in the backward pass instead of kept.

Backbones have one argument for it, ``with_cp``, and run their blocks with ``run_blocks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ["checkpointed", "run_blocks"]


def run_blocks(blocks: Iterable[nn.Module], x: Any, *others: Any, with_cp: bool = False) -> Any:
    """Run blocks one after another: each takes the output of the one before it and, unchanged, ``others``.

    Args:
        blocks: the blocks.
        x: input of the first block.
        others: further arguments of every block.
        with_cp: gradient checkpointing of each block, if gradients are computed.

    Returns:
        The output of the last block.
    """
    saving = with_cp and torch.is_grad_enabled()
    for block in blocks:
        x = checkpointed(block, x, *others) if saving else block(x, *others)
    return x


def checkpointed(block: nn.Module, *inputs: Any) -> Any:
    """Run a block and recompute its activations in the backward pass.

    Gradients, random numbers and running statistics of batch norm are the same as without.
    """
    if torch.compiler.is_compiling():  # a compiled graph does not repeat the updates of running statistics
        return checkpoint(block, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _running_stats_frozen(block)

    return checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _running_stats_frozen(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics while a block is recomputed: they include this batch already."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [(m.momentum, m.num_batches_tracked.clone()) for m in norms if m.num_batches_tracked is not None]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count
