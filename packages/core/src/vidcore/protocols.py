"""Base classes and protocols of components. Nothing here imports torch.

``Dataset``, ``Metric`` and ``Observer`` are base classes: subclass them and override what you need. The base class of
models is ``vidcore.nn.Model``. The others are protocols: any object with these methods works.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np
    import torch

    from vidcore.plugins.catalog import Catalog
    from vidcore.sample import Sample

__all__ = [
    "ChecksLabels",
    "Dataset",
    "Grouping",
    "Job",
    "Layered",
    "Metric",
    "Observer",
    "Optimizer",
    "ReadsBoxes",
    "ReadsFiles",
    "ReadsJoints",
    "ReadsText",
    "Schedule",
    "SeveralViews",
    "StepValues",
    "Transform",
]


class Transform(Protocol):
    """``(sample, rng) -> sample``. All randomness comes from ``rng``; the object keeps no state."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


class ReadsFiles:
    """Base class of transforms that read files other than frames of videos: features, sound.

    If a sample has the inputs that the transform made before, and a ``cut``, it takes the part of these: so windows
    along a file are predicted.
    """

    suffixes: ClassVar[Sequence[str]]
    """Suffixes of these files, with the dot."""


class ReadsText:
    """Base class of transforms that read ``Sample.text``: with one, ``vidcore predict`` takes a sentence."""


class ReadsJoints:
    """Base class of transforms that read ``Sample.joints``: with one, ``vidcore predict`` finds persons in videos."""


class ReadsBoxes:
    """Base class of transforms that read boxes in ``Sample.proposals``: with one, ``vidcore predict`` finds persons."""


class SeveralViews(ABC):
    """Base class of transforms that may take several views of a video: clips or crops."""

    @property
    @abstractmethod
    def views(self) -> tuple[int, int]:
        """Number of clips and number of crops."""

    @abstractmethod
    def one_view(self, clips: bool) -> Transform:
        """Return this step with a single crop, in the centre.

        Args:
            clips: also with a single clip, in the middle; False if the model requires all clips for a prediction.
        """


class ChecksLabels:
    """Base class of what depends on the number of labels of a sample: models and metrics."""

    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        """Return what this does with such labels (``data.labels``), for people; default: nothing to say.

        Raises ``UserError``, without a key, if they do not suit.
        """
        return ""


class Dataset(ABC):
    """Base class of datasets. Item i is a Sample with paths and annotations, without pixels.

    Subclasses implement ``__len__`` and ``__getitem__``, which raises ``IndexError`` beyond the end, and override the
    rest as needed.
    """

    class_names: tuple[str, ...] | None = None
    """Names by class number, if known."""
    num_classes: int | None = None
    """Number of classes, if known."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @cached_property
    def labels(self) -> Sized | None:
        """(n,) integer array with the class of every sample, -1 if it has none.

        Samples with several labels have a row of class numbers each (``vidcore.data.index.Ragged``). It is used to
        balance classes, and to report classes that have no samples or lose them. Set or override it; default: None,
        which means that samples must be read to find their labels.
        """
        return None

    def sample_paths(self) -> Iterable[str]:
        """Return the paths of all samples; a run reports those used for both training and evaluation."""
        return ()

    def fingerprint(self) -> str:
        """Return a hash of the data; default: of the number of samples, the classes and the paths."""
        head = repr((type(self).__name__, len(self), self.num_classes, self.class_names))
        digest = hashlib.sha256(head.encode("utf-8", "surrogateescape"))
        for path in self.sample_paths():
            digest.update(f"{path}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def notes(self) -> Sequence[str]:
        """Return caveats about these data for the report, one sentence each."""
        return ()


class Metric(ChecksLabels, ABC):
    """Base class of metrics, which collect predictions in any number of processes and compute scores.

    ``vidcore.metrics`` has two base classes that collect: ``SamplePairs`` and ``Columns``.
    """

    @abstractmethod
    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Collect a batch of predictions and, in the same order, the annotated samples."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the scores by name (``acc/top1``)."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all predictions."""

    @abstractmethod
    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes collected; a sample with the same ``index`` counts once."""

    def conclude(self, model: torch.nn.Module, rank: int, gather: Callable[[Any], list[Any]]) -> None:
        """Work with the model, or share work, after the last batch and before ``merge``; default: nothing.

        Called once in every process, also in one without samples, in evaluation mode and without gradients.

        Args:
            model: the evaluated one, with all of its weights.
            rank: of this process.
            gather: returns what every process gave, in order of rank; all processes must call it equally often.
        """

    def keep(self) -> Mapping[str, Any]:
        """Return plain data to keep beside the evaluated weights, such as thresholds; called after ``compute``."""
        return {}

    def use(self, kept: Mapping[str, Any]) -> None:
        """Take what is kept beside the weights to be evaluated: of ``keep``, from validation, and more."""

    def write(self, folder: Path) -> Sequence[Path]:
        """Write files into an existing folder and return their paths; called after ``compute``."""
        return ()

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return rows of a table for the terminal, as mappings from column to value; called after ``compute``."""
        return ()

    def notes(self) -> Sequence[str]:
        """Return caveats about the scores for the report, one sentence each; called after ``compute``."""
        return ()


