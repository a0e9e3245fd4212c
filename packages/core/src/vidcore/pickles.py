"""Read pickles without running code from them, and with no more memory than their size promises.

A pickle is a program. This reader runs the part that makes plain values and containers, and calls only functions that
a subclass knows. ``read_pickle`` knows the arrays of NumPy, which published annotations hold.
"""

from __future__ import annotations

import math
import mmap
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import define, frozen

__all__ = [
    "Function",
    "PlainUnpickler",
    "Unknown",
    "UnsafeError",
    "as_key",
    "as_set",
    "check_size",
    "ordered",
    "read_pickle",
    "to_bytes",
]

LIMIT = 10_000_000
"""Values in a file, counting those that occur several times as often as they occur."""
DEPTH = 100
"""Containers inside each other."""
KEY_PARTS = 100
"""Values in a key of a dictionary."""
LEAST = 1 << 26
"""Bytes that calls of any file may make; a larger file may make four times its size."""
ENTRY = 64
"""Bytes that an entry of a container takes at least."""


class UnsafeError(Exception):
    """The file holds an object of a class, or calls a function, that a reader does not know; the message names it."""


@frozen
class Unknown:
    """Stands for a class, a function or an object that is not known. Nothing can be done with it."""

    name: str


@frozen(eq=False)
class Function:
    """A function that the file may call."""

    call: Callable[..., Any]


def as_set(items: Iterable[Any] = ()) -> set[Any]:
    """Stands for ``set`` and ``frozenset``."""
    return set(map(as_key, items))


def ordered(items: Iterable[tuple[Any, Any]] = ()) -> OrderedDict[Any, Any]:
    """Stands for ``OrderedDict``."""
    return OrderedDict((as_key(key), value) for key, value in items)


