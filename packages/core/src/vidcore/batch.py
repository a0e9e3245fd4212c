"""Samples collated into tensors, together with the samples themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, field, frozen
from torch import Tensor

from vidcore.collectives import ALONE, Collectives
from vidcore.errors import DataError
from vidcore.records import Varying
from vidcore.sample import Sample

__all__ = ["Batch", "Ragged", "collate"]


@frozen(eq=False)
class Ragged:
    """The rows of all samples of a batch, one sample after the other."""

    values: Tensor
    """(rows of all samples, ...)"""
    lengths: Tensor
    """(batch,) int64: number of rows of each sample."""

    def split(self) -> tuple[Tensor, ...]:
        """Return the rows of each sample."""
        return torch.split(self.values, self.lengths.tolist())

    @property
    def owners(self) -> Tensor:
        """(rows,) int64: position in the batch of the sample that each row belongs to."""
        return torch.arange(len(self.lengths), device=self.values.device).repeat_interleave(self.lengths)

    @property
    def places(self) -> Tensor:
        """(rows,) int64: position of each row among the rows of its sample."""
        firsts = self.lengths.cumsum(0) - self.lengths
        return torch.arange(len(self.values), device=self.values.device) - firsts.repeat_interleave(self.lengths)


@frozen(eq=False, kw_only=True)
class Batch:
    """The argument of a model's ``preprocess``, ``loss`` and ``predict``."""

    inputs: Any
    """Tensor (batch, ...), or a mapping of tensors by name if samples have several inputs; uint8 for frames."""
    lengths: Mapping[str, Tensor] = field(factory=dict)
    """(batch,) int64 by name of the input: length of each sample without padding; (batch, axes) if several axes vary.
    Only for inputs that vary."""
    labels: Tensor | None = None
    """(batch,) int64 class numbers, or (batch, num_classes) float32 multi-hot or soft labels."""
    targets: Mapping[str, Tensor | Ragged] = field(factory=dict)
    """Targets of the loss in addition to ``labels``, by name: those of ``Sample.targets`` that all samples have."""
    samples: tuple[Sample, ...] = ()
    """The samples without pixels, inputs and targets, in the order of the batch."""
    extra: Mapping[str, Batch] = field(factory=dict)
    """Batches of additional datasets (``data.train_extra``) for the same step, by name."""
    collectives: Collectives = ALONE
    """Collective operations that ``Model.loss`` may call."""

    def __len__(self) -> int:
        return len(self.samples)

    def replace(self, **changes: Any) -> Batch:
        """Return a copy with some fields changed."""
        return evolve(self, **changes)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """Return the batch with its tensors on that device."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (called by the data loader)."""
        return self._changed(torch.Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed = {"inputs": _each(self.inputs, change), "labels": _each(self.labels, change)}
        if self.lengths or self.targets:
            changed |= {"lengths": _each(self.lengths, change), "targets": _each(self.targets, change)}
        if self.extra:
            changed["extra"] = {name: batch._changed(change) for name, batch in self.extra.items()}
        elif all(value is getattr(self, name) for name, value in changed.items()):
            return self
        return evolve(self, **changed)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change a tensor, or every tensor in a mapping; return the same object if nothing changes."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Ragged):
        values, lengths = change(value.values), change(value.lengths)
        return value if values is value.values and lengths is value.lengths else Ragged(values, lengths)
    if isinstance(value, Mapping):
        changed = {name: _each(item, change) for name, item in value.items()}
        return value if all(changed[name] is item for name, item in value.items()) else changed
    return value


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the inputs, targets and labels of samples into a Batch.

    A single input becomes a tensor, several become a mapping. Inputs wrapped in ``Varying`` are padded with zeros at
    the end of their axes. The samples kept in the batch have no frames, inputs or targets.

    Raises ``DataError``, naming two samples, if inputs or targets that must have one shape differ.
    """
    assert samples, "an empty batch"
    names = list(samples[0].inputs)
    if not names:
        raise DataError("the sample has no inputs: end the pipeline with FormatShape, or another step that makes them")
    for sample in samples:
        if different := sample.inputs.keys() ^ samples[0].inputs.keys():
            name = min(different)
            has, lacks = (sample, samples[0]) if name in sample.inputs else (samples[0], sample)
            raise DataError(f"{_who(lacks)} has no input {name!r}, which {_who(has)} has")
    inputs: dict[str, Tensor] = {}
    lengths: dict[str, Tensor] = {}
    for name in names:
        inputs[name] = _stacked(samples, name, lengths)
    targets = {name: _target(samples, name) for name in samples[0].targets if all(name in s.targets for s in samples)}
    labels = None
    if all(s.labels is not None for s in samples):
        labels = torch.from_numpy(np.stack([np.asarray(s.labels, np.float32) for s in samples]))
    elif all(s.label is not None for s in samples):
        labels = torch.tensor([s.label for s in samples], dtype=torch.int64)
    light = tuple(s.replace(inputs={}, targets={}, frames=None, video=None) for s in samples)
    only = inputs[names[0]] if len(names) == 1 else inputs
    return Batch(inputs=only, lengths=lengths, labels=labels, targets=targets, samples=light)


def _stacked(samples: Sequence[Sample], name: str, lengths: dict[str, Tensor]) -> Tensor:
    given = [sample.inputs[name] for sample in samples]
    tensors, first = [_tensor(a) for a in given], given[0]
    if not isinstance(first, Varying) or any(t.ndim != tensors[0].ndim for t in tensors):
        return _same_shape(samples, tensors, name)
    axes = (first.axis,) if isinstance(first.axis, int) else first.axis
    sizes = torch.tensor([[t.shape[axis] for axis in axes] for t in tensors])
    lengths[name] = sizes[:, 0] if isinstance(first.axis, int) else sizes
    return _same_shape(samples, [_padded(t, axes, sizes.amax(0).tolist()) for t in tensors], name)


def _target(samples: Sequence[Sample], name: str) -> Tensor | Ragged:
    given = [sample.targets[name] for sample in samples]
    rows = [_tensor(a) for a in given]
    if not isinstance(given[0], Varying):
        return _same_shape(samples, rows, name)
    return Ragged(torch.cat(rows), torch.tensor([len(r) for r in rows]))


def _tensor(given: Any) -> Tensor:
    return torch.as_tensor(given.array if isinstance(given, Varying) else given)


def _padded(tensor: Tensor, axes: Sequence[int], longest: Sequence[int]) -> Tensor:
    """Return the tensor padded with zeros at the end of these axes, to these lengths."""
    shape = list(tensor.shape)
    for axis, length in zip(axes, longest, strict=True):
        shape[axis] = length
    if shape == list(tensor.shape):
        return tensor
    out = tensor.new_zeros(shape)
    out[tuple(map(slice, tensor.shape))] = tensor
    return out


def _same_shape(samples: Sequence[Sample], tensors: Sequence[Tensor], name: str) -> Tensor:
    if len(tensors) == 1:
        return tensors[0][None]  # saves a copy of the thirty views of a test
    for sample, tensor in zip(samples, tensors, strict=True):
        if tensor.shape != tensors[0].shape:
            raise DataError(
                f"{name!r} of {_who(samples[0])} has shape {tuple(tensors[0].shape)}, that of {_who(sample)} "
                f"{tuple(tensor.shape)}: a batch needs one shape. Resize or crop to one size, use batch_size = 1, "
                "or end the pipeline with Pad, which allows samples to differ along an axis"
            )
    return torch.stack(list(tensors))


def _who(sample: Sample) -> str:
    return f"sample {sample.index}" + (f" ({sample.path})" if sample.path else "")
