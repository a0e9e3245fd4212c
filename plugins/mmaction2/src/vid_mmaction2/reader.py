"""Reading of MMAction2 configuration files as data. Nothing in them is executed.

A ``.json`` file is parsed, a ``.py`` file is evaluated by the rules of ``statements`` and ``expressions``. Time and
memory are bounded by ``operations``. Errors name file and line.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from vid_mmaction2.operations import Budget, merge
from vid_mmaction2.statements import Module
from vidcore.errors import ConfigError
from vidcore.files import parse_json

__all__ = ["read_config"]

MAX_FILE = 500_000
"""Maximum bytes of a file."""


def read_config(path: str | Path, skipped: list[str] | None = None) -> dict[str, Any]:
    """Return the whole configuration, with inheritance resolved, as plain data (as in JSON).

    Args:
        path: a ``.py`` or ``.json`` file.
        skipped: list to which ``file:line: statement`` is appended for each statement that cannot change a value.

    Raises:
        ConfigError: the file is missing, contains something that is not plain data (``file:line``), or exceeds a
            limit.
    """
    budget = Budget()
    config: dict[str, Any] = _with_lists(_load_config(Path(path), (), budget))
    if skipped is not None:
        skipped.extend(budget.skipped)
    return config


def _load_config(path: Path, below: tuple[Path, ...], budget: Budget) -> dict[str, Any]:
    origin = f" (named by {below[-1]})" if below else ""
    try:
        path = path.resolve()
        if path in below:
            raise ConfigError("configurations inherit in a cycle: " + " -> ".join(str(p) for p in (*below, path)))
        if path.suffix not in (".py", ".json") and not path.is_dir():
            found = path.suffix or "no suffix"
            raise ConfigError(f"{path}: a configuration must be a .py or .json file, found {found!r}{origin}")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: cannot be read: it is not a file{origin}")
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigError(f"{path}: a configuration may have at most {MAX_FILE} bytes{origin}")
        budget.charge_file(len(content))
        text = content.decode("utf-8-sig")
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a cycle of links
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigError(f"{ascii(str(path))[1:-1]}: cannot be read: {reason}{origin}") from error
    try:
        if path.suffix != ".json":
            load = partial(_load_config, below=(*below, path), budget=budget)
            return Module(path, text, budget, load).run(lambda names: _bases(path, names, below, budget))
        own = _parse_json(path, text)
        if not isinstance(own, dict):
            raise ConfigError(f"{path}: a configuration must be a dictionary, found {type(own).__name__}")
        budget.charge(own)
        base = _bases(path, own.pop("_base_", []), below, budget)
        merged = merge(base, own, str(path))
        budget.charge(merged)
        return merged
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _parse_json(path: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error


def _bases(path: Path, names: Any, below: tuple[Path, ...], budget: Budget) -> dict[str, Any]:
    """Return the merged files of ``_base_``; no key may be in two of them."""
    joined: dict[str, Any] = {}
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)):
        raise ConfigError(f"{path}: _base_ must be paths relative to this file, found {type(names).__name__}")
    for name in names:
        if not isinstance(name, str) or "::" in name:
            raise ConfigError(f"{path}: _base_ must be paths relative to this file, found {name!r}")
        table = _load_config(path.parent / name, (*below, path), budget)
        if twice := sorted(map(str, joined.keys() & table.keys())):
            raise ConfigError(f"{path}: more than one file of _base_ defines {', '.join(twice)}")
        joined.update(table)
    return joined


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _with_lists(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_lists(v) for v in value]
    return str(value) if isinstance(value, PurePosixPath) else value
