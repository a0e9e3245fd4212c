"""Validators for the arguments of transforms: errors of ours, that name the step and say what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Attribute

from vidcore.errors import UserError, nearest

__all__ = ["at_least", "between", "fail", "one_of", "pair_of_sizes", "rising"]

Validator = Callable[[Any, "Attribute[Any]", Any], None]


def fail(instance: object, attribute: Attribute[Any], value: object, wanted: str) -> None:
    """Refuse a value, saying what is wanted."""
    raise UserError(f"{type(instance).__name__}: {attribute.name} must be {wanted}, got {value!r}")


def at_least(minimum: float) -> Validator:
    """A number of at least that, or None."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if value is not None and not value >= minimum:
            fail(instance, attribute, value, f"at least {minimum}")

    return check


def between(low: float, high: float) -> Validator:
    """A number within [low, high]."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if not low <= value <= high:
            fail(instance, attribute, value, f"between {low} and {high}")

    return check


def rising(low: float, high: float = float("inf")) -> Validator:
    """A pair (smallest, largest) within [low, high]."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if len(value) != 2 or not low <= value[0] <= value[1] <= high:
            fail(instance, attribute, value, f"a pair (smallest, largest) from {low} to {high}")

    return check


def one_of(*allowed: str | int) -> Validator:
    """One of these values."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if value not in allowed:
            names = [str(a) for a in allowed]
            fail(instance, attribute, value, f"one of {', '.join(names)}{nearest(str(value), names)}")

    return check


def pair_of_sizes(instance: object, attribute: Attribute[Any], value: Any) -> None:
    """A side of a square, or (width, height)."""
    sides = (value, value) if isinstance(value, int) else value
    if len(sides) != 2 or min(sides) < 1:
        fail(instance, attribute, value, "a positive number, or a pair (width, height) of them")
