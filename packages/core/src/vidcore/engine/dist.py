"""Several processes: started by torchrun, joined here. With one process every function is trivial."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache, wraps
from itertools import count
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from attrs import frozen
from torch.distributed.rendezvous import rendezvous

from vidcore.errors import UserError
from vidcore.processes import die_with_parent

__all__ = [
    "World",
    "average",
    "broadcast",
    "gather",
    "gather_to_first",
    "join",
    "leave",
    "mean",
    "pick_device",
    "share",
    "then_leave",
    "world",
]

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that scores, writes, or has videos that hang; torchrun ends all when one fails."""

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class World:
    """Who this process is among all."""

    rank: int = 0
    size: int = 1


def world() -> World:
    """Return rank and number of processes; (0, 1) where no group was joined."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


def join(device: torch.device, patience: timedelta = PATIENCE) -> World:
    """Join the other processes where torchrun started this one; NCCL for GPUs, Gloo for CPUs.

    ``patience`` is how long a process waits for the others.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        # Imported later (by DDP, FSDP), default arguments of theirs hold the group, whose threads then never end.
        import torch.distributed.fsdp
        import torch.distributed.nn  # noqa: F401

        if "TORCHELASTIC_RUN_ID" in os.environ:  # where torchrun is killed, nobody else ends its processes
            die_with_parent()
        backend = "nccl" if device.type == "cuda" else "gloo"
        store, rank, size, numbers = _meeting_place()
        # a group of its own name each time: another would find the addresses that the one before has left
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # of torchrun --max-restarts
        store = dist.PrefixStore(f"group {attempt}.{next(numbers)}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, timeout=patience, store=store, rank=rank, world_size=size)
    return world()


@cache
def _meeting_place() -> tuple[Any, int, int, Iterator[int]]:
    """Where all processes meet, for as long as they live; rank, number of processes, and numbers for their groups."""
    store, rank, size = next(rendezvous("env://"))
    return store, rank, size, count()


def leave() -> None:
    """Leave the group, if any; call it where no model that was trained in the group is held any more.

    A DDP model keeps the group's threads alive, and a thread that lets go of a tensor while Python ends aborts it.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def then_leave(work: Callable[P, T]) -> Callable[P, T]:
    """Make a function leave the group once it has returned, and with it its models are gone."""

    @wraps(work)
    def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        result = work(*args, **kwargs)
        leave()
        return result

    return whole


def pick_device(name: str) -> torch.device:
    """Return the device of this process; ``auto`` is its GPU where there is one.

    Raises ``UserError`` for a device that this machine does not have.
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
    """Return the values of all processes, in order of rank, in every process."""
    size = world().size
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    dist.all_gather_object(values, value)
    return values


def broadcast(value: T) -> T:
    """Return the first process's value in every process."""
    if world().size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def share(tensors: Iterable[torch.Tensor]) -> None:
    """Give tensors the first process's values."""
    if world().size > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def mean(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the means over all processes; all must have the same names in the same order."""
    size = world().size
    if size == 1:
        return dict(values)
    summed = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return dict(zip(values, (summed / size).tolist(), strict=True))


def average(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes."""
    size = world().size
    if size == 1:
        return value
    summed = value.clone()
    dist.all_reduce(summed)
    return summed / size


def gather_to_first(value: T) -> list[T] | None:
    """Return the values of all processes, in order of rank, in the first process; None in the others."""
    here = world()
    if here.size == 1:
        return [value]
    values: list[Any] | None = [None] * here.size if here.rank == 0 else None
    dist.gather_object(value, values, dst=0)
    return values
