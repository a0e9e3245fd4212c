"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from vidcore.data.pool.loader import Loader
from vidcore.data.pool.together import together
from vidcore.engine import dist
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.clock import Clock
from vidcore.engine.observers import Observers
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.plan import Plan
from vidcore.engine.position import take_up
from vidcore.engine.progress import Meter, Progress
from vidcore.engine.schedules import Schedule
from vidcore.engine.state import RunState, newest
from vidcore.engine.step import Step
from vidcore.errors import TrainingError
from vidcore.protocols import Observer
from vidcore.randomness import reseed

__all__ = ["Fitted", "fit"]


@frozen
class Fitted:
    """How a run ended."""

    steps: int
    epochs: int
    resumed_step: int
    """The step from which this process went on; 0 in a run without interruption."""
    seconds: float
    """Of this process."""
    scores: dict[str, float]
    """The last evaluation."""
    best: dict[str, Any]
    """``score``, ``value``, ``epoch``, ``step`` of the best evaluation."""
    stopped_early: bool
    """Whether ``train.early_stop`` ended it."""
    changes: tuple[str, ...] = ()
    """What is other than the Task says, since the number of processes changed."""


def fit(
    model: Any,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    schedules: Iterable[Schedule],
    options: TrainOptions,
    runtime: RuntimeOptions,
    *,
    folder: Path,
    also: Mapping[str, Loader] | None = None,
    statistics: Loader | None = None,
    validate: Callable[[], Mapping[str, float]] | None = None,
    observers: Iterable[Observer] = (),
    about: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train a model; where the run folder has checkpoints, go on from the newest.

    The weights at the end are the same bits whether the run was interrupted or not, and with any number of
    workers. A checkpoint is written before every evaluation, which may take long. At the end the model is the same
    in every process, and with ``ema_decay`` it holds the average.

    Args:
        model: on its device, weights loaded. See ``vidcore.protocols.Model``.
        loader: made with ``training=True``.
        optimizer: over the model's parameters, its groups at their own learning rates.
        schedules: change the rates over the run; they act in this order.
        options: how long, how gradients are used, when to evaluate and save.
        runtime: seed and precision.
        folder: of the run: ``checkpoints`` and ``progress.json`` are written there.
        also: data sets to train on in the same steps, by name; every batch comes with one of each.
        statistics: the training data once more, for ``precise_bn``.
        validate: returns scores; called in every process.
        observers: told by the first process.
        about: plain data to keep with the weights (``class_names``, ...) and to tell observers.

    Raises:
        CheckpointError: a checkpoint cannot be written, or is of another run.
        TrainingError: the loss or the weights became infinite or no numbers.
        DataError: too many bad samples.
    """
    start, rank = time.perf_counter(), dist.world().rank
    also, about, checkpoints = also or {}, dict(about or {}), Checkpoints(folder / "checkpoints", options.keep)
    found = newest(checkpoints)
    loaders = {"data.train": loader} | {f"data.train_extra.{name}": other for name, other in also.items()}
    position, options, changes = take_up(found, loaders, options, runtime)
    per_epoch = options.steps_per_epoch(len(loader))
    total = options.total_steps(per_epoch)
    val_every, save_every = (
        options.in_steps(n, per_epoch) for n in (options.val_interval, options.checkpoint_interval)
    )
    plan, clock, meter = Plan(schedules, per_epoch, total), Clock(next(model.parameters()).device), Meter()
    step = Step(model, optimizer, options, runtime, clock)
    progress = Progress(folder / "progress.json", options)
    state = RunState(step, meter, progress, checkpoints, position, about, statistics, options.precise_bn)
    done = first = state.restore(*found) if found else 0
    del found  # its memory
    tell = Observers(observers if rank == 0 else ())

    def validates(done: int) -> bool:
        return validate is not None and done > 0 and (done % val_every == 0 or done == total)

    def evaluate(epoch: int, done: int) -> None:
        reseed(runtime.seed, done, rank)  # precise statistics draw what they would have drawn before a kill
        with state.evaluated_weights():
            scores = dict(validate()) if validate else {}
            tell.on_evaluation(epoch, done, scores)
            state.evaluated(scores, epoch, done)

    with tell.watching():
        info = {"steps": total, "steps_per_epoch": per_epoch, "parameters": sum(p.numel() for p in model.parameters())}
        info |= {
            "loader": loader,
            "resumed_step": first,
            "evaluated_step": min(first, progress.evaluated_step),
            "changes": changes,
        }
        tell.on_start(folder, about | info)
        if validates(first) and progress.evaluated_step < first:  # killed before it was over
            evaluate(math.ceil(first / per_epoch), first)
        model.train()
        window = (_batches_before(n, len(loader), options.accumulate) for n in (first, total))
        batches = together(loader, also, *window)
        while done < total and not progress.stops:
            done += 1
            epoch, place = divmod(done - 1, per_epoch)
            reseed(runtime.seed, done, rank)
            plan.apply(optimizer, done - 1)
            clock.lap(None)
            group = list(islice(batches, min(options.accumulate, len(loader) - place * options.accumulate)))
            clock.lap("data")
            meter.add(step(group))

            ends_epoch, within = done % per_epoch == 0, options.checkpoint_steps
            saves = validates(done) or done == total or done % save_every == 0 or (within and done % within == 0)
            if done % options.log_interval == 0 or ends_epoch or saves:
                values = meter.look(clock.take(), step.device)
                if not math.isfinite(values["loss"]):  # before weights that are no numbers replace good ones
                    raise TrainingError(f"the loss is {values['loss']} at step {done}: {_ADVICE}")
                tell.on_step(epoch + 1, done, values | {"lr": max(g["lr"] for g in optimizer.param_groups)})
            if saves and not step.is_finite():  # the loss was that of the weights before the step
                raise TrainingError(f"the weights are no numbers after step {done}: {_ADVICE}")
            if ends_epoch:
                tell.on_epoch(epoch + 1, meter.end_epoch())
            if saves and (path := state.save(epoch + 1, done)):
                tell.on_checkpoint(path, epoch + 1, done)
            if validates(done):
                evaluate(epoch + 1, done)
    step.average.use()
    dist.share(model.buffers())
    seconds = time.perf_counter() - start
    # from the first process, which alone knows the best; the others wait until its files are written
    epochs, early = math.ceil(done / per_epoch), done < total
    return dist.broadcast(Fitted(done, epochs, first, seconds, progress.scores, progress.best, early, changes))


def _batches_before(steps: int, batches_per_epoch: int, accumulate: int) -> int:
    """Return how many batches the first steps take; the last step of an epoch takes what is left of it."""
    epochs, rest = divmod(steps, math.ceil(batches_per_epoch / accumulate))
    return epochs * batches_per_epoch + rest * accumulate


_ADVICE = "lower the learning rate, clip the gradients (train.clip_norm) or use another runtime.precision"
