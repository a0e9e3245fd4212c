"""What the parts of the system expect of each other. Nothing here imports torch.

``Dataset``, ``Metric`` and ``Observer`` are base classes: subclass them and override what you need. The base class of
models is ``vidcore.nn.Model``. The others are protocols: any object with these methods will do.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np
    import torch

    from vidcore.plugins.catalog import Catalog
    from vidcore.sample import Sample

__all__ = [
    "Dataset",
    "Grouping",
    "Job",
    "Layered",
    "Metric",
    "Observer",
    "Optimizer",
    "ReadsFiles",
    "Schedule",
    "StepValues",
    "Transform",
]


class Transform(Protocol):
    """``(sample, rng) -> sample``. All randomness comes from ``rng``; the object keeps no state."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


class ReadsFiles:
    """Base of transforms that read other files than videos, such as files of features."""

    suffixes: ClassVar[Sequence[str]]
    """Ends of the names of these files, with the dot."""


class Dataset(ABC):
    """Base of datasets. Item i is a Sample with paths and annotations, and no pixels.

    Subclasses implement ``__len__`` and ``__getitem__``, which raises ``IndexError`` beyond the end, and override what
    else they know.
    """

    class_names: tuple[str, ...] | None = None
    """Names by class number, where known."""
    num_classes: int | None = None
    """Number of classes, where known."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @cached_property
    def labels(self) -> Sized | None:
        """(n,) integer array with the class of every sample, -1 where it has none: classes are balanced by it.

        Samples with several labels have a row of class numbers each. Set it, or override it; default: None, which
        means that only reading all samples tells.
        """
        return None

    def sample_paths(self) -> Iterable[str]:
        """Return the paths of all samples: a run reports those that are both trained and evaluated on."""
        return ()

    def fingerprint(self) -> str:
        """Return a hash that tells other data from these; default: of number of samples, classes and paths."""
        head = repr((type(self).__name__, len(self), self.num_classes, self.class_names))
        digest = hashlib.sha256(head.encode("utf-8", "surrogateescape"))
        for path in self.sample_paths():
            digest.update(f"{path}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def notes(self) -> Sequence[str]:
        """Return caveats for whoever trains on these data or reads scores on them, one sentence each."""
        return ()


class Metric(ABC):
    """Base of metrics. Collects predictions and turns them into numbers, over any number of processes.

    ``vidcore.metrics`` has two bases that collect: ``SamplePairs`` and ``Columns``.
    """

    @abstractmethod
    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Take a batch of predicted samples and, in the same order, the samples with the truth."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the scores by name (``acc/top1``)."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all predictions."""

    @abstractmethod
    def merge(self, others: Iterable[Self]) -> None:
        """Take over what other processes collected; a sample seen twice (same ``index``) counts once."""

    def write(self, folder: Path) -> Sequence[Path]:
        """Write files into an existing folder and return their paths; called after ``compute``."""
        return ()

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return rows for the terminal, as mappings from column to value; called after ``compute``."""
        return ()

    def notes(self) -> Sequence[str]:
        """Return caveats for whoever reads the scores, one sentence each; called after ``compute``."""
        return ()


@frozen(kw_only=True)
class StepValues:
    """Means over some steps of training, and over all processes."""

    losses: Mapping[str, float]
    """The terms of the loss, and ``loss``, their sum, which is minimised."""
    others: Mapping[str, float] = field(factory=dict)
    """What else the model reports, such as an accuracy; and ``grad_norm`` with ``train.clip_norm``."""
    seconds: Mapping[str, float] = field(factory=dict)
    """Seconds per step in each phase: ``data``, ``transfer``, ``forward``, ``backward``, ``step``."""
    lr: float | None = None
    """Highest learning rate of all parameter groups; None for an epoch, in which it changes."""

    def row(self) -> dict[str, float]:
        """Return the values by their names in ``metrics.jsonl``: ``loss``, ``top1_acc``, ``seconds/data``, ``lr``."""
        seconds = {f"seconds/{phase}": value for phase, value in self.seconds.items()}
        return {**self.losses, **self.others, **seconds, **({} if self.lr is None else {"lr": self.lr})}


class Observer:
    """Told what happens in a run; cannot steer it. Override what you need.

    Only the first process calls observers.
    """

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        """Before the first step.

        ``info``: steps, steps_per_epoch, parameters, resumed_step and evaluated_step (0 in a new run:
        what was told of later steps did not happen), notes (sentences, where a run goes on with another number
        of processes), loader (of the training data; not in an evaluation), and what the caller of ``fit`` adds.
        """

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        """After some optimizer steps; epochs and steps count from 1. ``values``: means since the last call."""

    def on_epoch(self, epoch: int, values: StepValues) -> None:
        """After the last step of an epoch: means over its steps."""

    def on_progress(self, done: int, total: int) -> None:
        """While evaluating: batches done, and batches in all."""

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        """After an evaluation."""

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        """After a checkpoint is safely on disk."""

    def on_failure(self, error: BaseException) -> None:
        """When the run ends with an error or is interrupted; nothing follows."""

    def on_end(self, report: Mapping[str, Any]) -> None:
        """After the last step; ``report`` is what ``report.json`` holds."""

    def report(self) -> Mapping[str, Any]:
        """Return entries for the ``training`` table of ``report.json``; called before ``on_end``."""
        return {}

    def files(self) -> Sequence[Path]:
        """Return the files that a person may want to open; the last lines of a run name them."""
        return ()


class Optimizer(Protocol):
    """A ``torch.optim.Optimizer``: called with the parameter groups first, then the arguments of its table."""

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...


class Grouping(Protocol):
    """Splits a model's parameters into groups with their own learning rate and weight decay."""

    def __call__(self, model: torch.nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return groups as ``torch.optim`` takes them: ``{"params": [...], "lr": ..., "weight_decay": ...}``."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A backbone whose parameters belong to layers: what ``LayerDecayGroups`` needs."""

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter by its name in the backbone.

        0 for embeddings, i + 1 for block i; None for what comes after the blocks, which learns at the full rate.
        """
        ...


class Schedule(Protocol):
    """Changes the learning rate over a run: one of ``vidcore.engine.schedules`` or a plugin's."""


class Job(Protocol):
    """Work that trains nothing: it makes files that later stages read."""

    def __call__(self, folder: Path, rank: int, world: int, catalog: Catalog) -> None:
        """Do one process's share of the work.

        A killed job is called again: it should keep the files that are complete, and write each file completely
        or not at all (``vidcore.files.atomic_write``).

        Args:
            folder: to write to; exists.
            rank: of this process.
            world: how many processes there are.
            catalog: of the installed plugins, as the Task was made with.
        """
        ...
