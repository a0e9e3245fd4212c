"""Averaging of scores over the views of a sample."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

__all__ = ["AverageClips", "average_clips"]

AverageClips = Literal["prob", "score", "none"]


def average_clips(
    scores: Tensor, num_views: int, mode: AverageClips = "prob", activation: Literal["softmax", "sigmoid"] = "softmax"
) -> Tensor:
    """Average class scores over the views of each sample.

    Args:
        scores: (samples * num_views, classes), the views of a sample consecutive.
        num_views: views per sample.
        mode: ``prob`` averages probabilities, ``score`` averages scores, ``none`` does not average.
        activation: function from scores to probabilities; ``sigmoid`` if classes are not mutually exclusive.

    Returns:
        (samples, classes), or (samples, num_views, classes) for ``none``.

    >>> average_clips(Tensor([[1.0, 0.0], [3.0, 2.0]]), num_views=2, mode="score").tolist()
    [[2.0, 1.0]]
    """
    views: Tensor = scores.unflatten(0, (-1, num_views))
    if mode == "none":
        return views
    if mode == "prob":
        views = views.softmax(-1) if activation == "softmax" else views.sigmoid()
    return views.mean(1)
