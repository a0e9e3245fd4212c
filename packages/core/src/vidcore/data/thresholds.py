"""Thresholds above which a model says that a sample has a label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vidcore.errors import CheckpointError

__all__ = ["THRESHOLDS", "thresholds_beside_weights"]

THRESHOLDS = "thresholds"
"""Key of the thresholds beside weights: in checkpoints, and in releases."""


def thresholds_beside_weights(about: Mapping[str, Any], source: str = "weights") -> tuple[float, ...] | None:
    """Return the threshold of each class kept beside weights; None if there are none.

    Args:
        about: everything in a checkpoint but the weights.
        source: where it comes from, for messages.

    Raises ``CheckpointError`` if they are not finite numbers.
    """
    found = about.get(THRESHOLDS)
    if found is None:
        return None
    if not isinstance(found, list | tuple):
        raise CheckpointError(f"{source}: {THRESHOLDS} must be a list of numbers, and is a {type(found).__name__}")
    for number, value in enumerate(found):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise CheckpointError(f"{source}: {THRESHOLDS}.{number} must be a number, and is {repr(value)[:60]}")
    return tuple(map(float, found)) or None
