"""Outputs of a model that are NaN: they must not get a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from vidcore.predictions import non_finite
from vidcore.sample import Sample

__all__ = ["unusable"]


def unusable(outputs: Any, predictions: Sequence[Sample]) -> dict[int, str]:
    """Return why predictions cannot be used, by their position in the batch.

    Outputs are looked at as well, since post-processing may drop what is NaN.

    Args:
        outputs: of ``Model.forward``: tensors whose first dimension is the samples, perhaps times views.
        predictions: of ``Model.predict`` for these outputs.
    """
    found: dict[int, str] = {}
    for tensor in _tensors(outputs):
        if tensor.is_floating_point() and bool((broken := tensor.detach().isnan()).any()):
            size = len(predictions)
            rows = broken.reshape(size, -1).any(1).tolist() if len(tensor) % size == 0 else [True] * size
            found |= {i: "the outputs of the model contain NaN" for i, row in enumerate(rows) if row}
    return found | {i: reason for i, sample in enumerate(predictions) if (reason := non_finite(sample))}


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value[None] if value.ndim == 0 else value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
