"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import frozen

from vidcore.data.pool.training import TrainingData
from vidcore.engine import dist
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.history import EvaluationHistory
from vidcore.engine.meters import Meter
from vidcore.engine.observers import Observers
from vidcore.engine.resume import RunState, newest_checkpoint, resume_position
from vidcore.engine.schedules import RateSchedule, Schedule
from vidcore.engine.step import Step
from vidcore.errors import TrainingError
from vidcore.protocols import Observer
from vidcore.randomness import reseed

__all__ = ["FitResult", "fit"]


@frozen
class FitResult:
    """How a run ended."""

    steps: int
    epochs: int
    resumed_step: int
    """The step at which this process resumed; 0 if the run was not interrupted."""
    seconds: float
    """Of this process."""
    scores: dict[str, float]
    """The last evaluation."""
    best: dict[str, Any]
    """``score``, ``value``, ``epoch``, ``step`` of the best evaluation."""
    also_best: dict[str, dict[str, Any]]
    """The same by further scores of ``train.best``."""
    stopped_early: bool
    """Whether ``train.early_stop`` ended the run."""
    resume_notes: tuple[str, ...] = ()
    """Differences from the Task that a changed number of processes causes."""


def fit(
    step: Step,
    data: TrainingData,
    folder: Path,
    schedules: Iterable[Schedule] = (),
    *,
    validate: Callable[[], Mapping[str, float]] | None = None,
    kept: Callable[[], Mapping[str, Any]] = dict,
    observers: Iterable[Observer] = (),
    about: Mapping[str, Any] | None = None,
    resume_from: Path | None = None,
) -> FitResult:
    """Train a model; resume from the newest checkpoint in the run folder, if there is one.

    The final weights are bit-identical whether or not the run was interrupted, and with any number of workers. A
    checkpoint is written before every evaluation. At the end every rank has the same model, and with ``ema_decay``
    it holds the average.

    Args:
        step: model, optimizer and options: how long to train, when to evaluate and save.
        data: training data.
        folder: run folder, for ``checkpoints`` and ``progress.json``.
        schedules: change the learning rates during the run, in this order.
        validate: returns scores; called on every rank.
        kept: returns plain data about the last evaluation, to keep with the best weights.
        observers: called on rank 0.
        about: plain data (``class_names``, ...) to keep with the weights and to pass to observers; ``plugins`` has
            the hashes of the files of ``--plugin``.
        resume_from: checkpoint of a different folder to resume from, if this one has none.

    Raises:
        CheckpointError: a checkpoint cannot be written, or belongs to a different run.
        TrainingError: the loss or the weights became NaN or infinite.
        DataError: too many samples are bad.
    """
    start, rank, model, seed = time.perf_counter(), dist.world().rank, step.model, step.runtime.seed
    about, checkpoints = dict(about or {}), Checkpoints(folder / "checkpoints", step.options.keep)
    found = newest_checkpoint(checkpoints, resume_from)
    position, options, notes = resume_position(found, data, step.options, step.runtime)
    if found and found[1].get("plugins") != about.get("plugins"):
        notes = (*notes, "the files of --plugin are not those of the run so far")
    per_epoch = options.steps_per_epoch(len(data))
    total = options.total_steps(per_epoch)
    val_every, save_every = (
        options.in_steps(n, per_epoch) for n in (options.val_interval, options.checkpoint_interval)
    )
    val_begin = options.in_steps(options.val_begin, per_epoch)
    rates, meter = RateSchedule(schedules, per_epoch, total), Meter()
    history = EvaluationHistory(folder / "progress.json", options, checkpoints.best if found else None)
    state = RunState(step, data, meter, history, checkpoints, position, about)
    done = first = state.restore(*found) if found else 0
    del found  # its memory
    notify = Observers(observers if rank == 0 else ())

    def validates(done: int) -> bool:
        if validate is None or done == 0:
            return validate is not None and options.val_at_start
        return done >= val_begin and (done % val_every == 0 or done == total)

    def evaluate(epoch: int, done: int) -> None:
        reseed(seed, done, rank)  # precise statistics draw the same numbers in a resumed run
        with state.evaluation_weights():
            scores = dict(validate()) if validate else {}
            notify.on_evaluation(epoch, done, scores)
            state.record_evaluation(scores, epoch, done, kept())

    with notify.reporting_failure():
        info = {
            "steps": total,
            "steps_per_epoch": per_epoch,
            "parameters": sum(p.numel() for p in model.parameters()),
            "loader": data.main,
            "resumed_step": first,
            "evaluated_step": min(first, history.evaluated_step),
            "notes": notes,
        }
        notify.on_start(folder, about | info)
        if validates(first) and history.evaluated_step < first:  # the run was killed during the evaluation
            evaluate(math.ceil(first / per_epoch), first)
        model.train()
        batches = data.batches_between(*(_batches_before(n, len(data), options.accumulate) for n in (first, total)))
        while done < total and not history.should_stop:
            done += 1
            epoch, place = divmod(done - 1, per_epoch)
            reseed(seed, done, rank)
            rates.apply(step.optimizer, done - 1, history.evaluations)
            step.clock.lap(None)
            group = list(islice(batches, min(options.accumulate, len(data) - place * options.accumulate)))
            step.clock.lap("data")
            meter.add(step(group))

            ends_epoch, within = done % per_epoch == 0, options.checkpoint_steps
            saves = validates(done) or done == total or done % save_every == 0 or (within and done % within == 0)
            if done % options.log_interval == 0 or ends_epoch or saves:
                lr = max(group["lr"] for group in step.optimizer.param_groups)
                values = meter.flush(step.clock.take(), lr, step.device)
                if not math.isfinite(loss := values.losses["loss"]):  # before NaN weights are saved
                    value = "NaN" if math.isnan(loss) else loss
                    raise TrainingError(f"loss became {value} at step {done}: {_ADVICE}")
                notify.on_step(epoch + 1, done, values)
            notify.on_tick(epoch + 1, done)
            if saves and not step.is_finite():  # the loss belongs to the weights before the step
                raise TrainingError(f"weights contain NaN or Inf after step {done}: {_ADVICE}")
            if ends_epoch:
                notify.on_epoch(epoch + 1, meter.end_epoch())
            if saves and (path := state.save(epoch + 1, done)):
                notify.on_checkpoint(path, epoch + 1, done)
            if validates(done):
                evaluate(epoch + 1, done)
    step.average.swap()
    dist.broadcast_tensors(model.buffers())
    seconds = time.perf_counter() - start
    # from rank 0, so that the other ranks wait until its files are written
    epochs, early = math.ceil(done / per_epoch), done < total
    best = history.best, history.also_best
    return dist.broadcast(FitResult(done, epochs, first, seconds, history.scores, *best, early, notes))


def _batches_before(steps: int, batches_per_epoch: int, accumulate: int) -> int:
    """Return the number of batches in the first N steps; the last step of an epoch takes the rest of its batches."""
    epochs, rest = divmod(steps, math.ceil(batches_per_epoch / accumulate))
    return epochs * batches_per_epoch + rest * accumulate


_ADVICE = "lower the learning rate, clip the gradients (train.clip_norm) or use a different runtime.precision"
