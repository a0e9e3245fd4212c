"""Sharding over processes (FSDP2): shard a model, and gather full tensors.

PyTorch's modules for this take seconds to import, so they are imported where they are used. Until then nothing is a
DTensor or an FSDP module; both are recognised by an attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vidcore.engine import dist
from vidcore.errors import ConfigError

__all__ = [
    "class_name",
    "fsdp_error_hints",
    "full_tensor",
    "gather_to_rank0",
    "is_sharded",
    "is_sharded_tensor",
    "local_shard",
    "set_gradient_sync",
    "shard",
    "shard_like",
    "shard_optimizer_state",
    "unsharded",
]

GROUP = 1_000_000
"""Number of parameters from which a block is large."""


def shard(model: nn.Module, dtype: torch.dtype | None, device: torch.device) -> None:
    """Shard every parameter over the processes; the parameters of a layer are gathered while it computes.

    Each large block is gathered as a unit, as is the rest of the model. A block is a member of an ``nn.Sequential`` or
    ``nn.ModuleList`` that has a sibling of its class. Gradients are float32.

    Args:
        model: on its device.
        dtype: of gathered parameters; default: float32, which models with batch norms always use.
        device: of this process.

    Raises ``ConfigError`` if PyTorch is too old.
    """
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError as error:
        raise ConfigError('runtime.strategy = "fsdp": requires PyTorch 2.6 or later') from error
    if any(isinstance(m, nn.modules.batchnorm._NormBase) for m in model.modules()):
        dtype = None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(device.type, (dist.world().size,))
    # torch's caches outlive the model and reference the mesh, which must not reference the group: see dist.leave
    getattr(mesh, "_pg_registry", {}).clear()
    blocks = _large_blocks(model)
    for module in reversed(list(model.modules())):  # inner ones first
        if module in blocks:
            fully_shard(module, mesh=mesh, mp_policy=policy)
    # free gathered parameters after forward, so that none outlives a change of the weights
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


def set_gradient_sync(model: Any, wanted: bool) -> None:
    """Enable or disable the exchange of gradients in the next backward pass of a sharded model."""
    model.set_requires_gradient_sync(wanted)


def class_name(model: nn.Module) -> str:
    """Return the name of a model's own class, which ``shard`` replaces."""
    return next(c.__name__ for c in type(model).__mro__ if not c.__module__.startswith("torch.distributed.fsdp"))


@contextmanager
def unsharded(model: Any) -> Iterator[None]:
    """Within the block, every rank has all weights, and may use the model any number of times."""
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
def fsdp_error_hints(model: nn.Module) -> Iterator[None]:
    """Explain the error of a model that uses weights that are not gathered."""
    try:
        yield
    except RuntimeError as error:
        if "DTensor" not in str(error):
            raise
        raise ConfigError(
            f'runtime.strategy = "fsdp": {class_name(model)} uses the weights of a layer without calling it, '
            'or in its loss; use strategy = "ddp"'
        ) from error


def local_shard(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's shard of a tensor, sharing its memory."""
    return tensor.to_local() if is_sharded_tensor(tensor) else tensor  # type: ignore[attr-defined]


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the full tensor; if it is sharded, all ranks must call this."""
    return tensor.full_tensor() if is_sharded_tensor(tensor) else tensor  # type: ignore[attr-defined]


def gather_to_rank0(value: Any) -> Any:
    """Return nested dictionaries with each sharded tensor gathered to the CPU of rank 0, and None on other ranks."""
    if isinstance(value, Mapping):
        return {key: gather_to_rank0(inner) for key, inner in value.items()}
    if not is_sharded_tensor(value):
        return value
    full = full_tensor(value)
    return full.cpu() if dist.world().rank == 0 else None


def shard_like(value: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Return a tensor, which is full on every rank, sharded like ``own`` of the same shape."""
    if not is_sharded_tensor(own):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)  # type: ignore[attr-defined]


def shard_optimizer_state(state: Mapping[str, Any], parameters: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Return the full ``state_dict`` of an optimizer sharded like its parameters."""

    def sharded(value: Any, own: torch.Tensor) -> Any:
        return shard_like(value, own) if isinstance(value, torch.Tensor) and value.shape == own.shape else value

    values = {i: {k: sharded(v, parameters[i]) for k, v in of.items()} for i, of in state["state"].items()}
    return {**state, "state": values}


def is_sharded_tensor(value: object) -> bool:
    """Whether a value is a tensor sharded over processes."""
    return hasattr(value, "full_tensor")
