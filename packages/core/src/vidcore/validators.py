"""Validators of arguments: the error names the component and the argument, and says what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Attribute

from vidcore.errors import UserError, nearest

__all__ = ["ascending_pair", "at_least", "below_one", "fail", "in_range", "one_of", "pair_of_sizes"]

Validator = Callable[[Any, "Attribute[Any]", Any], None]


def fail(instance: object, attribute: Attribute[Any], value: object, wanted: str) -> None:
    """Raise ``UserError``: the value must be what ``wanted`` says."""
    raise UserError(f"{type(instance).__name__}: {attribute.name} must be {wanted}, got {value!r}")


def at_least(minimum: float, above: bool = False) -> Validator:
    """A number of at least ``minimum`` (or above it), or None."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if value is not None and not (value > minimum if above else value >= minimum):
            fail(instance, attribute, value, f"{'more than' if above else 'at least'} {minimum}")

    return check


def below_one(instance: object, attribute: Attribute[Any], value: Any) -> None:
    """A number of at least 0 and below 1, or None."""
    if value is not None and not 0 <= value < 1:
        fail(instance, attribute, value, "at least 0 and less than 1")


def in_range(low: float, high: float) -> Validator:
    """A number within [low, high]."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if not low <= value <= high:
            fail(instance, attribute, value, f"between {low} and {high}")

    return check


def ascending_pair(low: float, high: float = float("inf")) -> Validator:
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
