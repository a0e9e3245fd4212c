"""A trained model with the steps that prepare its inputs, from a Task and weights or from a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Literal

from attrs import frozen
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vidcore.data.thresholds import thresholds_beside_weights
from vidcore.engine.weights import load_state, read_weights
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import Model
from vidcore.processes import memory_limit
from vidcore.protocols import Transform
from vidcore.task.names import known_names
from vidcore.task.reference import check_reference, installed_versions
from vidcore.task.release import Release
from vidcore.task.task import Task
from vidcore.tools.fetch import weights_for
from vidcore.transforms.views import black_video, chosen_frames, count_views, one_view
from vidcore.weights.places import is_published

__all__ = ["Trained"]

Steps = Mapping[str, Transform]

SPARE = 4 << 30
"""Bytes that a release may allocate while its model is built, beside four times its size."""
MOST_FRAMES = 4096
"""Largest number of frames that a release may take from a minute of video."""


@frozen
class Trained:
    """A model on the CPU with its weights, and the steps of its pipeline."""

    model: Model
    steps: Steps
    class_names: tuple[str, ...] | None
    views: tuple[int, int]
    """Number of clips and number of crops that the steps take of a video."""
    test_views: tuple[int, int]
    """The same for the test pipeline of the Task."""
    thresholds: tuple[float, ...] | None = None
    """Score of each class from which a video has that label, for models of several labels; None for others."""

    @classmethod
    def load(cls, task: Task, checkpoint: str | Path | None, views: Literal["one", "test"]) -> Trained:
        """Build the model and the pipeline of a Task, and load the weights.

        Args:
            task: with a model and a pipeline for evaluation.
            checkpoint: the weights, or their name; default: see ``weights_for``.
            views: ``one`` reduces the pipeline to one view of a video, ``test`` leaves it as it is.

        Raises:
            UserError: the Task is not valid, or has too few class names.
            CheckpointError: the weights are missing or do not fit; or the release is hostile.
        """
        source = weights_for(task, checkpoint)
        model, steps = _build(task) if task.release is None else _build_of_stranger(task, task.release)
        prefix = task.get("train.weights_prefix") or ""
        weights, about = read_weights(source, prefix, is_published(source, task.catalog))
        load_state(model, _named_like(model, weights), source=str(source))
        task.catalog.compare_files(about.get("plugins"), str(source))
        release = task.release if source == (task.release and task.release.path) else None
        if release is not None and release.about.get("versions") != installed_versions(task.catalog):
            check_reference(model, steps, release)
        names = known_names(task, about, str(source))
        used = one_view(steps, model.averages_clips) if views == "one" else steps
        thresholds = thresholds_beside_weights(about, str(source))
        return cls(model, used, names, count_views(used), count_views(steps), thresholds)


def _named_like(model: Model, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights under the names of a model, if they are of another library's file of the whole model."""
    try:
        adapted = model.adapt_weights(weights)
    except CheckpointError:
        return weights  # ``load_state`` tells how they differ
    complete = adapted is not None and model.state_dict().keys() <= adapted.keys()
    return adapted if complete and adapted is not None else weights


def _build(task: Task) -> tuple[Model, Steps]:
    model: Model = task.build("model")
    steps: Steps = task.build(f"{task.prediction_part()}.pipeline") or {}
    return model, steps


def _build_of_stranger(task: Task, release: Release) -> tuple[Model, Steps]:
    """Build the parts of a release, which must not need much more memory than its weights suggest."""
    path = release.path
    try:
        size = 4 * path.stat().st_size
        with memory_limit(size + SPARE), _parameter_limit(path, 4 * release.tensors + 64, size):
            model, steps = _build(task)
            try:
                chosen = chosen_frames(steps, black_video((8, 8)))
            except UserError:  # its pipeline reads other files than videos
                chosen = None
    except CheckpointError:
        raise
    except (MemoryError, RuntimeError, UserError) as error:  # of a component: a UserError with that message
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        raise CheckpointError(f"{path}: is refused: its model needs far more memory than its weights") from error
    if chosen is not None and chosen.clip is not None and len(chosen.clip.indices) > MOST_FRAMES:
        count = len(chosen.clip.indices)
        raise CheckpointError(f"{path}: is refused: it takes {count} frames of a minute; at most {MOST_FRAMES} may be")
    return model, steps


@contextmanager
def _parameter_limit(path: Path, count: int, size: int) -> Iterator[None]:
    """Refuse a model with more parameters than that, in number or bytes, as soon as they are made."""
    thread, seen, used = get_ident(), 0, 0

    def check(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal seen, used
        if parameter is not None and get_ident() == thread:
            seen, used = seen + 1, used + parameter.nbytes
            if seen > count or used > size:
                raise CheckpointError(f"{path}: is refused: its model is far larger than its weights")

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
