"""Preprocessing of batches of uint8 frames, on the device of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vid_recognition.models.blending import BatchBlending
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.nn import Preprocessor, require

__all__ = ["ActionDataPreprocessor", "MultiModalDataPreprocessor"]


class ActionDataPreprocessor(Preprocessor):
    """Normalises frames, and blends samples while training.

    Args:
        mean: mean of each channel, in the range of the frames (0 to 255).
        std: standard deviation of each channel.
        to_rgb: reverse the channels first (frames that vidcore reads are RGB already).
        to_float32: convert to float32 if there is no ``mean``.
        blending: blending of the samples of a training batch.
        format_shape: layout of a sample: ``NCHW`` frames, ``NCTHW`` clips, or ``MIX2d3d`` single images
            or clips, with or without an axis of views.

    ``forward``: Batch -> Batch; inputs (B, N, C, [T,] H, W) uint8 or float -> the same shape, float32.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        to_float32: bool = True,
        blending: BatchBlending | None = None,
        format_shape: Literal["NCHW", "NCTHW", "MIX2d3d"] = "NCHW",
    ) -> None:
        super().__init__()
        require((mean is None) == (std is None), "set both mean and std, or neither")
        require(format_shape in ("NCHW", "NCTHW", "MIX2d3d"), f"unknown format_shape {format_shape!r}")
        require(mean is None or std is None or len(mean) == len(std), "mean and std must have the same length")
        require(std is None or all(std), f"std must not be 0, got {std}")
        self.register_buffer("mean", None if mean is None else torch.tensor(mean, dtype=torch.float32), False)
        self.register_buffer("std", None if std is None else torch.tensor(std, dtype=torch.float32), False)
        self.to_rgb = to_rgb
        self.to_float32 = to_float32
        self.blending = blending
        self.num_classes = None if blending is None else blending.num_classes
        self.format_shape = format_shape

    @torch.no_grad()
    def forward(self, batch: Batch) -> Batch:
        batch = batch.replace(inputs=self.normalise(batch.inputs))
        if self.blending is None or not self.training:
            return batch
        if batch.labels is None:
            raise UserError("blending needs a label for each sample")
        inputs, labels = self.blending(batch.inputs, batch.labels)
        return batch.replace(inputs=inputs, labels=labels)

    @torch.no_grad()
    def normalise(self, inputs: Tensor) -> Tensor:
        """Return ``(inputs - mean) / std``: the same shape, float32.

        Raises ``UserError`` if the number of channels is not that of ``mean``.
        """
        axis = 2  # channels follow samples and views; images and training clips of MIX2d3d have no views
        if self.format_shape == "MIX2d3d" and inputs.ndim < 6:
            axis = 1
        if self.to_rgb:
            inputs = inputs.flip(axis)
        if self.mean is None or self.std is None:
            return inputs.to(torch.float32) if self.to_float32 else inputs
        channels = inputs.shape[axis] if inputs.ndim > axis else 0
        if channels != len(self.mean):
            raise UserError(
                f"mean and std are for {len(self.mean)} channels, but inputs of shape {tuple(inputs.shape)} have"
                f" {channels} on axis {axis}: see format_shape and input_format of FormatShape"
            )
        shape = (-1, *[1] * (inputs.ndim - axis - 1))
        # one conversion, then in place
        return inputs.to(torch.float32, copy=True).sub_(self.mean.view(shape)).div_(self.std.view(shape))


class MultiModalDataPreprocessor(Preprocessor):
    """Preprocesses each modality of a batch separately.

    Args:
        preprocessors: modality to preprocessor.

    ``forward``: Batch -> Batch; inputs are a mapping from modality to tensor.
    """

    def __init__(self, preprocessors: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in preprocessors.items():
            blends = isinstance(part, ActionDataPreprocessor) and part.blending is not None
            require(not blends, f"preprocessors.{name}.blending: would blend the samples of one modality only")
        self.preprocessors = nn.ModuleDict(preprocessors)

    def forward(self, batch: Batch) -> Batch:
        if set(batch.inputs) != set(self.preprocessors):
            raise UserError(
                f"inputs have {sorted(batch.inputs)}, but there are preprocessors for {sorted(self.preprocessors)}"
            )
        parts = {name: batch.replace(inputs=tensor) for name, tensor in batch.inputs.items()}
        return batch.replace(inputs={name: self.preprocessors[name](part).inputs for name, part in parts.items()})
