"""The state of a run: from a checkpoint, into a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.average import precise_statistics
from vidcore.engine.checkpoint import Checkpoints, load, save
from vidcore.engine.progress import Meter, Progress
from vidcore.engine.shard import class_name, shard_optimizer_state, whole_in_first
from vidcore.engine.step import Step
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError

__all__ = ["RunState", "newest"]

FORMAT = 1


def newest(checkpoints: Checkpoints) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint to go on from, with its path, in every process; None where there is none.

    Raises ``CheckpointError`` where there are some, all damaged.
    """
    found = checkpoints.newest(warnings.warn) if dist.world().rank == 0 else None
    path = dist.broadcast(found[0] if found else None)
    return found or ((path, load(path)) if path else None)


@frozen
class RunState:
    """Everything that a run needs to go on, held together to be saved and restored."""

    step: Step
    meter: Meter
    progress: Progress
    checkpoints: Checkpoints
    position: dict[str, Any]
    about: dict[str, Any]
    statistics: Loader | None = None
    """What batch norms get their statistics from before an evaluation, if not from training."""
    precise_bn: int = 0
    """How many batches of it."""

    def restore(self, path: Path, content: Mapping[str, Any]) -> int:
        """Load a checkpoint and return the number of steps done.

        Raises ``CheckpointError`` where it is of another model or optimizer.
        """
        load_state(self.step.model, content["state_dict"], source=str(path))
        self.step.average.restore(content["training_weights"])
        try:
            optimizer = shard_optimizer_state(content["optimizer"], self.step.parameters)
            self.step.optimizer.load_state_dict(optimizer)
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"{path}: is of another optimizer: {error}") from error
        if content["scaler"]:
            self.step.scaler.load_state_dict(content["scaler"])
        self.meter.epoch = {name: (total, steps) for name, (total, steps) in content["epoch_sums"].items()}
        return int(content["step"])

    def save(self, epoch: int, step: int) -> Path | None:
        """Let the first process write a checkpoint to continue from, and return its path there; all must call.

        Raises ``CheckpointError``.
        """
        content = self._weights(epoch, step, self.progress.scores)
        content["state_dict"] = content["state_dict"] | self.step.average.values
        content |= {
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "training_weights": self.step.average.live,
            "position": self.position,
            "epoch_sums": self.meter.epoch,
        }
        content = whole_in_first(content)
        return self.checkpoints.save(epoch, step, content) if dist.world().rank == 0 else None

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within the block, the model is as it is evaluated and kept: weights averaged, statistics precise.

        And the same in every process, where batch statistics are each one's own while training.
        """
        batches = self.statistics.between(0, self.precise_bn) if self.statistics else ()
        model = self.step.model
        with self.step.average.used():
            dist.share(model.buffers())
            with precise_statistics(model, batches, self.step.precision):
                if self.statistics:
                    self.statistics.close()
                yield

    def evaluated(self, scores: Mapping[str, float], epoch: int, step: int) -> None:
        """Remember scores, and the weights if they are the best so far. Raises ``CheckpointError``.

        Within ``evaluated_weights``, and in every process.
        """
        best = self.progress.improves(scores)
        if best:
            content = whole_in_first(self._weights(epoch, step, scores))
            if dist.world().rank == 0:
                save(self.checkpoints.best, content)
        self.progress.remember(scores, epoch, step, best)

    def _weights(self, epoch: int, step: int, scores: Mapping[str, float]) -> dict[str, Any]:
        """What even a checkpoint that only holds weights says about them."""
        return {
            **self.about,
            "format": FORMAT,
            "model": class_name(self.step.model),
            "state_dict": self.step.model.state_dict(),
            "epoch": epoch,
            "step": step,
            "scores": dict(scores),
        }
