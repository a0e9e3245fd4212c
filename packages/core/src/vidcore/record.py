"""The base class of records.

A package adds a kind of annotation by subclassing ``Record`` and keeping it in ``Sample.extra``::

    @frozen(eq=False)
    class Masks(Record):
        masks: Array = field(validator=shape(None, None, None))

    sample.replace(extra={**sample.extra, "masks": Masks(masks)})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from attrs import Attribute, evolve, fields, frozen

from vidcore.errors import UserError
from vidcore.geometry import Box
from vidcore.typing import Array

__all__ = ["Record", "same_length", "shape"]


def shape(*wanted: int | None) -> Any:
    """Return a validator: None, or an array of this shape, where None stands for any length."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if value is None:
            return
        found = np.shape(value)
        if len(found) != len(wanted) or any(w is not None and w != s for w, s in zip(wanted, found, strict=True)):
            legend = ", ".join("*" if w is None else str(w) for w in wanted)
            name = f"{type(instance).__name__}.{attribute.name}"
            raise ValueError(f"{name} must have shape ({legend}), got {tuple(found)}")

    return check


def same_length(record: Record) -> None:
    """Raise ``ValueError`` if the arrays of a record do not have one row for each entry."""
    if len({len(value) for _, value in record.columns()}) > 1:
        found = ", ".join(f"{a.name} has {len(value)}" for a, value in record.columns())
        raise ValueError(f"{type(record).__name__}: all arrays must have one row for each entry; {found}")


@frozen(eq=False)
class Record:
    """Base class of records: immutable attrs classes whose array fields have one row for each entry.

    Geometry calls ``resized``, ``cropped`` and ``flipped``; by default they return the record unchanged. A record that
    belongs to a crop cannot follow rotations and shears by default.
    """

    follows_crops: ClassVar[bool] = False
    """Whether entries belong to one crop of the frames, so that several crops of a clip cannot share them."""
    cell_names: ClassVar[tuple[str, ...]] = ("score", "class")
    """Columns of ``cells``."""

    def columns(self) -> Iterator[tuple[Attribute[Any], Array]]:
        """Yield the array fields that are set."""
        for attribute in fields(type(self)):
            value = getattr(self, attribute.name)
            if isinstance(value, np.ndarray):
                yield attribute, value

    def __len__(self) -> int:
        return next((len(value) for _, value in self.columns()), 0)

    def select(self, rows: Any) -> Self:
        """Return the entries that an index array, a slice or a mask selects."""
        return evolve(self, **{a.name: value[rows] for a, value in self.columns()})

    def resized(self, factors: tuple[float, float]) -> Self:
        """Return the record for frames scaled by (horizontal, vertical) factors."""
        return self

    def cropped(self, box: Box) -> Self:
        """Return the record for frames cropped to a box."""
        return self

    def flipped(self, size: tuple[int, int], direction: str, swaps: Sequence[tuple[int, int]] = ()) -> Self:
        """Return the record for mirrored frames.

        Args:
            size: height and width of the frames.
            direction: ``horizontal`` or ``vertical``.
            swaps: pairs of joints that are exchanged (left and right).
        """
        return self

    def warped(self, matrix: Array, size: tuple[int, int]) -> Self:
        """Return the record for frames that are rotated, sheared or shifted.

        Args:
            matrix: (2, 3) float64 from the old to the new position of a pixel, counted from the middle of the first.
            size: height and width of the frames, which stay.

        Raises ``UserError`` if this kind of record cannot follow.
        """
        if self.follows_crops:
            raise UserError(f"{type(self).__name__} cannot follow frames that are rotated, sheared or shifted")
        return self

    def in_pixels(self, size: tuple[int, int]) -> Self:
        """Return the record in pixels of decoded frames (height, width), if it still is in fractions of them."""
        return self

    def rows(self, class_names: Sequence[str] | None = None) -> list[dict[str, Any]] | None:
        """Return the entries for people, JSON and CSV, best first; None if this kind of record is not listed."""
        return None

    def compared(self, truth: Self) -> tuple[float, dict[str, Any]] | None:
        """Compare predicted entries with the annotated ones of the same sample.

        Returns:
            How wrong they are, a number that orders samples (the highest is the worst), and facts about it for a table;
            None if this kind of record is not compared.
        """
        return None

    def line(self, row: Mapping[str, Any]) -> str:
        """Return one of ``rows`` as a line for the terminal."""
        return "  ".join(f"{name} {value}" for name, value in row.items())

    def cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return one of ``rows`` as a line of a CSV table, with the columns ``cell_names``."""
        return {name: row.get(name) for name in self.cell_names}

    def arrays(self) -> dict[str, Array]:
        """Return the values to save, by field: arrays, and numbers as 0-D arrays."""
        given = {a.name: getattr(self, a.name) for a in fields(type(self))}
        return {name: np.asarray(v) for name, v in given.items() if isinstance(v, np.ndarray | bool | int | float)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Make a record from the result of ``arrays``."""
        return cls(**{name: array if array.ndim else array.item() for name, array in arrays.items()})
