"""Resume a run: its state in a checkpoint, and the meaning of its step numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from torch import Tensor

from vidcore.data.pool.loader import Loader
from vidcore.data.pool.training import TrainingData
from vidcore.engine import dist
from vidcore.engine.average import precise_statistics
from vidcore.engine.checkpoint import Checkpoints, load, save
from vidcore.engine.content import check_optimizer, check_tensors, epoch_sums, evaluations, shown, take
from vidcore.engine.history import EvaluationHistory, selection_scores
from vidcore.engine.meters import Meter
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.shard import class_name, gather_to_rank0, shard_optimizer_state
from vidcore.engine.step import Step
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError

__all__ = ["RunState", "newest_checkpoint", "resume_position"]

FORMAT = 2
"""Format 1 had ``train_also`` in the names of its position, and no kinds in the sums of its epoch."""

ODD = (Mapping, list, tuple, Tensor)
"""Types of values that the meaning of step numbers does not have."""

Found = tuple[Path, Mapping[str, Any]]
"""Path and content of a checkpoint."""


def newest_checkpoint(checkpoints: Checkpoints, otherwise: Path | None = None) -> Found | None:
    """Return the checkpoint to resume from, on every rank: the newest, or else ``otherwise``; None if there is none.

    Raises ``CheckpointError`` if all are damaged, or ``otherwise`` cannot be resumed from.
    """
    found = checkpoints.newest(warnings.warn) if dist.world().rank == 0 else None
    if found is None and otherwise is not None and dist.world().rank == 0:
        found = otherwise, load(otherwise)
        if "optimizer" not in found[1]:
            raise CheckpointError(f"{otherwise}: holds weights but no state of a run; set train.weights to it instead")
    path = dist.broadcast(found[0] if found else None)
    found = found or ((path, load(path)) if path else None)
    return found and (found[0], _as_format_2(*found))


def _as_format_2(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    written = take(path, content, "format", int)
    if not 1 <= written <= FORMAT:
        raise CheckpointError(f"{path}: has format {written}; this version of vidcore resumes from 1 to {FORMAT}")
    take(path, take(path, content, "position", Mapping), "samples in a step", Mapping, "position.")
    take(path, content, "epoch_sums", Mapping)
    if written == FORMAT:
        return content

    def renamed(table: Mapping[str, Any]) -> dict[str, Any]:
        return {name.replace("data.train_also.", "data.train_extra."): value for name, value in table.items()}

    position = renamed(content["position"])
    position["samples in a step"] = renamed(position["samples in a step"])
    sums = {}
    for name, value in content["epoch_sums"].items():
        phase = name.removeprefix("seconds/")
        sums["seconds" if phase != name else "losses" if "loss" in name else "others", phase] = value
    return content | {"position": position, "epoch_sums": sums}


@frozen
class RunState:
    """Everything that a run saves in a checkpoint and restores from it."""

    step: Step
    data: TrainingData
    meter: Meter
    history: EvaluationHistory
    checkpoints: Checkpoints
    position: dict[str, Any]
    """The meaning of step numbers: see ``resume_position``."""
    about: dict[str, Any]
    """Plain data to keep with the weights."""

    def restore(self, path: Path, content: Mapping[str, Any]) -> int:
        """Load a checkpoint and return the number of steps done.

        Raises ``CheckpointError`` if it belongs to a different model or optimizer.
        """
        load_state(self.step.model, take(path, content, "state_dict", Mapping), source=str(path))
        live = take(path, content, "training_weights", Mapping)
        check_tensors(path, "training_weights", live, self.step.average.live)
        saved = take(path, content, "optimizer", Mapping)
        check_optimizer(path, saved, self.step.optimizer, self.step.parameters)
        scaler = take(path, content, "scaler", Mapping)
        for key in self.step.scaler.state_dict() if scaler else ():
            take(path, scaler, key, float, "scaler.")
        done: int = take(path, content, "step", int)
        sums, earlier = epoch_sums(path, content["epoch_sums"]), evaluations(path, content.get("evaluations", ()))
        self.step.average.restore(live)
        try:
            self.step.optimizer.load_state_dict(shard_optimizer_state(saved, self.step.parameters))
        except ValueError as error:
            raise CheckpointError(f"{path}: belongs to a different optimizer: {error}") from error
        if scaler:
            self.step.scaler.load_state_dict(dict(scaler))
        self.meter.epoch_sums = sums
        self.history.resume_at(done, earlier)
        return done

    def save(self, epoch: int, step: int) -> Path | None:
        """Write a checkpoint on rank 0 and return its path there. All ranks must call this.

        Raises ``CheckpointError``.
        """
        content = self._weights(epoch, step, self.history.scores)
        content["state_dict"] = content["state_dict"] | self.step.average.values
        content |= {
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "training_weights": self.step.average.live,
            "position": self.position,
            "epoch_sums": self.meter.epoch_sums,
            "evaluations": [[at, scores] for at, scores in self.history.evaluations],
        }
        content = gather_to_rank0(content)
        return self.checkpoints.save(epoch, step, content) if dist.world().rank == 0 else None

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Within the block, the model has the weights to evaluate and keep: EMA weights, precise statistics.

        They are the same on every rank, unlike batch-norm statistics during training.
        """
        statistics, model = self.data.statistics, self.step.model
        batches = statistics.batches_between(0, self.step.options.precise_bn) if statistics else ()
        with self.step.average.swapped():
            dist.broadcast_tensors(model.buffers())
            with precise_statistics(model, batches, self.step.runtime.precision):
                if statistics:
                    statistics.close()
                yield

    def record_evaluation(self, scores: Mapping[str, float], epoch: int, step: int, kept: Mapping[str, Any]) -> None:
        """Record scores, and save the weights with ``kept`` if they are the best so far. Raises ``CheckpointError``.

        Call it within ``evaluation_weights``, on every rank.
        """
        improved = self.history.improved(scores)
        if improved:
            main = selection_scores(self.step.options, scores)[0]
            content = gather_to_rank0({**kept, **self._weights(epoch, step, scores)})
            for name in improved if dist.world().rank == 0 else ():
                save(self.checkpoints.best if name == main else self.checkpoints.best_by(name), content)
        self.history.record(scores, epoch, step, improved)

    def _weights(self, epoch: int, step: int, scores: Mapping[str, float]) -> dict[str, Any]:
        """Return what every checkpoint holds: weights, and facts about them."""
        return {
            **self.about,
            "format": FORMAT,
            "model": class_name(self.step.model),
            "state_dict": self.step.model.state_dict(),
            "epoch": epoch,
            "step": step,
            "scores": dict(scores),
        }


