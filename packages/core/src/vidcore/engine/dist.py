"""Several processes, started by torchrun. With one process every function is trivial."""

from __future__ import annotations

import gc
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from attrs import frozen
from torch.distributed.rendezvous import rendezvous

from vidcore.collectives import ALONE, Collectives
from vidcore.errors import UserError
from vidcore.processes import die_with_parent

__all__ = [
    "World",
    "all_reduce_mean",
    "broadcast",
    "broadcast_tensors",
    "collectives",
    "gather",
    "gather_to_rank0",
    "join",
    "leave",
    "mean",
    "pick_device",
    "process_group",
    "world",
]

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that scores, writes, or has videos that hang. If one fails, torchrun ends all."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@frozen
class World:
    """Rank of this process, and number of processes."""

    rank: int = 0
    size: int = 1


def world() -> World:
    """Return rank and number of processes; (0, 1) without a process group."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


def join(device: torch.device, patience: timedelta = PATIENCE) -> World:
    """Join the process group if torchrun started this process: NCCL for GPUs, Gloo for CPUs.

    ``patience`` is the timeout of collectives.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        # If imported later (by DDP, FSDP), their default arguments hold the group, whose threads then never end.
        import torch.distributed.fsdp
        import torch.distributed.nn  # noqa: F401

        if "TORCHELASTIC_RUN_ID" in os.environ:  # if torchrun is killed, nothing else ends its processes
            die_with_parent()
        backend = "nccl" if device.type == "cuda" else "gloo"
        store, rank, size, numbers = _rendezvous()
        # a new name for each group: under the same name it would find stale addresses of the one before
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # of torchrun --max-restarts
        store = dist.PrefixStore(f"group {attempt}.{next(numbers)}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, timeout=patience, store=store, rank=rank, world_size=size)
    return world()


@cache
def _rendezvous() -> tuple[Any, int, int, Iterator[int]]:
    """Return the store of all processes, rank, number of processes, and a counter of their groups."""
    store, rank, size = next(rendezvous("env://"))
    return store, rank, size, count()


def leave() -> None:
    """Leave the process group, if any. Call it when no model that was trained in the group is referenced any more.

    A DDP model keeps the group's threads alive, and a thread that frees a tensor while Python exits aborts it.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


@contextmanager
def process_group(device: torch.device, patience: timedelta = PATIENCE) -> Iterator[World]:
    """Join the process group for the block. No model may be referenced at its end: see ``leave``.

    After an error the group stays, since the traceback references the models.
    """
    yield join(device, patience)
    leave()


def pick_device(name: str) -> torch.device:
    """Return the device of this process; ``auto`` is its GPU if there is one.

    Raises ``UserError`` if this machine lacks the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            if not torch.cuda.is_available():
                raise RuntimeError("PyTorch finds no GPU")
            local = int(os.environ.get("LOCAL_RANK", "0"))
            device = torch.device("cuda", local if device.index is None else device.index)
            torch.cuda.set_device(device)
        torch.empty(0, device=device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"runtime.device: {name!r} cannot be used here: {reason}") from error
    return device


def gather(value: T) -> list[T]:
    """Return the values of all processes, in rank order, on every rank."""
    size = world().size
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    dist.all_gather_object(values, value)
    return values


def broadcast(value: T) -> T:
    """Return the value of rank 0 on every rank."""
    if world().size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite the tensors of every rank with those of rank 0."""
    if world().size > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def mean(values: Mapping[K, float], device: torch.device) -> dict[K, float]:
    """Return the means over all processes, which must have the same keys in the same order."""
    size = world().size
    if size == 1:
        return dict(values)
    summed = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return dict(zip(values, (summed / size).tolist(), strict=True))


def all_reduce_mean(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes, without gradients."""
    size = world().size
    if size == 1:
        return value
    summed = value.clone()
    dist.all_reduce(summed)
    return summed / size


def gather_to_rank0(value: T) -> list[T] | None:
    """Return the values of all processes, in rank order, on rank 0; None on other ranks."""
    here = world()
    if here.size == 1:
        return [value]
    values: list[Any] | None = [None] * here.size if here.rank == 0 else None
    dist.gather_object(value, values, dst=0)
    return values


class _GroupCollectives(Collectives):
    """Collectives of the group that this process has joined."""

    def all_reduce_mean(self, value: torch.Tensor) -> torch.Tensor:
        return all_reduce_mean(value.detach())

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        gathered: torch.Tensor = _AllGather.apply(rows)  # type: ignore[no-untyped-call]
        return gathered


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        here, lengths = world(), rows.new_zeros(world().size, dtype=torch.int64)
        lengths[here.rank] = len(rows)
        dist.all_reduce(lengths)
        ctx.rank, ctx.lengths = here.rank, lengths.tolist()
        padded = rows.new_zeros(max(ctx.lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ctx.lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, ctx.lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        own: torch.Tensor = total.split(ctx.lengths)[ctx.rank]
        return own


def collectives() -> Collectives:
    """Return the collectives that a loss may use."""
    return ALONE if world().size == 1 else _GroupCollectives()
