"""What models of several tasks are made of: the base classes of models and preprocessors, and small shared pieces.

Shapes: B samples, V views of a sample (clips times crops; for 2D networks frames), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.protocols import Transform
from vidcore.sample import Sample

__all__ = [
    "DropPath",
    "FeatureModel",
    "ImageWeights",
    "Model",
    "Preprocessor",
    "average_views",
    "chunked",
    "image_weights",
    "make_divisible",
    "pool_positions",
    "require",
    "require_type",
]

Part = TypeVar("Part", bound=nn.Module)


class Model(nn.Module):
    """Base of whole models. ``forward`` alone is exported, compiled and wrapped, and maps tensors to tensors.

    Subclasses implement ``forward``, ``loss`` and ``predict``.
    """

    def sample_step(self) -> Transform | None:
        """Return what ends every pipeline for this model, in the worker that loads a sample; default: nothing.

        The step makes what depends on the arguments of the model: targets of its loss, of samples that are annotated,
        and inputs beside those of the pipeline. It is sent to workers, so it must not hold the model.
        """
        return None

    def pipeline(self, steps: Mapping[str, Transform]) -> dict[str, Transform]:
        """Return the steps of a pipeline, followed by ``sample_step``."""
        own = self.sample_step()
        return dict(steps) if own is None else {**steps, "(model)": own}

    def preprocess(self, batch: Batch) -> Batch:
        """On the device: uint8 to float, normalisation, while training also mixing of samples; default: nothing."""
        return batch

    def loss(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return scalars by name: entries with ``loss`` in the name are summed and minimised, others only reported.

        A loss that needs more than its own process has (a count over the whole step, the embeddings of all
        processes) asks ``batch.collectives``.
        """
        raise UserError(f"{type(self).__name__} has no loss: it cannot be trained")

    def predict(self, outputs: Any, batch: Batch) -> list[Sample]:
        """Return the samples of the batch, in order, with what is predicted: ``scores``, ``segments``, ..."""
        raise UserError(f"{type(self).__name__} predicts nothing")

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return weights of another kind of network as weights for part of this model; None where they fit as they are.

        Raises:
            CheckpointError: they belong to a network that this model has no use for.
        """
        return None


class FeatureModel(Model):
    """Base of models that can describe what they see: ``vidcore features`` writes it."""

    def clip_features(self, inputs: Any) -> Tensor:
        """Describe each sample of a preprocessed batch: what ``forward`` takes -> (B, C)."""
        raise NotImplementedError


class Preprocessor(nn.Module):
    """Base of preprocessors: from a batch of uint8 to what a network takes, on the device of the network.

    This one converts to float32 and does nothing else.
    """

    num_classes: int | None = None
    """Number of classes of the labels it mixes; None where it mixes none."""

    def normalise(self, inputs: Tensor) -> Tensor:
        """Convert (B, V, C, ...) uint8 or float to the same shape, float32."""
        return inputs.to(torch.float32)

    def forward(self, batch: Batch) -> Batch:
        """Convert the inputs of a batch."""
        return batch.replace(inputs=self.normalise(batch.inputs))


class ImageWeights(nn.Module):
    """Base of backbones that can start from the weights of an image network."""

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an image network under the names and in the shapes of this network.

        Raises:
            CheckpointError: they belong to another network.
        """
        raise NotImplementedError


class DropPath(nn.Module):
    """Stochastic depth: leaves a residual branch out for some samples of a training batch (arXiv:1603.09382).

    Args:
        rate: probability of leaving it out; what stays is scaled up to keep the mean.

    ``forward``: (B, ...) -> the same shape and dtype.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not self.training:
            return x
        kept = torch.rand((x.shape[0], *[1] * (x.ndim - 1)), device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError`` with that message where a constructor's arguments do not fit together."""
    if not condition:
        raise ValueError(message)


def require_type(module: nn.Module, wanted: type[Part], name: str) -> Part:
    """Return a part of a model, typed; raise ``ValueError`` where it is not of that class."""
    if not isinstance(module, wanted):
        raise ValueError(f"{name} must be a {wanted.__module__}.{wanted.__name__}, got {type(module).__name__}")
    return module


def make_divisible(width: float, by: int = 8) -> int:
    """Round to a multiple, never down by more than a tenth (arXiv:1704.04861 and its successors).

    >>> make_divisible(33), make_divisible(11)
    (32, 16)
    """
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded


def chunked(net: Callable[[Tensor], Any], rows: Tensor, size: int | None) -> Any:
    """Run a network on ``size`` rows at a time, to save memory, and join what it returns.

    Args:
        net: from rows (n, ...) to a tensor (n, ...) or a tuple of such tensors.
        rows: (N, ...).
        size: rows of a chunk; None runs all at once.
    """
    if size is None or len(rows) <= size:
        return net(rows)
    chunks = [net(chunk) for chunk in rows.split(size)]
    if isinstance(chunks[0], Tensor):
        return torch.cat(chunks)
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))


def pool_positions(features: Tensor) -> Tensor:
    """Average over space and time: (N, C, ...) -> (N, C)."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def average_views(rows: Tensor, views: int) -> Tensor:
    """Average over the views of every sample, which follow each other: (B * V, ...) -> (B, ...)."""
    out: Tensor = rows.unflatten(0, (-1, views)).mean(1)
    return out


def image_weights(backbone: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the weights of an image network as weights of a model's ``backbone``.

    Returns:
        Weights under names that start with ``backbone.``; None for a backbone that is no ``ImageWeights``.

    Raises:
        CheckpointError: they belong to another network.
    """
    if not isinstance(backbone, ImageWeights):
        return None
    return {f"backbone.{key}": value for key, value in backbone.convert_2d_weights(state_dict).items()}
