"""What the parts of the system expect of each other. Nothing here imports torch.

Plugins may subclass these or just have the same methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np
    import torch

    from vidcore.batch import Batch
    from vidcore.plugins.catalog import Catalog
    from vidcore.sample import Sample

__all__ = [
    "Dataset",
    "FeatureModel",
    "Grouping",
    "Job",
    "Layered",
    "Metric",
    "Model",
    "Observer",
    "Optimizer",
    "Schedule",
    "StepValues",
    "Transform",
]


@runtime_checkable
class Transform(Protocol):
    """``(sample, rng) -> sample``. All randomness comes from ``rng``; the object keeps no state."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


@runtime_checkable
class Dataset(Protocol):
    """Indexable; item i is a Sample with paths and annotations, and no pixels.

    It may also have ``labels`` (the class of every sample as an array, to balance by), ``fingerprint()`` (a text that
    tells other data from these, for the report), ``sample_paths()`` (the files of all samples, to notice those
    that are in two sets), and ``notices`` (sentences that a reader of the scores should know).
    """

    class_names: tuple[str, ...] | None
    num_classes: int | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Metric(Protocol):
    """Collects predictions and turns them into numbers, over any number of processes.

    It may also have ``write(folder)``, which returns the files it wrote there, ``table()`` (rows as mappings from
    column to value, for the terminal), and ``notices`` (sentences for the report).
    """

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Take a batch of predicted samples and, in the same order, the samples with the truth."""
        ...

    def compute(self) -> dict[str, float]:
        """Return the scores by name (``acc/top1``)."""
        ...

    def reset(self) -> None:
        """Forget all predictions."""
        ...

    def merge(self, others: Iterable[Self]) -> None:
        """Take over what other processes collected; a sample seen twice (same ``index``) counts once."""
        ...


class Model(Protocol):
    """An ``nn.Module`` with these methods; ``forward`` alone is exported, compiled and wrapped.

    It may also have ``adapt_weights(weights)``, which returns weights of another kind of network (``train.weights``)
    as this one takes them, or None where they fit as they are.
    """

    def preprocess(self, batch: Batch) -> Batch:
        """On the device: uint8 to float, normalisation; while training also mixing of samples."""
        ...

    def forward(self, inputs: Any) -> Any:
        """Tensors to tensors: ``inputs`` of a preprocessed batch to what ``loss`` and ``predict`` take."""
        ...

    def loss(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Return scalars by name: entries with ``loss`` in the name are summed and minimised, others only reported.

        A loss that needs more than its own process has (a count over the whole step, the embeddings of all
        processes) asks ``batch.collectives``.
        """
        ...

    def predict(self, outputs: Any, batch: Batch) -> list[Sample]:
        """Return the samples of the batch, in order, with what is predicted: ``scores``, ``segments``, ..."""
        ...


@runtime_checkable
class FeatureModel(Protocol):
    """A ``Model`` that also says what it sees before it decides: what ``vidcore features`` writes."""

    def clip_features(self, inputs: Any) -> torch.Tensor:
        """Describe each sample of a preprocessed batch: what ``forward`` takes -> (batch, channels)."""
        ...


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
