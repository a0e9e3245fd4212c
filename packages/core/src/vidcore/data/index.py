"""Annotations of large datasets in a few flat arrays.

A list of 650,000 Python strings and dictionaries takes hundreds of megabytes, and every forked worker
ends up with its own copy: reading an object writes its reference count, which unshares its memory
page. Here row i is a slice of one array, so the annotations take as much memory as their file, and
stay shared between processes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
from attrs import frozen

from vidcore.errors import DataError
from vidcore.typing import Array

__all__ = ["Ragged", "StringTable", "fingerprint", "select_rows"]

Scalar = TypeVar("Scalar", bound=np.generic)


@frozen(eq=False, repr=False)
class Ragged(Generic[Scalar]):
    """Rows of different lengths in one array; row i is ``values[offsets[i]:offsets[i + 1]]``.

    >>> rows = Ragged.from_rows([[3, 5], [], [1]], np.int32)
    >>> len(rows), rows[0], rows[-1]
    (3, array([3, 5], dtype=int32), array([1], dtype=int32))
    """

    values: np.ndarray[tuple[int], np.dtype[Scalar]]
    """(total,): all rows, one after the other."""
    offsets: np.ndarray[tuple[int], np.dtype[np.int64]]
    """(rows + 1,) int64: where each row starts, and the end of the last."""

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]], dtype: type[Scalar]) -> Ragged[Scalar]:
        """Make a table from rows of numbers."""
        ends = array("q", [0])

        def numbers() -> Iterator[Any]:
            for row in rows:
                ends.append(ends[-1] + len(row))
                yield from row

        values = np.fromiter(numbers(), dtype)
        return cls(values, np.array(ends, np.int64))

    @classmethod
    def joined(cls, tables: Sequence[Ragged[Scalar]]) -> Ragged[Scalar]:
        """Return the rows of all tables, one after the other."""
        ends = np.cumsum([0, *(len(table.values) for table in tables)])
        offsets = [table.offsets[1:] + start for table, start in zip(tables, ends, strict=False)]
        return cls(np.concatenate([t.values for t in tables]), np.concatenate([np.zeros(1, np.int64), *offsets]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray[tuple[int], np.dtype[Scalar]]:
        """Return a row: a view, not a copy."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {len(self.values)} {self.values.dtype})"

    def take(self, indices: Sequence[int] | Array) -> Ragged[Scalar]:
        """Return the selected rows, in this order, as a new table."""
        rows = [self[int(i)] for i in indices]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return Ragged(np.concatenate([self.values[:0], *rows]), offsets)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.values.nbytes + self.offsets.nbytes


@frozen(eq=False, repr=False)
class StringTable(Sequence[str]):
    """An immutable sequence of strings, kept as UTF-8 bytes in one array.

    Bytes that are not UTF-8 are kept as ``os.fsdecode`` keeps them, since file names may contain any.

    >>> names = StringTable.from_strings(["a.mp4", "b c.mp4"])
    >>> names[1], len(names), list(names.take([1, 1]))
    ('b c.mp4', 2, ['b c.mp4', 'b c.mp4'])
    """

    rows: Ragged[np.uint8]

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> StringTable:
        """Make a table from strings; an iterator is consumed one string at a time."""
        blob, ends = bytearray(), array("q", [0])
        for string in strings:
            blob += string.encode("utf-8", "surrogateescape")
            ends.append(len(blob))
        return cls(Ragged(np.frombuffer(blob, np.uint8).copy(), np.array(ends, np.int64)))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.rows[index].tobytes().decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return f"StringTable({len(self)} strings, {self.nbytes} bytes)"

    def take(self, indices: Sequence[int] | Array) -> StringTable:
        """Return the selected strings, in this order, as a new table."""
        return StringTable(self.rows.take(indices))

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.rows.nbytes


def select_rows(indices: int | Sequence[int], total: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the selected of ``total`` row numbers: the first n (n >= 0), the last -n (n < 0), or those listed.

    Raises ``DataError`` if a listed number is out of range.
    """
    rows = np.arange(total)
    if isinstance(indices, int):
        return rows[:indices] if indices >= 0 else rows[indices:]
    try:
        return rows[np.asarray(indices, np.int64)]
    except IndexError as error:
        raise DataError(f"indices: {error}") from error


def fingerprint(head: str, *arrays: Array) -> str:
    """Return a hash of data as 16 hexadecimal digits, the same on every machine.

    Args:
        head: everything that is not in arrays.
        arrays: of any dtype and shape.
    """
    digest = hashlib.sha256(head.encode("utf-8", "surrogateescape"))
    for part in arrays:
        digest.update(part.astype(part.dtype.newbyteorder("<"), order="C", copy=False).data)
    return digest.hexdigest()[:16]