def resume_position(
    found: Found | None, data: TrainingData, options: TrainOptions, runtime: RuntimeOptions
) -> tuple[dict[str, Any], TrainOptions, tuple[str, ...]]:
    """Restore the meaning of step numbers from a checkpoint, also with a different number of processes.

    A step takes as many samples as before, so that the order of the samples, the learning rates and the number of steps
    stay the same. The number of samples per process follows from that.

    Args:
        found: path and content of the checkpoint, if there is one.
        data: the batch sizes of its loaders are changed if necessary.
        options, runtime: of the Task.

    Returns:
        (the meaning of step numbers, to keep in checkpoints and compare on resume; the options to use; notes for the
        user about differences from the Task or from before).

    Raises:
        CheckpointError: the run cannot resume exactly, or not with this number of processes.
    """
    now = _position(data.loaders, options, runtime)
    if found is None:
        return now | {"steps per epoch": options.steps_per_epoch(len(data))}, options, ()
    path, then = found[0], found[1]["position"]
    for key in ("processes", "steps per epoch"):
        take(path, then, key, int, "position.", 1)
    _refuse_changes(path, then, now, runtime)
    for key in now["samples in a step"]:
        take(path, then["samples in a step"], key, int, "position.samples in a step.", 1)
    notes: list[str] = []
    if then["samples in a step"] != now["samples in a step"]:
        now |= {"samples in a step": then["samples in a step"]}
        options = evolve(options, accumulate=_divide_steps(path, now, data.loaders))
        sizes = [f"{name}.batch_size = {loader.batches.batch_size}" for name, loader in data.loaders.items()]
        sizes.append(f"train.accumulate = {options.accumulate}")
        total = sum(now["samples in a step"].values())
        notes.append(f"a step takes {total} samples as before, with {' and '.join(sizes)} in each process")
    now |= {"steps per epoch": options.steps_per_epoch(len(data))}
    if then["steps per epoch"] != now["steps per epoch"]:  # drop_last drops different samples
        raise CheckpointError(
            f"{path}: cannot resume with {now['processes']} processes: an epoch had {then['steps per epoch']} steps "
            f"and would have {now['steps per epoch']} (position.steps per epoch)"
        )
    if then["processes"] != now["processes"]:
        notes = [
            f"processes: {now['processes']} instead of {then['processes']}, from step {found[1]['step']}",
            *notes,
            "the order of the samples, the learning rates and the number of steps stay the same; dropout, mixing and "
            "the batches of batch norms differ, so the weights are not bit-identical",
        ]
    return now, options, tuple(notes)


