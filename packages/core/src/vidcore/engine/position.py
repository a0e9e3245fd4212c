"""What the number of a step means, so that a run goes on where it was: also with another number of processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.errors import CheckpointError

__all__ = ["take_up"]

Found = tuple[Path, Mapping[str, Any]]


def take_up(
    found: Found | None, loaders: Mapping[str, Loader], options: TrainOptions, runtime: RuntimeOptions
) -> tuple[dict[str, Any], TrainOptions, tuple[str, ...]]:
    """Make the steps of a run what they were when its checkpoint was written.

    A step takes as many samples as it did, whatever the number of processes, so that the order of the samples,
    the learning rates and the number of steps stay. What one process takes of them follows.

    Args:
        found: the checkpoint with its path, if there is one.
        loaders: the training data by keys of the Task. Batches get another size where need be.
        options, runtime: of the Task.

    Returns:
        What step n is, to be kept in checkpoints: with any of it different, step n is another one. Then the options
        that hold here, and, in sentences, what is other than the Task says or than it was.

    Raises:
        CheckpointError: the run cannot go on exactly, or not with so many processes.
    """
    now = _planned(loaders, options, runtime)
    if found is None:
        return now | {"steps per epoch": options.steps_per_epoch(len(loaders["data.train"]))}, options, ()
    path, then = found[0], found[1].get("position", {})
    _refuse_changes(path, then, now, runtime)
    changes: list[str] = []
    if then["samples in a step"] != now["samples in a step"]:
        now |= {"samples in a step": then["samples in a step"]}
        options = evolve(options, accumulate=_share(path, now, loaders))
        sizes = [f"{name}.batch_size = {loader.batches.batch_size}" for name, loader in loaders.items()]
        sizes.append(f"train.accumulate = {options.accumulate}")
        total = sum(now["samples in a step"].values())
        changes.append(f"a step takes {total} samples as before, with {' and '.join(sizes)} in each process")
    now |= {"steps per epoch": options.steps_per_epoch(len(loaders["data.train"]))}
    if then["steps per epoch"] != now["steps per epoch"]:  # drop_last drops other samples
        raise CheckpointError(
            f"{path}: cannot go on with {now['processes']} processes: an epoch had {then['steps per epoch']} steps "
            f"and would have {now['steps per epoch']}"
        )
    if then["processes"] != now["processes"]:
        changes = [
            f"processes: {now['processes']} instead of {then['processes']} from step {found[1]['step']} on",
            *changes,
            "the order of the samples, the learning rates and the number of steps stay; dropout, mixing and what "
            "batch norms see are others from here on, and the weights not the same bits",
        ]
    return now, options, tuple(changes)


def _planned(loaders: Mapping[str, Loader], options: TrainOptions, runtime: RuntimeOptions) -> dict[str, Any]:
    """What the Task says, for the processes there are."""
    processes, sizes = dist.world().size, {name: loader.options.batch_size for name, loader in loaders.items()}
    return {
        **{f"{name}.batch_size": size for name, size in sizes.items()},
        **{f"samples of {name}": len(loader.dataset) for name, loader in loaders.items()},
        "train.accumulate": options.accumulate,
        "train.base_batch_size": options.base_batch_size,  # a checkpoint has the rates
        "train.ema_decay": options.ema_decay,
        "runtime.seed": runtime.seed,
        "processes": processes,
        "samples in a step": {name: size * options.accumulate * processes for name, size in sizes.items()},
    }


def _refuse_changes(path: Path, then: Mapping[str, Any], now: Mapping[str, Any], runtime: RuntimeOptions) -> None:
    fixed = {**then, **now}.keys() - {"samples in a step", "steps per epoch"}
    fixed -= {"processes"} if runtime.world_size_may_change else set()
    wrong = [f"{k} was {then.get(k)} and is {now.get(k)}" for k in sorted(fixed) if then.get(k) != now.get(k)]
    if wrong:
        other = not runtime.world_size_may_change and then.get("processes") != now["processes"]
        hint = "; --set runtime.world_size_may_change=true goes on with other processes, and says what changes"
        raise CheckpointError(f"{path}: cannot be continued exactly: {'; '.join(wrong)}{hint * other}")


def _share(path: Path, now: Mapping[str, Any], loaders: Mapping[str, Loader]) -> int:
    """Set sizes of batches, none above the Task's, and return how many of them make a step of one process."""
    accumulate = 1
    for name, samples in now["samples in a step"].items():  # data.train comes first and decides
        loader, parts = loaders[name], now["processes"] * accumulate
        if samples % parts:
            raise CheckpointError(f"{path}: a step takes {samples} samples of {name}: they cannot be shared by {parts}")
        size = samples // parts
        if name == "data.train":
            size = max(n for n in range(1, loader.options.batch_size + 1) if size % n == 0)
            accumulate = samples // parts // size
        loader.batches = evolve(loader.batches, batch_size=size)
    return accumulate