@frozen(kw_only=True)
class StepValues:
    """Means over some training steps and all processes."""

    losses: Mapping[str, float]
    """The terms of the loss, and ``loss``, their sum, which is minimised."""
    others: Mapping[str, float] = field(factory=dict)
    """Other values that the model reports, such as an accuracy; ``grad_norm`` with ``train.clip_norm`` or
    ``train.log_grad_norm``; ``gpu_mib``, the most memory of a GPU in use so far, in MiB."""
    seconds: Mapping[str, float] = field(factory=dict)
    """Seconds per step in each phase: ``data``, ``transfer``, ``forward``, ``backward``, ``step``."""
    lr: float | None = None
    """Highest learning rate of all parameter groups; None for means over an epoch."""

    def row(self) -> dict[str, float]:
        """Return the values by their names in ``metrics.jsonl``: ``loss``, ``top1_acc``, ``seconds/data``, ``lr``."""
        seconds = {f"seconds/{phase}": value for phase, value in self.seconds.items()}
        return {**self.losses, **self.others, **seconds, **({} if self.lr is None else {"lr": self.lr})}


class Observer:
    """Base class of observers, which are notified of the events of a run. Override what you need.

    Only rank 0 calls observers.
    """

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        """Before the first step.

        ``info``: steps, steps_per_epoch, parameters, resumed_step and evaluated_step (0 and -1 in a new run; steps and
        evaluations reported after them will be repeated), notes (sentences, if a run resumes with a different number
        of processes), loader (of the training data; not in an evaluation), and entries from the caller of ``fit``.
        """

    def on_tick(self, epoch: int, step: int) -> None:
        """After every optimizer step, without its values, which may not be computed yet: to show progress."""

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        """After some optimizer steps. Epochs and steps count from 1; ``values`` are means since the last call."""

    def on_epoch(self, epoch: int, values: StepValues) -> None:
        """After the last step of an epoch: means over its steps."""

    def on_progress(self, done: int, total: int) -> None:
        """During an evaluation: number of batches done, and in total."""

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        """After an evaluation."""

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        """After a checkpoint is on disk."""

    def on_failure(self, error: BaseException) -> None:
        """When the run ends with an error or is interrupted; no other call follows."""

    def on_end(self, report: Mapping[str, Any]) -> None:
        """After the last step; ``report`` is the content of ``report.json``."""

    def report(self) -> Mapping[str, Any]:
        """Return entries for the ``training`` table of ``report.json``; called before ``on_end``."""
        return {}

    def files(self) -> Sequence[Path]:
        """Return files for the user to open; the last lines of a run list them."""
        return ()


class Optimizer(Protocol):
    """A ``torch.optim.Optimizer``: called with the parameter groups and the arguments of its table."""

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...


class Grouping(Protocol):
    """Splits the parameters of a model into groups with their own learning rate and weight decay."""

    def __call__(self, model: torch.nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return groups as ``torch.optim`` takes them: ``{"params": [...], "lr": ..., "weight_decay": ...}``."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A backbone whose parameters belong to layers, as ``LayerDecayGroups`` requires."""

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter, given its name in the backbone.

        0 for embeddings, i + 1 for block i; None for parameters after the blocks, which use the full learning rate.
        """
        ...


class Schedule(Protocol):
    """Changes the learning rate over a run: from ``vidcore.engine.schedules`` or a plugin."""


class Job(Protocol):
    """A stage that makes files for later stages, without training."""

    def __call__(self, folder: Path, rank: int, world: int, catalog: Catalog) -> None:
        """Do this process's share of the work.

        A job that was killed is called again: it should keep complete files, and write each file whole or not at
        all (``vidcore.files.atomic_write``).

        Args:
            folder: output folder; exists.
            rank: of this process.
            world: number of processes.
            catalog: the plugins that the Task was made with.
        """
        ...
