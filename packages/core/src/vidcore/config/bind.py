"""Checks of tables against types, and construction of objects from tables.

``Binder.bind`` checks without importing anything and collects all problems; ``build`` then makes the
objects, innermost first, so a component gets objects and never looks anything up.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from attrs import evolve, field, frozen

from vidcore.config.load import Key, Loaded, format_key
from vidcore.config.references import stage_reference
from vidcore.config.signature import Signature, read_signature
from vidcore.config.types import ByName, Choice, DictOf, ListOf, Object, Record, Scalar, TupleOf, Type, Union
from vidcore.errors import ConfigError, DataError, MissingLibraryError, PluginError, UserError, nearest
from vidcore.plugins.catalog import Catalog, Component, kind_of, load_plugins
from vidcore.plugins.place import failed_at

__all__ = ["Binder", "Call", "build", "build_component"]


BUILD_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError)
"""Errors that a component, or a layer it makes, raises if its arguments are not valid."""

BASES = {
    "Dataset": "vidcore.protocols:Dataset",
    "Metric": "vidcore.protocols:Metric",
    "Model": "vidcore.nn:Model",
    "Observer": "vidcore.protocols:Observer",
}
"""The class that a component must subclass if the annotation is one of these names."""


@frozen
class Call:
    """A component, or the class of a table without ``type``, and its checked arguments, for ``build``."""

    component: Component | Record
    arguments: dict[str, Any]
    key: Key = ()
    source: str = ""
    base: str = ""
    """The class that the object must be an instance of, ``"module:attribute"``; empty: any."""
    shipped: bool = False
    """Whether it is written in a recipe."""

    @property
    def place(self) -> str:
        """File, key and component name of the table, for messages."""
        return "".join(f"{part}: " for part in (self.source, format_key(self.key), self.component.name) if part)


def build(bound: Any) -> Any:
    """Make the objects of a bound value, and load components that are only named.

    Raises ``UserError`` if a component rejects its arguments.
    """
    if isinstance(bound, Component):
        return bound.load()
    if isinstance(bound, Call):
        arguments = {name: build(value) for name, value in bound.arguments.items()}
        factory = bound.component.load()
        try:
            made = factory(**arguments)
        except UserError as error:
            if type(error) not in (UserError, ConfigError, DataError):  # names its own place, such as a line of a file
                raise
            reason = str(error).removeprefix(f"{bound.component.name}: ")
            raise type(error)(f"{bound.place}{reason}{_other_data(bound)}") from error
        except Exception as error:
            line = failed_at(error)
            if not line and not isinstance(error, BUILD_ERRORS):
                raise
            raise UserError(f"{bound.place}{_reason(error, line)}") from error
        if bound.base and not isinstance(made, resolve_name(bound.base)):
            base = bound.base.replace(":", ".")
            raise ConfigError(
                f"{bound.place}must be a subclass of {base}, got {type(made).__name__}; see docs/plugins.md"
            )
        return made
    if isinstance(bound, dict):
        return {name: build(value) for name, value in bound.items()}
    if isinstance(bound, list | tuple):
        return type(bound)(build(value) for value in bound)
    return bound


def _other_data(bound: Call) -> str:
    """Return what to do about a dataset of a recipe, whose files are elsewhere or not wanted."""
    part, dataset = bound.key[-2:] if len(bound.key) > 2 else ("", "")
    if not bound.shipped or dataset != "dataset":
        return ""
    key = format_key(bound.key[:-1])
    without = f", or {key} = false to do without" if part in ("val", "test") else ""
    return f"; it is the recipe's: set {key}.dataset in your Task{without}"


def _reason(error: Exception, line: str) -> str:
    """Return the message of an exception without the source locations that torch appends.

    Args:
        line: file and line in the code of a user, to add with the type; or empty.
    """
    first = (str(error).splitlines() or [""])[0]
    if line:
        return f"{first} ({type(error).__name__} at {line})"
    return first if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {first}"


def build_component(table: Mapping[str, Any], kind: str | None = None, catalog: Catalog | None = None) -> Any:
    """Check and build one component table, e.g. ``{"type": "TSNHead", "num_classes": 5, "in_channels": 64}``.

    Raises ``ConfigError`` with all problems of the table.
    """
    binder = Binder(catalog or load_plugins(), Loaded(dict(table)))
    bound = binder.component(dict(table), kind, ())
    if binder.problems:
        raise ConfigError(binder.problems)
    return build(bound)


@frozen
class Binder:
    """Checks the values of one Task. ``problems`` collects messages, one line each."""

    catalog: Catalog
    loaded: Loaded
    problems: list[str] = field(factory=list)
    paths: dict[Key, Path] = field(factory=dict)
    """Every path in the Task, absolute."""

    def bind(self, value: Any, wanted: Type, key: Key) -> Any:
        """Return the value converted to ``wanted``.

        A table that must be built becomes a ``Call``, a component that is only named a ``Component``.
        """
        match wanted:
            case Scalar(name):
                return self._scalar(value, name, wanted, key)
            case Choice(values):
                if any(value == v and type(value) is type(v) for v in values):
                    return value
                hint = nearest(value, [v for v in values if isinstance(v, str)]) if isinstance(value, str) else ""
                return self._wrong(value, wanted, key, hint)
            case Union(options):
                return self._union(value, options, wanted, key)
            case ListOf(item, as_tuple):
                if not isinstance(value, list):
                    return self._wrong(value, wanted, key)
                items = [self.bind(v, item, (*key, str(i))) for i, v in enumerate(value)]
                return tuple(items) if as_tuple else items
            case TupleOf(types):
                if not isinstance(value, list) or len(value) != len(types):
                    return self._wrong(value, wanted, key)
                return tuple(self.bind(v, t, (*key, str(i))) for i, (v, t) in enumerate(zip(value, types, strict=True)))
            case DictOf(item):
                if not isinstance(value, dict):
                    return self._wrong(value, wanted, key)
                return {n: self.bind(v, item, (*key, n)) for n, v in value.items()}
            case Record(target):
                if not isinstance(value, dict):
                    return self._wrong(value, wanted, key)
                if "type" in value and (kind := self._kind(wanted.name)):  # its protocol has fields
                    return self.component(value, kind, key)
                return self._call(wanted, value, read_signature(target), key)
            case Object(name):
                if not isinstance(value, dict):
                    return self._wrong(value, wanted, key)
                return self.component(value, self._kind(name), key, BASES.get(name, ""))
            case ByName(name):
                return self._by_name(value, wanted, self._kind(name), key)
            case _:  # any value, but tables with a type are components here, too
                return self._any(value, key)

    def _scalar(self, value: Any, name: str, wanted: Type, key: Key) -> Any:
        if name == "float" and type(value) is int and abs(value) < 2**1023:
            return float(value)
        if type(value) is float and not math.isfinite(value):  # would only appear as a loss of NaN
            return self._wrong(value, wanted, key)
        if name == "Path" and isinstance(value, str):
            return self._path(value, key)
        allowed = {"int": int, "float": float, "bool": bool, "str": str}.get(name)
        return value if type(value) is allowed else self._wrong(value, wanted, key)

    def _path(self, value: str, key: Key) -> Path:
        if stage_reference(value, key):
            return Path(value)
        self.paths[key] = self.loaded.source(key).folder / Path(value).expanduser()
        return self.paths[key]

    def _union(self, value: Any, options: tuple[Type, ...], wanted: Type, key: Key) -> Any:
        tries = []
        for option in options:
            trial = Binder(self.catalog, self.loaded)
            bound = trial.bind(value, option, key)
            if not trial.problems:
                self.paths.update(trial.paths)
                return bound
            tries.append((option, trial.problems))
        # problems inside a table or array, or with a name, are more precise than "must be x or y"
        inside = [p for o, p in tries if isinstance(value, dict) and isinstance(o, Record | Object | DictOf)]
        inside += [p for o, p in tries if isinstance(value, list) and isinstance(o, ListOf | TupleOf)]
        inside += [p for o, p in tries if isinstance(value, str) and isinstance(o, ByName)]
        if len(inside) == 1:
            self.problems.extend(inside[0])
            return None
        shown = [o for o in options if o != Choice((None,))]
        plain = [o for o in shown if not isinstance(o, Object)]  # "number | Tensor": a Task can only contain a number
        return self._wrong(value, Union(tuple(plain or shown)), key)

    def _kind(self, annotation: str) -> str | None:
        """Return the kind that an annotation requires; None if any component is allowed."""
        kind = kind_of(annotation)
        return kind if kind in self.catalog.kinds else None

    def _by_name(self, value: Any, wanted: Type, kind: str | None, key: Key) -> Any:
        if not isinstance(value, str):
            return self._wrong(value, wanted, key)
        try:
            return self.catalog.get(value, kind)
        except PluginError as error:
            return self.problem(key, str(error))

    def _any(self, value: Any, key: Key) -> Any:
        if isinstance(value, dict):
            if isinstance(value.get("type"), str) and value["type"] in self.catalog.components:
                return self.component(value, None, key)
            return {n: self._any(v, (*key, n)) for n, v in value.items()}
        if isinstance(value, list):
            return [self._any(v, (*key, str(i))) for i, v in enumerate(value)]
        return value

    def component(self, table: dict[str, Any], kind: str | None, key: Key, base: str = "") -> Any:
        """Return the ``Call`` of a table with ``type``: a component of that kind, or of any kind.

        Args:
            base: the class that the object must be an instance of, ``"module:attribute"``.
        """
        name = table.get("type")
        if not isinstance(name, str):
            what = f"one of {kind}" if kind else "a component"
            found = f"got {name!r}" if "type" in table else f"found only {', '.join(table) or 'nothing'}"
            return self.problem((*key, "type"), f"must be the name of {what}, {found}")
        try:
            component = self.catalog.get(name, kind)
            signature = read_signature(component.target)
        except MissingLibraryError as error:
            warnings.warn(f"{self.loaded.place(key)}: not checked: {error}", stacklevel=2)
            signature = Signature(open=True)
        except PluginError as error:
            return self.problem((*key, "type"), str(error))
        for untyped in signature.untyped:
            self.problem((*key, "type"), f"{untyped} of {name} has no type; annotate it, as in epsilon: float = 1.0")
        call = self._call(component, {n: v for n, v in table.items() if n != "type"}, signature, key)
        return evolve(call, base=base)

    def _call(self, component: Component | Record, table: Mapping[str, Any], signature: Signature, key: Key) -> Call:
        parameters = dict(signature.parameters)
        for name in INJECTED.get(component.kind, ()) if isinstance(component, Component) else ():
            parameters.pop(name, None)
        arguments: dict[str, Any] = {}
        for name, value in table.items():
            if name in parameters:
                arguments[name] = self.bind(value, parameters[name].type, (*key, name))
            elif signature.open:
                arguments[name] = self._any(value, (*key, name))
            else:
                written = self.loaded.written((*key, name))[:-1]
                table_name = f"[{format_key(written)}]" if key else "a Task"
                self._unknown(table_name if isinstance(component, Record) else component.name, name, parameters, key)
        for name, parameter in parameters.items():
            if parameter.required and name not in table:
                self.problem((*key, name), f"is missing: {component.name} requires it ({parameter.type})")
        source = self.loaded.source(key)
        return Call(component, arguments, key, source.name, shipped=source.shipped)

    def _unknown(self, owner: str, name: str, known: Mapping[str, Any], key: Key) -> None:
        if owner == "a Task" and name in ("plugin", "plugins"):
            self.problem((*key, name), "a Task cannot run code: use --plugin on the command line")
            return
        if (new := RENAMED.get(name, name)) in known:
            self.problem((*key, name), f"is now called {format_key((*key, new))}")
            return
        hint = nearest(name, known) or f"; it takes {', '.join(known) or 'nothing'}"
        here, above = self.loaded.source((*key, name)), self.loaded.source((*key, "type"))
        if above != here and (*key, "type") in self.loaded.sources:
            written = format_key(self.loaded.written((*key, "type"))[:-1])
            hint += f"; {above.name} inherits it: _replace_ = true in [{written}] drops what that inherits"
        self.problem((*key, name), f"unknown key: {owner} takes no {name!r}{hint}")

    def _wrong(self, value: Any, wanted: Type, key: Key, hint: str = "") -> None:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        if isinstance(value, dict):
            shown = "a table"
        self.problem(key, f"must be {wanted}, got {shown}{hint}")

    def problem(self, key: Key, text: str) -> None:
        """Record a problem with the value at a key."""
        self.problems.append(f"{self.loaded.place(key)}: {text}")


RENAMED = {"step": "job", "train_also": "train_extra"}
"""Renamed keys of a Task: old and new name."""

INJECTED = {"optimizers": ("params",)}
"""Arguments that the engine passes, by kind."""
