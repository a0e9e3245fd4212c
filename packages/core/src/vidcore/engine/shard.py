"""Weights spread over the processes (FSDP2): a model made so, and its values in one piece again.

PyTorch's own modules for this are imported where they are used, since that takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vidcore.engine import dist
from vidcore.engine.precision import DTYPES
from vidcore.errors import ConfigError

__all__ = [
    "class_name",
    "explained",
    "gathered",
    "is_sharded",
    "is_share",
    "local",
    "shard",
    "shard_as",
    "shard_optimizer_state",
    "whole",
    "whole_in_first",
]

GROUP = 1_000_000
"""Parameters that make a block large."""


def shard(model: nn.Module, precision: str, device: torch.device) -> None:
    """Leave each process a share of every parameter; a layer's are gathered while it computes.

    Gathered at once are the parameters of every large block (of those in it, separately), and what is left of the
    model. A block is a member of an ``nn.Sequential`` or ``nn.ModuleList`` that has a sibling of its class. They travel
    in the format of the precision, except where batch norms, which need float32, are in the model. Gradients are
    float32.

    Raises ``ConfigError`` where PyTorch is too old.
    """
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError as error:
        raise ConfigError('runtime.strategy = "fsdp": needs PyTorch 2.6 or later') from error
    exact = precision == "fp32" or any(isinstance(m, nn.modules.batchnorm._NormBase) for m in model.modules())
    policy = MixedPrecisionPolicy(
        param_dtype=None if exact else DTYPES[precision], reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    mesh = init_device_mesh(device.type, (dist.world().size,))
    # torch's caches outlive the model and hold the mesh, which must not hold the group: see dist.leave
    getattr(mesh, "_pg_registry", {}).clear()
    blocks = _large_blocks(model)
    for module in reversed(list(model.modules())):  # inner ones first
        if module in blocks:
            fully_shard(module, mesh=mesh, mp_policy=policy)
    # not kept between forward and backward, so that no use of the model outlives a change of its weights
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def _large_blocks(model: nn.Module) -> set[nn.Module]:
    blocks = set()
    for members in (list(m) for m in model.modules() if isinstance(m, nn.Sequential | nn.ModuleList)):
        kinds = [type(m) for m in members]
        for member, kind in zip(members, kinds, strict=True):
            alone = kinds.count(kind) == 1 or issubclass(kind, nn.ModuleList | nn.ModuleDict)
            if not alone and sum(p.numel() for p in member.parameters()) >= GROUP:
                blocks.add(member)
    return blocks


def is_sharded(module: object) -> bool:
    """Whether ``shard`` was applied to a module."""
    return hasattr(module, "set_requires_gradient_sync")


def class_name(model: nn.Module) -> str:
    """Return the name of a model's class, which ``shard`` replaced by one of its own."""
    return next(c.__name__ for c in type(model).__mro__ if not c.__module__.startswith("torch.distributed.fsdp"))


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """Within the block, every process has all weights: processes need not use the model equally often."""
    parts = [m for m in model.modules() if is_sharded(m)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


@contextmanager
def explained(model: nn.Module) -> Iterator[None]:
    """Say what is wrong where a model, within the block, uses weights that are not gathered."""
    try:
        yield
    except RuntimeError as error:
        if "DTensor" not in str(error):
            raise
        raise ConfigError(
            f'runtime.strategy = "fsdp": {class_name(model)} uses weights of a layer that it does not call, '
            'or uses them in its loss; use strategy = "ddp"'
        ) from error


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process has of a tensor, in the same memory."""
    return tensor.to_local() if is_share(tensor) else tensor  # type: ignore[attr-defined]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in one piece; where it is spread, all processes must ask."""
    return tensor.full_tensor() if is_share(tensor) else tensor  # type: ignore[attr-defined]


def whole_in_first(value: Any) -> Any:
    """Return plain data with its spread tensors in one piece: on the CPU of the first process, None in the others."""
    if isinstance(value, Mapping):
        return {key: whole_in_first(inner) for key, inner in value.items()}
    if not is_share(value):
        return value
    full = whole(value)
    return full.cpu() if dist.world().rank == 0 else None


def shard_as(value: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Return a tensor, which every process has, spread like another of its shape."""
    if not is_share(own):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)  # type: ignore[attr-defined]


def shard_optimizer_state(state: Mapping[str, Any], parameters: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Return an optimizer's ``state_dict``, in one piece, spread as the parameters are."""

    def spread(value: Any, own: torch.Tensor) -> Any:
        return shard_as(value, own) if getattr(value, "shape", None) == own.shape else value

    values = {i: {k: spread(v, parameters[i]) for k, v in of.items()} for i, of in state["state"].items()}
    return {**state, "state": values}


def is_share(value: object) -> bool:
    """Whether a tensor is spread over the processes."""
    return hasattr(value, "full_tensor")
