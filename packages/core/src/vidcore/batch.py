"""Samples collated into tensors, plus the samples themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, field, frozen

from vidcore.collectives import ALONE, Collectives
from vidcore.errors import DataError
from vidcore.sample import Sample

__all__ = ["Batch", "collate"]


@frozen(eq=False, kw_only=True)
class Batch:
    """What a model's ``preprocess``, ``loss`` and ``predict`` get."""

    inputs: Any
    """Tensor (batch, views, ...) or mapping from modality to such tensors, still uint8 for frames."""
    labels: torch.Tensor | None = None
    """(batch,) int64 class numbers, or (batch, num_classes) float32 many-hot or soft labels."""
    samples: tuple[Sample, ...] = ()
    """The samples without pixels, in batch order."""
    extra: Mapping[str, Batch] = field(factory=dict)
    """Batches of the further datasets (``data.train_extra``) for the same step, by name."""
    collectives: Collectives = ALONE
    """What ``Model.loss`` may ask of the other processes."""

    def __len__(self) -> int:
        return len(self.samples)

    def replace(self, **changes: Any) -> Batch:
        """Return a copy with some fields changed."""
        return evolve(self, **changes)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """Return the batch with its tensors on that device."""

        def move(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        extra = {name: batch.to(device, non_blocking) for name, batch in self.extra.items()}
        inputs, labels = _each(self.inputs, move), _each(self.labels, move)
        if inputs is self.inputs and labels is self.labels and not extra:
            return self  # is there already
        return evolve(self, inputs=inputs, labels=labels, extra=extra)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (called by the data loader)."""
        pin = torch.Tensor.pin_memory
        return evolve(self, inputs=_each(self.inputs, pin), labels=_each(self.labels, pin))


def _each(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A tensor changed, or every tensor in a mapping."""
    if isinstance(value, Mapping):
        return {k: _each(v, change) for k, v in value.items()}
    return change(value) if isinstance(value, torch.Tensor) else value


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack ``sample.inputs`` and the labels of samples into a Batch.

    Inputs of different shapes are padded with zeros at the end of each axis. The samples kept
    in the batch have neither inputs nor frames.
    """
    assert samples, "an empty batch"
    first = samples[0].inputs
    if first is None:
        raise DataError("the sample has no inputs yet: end the pipeline with FormatShape, or what makes them")
    inputs: Any
    if isinstance(first, Mapping):
        inputs = {k: _stack([s.inputs[k] for s in samples]) for k in first}
    else:
        inputs = _stack([s.inputs for s in samples])
    labels = None
    if all(s.labels is not None for s in samples):
        labels = torch.from_numpy(np.stack([np.asarray(s.labels, np.float32) for s in samples]))
    elif all(s.label is not None for s in samples):
        labels = torch.tensor([s.label for s in samples], dtype=torch.int64)
    light = tuple(s.replace(inputs=None, frames=None, video=None) for s in samples)
    return Batch(inputs=inputs, labels=labels, samples=light)


def _stack(arrays: Sequence[Any]) -> torch.Tensor:
    tensors = [torch.as_tensor(a) for a in arrays]
    if len(tensors) == 1:
        return tensors[0][None]  # the thirty views of a test are not copied once more
    shape = tuple(max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True))
    if all(tuple(t.shape) == shape for t in tensors):
        return torch.stack(tensors)
    out = tensors[0].new_zeros((len(tensors), *shape))
    for slot, tensor in zip(out, tensors, strict=True):
        slot[tuple(slice(n) for n in tensor.shape)] = tensor
    return out
