"""Writing TOML as a person would: short arrays on one line, a header per table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import tomlkit

__all__ = ["dumps"]


def dumps(data: Mapping[str, Any]) -> str:
    """Return a table as TOML that ``tomllib`` reads back as equal data, floats to the last bit.

    Keys keep their order, except that TOML requires the plain values of a table before its sub-tables.
    Tuples become arrays, paths become strings. TOML has no null: ``None`` raises ``TypeError``.

    >>> print(dumps({"optimizer": {"type": "SGD", "betas": (0.9, 0.999)}}), end="")
    [optimizer]
    type = "SGD"
    betas = [0.9, 0.999]
    """
    return tomlkit.dumps(_to_toml(data, "")).strip("\n") + "\n"


def _to_toml(value: Any, where: str) -> Any:
    """Convert a value to the types that TOML has.

    Arrays without tables are parsed: to build one of n items, tomlkit needs time in proportion to n squared.
    """
    if isinstance(value, Mapping):
        return {str(k): _to_toml(v, f"{where}.{k}" if where else str(k)) for k, v in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_to_toml(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if any(type(item) in (dict, list) for item in items):  # with tables inside
            return items
        return tomlkit.value(f"[{', '.join(tomlkit.item(item).as_string() for item in items)}]")
    if value is None:
        raise TypeError(f"{where}: TOML cannot express None")
    return value