def to_bytes(text: str, encoding: str) -> bytes:
    """Stands for ``codecs.encode``, which old pickles make bytes with."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


def as_key(key: Any) -> Any:
    """Return a key, unless comparing it or computing its hash could take long."""
    todo, seen = [key], 0
    while todo:
        part = todo.pop()
        seen += 1
        if isinstance(part, int) and part.bit_length() > 60:  # many of these can have the same hash
            raise ValueError("a key is too large")
        if isinstance(part, tuple | frozenset):
            if seen + len(part) > KEY_PARTS:
                raise ValueError("a key is too large")
            todo.extend(part)
    return key


_LEFT_OUT = (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ)
"""Instructions that plain values do not need."""


_Base: Any = pickle._Unpickler


class PlainUnpickler(_Base):  # type: ignore[misc]
    """Makes plain values only, and what the functions in ``known`` make.

    In Python: the one in C allocates whatever ten bytes ask for.
    """

    known: ClassVar[Mapping[tuple[str, str], Any]] = {}
    """(module, name) in the file -> what stands for it: a ``Function`` that may be called, or any value."""

    def __init__(self, file: Any, keep_unknown: bool = False, encoding: str = "utf-8") -> None:
        super().__init__(file, encoding=encoding)
        self._file, self._keep_unknown = file, keep_unknown
        place = file.tell()
        file.seek(0, 2)
        self._left = max(LEAST, 4 * file.tell())
        file.seek(place)

    def load(self) -> Any:
        place = self._file.tell()
        if self._file.read(1) != b"\x80":  # a text may look like a pickle that names a class
            raise ValueError("is not a pickle")
        self._file.seek(place)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        known = self.known.get((module, name))
        if known is None and not self._keep_unknown:
            raise UnsafeError(f"{module}.{name}")
        return Unknown(f"{module}.{name}") if known is None else known

    def build(self, target: Any, state: Any) -> None:
        """Set the attributes of an object that a function made; they are not read unless a subclass does."""

    def spend(self, *copied: Any) -> None:
        """Count what is copied: a few bytes of a file can copy what stands in it once as often as they like."""
        for one in copied:
            if isinstance(one, str | bytes | bytearray):
                self._left -= len(one)
            elif isinstance(one, list | tuple | dict | set | frozenset):
                self._left -= ENTRY * len(one)
        if self._left < 0:
            raise ValueError("it makes more values than a file of its size holds")

    def _call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Function):
            self.spend(*arguments)
            return function.call(*arguments)
        if isinstance(function, Unknown) and self._keep_unknown:
            return function
        raise UnsafeError(function.name if isinstance(function, Unknown) else type(function).__name__)

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _new(self) -> None:
        arguments = self.stack.pop()
        self.append(self._call(self.stack.pop(), arguments))

    def _new_with_names(self) -> None:
        self.stack.pop()
        self._new()

    def _build(self) -> None:
        state = self.stack.pop()
        self.build(self.stack[-1], state)

    def _set_items(self) -> None:
        items = self.pop_mark()
        self.fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.fill(self.stack[-1], [(key, value)])

    def _make_dict(self) -> None:
        items = self.pop_mark()
        self.append({as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def fill(self, target: Any, items: Iterable[tuple[Any, Any]]) -> None:
        """Add items to a dictionary."""
        if isinstance(target, dict):
            target.update((as_key(key), value) for key, value in items)
        elif not isinstance(target, Unknown):
            raise TypeError(f"items in a {type(target).__name__}")

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def _appends(self) -> None:
        items = self.pop_mark()
        self._extend(self.stack[-1], items)

    def _extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Unknown):
            raise TypeError(f"items in a {type(target).__name__}")

    def _add_items(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update(as_set(items))

    def _make_frozenset(self) -> None:
        self.append(frozenset(as_set(self.pop_mark())))

    def _load_bytearray(self) -> None:
        data = self.read(int.from_bytes(self.read(8), "little"))  # the original allocates what the file asks for
        self.append(bytearray(data))

    _OWN: ClassVar[dict[bytes, Callable[[Any], None]]] = {
        pickle.BYTEARRAY8: _load_bytearray,
        pickle.REDUCE: _reduce,
        pickle.NEWOBJ: _new,
        pickle.NEWOBJ_EX: _new_with_names,
        pickle.BUILD: _build,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: _set_items,
        pickle.DICT: _make_dict,
        pickle.APPEND: _append,
        pickle.APPENDS: _appends,
        pickle.ADDITEMS: _add_items,
        pickle.FROZENSET: _make_frozenset,
    }
    dispatch: ClassVar[dict[int, Any]] = {
        **{code: load for code, load in _Base.dispatch.items() if bytes([code]) not in _LEFT_OUT},
        **{code[0]: load for code, load in _OWN.items()},
    }


def check_size(content: Any) -> None:
    """Raise ``ValueError`` for content that is small in memory, but endless for those who walk over it or print it."""
    sizes: dict[int, tuple[int, int]] = {}
    """Values in a container, and its depth, by ``id``; 0 while its values are counted."""
    todo = [(content, False)]
    while todo:
        value, counted = todo.pop()
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            continue
        inner = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        if counted:
            found = [sizes.get(id(one), (1, 0)) for one in inner]
            size, depth = 1 + sum(n for n, _ in found), 1 + max((d for _, d in found), default=0)
            if size > LIMIT or depth > DEPTH:
                raise ValueError("its values are nested too deeply")
            sizes[id(value)] = size, depth
        elif id(value) not in sizes:
            sizes[id(value)] = 0, 0
            todo.append((value, True))
            todo.extend((one, False) for one in inner)
        elif sizes[id(value)] == (0, 0):
            raise ValueError("a container holds itself")


@define(eq=False)
class _DType:
    """A dtype of numbers or strings whose byte order is set after it was made."""

    value: np.dtype[Any]


def _dtype(name: Any, *_: Any) -> _DType:
    if not isinstance(name, str) or not re.fullmatch(r"[?biufcSU]\d{0,9}", name):
        raise ValueError(f"an array of the dtype {name!r}")
    return _DType(np.dtype(name))


def _empty(kind: Any, *_: Any) -> np.ndarray[Any, Any]:
    return np.empty(0, np.int8)  # ``build`` fills it


def _array(data: Any, dtype: Any, shape: Any) -> np.ndarray[Any, Any]:
    """Return an array over bytes, if they have the length that its shape promises."""
    if isinstance(data, str):  # the bytes of Python 2, read as Latin-1
        data = data.encode("latin1")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise TypeError("an array of something else than numbers and strings")
    if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"an array of shape {shape!r}")
    promised = math.prod(shape) * dtype.value.itemsize
    if promised != len(data) or not dtype.value.itemsize:
        raise ValueError(f"an array promises {promised} bytes and holds {len(data)}")
    return np.frombuffer(data, dtype.value).reshape(shape)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    if order == "F":
        return _array(data, dtype, shape[::-1]).T
    return _array(data, dtype, shape)


def _no_bytes() -> bytes:
    return b""


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (1,))[0]


class _Arrays(PlainUnpickler):
    """Makes plain values and arrays of NumPy 1 and 2."""

    known: ClassVar[Mapping[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): Function(ordered),
        ("_codecs", "encode"): Function(to_bytes),
        **{(module, kind): Function(as_set) for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")},
        **{(module, "bytes"): Function(_no_bytes) for module in ("builtins", "__builtin__")},  # empty, in protocol 2
        ("numpy", "dtype"): Function(_dtype),
        ("numpy", "ndarray"): Unknown("numpy.ndarray"),  # only given to ``_empty``
        **{
            (f"numpy.{core}.{module}", name): Function(make)
            for core in ("core", "_core")
            for module, name, make in (
                ("multiarray", "_reconstruct", _empty),
                ("multiarray", "scalar", _scalar),
                ("numeric", "_frombuffer", _from_buffer),
            )
        },
    }

    def build(self, target: Any, state: Any) -> None:
        if isinstance(target, _DType):
            order = state[1]
            if order not in ("<", ">", "|", "="):
                raise ValueError(f"the byte order {order!r}")
            target.value = target.value.newbyteorder(order)
        elif isinstance(target, np.ndarray):
            _, shape, dtype, by_columns, data = state
            self.spend(data)
            found = _array(data, dtype, shape[::-1] if by_columns else shape)
            found = found.T if by_columns else found
            target.__setstate__((1, found.shape, found.dtype, False, found.tobytes()))  # type: ignore[arg-type]
        else:
            raise UnsafeError(type(target).__name__)


def read_pickle(path: Path, encoding: str = "utf-8") -> Any:
    """Return the content of a pickle of plain values and NumPy arrays of numbers or strings.

    Args:
        path: the file.
        encoding: of strings that Python 2 wrote; its arrays need ``latin1``.

    Raises:
        UnsafeError: the file holds something else; nothing of it was run.
        Exception: of any type: the file is damaged, or no pickle.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        content = _Arrays(data, encoding=encoding).load()
    check_size(content)
    return content
