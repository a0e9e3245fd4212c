"""Bounded operations on plain data: what expressions in a configuration file may compute.

Time and memory are bounded: a value has a maximum size, counted as if nothing in it were shared, and the sizes of
all computed values count against a budget that all files of a configuration share.
"""

from __future__ import annotations

import ast
import copy
import math
import operator
import posixpath
import re
import string
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from attrs import define, field

from vidcore.errors import ConfigError

__all__ = [
    "FUNCTIONS",
    "IMPORTED",
    "NOT_DATA",
    "Budget",
    "apply",
    "call_method",
    "format_value",
    "merge",
    "path_part",
]

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_IN_PLACE = _OPERATORS | {ast.Add: operator.iadd, ast.Mult: operator.imul, ast.BitOr: operator.ior}
MAX_SIZE = 200_000
"""Maximum elements of a value at all depths; eight characters of a string count as one."""
MAX_DEPTH = 50
"""Maximum depth of a value."""
MAX_WORK = 5_000_000
"""Maximum sum of the sizes of all computed values."""
STEP = 25
"""Cost of computing a value, in addition to its size."""
MAX_WIDTH = 999
"""Maximum width or precision of a formatted value."""
_PERCENT_KEY = re.compile(r"%\([^()]*\)")
_PERCENT = re.compile(r"%[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?")


def format_value(value: Any, spec: str, conversion: str = "") -> str:
    """Format a value as an f-string does. Raises ``ValueError`` for large widths."""
    if any(len(number) > len(str(MAX_WIDTH)) for number in re.findall(r"\d+", spec)):
        raise ValueError(f"widths must be at most {MAX_WIDTH}")
    match conversion:
        case "s":
            value = str(value)
        case "r":
            value = repr(value)
        case "a":
            value = ascii(value)
    return format(str(value) if isinstance(value, PurePosixPath) else value, spec)


class _Formatter(string.Formatter):
    """``str.format`` without attribute access, and with bounded widths and length."""

    def __init__(self) -> None:
        self.length = 0

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if "." in field_name:
            raise ValueError(f"{{{field_name}}} reads an attribute")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        text = format_value(value, format_spec)
        self.length += len(text)
        if self.length > 8 * MAX_SIZE:
            raise ValueError("the result is too long")
        return text


def _percent(text: str, values: Any) -> str:
    without_keys = _PERCENT_KEY.sub("%", text)
    if "%(" in without_keys:
        raise ValueError("keys of % must not contain brackets")
    specs = _PERCENT.findall(without_keys)
    if any(number == "*" or len(number) > len(str(MAX_WIDTH)) for spec in specs for number in spec):
        raise ValueError(f"widths must be at most {MAX_WIDTH}")
    if len(specs) * _size(values) > MAX_SIZE:
        raise ValueError("the result may be too long")
    return str(text % values)


def _join(separator: str, parts: Any) -> str:
    if len(separator) * len(parts) > 8 * MAX_SIZE:
        raise ValueError("the result is too long")
    return separator.join(parts)


def _range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > MAX_SIZE:
        raise ValueError(f"more than {MAX_SIZE} numbers")
    return list(numbers)


def _sum(values: Any, start: Any = 0) -> Any:
    return [*start, *chain.from_iterable(values)] if isinstance(start, list) else sum(values, start)


