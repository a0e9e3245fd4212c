"""Checks of values in annotation files."""

from __future__ import annotations

import math
from typing import Any

from vidcore.errors import AnnotationError

__all__ = ["finite_number", "positive_number"]


def finite_number(where: str, value: Any) -> float:
    """Return a value as a finite number. Raises ``AnnotationError`` for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise AnnotationError(f"{where}: {value!r} is not a number")
    return number


def positive_number(where: str, value: Any) -> float:
    """Return a value as a finite number above 0. Raises ``AnnotationError`` for anything else."""
    number = finite_number(where, value)
    if number <= 0:
        raise AnnotationError(f"{where} must be above 0, got {number:g}")
    return number