def _position(loaders: Mapping[str, Loader], options: TrainOptions, runtime: RuntimeOptions) -> dict[str, Any]:
    """Return the meaning of step numbers according to the Task."""
    processes, sizes = dist.world().size, {name: loader.options.batch_size for name, loader in loaders.items()}
    return {
        **{f"{name}.batch_size": size for name, size in sizes.items()},
        **{f"samples of {name}": len(loader.dataset) for name, loader in loaders.items()},
        "train.accumulate": options.accumulate,
        "train.base_batch_size": options.base_batch_size,  # the rates in the checkpoint depend on it
        "train.ema_decay": options.ema_decay,
        "runtime.seed": runtime.seed,
        "processes": processes,
        "samples in a step": {name: size * options.accumulate * processes for name, size in sizes.items()},
    }


def _refuse_changes(path: Path, then: Mapping[str, Any], now: Mapping[str, Any], runtime: RuntimeOptions) -> None:
    fixed = {**then, **now}.keys() - {"samples in a step", "steps per epoch"}
    fixed -= {"processes"} if runtime.world_size_may_change else set()
    fixed = {k for k in fixed if isinstance(then.get(k), ODD) or then.get(k) != now.get(k)}
    changed = [f"{k} was {shown(then.get(k))} and is {now.get(k)}" for k in sorted(fixed, key=str)]
    if changed:
        resized = not runtime.world_size_may_change and then.get("processes") != now["processes"]
        hint = "; --set runtime.world_size_may_change=true resumes inexactly, and reports what differs"
        raise CheckpointError(f"{path}: cannot resume exactly: {'; '.join(changed)}{hint * resized}")


def _divide_steps(path: Path, now: Mapping[str, Any], loaders: Mapping[str, Loader]) -> int:
    """Set the batch sizes, none above the Task's, and return the number of batches per step and process."""
    accumulate = 1
    for name, samples in now["samples in a step"].items():  # data.train comes first and decides
        loader, parts = loaders[name], now["processes"] * accumulate
        if samples % parts:
            raise CheckpointError(f"{path}: the {samples} samples of {name} in a step cannot be divided by {parts}")
        size = samples // parts
        if name == "data.train":
            size = max(n for n in range(1, loader.options.batch_size + 1) if size % n == 0)
            accumulate = samples // parts // size
        loader.batches = evolve(loader.batches, batch_size=size)
    return accumulate