def _round(value: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > MAX_WIDTH:
        raise ValueError(f"digits must be at most {MAX_WIDTH}")
    return round(value, digits)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if len(text) * len(new) > 8 * MAX_SIZE:
        raise ValueError("the result may be too long")
    return text.replace(old, new, count)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (dict, list, tuple, str, int, float, bool, len, max, min, abs, sorted)},
    "enumerate": lambda values, start=0: list(enumerate(values, start)),
    "range": _range,
    "round": _round,
    "sum": _sum,
    "zip": lambda *values: list(zip(*values, strict=False)),
}
IMPORTED: dict[str, Callable[..., Any]] = {
    **{f"os.path.{f.__name__}": f for f in (posixpath.join, posixpath.dirname, posixpath.basename, posixpath.normpath)},
    **{f"pathlib.{name}": PurePosixPath for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")},
    **{f"copy.{f.__name__}": f for f in (copy.copy, copy.deepcopy)},
    **{f"math.{f.__name__}": f for f in (math.ceil, math.floor)},
}
_METHODS: dict[type, tuple[str, ...]] = {
    dict: ("copy", "get", "items", "keys", "pop", "setdefault", "update", "values"),
    list: ("append", "copy", "extend", "index", "insert", "pop", "remove"),
    str: ("endswith", "lower", "rstrip", "split", "splitlines", "startswith", "strip", "upper"),
    PurePosixPath: ("as_posix", "joinpath", "with_name", "with_suffix"),
}
_BOUNDED: dict[tuple[type, str], Callable[..., Any]] = {
    (str, "format"): lambda text, *values, **named: _Formatter().vformat(text, values, named),
    (str, "join"): _join,
    (str, "replace"): _replace,
    # links are not followed, and a relative path stays relative to the Task
    **{(PurePosixPath, name): lambda path: PurePosixPath(posixpath.normpath(path)) for name in ("absolute", "resolve")},
}
"""Methods that would take too much memory, or read the disk, if they were called as they are."""
_PATH_PARTS: dict[str, Callable[[PurePosixPath], Any]] = {
    **{name: operator.attrgetter(name) for name in ("name", "parent", "parts", "stem", "suffix")},
    "parents": lambda path: list(path.parents),
}
NOT_DATA = object()
"""Returned for operations that are not supported, rather than None."""


def apply(op: ast.AST, *values: Any, in_place: bool = False) -> Any:
    """Apply a unary, binary or comparison operator; return ``NOT_DATA`` if it is not supported.

    Args:
        in_place: change a list or dictionary, as ``x += [1]`` does.

    Raises ``ValueError`` if the result would be too large, and whatever the operator raises.
    """
    if isinstance(op, ast.In | ast.NotIn):
        return (values[0] in values[1]) is isinstance(op, ast.In)
    if isinstance(op, ast.Is | ast.IsNot):
        return (values[0] is values[1]) is isinstance(op, ast.Is)
    if type(op) not in _OPERATORS:
        return NOT_DATA
    if isinstance(op, ast.Mult) and any(isinstance(v, (str, list, tuple)) for v in values):
        sizes = [len(v) if isinstance(v, (str, list, tuple)) else v for v in values]
        if all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] > MAX_SIZE:
            raise ValueError(f"a repetition may have at most {MAX_SIZE} elements")
    if isinstance(op, ast.Mod) and isinstance(values[0], str):
        return _percent(*values)
    return (_IN_PLACE if in_place else _OPERATORS)[type(op)](*values)


def call_method(owner: Any, method: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Call a method of plain data; return ``NOT_DATA`` if it is not supported.

    Raises ``ValueError`` if the result would be too large, and whatever the method raises.
    """
    if (bounded := _BOUNDED.get((type(owner), method))) is not None:
        return bounded(owner, *arguments, **named)
    if method not in _METHODS.get(type(owner), ()):
        return NOT_DATA
    result = getattr(owner, method)(*arguments, **named)
    return list(result) if method in ("items", "keys", "values") else result


def path_part(path: PurePosixPath, name: str) -> Any:
    """Return an attribute of a path, such as ``parent``; ``NOT_DATA`` if it is not supported."""
    return _PATH_PARTS[name](path) if name in _PATH_PARTS else NOT_DATA


def _size(value: Any) -> int:
    """Return the number of elements at all depths. Raises ``ValueError`` for a value that is too large or too deep."""
    size, depth, level = 1, 0, [value]
    while level:
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is list or kind is tuple:
                inner.extend(item)
            elif kind is dict:
                inner.extend(chain.from_iterable(item.items()))
            elif kind is int:
                if item.bit_length() > 1024:
                    raise ValueError("an integer of more than 1024 bits")
            elif kind is str or kind is PurePosixPath:
                text = str(item)
                if not text.isascii():
                    text.encode()  # a lone surrogate cannot be written
                size += len(text) // 8
            if size + len(inner) > MAX_SIZE:
                raise ValueError(f"more than {MAX_SIZE} elements")
        size, depth, level = size + len(inner), depth + 1, inner
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")
    return size


@define
class Budget:
    """State shared by all files of a configuration."""

    skipped: list[str] = field(factory=list)
    """``file:line: statement``, one for each statement that cannot change a value."""
    work: int = 0

    def charge_file(self, length: int) -> None:
        """Charge a file. Raises ``ValueError`` if the budget is exceeded."""
        self.work += MAX_WORK // 1000 + length
        if self.work > MAX_WORK:
            raise ValueError("the configuration has too many files, or takes too many steps")

    def charge(self, value: Any) -> None:
        """Charge a value. Raises ``ValueError`` if it is too large, or the budget is exceeded."""
        self.work += STEP + _size(value)
        if self.work > MAX_WORK:
            raise ValueError("the configuration takes too many steps")


def merge(base: dict[str, Any], own: dict[str, Any], where: str, inside: str = "") -> dict[str, Any]:
    """Merge ``own`` into ``base``: dictionaries merge, other values replace; ``_delete_`` replaces a dictionary."""
    merged = dict(base)
    for key, value in own.items():
        if not isinstance(value, dict):
            merged[key] = value
            continue
        value = dict(value)
        if value.pop("_delete_", False) or key not in base or base[key] is None:
            merged[key] = value
        elif isinstance(base[key], dict):
            merged[key] = merge(base[key], value, where, f"{inside}{key}.")
        else:
            found = type(base[key]).__name__
            raise ConfigError(f"{where}: {inside}{key} is a dictionary here and {found} in _base_; add _delete_=True")
    return merged
