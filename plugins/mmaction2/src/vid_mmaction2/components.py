"""Converting the table of one component, whatever it is.

The vocabulary is shared: names of components and of their arguments are the published ones.
So a table is converted by asking vidcore's component which arguments it takes (read from its
source, nothing is imported). What it does not take is either known to mean nothing here, or is
named as a problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import define, field

from vidcore.config.signature import Parameter, read_signature
from vidcore.config.types import Choice, Record
from vidcore.errors import ConfigError, PluginError, UserError, nearest
from vidcore.plugins.catalog import Catalog

__all__ = ["Converter", "Rule", "Table", "drop_arguments", "snake_case", "strip_scope", "without"]

T = TypeVar("T")
Table = dict[str, Any]
MAX_PROBLEMS = 200
"""After so many the rest of a configuration is not looked at."""

OWN_SCOPES = ("mmaction", "mmengine")
"""``mmaction.ResNet`` means the same as ``ResNet``; other scopes are other packages."""

ORDINARY_NORMS = {"BN", "BN1d", "BN2d", "BN3d", "SyncBN"}
ORDINARY_CONVOLUTIONS = {"Conv", "Conv1d", "Conv2d", "Conv3d"}


Rule = Callable[["Converter", Table, str], Table]
"""Rewrites the published arguments of a component before their names are compared: (converter, arguments, place)."""


@define
class Converter:
    """Converts tables and remembers what it could not convert."""

    catalog: Catalog
    rules: Mapping[str, Rule] = field(factory=dict)
    """By component name."""
    other_packages: Mapping[str, Table] = field(factory=dict)
    """Networks of other packages: published type (``mmcls.ResNeXt``) to the table that replaces type and arguments."""
    problems: list[str] = field(factory=list)
    """``place in the published configuration: reason``, one for everything that was left out."""
    weights: dict[str, str] = field(factory=dict)
    """Published place (``model.backbone``) to the file its weights start from."""
    sync_batchnorm: bool = False
    """Some batch norm takes its statistics over all processes."""

    notes: list[str] = field(factory=list)
    """``place: what is different here`` of what could be converted, but not to the digit."""

    def report(self, at: str, why: str) -> None:
        self.problems.append(f"{at}: {why}")
        if len(self.problems) > MAX_PROBLEMS:
            raise ConfigError([*self.problems, "there are more problems; these are the first"])

    def attempt(self, at: str, convert: Callable[..., T], *arguments: Any) -> T | None:
        """Return what ``convert`` returns; None, and a problem, where a value in there has a type it cannot have."""
        try:
            return convert(*arguments)
        except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError) as error:
            if isinstance(error, UserError):
                raise
            self.report(at, f"holds a value of a type that it cannot have: {error}")
            return None

    def component(self, table: Any, at: str) -> Table | None:
        """Convert ``{"type": "Name", ...}``; None, and a problem, where there is no such component."""
        if not isinstance(table, Mapping) or not isinstance(table.get("type"), str):
            self.report(at, "a table with a type is needed here")
            return None
        table = {**table, **self.other_packages.get(table["type"], {})}
        name = strip_scope(table["type"])
        try:
            component = self.catalog.get(name)
            parameters = read_signature(component.target).parameters
        except PluginError as error:
            self.report(f"{at}.type", str(error))
            return None
        arguments = without(table, "type", "_scope_", "_delete_")
        if name in self.rules:
            rewritten = self.attempt(at, self.rules[name], self, arguments, at)
            if rewritten is None:
                return None
            arguments = rewritten
        return {"type": name, **self.arguments(name, arguments, parameters, at)}

    def arguments(self, owner: str, table: Mapping[str, Any], known: Mapping[str, Parameter], at: str) -> Table:
        """Convert the arguments that ``owner`` takes; the others mean nothing, or are problems."""
        converted: Table = {}
        for key, value in table.items():
            place = f"{at}.{key}"
            if key in FRAMEWORK and key not in known:
                self.attempt(place, FRAMEWORK[key], self, value, at, known, converted)
            elif key not in known:
                if value is not None:
                    self.report(place, f"{owner} of vidcore takes no {key!r}{nearest(key, known)}")
            elif value is None:
                self._convert_none(known[key], place, converted)
            else:
                new = self.value(value, place, known[key])
                if new is not None:
                    converted[key] = new
        return converted

    def value(self, value: Any, at: str, parameter: Parameter | None = None) -> Any:
        """Convert any value: tables with a type are components, at any depth."""
        if isinstance(value, Mapping):
            if "type" in value:
                return self.component(value, at)
            if parameter is not None and isinstance(record := _record(parameter), Record):
                return self.arguments(parameter.name, value, read_signature(record.target).parameters, at)
            return {k: v for k in value if k != "_delete_" and (v := self.value(value[k], f"{at}.{k}")) is not None}
        if isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                if item is None:
                    self.report(f"{at}[{i}]", "None has no equivalent here")
            return [new for i, v in enumerate(value) if (new := self.value(v, f"{at}[{i}]")) is not None]
        return value

    def _convert_none(self, parameter: Parameter, place: str, converted: Table) -> None:
        """``None``: TOML cannot say it, so the default must be None or there must be a word for it."""
        options = getattr(parameter.type, "options", (parameter.type,))
        if any(isinstance(o, Choice) and "none" in o.values for o in options):
            converted[parameter.name] = "none"
        elif parameter.required or parameter.default is not None:
            self.report(place, "None has no equivalent here")


def without(table: Mapping[str, Any], *keys: str) -> Table:
    """The table without some of its keys."""
    return {key: value for key, value in table.items() if key not in keys}


def drop_arguments(*keys: str) -> Rule:
    """A rule for arguments that mean nothing here."""
    return lambda converter, table, at: without(table, *keys)


def strip_scope(name: str) -> str:
    """``mmaction.ResNet`` -> ``ResNet``; names of other packages stay whole."""
    scope, dot, rest = name.partition(".")
    return rest if dot and scope in OWN_SCOPES else name


def _record(parameter: Parameter) -> Any:
    options = getattr(parameter.type, "options", (parameter.type,))
    return next((o for o in options if isinstance(o, Record)), None)


def _norm(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    """Batch norm is what every network here has; over several processes it is a setting of the run."""
    value = dict(value or {})
    kind, trains = value.pop("type", "BN"), value.pop("requires_grad", True)
    if kind not in ORDINARY_NORMS or value:
        converter.report(f"{at}.norm_cfg", f"only batch norm as it is can be converted, found {kind} {value or ''}")
    converter.sync_batchnorm |= kind == "SyncBN"
    if not trains:
        converter.report(f"{at}.norm_cfg.requires_grad", "this component cannot freeze its batch norms")


def _convolution(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    kind = (value or {}).get("type", "Conv")
    if kind not in ORDINARY_CONVOLUTIONS:
        converter.report(f"{at}.conv_cfg", f"only ordinary convolutions can be converted, found {kind}")


def _activation(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    kind = (value or {}).get("type", "ReLU")
    if kind != "ReLU":
        converter.report(f"{at}.act_cfg", f"only ReLU can be converted, found {kind}")


def _init_cfg(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    """Every network initialises itself; only weights to start from are a setting."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, Mapping) and entry.get("type") == "Pretrained":
            converter.weights[at] = str(entry.get("checkpoint", ""))


def _pretrained(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    if isinstance(value, str):
        converter.weights[at] = value


def _ignored(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    """Settings of the training framework that have no counterpart, because nothing depends on them."""


FRAMEWORK: dict[str, Callable[[Converter, Any, str, Mapping[str, Parameter], Table], None]] = {
    "norm_cfg": _norm,
    "conv_cfg": _convolution,
    "act_cfg": _activation,
    "init_cfg": _init_cfg,
    "pretrained": _pretrained,
    "torchvision_pretrain": _ignored,  # weights are recognised by their names
    "pretrained2d": _ignored,  # inflation follows from the shapes of the weights
    "io_backend": _ignored,
    "lazy": _ignored,  # geometry is always put off until pixels are needed
}


def snake_case(name: str) -> str:
    """Words in small letters.

    >>> snake_case("SampleFrames"), snake_case("SampleAVAFrames")
    ('sample_frames', 'sample_ava_frames')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
