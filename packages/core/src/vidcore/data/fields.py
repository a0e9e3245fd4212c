"""Checks of values in annotation files."""

from __future__ import annotations

import math
from typing import Any

from vidcore.errors import AnnotationError

__all__ = ["finite_number", "positive_number", "whole_number"]


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


def whole_number(where: str, value: Any, least: int = 0, most: int = 2**31 - 1) -> int:
    """Return a value as an integer within [least, most]. Raises ``AnnotationError`` for anything else: 1.5, true."""
    number = finite_number(where, value)
    if number != int(number) or not least <= number <= most:
        raise AnnotationError(f"{where} must be a whole number from {least} to {most}, got {value!r}")
    return int(number)
