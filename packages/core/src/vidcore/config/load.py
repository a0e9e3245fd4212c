"""Reading Task files: ``extends``, merging and ``--set``. The source of every value is kept for messages."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from vidcore.errors import ConfigError, nearest, some

__all__ = [
    *("PARTS", "Loaded", "Source", "Table", "apply_shared_tables", "format_key", "load", "load_table", "override"),
    "recipes_like",
]

Table = dict[str, Any]
Key = tuple[str, ...]
PARTS = ("train", "val", "test")
"""The parts of ``[data]`` that inherit from ``[data.all]``."""
DIRECTIVES = ("_replace_", "_after_", "_before_")


@frozen
class Source:
    """Where a value is written: name for messages, and the folder of relative paths."""

    name: str
    folder: Path
    shared: bool = False
    """Whether it is written in ``data.all``, for all parts of the data."""
    shipped: bool = False
    """Whether the file is a recipe, or a fragment of one."""

    def written(self, key: Key) -> Key:
        """Return the key of a value as it is written in this file."""
        part = 1 if key[:1] == ("data",) else 3  # in a stage: stages.NAME.data.PART
        return (*key[:part], "all", *key[part + 1 :]) if self.shared and len(key) > part else key

    def place(self, key: Key) -> str:
        """Return this file and the key of a value as it is written there, for messages."""
        return f"{self.name}: {format_key(self.written(key))}"


@frozen
class Loaded:
    """A merged Task, and the ``Source`` of each key."""

    data: Table
    sources: dict[Key, Source] = field(factory=dict)
    main: Source = field(factory=lambda: Source("task", Path.cwd()))

    def source(self, key: Key) -> Source:
        """Return the source of a key or of its nearest parent."""
        while key:
            if key in self.sources:
                return self.sources[key]
            key = key[:-1]
        return self.main

    def written(self, key: Key) -> Key:
        """Return the key of a value as it is written in its file."""
        return self._origin(key).written(key)

    def place(self, key: Key) -> str:
        """Return the file in which a value is written, and its key there, for messages."""
        return self._origin(key).place(key)

    def _origin(self, key: Key) -> Source:
        return self.source(next((k for k in self.sources if k[: len(key)] == key), key))  # a table: its first key


def format_key(key: Sequence[str]) -> str:
    """``("data", "train", "2")`` -> ``data.train.2``; keys with dots are quoted."""
    return ".".join(f'"{k}"' if "." in k or " " in k else k for k in key)


def load(task: str | Path, recipes: Mapping[str, Path], overrides: Sequence[str] = ()) -> Loaded:
    """Read a Task file or a recipe, with everything it extends, and apply ``--set`` overrides.

    The beginning of a recipe's name is enough if no other begins like it. Relative paths are relative to the folder of
    their file; in recipes, of the file that extends them; in overrides, to the current folder. Raises ``ConfigError``.
    """
    path = _locate(str(task), Path.cwd(), recipes, "")
    shipped = path in recipes.values()
    main = Source(str(path), Path.cwd() if shipped else path.resolve().parent)
    merged = Loaded({}, main=main)
    _read(path, main.folder, shipped, recipes, merged, ())
    for text in overrides:
        override(merged, text)
    return merged


def recipes_like(name: str, recipes: Iterable[str]) -> list[str]:
    """Return the recipe with this name, or else all whose names begin with it.

    >>> recipes_like("tsn_r50", ["tsn_r50", "tsn_r50_8", "tsm"]), recipes_like("ts", ["tsn_r50", "tsm"])
    (['tsn_r50'], ['tsm', 'tsn_r50'])
    """
    begun = sorted(recipe for recipe in recipes if name and recipe.startswith(name))
    return [name] if name in begun else begun


def load_table(table: Table, name: str = "task") -> Loaded:
    """Return a Task given as plain data, as if read from a file with that name in the current folder."""
    loaded = Loaded({}, main=Source(name, Path.cwd()))
    _add(loaded, copy.deepcopy(table), (), loaded.main)
    return loaded


def _locate(name: str, folder: Path, recipes: Mapping[str, Path], who: str) -> Path:
    """Return the path of a file, or of the recipe with this name or the only one that begins with it."""
    path = folder / name
    if path.is_file():
        return path
    if name.removesuffix(".toml") in recipes:
        return recipes[name.removesuffix(".toml")]
    if name and path.is_dir():
        inside = f"; did you mean {str(Path(name) / 'task.toml')!r}?" if (path / "task.toml").is_file() else ""
        raise ConfigError(f"{who}{name!r} is a folder, not a Task{inside}")
    begun = recipes_like(name, recipes)
    if len(begun) > 1:
        raise ConfigError(f"{who}{name!r} is the beginning of {len(begun)} recipes: {some(begun, 10)}")
    if begun:
        return recipes[begun[0]]
    near = [str(p.relative_to(folder)) for p in folder.glob("*.toml")] if folder.is_dir() else []
    raise ConfigError(f"{who}{name!r} is neither a file in {folder} nor a recipe{nearest(name, [*near, *recipes])}")


def _read(
    path: Path,
    home: Path,
    shipped: bool,
    recipes: Mapping[str, Path],
    into: Loaded,
    chain: tuple[Path, ...],
    at: Key = (),
) -> None:
    """Read what a file extends, then the file, into the table at a key.

    ``home``: folder of relative paths. ``shipped``: the file is a recipe, or a fragment of one.
    """
    if path.resolve() in chain:
        names = " -> ".join(p.name for p in (*chain, path))
        raise ConfigError(f"{path}: extends: is circular: {names}")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    source = Source(str(path), home, shipped=shipped)

    def extend(table: Table, inner: Key) -> None:
        where = f"{path}: {format_key((*inner, 'extends'))}: "
        parents = table.pop("extends", [])
        parents = [parents] if isinstance(parents, str) else parents
        if not isinstance(parents, list) or not all(isinstance(p, str) for p in parents):
            raise ConfigError(f"{where}must be an array of recipe names or paths, got {parents!r}")
        for name in parents:
            parent = _locate(name, path.parent, recipes, where)
            if shipped:
                parent = Path(os.path.normpath(parent))  # no "../base" in messages
            inside = shipped or parent in recipes.values()
            folder = home if inside else parent.resolve().parent
            _read(parent, folder, inside, recipes, into, (*chain, path.resolve()), (*at, *inner))

    extend(data, ())
    stages = data.get("stages")
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        if isinstance(stage, dict):  # a stage is a Task, and may extend others
            inherited = _table(into.data, (*at, "stages", name))  # now, to keep the order of stages
            if _directive(stage, "_replace_", bool, (*at, "stages", name), source):
                inherited.clear()
            extend(stage, ("stages", name))
            stage.pop("_replace_", None)
    _add(into, data, at, source)


def _add(into: Loaded, data: Table, at: Key, source: Source) -> None:
    """Merge the ``data.all`` of a file, then the rest of it, into the table at a key."""
    shared = _take_shared(data, at, source)
    _merge(into, _table(into.data, at), shared, at, evolve(source, shared=True))
    _merge(into, _table(into.data, at), data, at, source)


def _take_shared(task: Table, at: Key, source: Source) -> Table:
    """Remove ``data.all`` from a Task and its stages; return it as a Task that repeats it for each part."""
    shared: Table = {}
    data, stages = task.get("data"), task.get("stages")
    if isinstance(data, dict) and "all" in data:
        common = data.pop("all")
        if not isinstance(common, dict):
            raise ConfigError(f"{source.name}: {format_key((*at, 'data', 'all'))}: must be a table, got {common!r}")
        shared["data"] = {part: copy.deepcopy(common) for part in PARTS}
    for name, stage in stages.items() if isinstance(stages, dict) and not at else ():
        if isinstance(stage, dict) and (inner := _take_shared(stage, ("stages", name), source)):
            shared.setdefault("stages", {})[name] = inner
    return shared


def _table(data: Table, key: Key) -> Table:
    for name in key:
        if not isinstance(data.get(name), dict):
            data[name] = {}
        data = data[name]
    return data


def apply_shared_tables(loaded: Loaded) -> None:
    """Merge the tables beside ``stages`` into every stage that trains; drop parts of the data that no file names."""
    stages = loaded.data.get("stages")
    named = _named(loaded, ())
    if not isinstance(stages, dict) or not stages:
        _drop_others(loaded.data, named)
        return
    common = {name: loaded.data.pop(name) for name in list(loaded.data) if name not in ("stages", "info")}
    sources = {key: source for key, source in loaded.sources.items() if key[0] in common}
    for name, stage in stages.items():
        if not isinstance(stage, dict):
            continue
        own = _named(loaded, ("stages", name))
        if "job" not in stage:
            _merge(loaded, stage, copy.deepcopy(common), ("stages", name), loaded.main)
            loaded.sources.update({("stages", name, *key): source for key, source in sources.items()})
        _drop_others(stage, named | own)


def _named(loaded: Loaded, at: Key) -> set[str]:
    """Return the parts of the data that are written as such, not only through ``data.all``."""
    sources = {part: loaded.sources.get((*at, "data", part)) for part in PARTS}
    return {part for part, source in sources.items() if source and not source.shared}


def _drop_others(task: Table, named: set[str]) -> None:
    data = task.get("data")
    if isinstance(data, dict):
        for part in set(PARTS) - named:
            data.pop(part, None)


def _merge(loaded: Loaded, base: Table, over: Table, at: Key, source: Source) -> None:
    for name, value in over.items():
        if name in DIRECTIVES:
            if not at:
                raise ConfigError(f"{source.name}: {name}: must be inside of the table that it is about")
            continue
        key = (*at, name)
        old = base.get(name)
        if value is False and isinstance(old, dict):  # removes an inherited table
            del base[name]
            continue
        if isinstance(value, dict):
            if _directive(value, "_replace_", bool, key, source) or not isinstance(old, dict):
                old = base[name] = {}
            _merge(loaded, old, value, key, source)
            _move(base, name, value, key, source)
            if source.shared and key in loaded.sources:
                continue  # the part stays one that a file names
        else:
            base[name] = copy.deepcopy(value)
            _strip(base[name])
        loaded.sources[key] = source


def _strip(value: Any) -> None:
    """Drop directives from tables inside arrays, which are never merged."""
    if isinstance(value, list):
        for item in value:
            _strip(item)
    elif isinstance(value, dict):
        for name in DIRECTIVES:
            value.pop(name, None)
        for item in value.values():
            _strip(item)


def _directive(table: Table, name: str, kind: type, key: Key, source: Source) -> Any:
    value = table.get(name)
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{source.name}: {format_key((*key, name))}: must be a {kind.__name__}, got {value!r}")
    return value


def _move(base: Table, name: str, value: Table, key: Key, source: Source) -> None:
    """Move a step to the place that ``_after_`` or ``_before_`` gives."""
    for directive, shift in (("_after_", 1), ("_before_", 0)):
        anchor = _directive(value, directive, str, key, source)
        if anchor is None:
            continue
        moved = base.pop(name)
        if anchor not in base:
            raise ConfigError(
                f"{source.place((*key, directive))}: there is no step {anchor!r}"
                f"{nearest(anchor, base) or '; the steps are ' + (', '.join(base) or 'none')}"
            )
        items = list(base.items())
        items.insert(list(base).index(anchor) + shift, (name, moved))
        base.clear()
        base.update(items)


def override(loaded: Loaded, text: str) -> None:
    """Apply one ``KEY=VALUE``, as in ``--set``. Raises ``ConfigError``."""
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {text}: must be KEY=VALUE, as in --set optimizer.lr=0.01")
    source = Source(f"--set {path}", Path.cwd())
    value = parse_value(raw)
    try:
        key = _keys(path)
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"--set {text}: {path!r} is not a dotted key") from None
    if key[-1] in DIRECTIVES and key[:-1]:  # it is about the table that contains it
        key, value = key[:-1], {key[-1]: value}
    part = 1 if key[0] == "data" else 3
    if key[part - 1 : part + 1] == ("data", "all"):
        for name in PARTS:
            _set(loaded, (*key[:part], name, *key[part + 1 :]), copy.deepcopy(value), evolve(source, shared=True), text)
    else:
        _set(loaded, key, value, source, text)
        if (named := loaded.sources.get(key[: part + 1])) is None or named.shared:
            loaded.sources[key[: part + 1]] = source


def parse_value(text: str) -> Any:
    """Return a value of TOML, or the text itself if it is a bare word; a wrong one will fail the type check."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _set(loaded: Loaded, key: Key, value: Any, source: Source, text: str) -> None:
    at: Any = loaded.data
    for depth, name in enumerate(key[:-1]):
        at = _step(at, name, key[: depth + 1], text)
    if isinstance(at, list):
        at[_position(at, key[-1], key, text)] = value
    elif isinstance(at, dict):
        _merge(loaded, at, {key[-1]: value}, key[:-1], source)
    else:
        raise ConfigError(f"--set {text}: {format_key(key[:-1])} is {at!r}, which has no keys")
    loaded.sources[key] = source


def _keys(path: str) -> Key:
    table: Any = tomllib.loads(f"{path} = 0")
    keys = []
    while isinstance(table, dict):
        (name, table), *_ = table.items()
        keys.append(name)
    return tuple(keys)


def _step(at: Any, name: str, key: Key, text: str) -> Any:
    if isinstance(at, list):
        return at[_position(at, name, key, text)]
    if isinstance(at, dict):
        return at.setdefault(name, {})
    raise ConfigError(f"--set {text}: {format_key(key[:-1])} is {at!r}, which has no keys")


def _position(at: list[Any], name: str, key: Key, text: str) -> int:
    if not name.isdecimal() or int(name) >= len(at):
        raise ConfigError(f"--set {text}: {format_key(key[:-1])} has {len(at)} entries, {name!r} is not an index")
    return int(name)
