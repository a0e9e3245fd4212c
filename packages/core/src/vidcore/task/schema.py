"""The tables of a Task file: all keys that the core defines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from vidcore.data.options import LoaderOptions
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.protocols import Dataset, Grouping, Job, Metric, Observer, Optimizer, Schedule, Transform

if TYPE_CHECKING:
    from vidcore.nn import Model

__all__ = ["Data", "DataPart", "EvaluationPart", "Stage", "TaskTable"]


@frozen(kw_only=True)
class DataPart(LoaderOptions):
    """``[data.train]``, ``[data.val]``, ``[data.test]``: dataset, pipeline and loading."""

    dataset: Dataset
    pipeline: dict[str, Transform] = field(factory=dict)
    """Steps by name, in the order of first appearance; ``_after_``/``_before_`` place a new one."""


@frozen(kw_only=True)
class EvaluationPart(DataPart):
    """``[data.val]``, ``[data.test]``."""

    metrics: dict[str, Metric] = field(factory=dict)
    """Metrics of these data by name; default: those of the Task."""


@frozen(kw_only=True)
class Data:
    """``[data]``."""

    classes: Path | None = None
    """File with one class name per line, for all datasets that accept ``classes``."""
    labels: Literal["single", "multi"] | None = None
    """Labels of a sample: one, or any number. ``multi`` sets ``multi_class`` of all datasets, heads and metrics."""
    balance: Literal["sampling", "loss"] | None = None
    """Make rare classes count as much as frequent ones: by loading them more often (``train.balanced``), or by the
    weights of classes in the loss."""
    train: DataPart | None = None
    train_extra: dict[str, DataPart] = field(factory=dict)
    """More training data by name: each step adds the losses of one batch of each. ``train`` defines an epoch."""
    val: EvaluationPart | None = None
    """Evaluated during training."""
    test: EvaluationPart | None = None
    """Evaluated by ``vidcore test`` and at the end of a run; default: ``val``."""


@frozen(kw_only=True)
class Stage:
    """A model with its data and training, or a job."""

    model: Model | None = None
    job: Job | None = None
    """Instead of a model: work without training, such as writing files for other Tasks."""
    data: Data = field(factory=Data)
    train: TrainOptions = field(factory=TrainOptions)
    optimizer: Optimizer | None = None
    param_groups: Grouping | None = None
    """Splits the parameters into groups with their own learning rate and decay."""
    schedule: dict[str, Schedule] = field(factory=dict)
    """Learning-rate schedules by name; several act in order on the same rate."""
    metrics: dict[str, Metric] = field(factory=dict)
    observers: dict[str, Observer] = field(factory=dict)
    runtime: RuntimeOptions = field(factory=RuntimeOptions)
    info: dict[str, Any] = field(factory=dict)
    """Facts for people and tools: paper, published scores, weights. Not interpreted."""


@frozen(kw_only=True)
class TaskTable(Stage):
    """A whole Task file."""

    stages: dict[str, Stage] = field(factory=dict)
    """Instead of all other tables: Tasks that are run one after another."""
