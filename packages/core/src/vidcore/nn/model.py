"""Base classes of models, preprocessors and backbones.

Shapes: B samples, V views of a sample (clips times crops; frames for 2D networks), C channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.protocols import ChecksLabels, Transform
from vidcore.sample import Sample

__all__ = ["FeatureModel", "ImageWeights", "JoinedNetwork", "Model", "Preprocessor", "image_weights"]


class Model(ChecksLabels, nn.Module):
    """Base class of whole models. Only ``forward`` is exported, compiled and wrapped; it maps tensors to tensors.

    Subclasses implement ``forward``, ``loss`` and ``predict``.
    """

    averages_clips: ClassVar[bool] = False
    """Whether one clip is enough for a prediction, and the scores of several are averaged. Otherwise a prediction takes
    all clips of a sample, such as the segments of TSN."""
    layout: ClassVar[str] = ""
    """Names of the axes of each input, such as ``batch views channels time height width``; empty: not known."""

    max_testing_views: int | None = None
    """Views that the network processes at once outside of training, to save memory; None: all."""

    def sample_step(self) -> Transform | None:
        """Return a step that ends every pipeline of this model; default: None.

        It runs in the worker and makes what depends on arguments of the model: targets of the loss, if the sample is
        annotated, and additional inputs. It is sent to workers, so it must not hold the model.
        """
        return None

    def pipeline(self, steps: Mapping[str, Transform]) -> dict[str, Transform]:
        """Return the steps of a pipeline, followed by ``sample_step``."""
        own = self.sample_step()
        return dict(steps) if own is None else {**steps, "(model)": own}

    def preprocess(self, batch: Batch) -> Batch:
        """Prepare a batch on the device: normalise, and mix samples in training; default: unchanged."""
        return batch

    def loss(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return scalars by name: those with ``loss`` in the name are summed and minimised, others only reported.

        A loss that needs values of all processes (a normaliser, embeddings) uses ``batch.collectives``.
        """
        raise UserError(f"{type(self).__name__} has no loss: it cannot be trained")

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        """Let mistakes on rare classes cost more (``data.balance = "loss"``), and return a sentence about the weights.

        Args:
            counts: (classes,) int64 training samples with each class.
            samples: number of training samples.
        """
        raise UserError(f"{type(self).__name__} has no loss with weights of classes")

    def predict(self, outputs: Any, batch: Batch) -> list[Sample]:
        """Return the samples of the batch, in order, with predictions: ``scores``, ``segments``, ..."""
        raise UserError(f"{type(self).__name__} makes no predictions")

    def class_scores(self, outputs: Any) -> Tensor:
        """Return the ``scores`` that ``predict`` gives each sample, from the outputs of ``forward``: (B, K) float32."""
        raise UserError(f"{type(self).__name__} predicts no scores of classes")

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Convert weights of a different kind of network to weights of a part of this model; None: they fit unchanged.

        Raises:
            CheckpointError: this model cannot use the weights of that network.
        """
        return None


class FeatureModel(Model):
    """Base class of models with features for ``vidcore features``."""

    def clip_features(self, inputs: Any) -> Tensor:
        """Return (B, C) features of preprocessed inputs, which are those of ``forward``."""
        raise NotImplementedError

    def clip_logits(self, inputs: Any) -> Tensor:
        """Return (B, K) class scores of preprocessed inputs, before a softmax, the mean over views."""
        raise UserError(f"{type(self).__name__} has no class scores")


class Preprocessor(nn.Module):
    """Base class of preprocessors, which convert batches of uint8 to inputs of a network, on its device.

    This class converts to float32 and does nothing else.
    """

    num_classes: int | None = None
    """Number of classes, if it mixes labels; None otherwise."""

    def normalise(self, inputs: Tensor) -> Tensor:
        """Convert (B, V, C, ...) uint8 or float to the same shape, float32."""
        return inputs.to(torch.float32)

    def forward(self, batch: Batch) -> Batch:
        """Convert the inputs of a batch."""
        return batch.replace(inputs=self.normalise(batch.inputs))


IMAGE_ONLY = re.compile(r"^((fc|head|classifier|cls_head|pre_logits)\.|mask_token$)")
"""Names of weights that only image networks have."""


class ImageWeights(nn.Module):
    """Base class of backbones that can be initialised from the weights of an image network."""

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the weights of an image network to the names and shapes of this network.

        Raises:
            CheckpointError: they belong to a different network.
        """
        raise NotImplementedError

    def unused_2d_weights(self, names: Iterable[str]) -> list[str]:
        """Return the names in an image network that ``convert_2d_weights`` has no use for.

        Default: those outside of its ``backbone.``, if it has one, and of its classifier.
        """
        names = list(names)
        inner = [name for name in names if name.startswith("backbone.")] or names
        return [n for n in names if n not in inner or IMAGE_ONLY.search(n.removeprefix("backbone."))]


class JoinedNetwork(nn.Module):
    """Base class of networks that may get features of another network, after their own channels."""

    def joined_weights(self, state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Make the weights of the network alone fit this one; random values stay where the other network comes in.

        Returns:
            Tensors by name, of which the file has none, or fewer input channels; and a line about each part that keeps
            random values. Both are empty if the file is of a joined network.
        """
        raise NotImplementedError


def image_weights(backbone: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Convert the weights of an image network to weights of a model's ``backbone``.

    Returns:
        Weights with names that start with ``backbone.``; None if the backbone is not an ``ImageWeights``.

    Raises:
        CheckpointError: they belong to a different network.
    """
    if not isinstance(backbone, ImageWeights):
        return None
    return {f"backbone.{key}": value for key, value in backbone.convert_2d_weights(state_dict).items()}
