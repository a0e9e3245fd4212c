"""Conversion of the table of any component.

vidcore uses the published names of components and arguments. So a table is converted by comparing it with
the signature of vidcore's component (read from its source, without importing it). An argument that is not in
the signature is either known to have no effect, or reported as a problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import define, field

from vidcore.config.signature import Parameter, read_signature
from vidcore.config.types import Choice, Record, Union
from vidcore.errors import ConfigError, PluginError, UserError, nearest
from vidcore.plugins.catalog import Catalog

__all__ = [
    "LOCAL_BACKENDS",
    "NO_EQUIVALENT",
    "NO_SERVERS",
    "Converter",
    "Rule",
    "Table",
    "drop_arguments",
    "snake_case",
    "strip_scope",
    "without",
]

T = TypeVar("T")
Table = dict[str, Any]
MAX_PROBLEMS = 200
"""Conversion stops after this many problems."""
MAX_COMPONENTS = 1000
"""Maximum number of components in a configuration."""

OWN_SCOPES = ("mmaction", "mmengine")
"""``mmaction.ResNet`` is the same as ``ResNet``; other scopes are different packages."""
SHARED = {"mmdet.FastRCNN": "FastRCNN"}
"""Components of other packages that vidcore has under their own name."""

LOCAL_BACKENDS = ("disk", "local")
NO_EQUIVALENT = "has no equivalent here"
NO_SERVERS = "files are read from local folders"
ORDINARY_NORMS = {"BN", "BN1d", "BN2d", "BN3d", "SyncBN"}
ORDINARY_CONVOLUTIONS = {"Conv", "Conv1d", "Conv2d", "Conv3d"}


Rule = Callable[["Converter", Table, str], Table]
"""Rewrites the published arguments of a component before the comparison: (converter, arguments, place)."""


@define
class Converter:
    """Converts tables and collects problems."""

    catalog: Catalog
    rules: Mapping[str, Rule] = field(factory=dict)
    """Component name to rule."""
    networks: Rule = field(default=lambda converter, table, at: table)
    """Rewrites the whole table of a network of another package (``mmcls.ResNeXt``)."""
    problems: list[str] = field(factory=list)
    """``place in the published configuration: reason``, one for each omitted setting."""
    weights: dict[str, str] = field(factory=dict)
    """Published place (``model.backbone``) to the file of its initial weights."""
    sync_batchnorm: bool = False
    """A batch norm is synchronised across processes."""

    notes: list[str] = field(factory=list)
    """``place: what differs here``, one for each approximate conversion."""
    left_out: list[str] = field(factory=list)
    """``place: value: why``, one for each setting that is not converted and does not change a result."""
    implied: list[str] = field(factory=list)
    """``place: value``, one for each setting that asks for what vidcore does anyway."""

    components: int = 0
    """Number of components so far."""

    def report(self, at: str, why: str) -> None:
        """Add the problem ``why`` at the published place ``at``."""
        self.problems.append(f"{at}: {why}")
        if len(self.problems) > MAX_PROBLEMS:
            raise ConfigError([*self.problems, "more problems follow"])

    def leave_out(self, at: str, value: Any, why: str) -> None:
        """List the setting at a published place as left out; one that is off or None asks for nothing."""
        if value is False:
            self.imply(at, value)
        elif value is not None:
            self.left_out.append(f"{at}: {_shown(value)}: {why}")

    def leave_rest(self, table: Mapping[str, Any], at: str, *converted: str, why: str = NO_EQUIVALENT) -> None:
        """List all keys of a table as left out, except for the converted ones."""
        for key, value in table.items():
            if key not in converted:
                self.leave_out(f"{at}.{key}", value, why)

    def imply(self, at: str, value: Any) -> None:
        """List a setting that asks for what vidcore does anyway, unless it is not set."""
        if value is not None:
            self.implied.append(f"{at}: {_shown(value)}")

    def imply_all(self, table: Mapping[str, Any], at: str) -> None:
        """List all settings of a table as what vidcore does anyway."""
        for key, value in table.items():
            self.imply(f"{at}.{key}", value)

    def use_weights(self, at: str, name: str) -> None:
        """Set the file of the initial weights of a part; the last one counts."""
        if (before := self.weights.get(at)) not in (None, name):
            self.leave_out(f"{at}.pretrained", before, f"{name} replaces it")
        self.weights[at] = name

    def table(self, value: Any, at: str) -> Table:
        """Return a copy of a table; empty for None, and, with a problem, for anything else."""
        if value is not None and not isinstance(value, Mapping):
            self.report(at, f"must be a table, found {type(value).__name__}")
        return dict(value) if isinstance(value, Mapping) else {}

    def integer(self, value: Any, at: str, default: int) -> int:
        """Return an integer, or the default for None and, with a problem, for anything else."""
        if value is not None and type(value) is not int:
            self.report(at, f"must be an integer, found {value!r:.60}")
        return value if type(value) is int else default

    def kind(self, table: Mapping[str, Any], at: str, default: str = "") -> str:
        """Return ``type`` of a table without its scope; the default if it is absent or, with a problem, no string."""
        value = table.get("type")
        if value is not None and not isinstance(value, str):
            self.report(f"{at}.type", f"must be a string, found {type(value).__name__}")
        return strip_scope(value) if isinstance(value, str) else default

    def attempt(self, at: str, convert: Callable[..., T], *arguments: Any) -> T | None:
        """Return what ``convert`` returns; return None, and report a problem, if a value has a wrong type."""
        try:
            return convert(*arguments)
        except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError) as error:
            if isinstance(error, UserError):
                raise
            self.report(at, f"contains a value of the wrong type: {error}")
            return None

    def component(self, table: Any, at: str) -> Table | None:
        """Convert ``{"type": "Name", ...}``; return None, and report a problem, if there is no such component."""
        self.components += 1
        if self.components > MAX_COMPONENTS:
            raise ConfigError(f"{at}: a configuration may have at most {MAX_COMPONENTS} components")
        if not isinstance(table, Mapping) or not isinstance(table.get("type"), str):
            self.report(at, "must be a table with a type")
            return None
        if (scope := table.get("_scope_")) is not None:
            whole = table["type"] if "." in table["type"] else f"{scope}.{table['type']}"
            table = {"type": whole, **without(table, "type", "_scope_")}
        table = self.attempt(at, self.networks, self, dict(table), at) or table
        name = strip_scope(table["type"])
        try:
            component = self.catalog.get(name)
            parameters = read_signature(component.target).parameters
        except PluginError as error:
            self.report(f"{at}.type", str(error))
            return None
        self.imply(f"{at}._delete_", table.get("_delete_"))
        arguments = without(table, "type", "_delete_")
        if name in self.rules:
            rewritten = self.attempt(at, self.rules[name], self, arguments, at)
            if rewritten is None:
                return None
            arguments = rewritten
        return {"type": name, **self.arguments(name, arguments, parameters, at)}

    def arguments(self, owner: str, table: Mapping[str, Any], known: Mapping[str, Parameter], at: str) -> Table:
        """Convert the arguments that ``owner`` accepts; ignore or report the others."""
        converted: Table = {}
        for key, value in table.items():
            place = f"{at}.{key}"
            if key in FRAMEWORK and key not in known:
                self.attempt(place, FRAMEWORK[key], self, value, at, known, converted)
            elif key not in known:
                if value is not None:
                    self.report(place, f"{owner} of vidcore has no argument {key!r}{nearest(key, known)}")
            elif value is None:
                self._convert_none(known[key], place, converted)
            else:
                new = self.value(value, place, known[key])
                if new is not None:
                    converted[key] = new
        return converted

    def value(self, value: Any, at: str, parameter: Parameter | None = None) -> Any:
        """Convert any value; tables with a type are components, at any depth."""
        if isinstance(value, Mapping):
            if "type" in value:
                return self.component(value, at)
            if parameter is not None and isinstance(record := _record(parameter), Record):
                return self.arguments(parameter.name, value, read_signature(record.target).parameters, at)
            self.imply(f"{at}._delete_", value.get("_delete_"))
            return {k: v for k in value if k != "_delete_" and (v := self.value(value[k], f"{at}.{k}")) is not None}
        if isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                if item is None:
                    self.report(f"{at}[{i}]", "None has no equivalent here")
            return [new for i, v in enumerate(value) if (new := self.value(v, f"{at}[{i}]")) is not None]
        return value

    def _convert_none(self, parameter: Parameter, place: str, converted: Table) -> None:
        """Convert None, which TOML lacks: to "none" if the argument accepts that; else the default must be None."""
        if any(isinstance(o, Choice) and "none" in o.values for o in _options(parameter)):
            converted[parameter.name] = "none"
        elif parameter.required or parameter.default is not None:
            self.report(place, "None has no equivalent here")


def without(table: Mapping[str, Any], *keys: str) -> Table:
    """Return the table without the given keys."""
    return {key: value for key, value in table.items() if key not in keys}


def drop_arguments(**reasons: str) -> Rule:
    """Return a rule that lists arguments as left out, each with the reason."""

    def rule(converter: Converter, table: Table, at: str) -> Table:
        for key, why in reasons.items():
            converter.leave_out(f"{at}.{key}", table.get(key), why)
        return without(table, *reasons)

    return rule


def strip_scope(name: str) -> str:
    """Remove the scope: ``mmaction.ResNet`` -> ``ResNet``; keep those of other packages, except for shared ones."""
    name = SHARED.get(name, name)
    scope, dot, rest = name.partition(".")
    return rest if dot and scope in OWN_SCOPES else name


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _options(parameter: Parameter) -> tuple[Any, ...]:
    """Return the types that an argument may have."""
    return parameter.type.options if isinstance(parameter.type, Union) else (parameter.type,)


def _record(parameter: Parameter) -> Any:
    return next((o for o in _options(parameter) if isinstance(o, Record)), None)


def _norm(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    """All networks here have batch norm; synchronisation across processes is an option of the run."""
    value = converter.table(value, f"{at}.norm_cfg")
    kind, trains = converter.kind(value, f"{at}.norm_cfg", "BN"), value.get("requires_grad", True)
    value = without(value, "type", "requires_grad")
    if kind not in ORDINARY_NORMS or value:
        converter.report(f"{at}.norm_cfg", f"only default batch norm can be converted, found {kind} {value or ''}")
    converter.sync_batchnorm |= kind == "SyncBN"
    if not trains:
        converter.report(f"{at}.norm_cfg.requires_grad", "batch norms of this component cannot be frozen")


def _convolution(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    value = converter.table(value, f"{at}.conv_cfg")
    kind = converter.kind(value, f"{at}.conv_cfg", "Conv")
    rest = without(value, "type")
    if kind not in ORDINARY_CONVOLUTIONS or rest:
        converter.report(f"{at}.conv_cfg", f"only ordinary convolutions can be converted, found {kind} {rest or ''}")


def _activation(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    value = converter.table(value, f"{at}.act_cfg")
    kind = converter.kind(value, f"{at}.act_cfg", "ReLU")
    converter.imply(f"{at}.act_cfg.inplace", value.get("inplace"))
    rest = without(value, "type", "inplace")
    if kind != "ReLU" or rest:
        converter.report(f"{at}.act_cfg", f"only ReLU can be converted, found {kind} {rest or ''}")


def _init_cfg(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    """Networks initialise themselves; only pretrained weights are an option."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, Mapping) and entry.get("type") == "Pretrained":
            converter.use_weights(at, str(entry.get("checkpoint", "")))
            converter.leave_out(f"{at}.init_cfg.prefix", entry.get("prefix"), "weights are matched by their names")
            converter.leave_rest(entry, f"{at}.init_cfg", "type", "checkpoint", "prefix")
        else:
            converter.leave_out(f"{at}.init_cfg", entry, "networks initialise themselves")


def _pretrained(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    if isinstance(value, str):
        converter.use_weights(at, value)
    else:
        converter.leave_out(f"{at}.pretrained", value, "is not a file; set train.weights")


def _io_backend(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    if value in LOCAL_BACKENDS:
        converter.imply(f"{at}.io_backend", value)
    else:
        converter.leave_out(f"{at}.io_backend", value, NO_SERVERS)


def _servers(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
    local = isinstance(value, Mapping) and set(value) <= {"backend", "io_backend"}
    if local and all(name in LOCAL_BACKENDS for name in value.values()):
        converter.imply(f"{at}.backend_args", value)
    else:
        converter.leave_out(f"{at}.backend_args", value, NO_SERVERS)


def _implied(name: str) -> Callable[[Converter, Any, str, Mapping[str, Parameter], Table], None]:
    def imply(converter: Converter, value: Any, at: str, known: Mapping[str, Parameter], converted: Table) -> None:
        converter.imply(f"{at}.{name}", value)

    return imply


FRAMEWORK: dict[str, Callable[[Converter, Any, str, Mapping[str, Parameter], Table], None]] = {
    "norm_cfg": _norm,
    "conv_cfg": _convolution,
    "act_cfg": _activation,
    "init_cfg": _init_cfg,
    "pretrained": _pretrained,
    "torchvision_pretrain": _implied("torchvision_pretrain"),  # weights are recognised by their names
    "pretrained2d": _implied("pretrained2d"),  # inflation follows from the shapes of the weights
    "io_backend": _io_backend,
    "backend_args": _servers,
    "file_client_args": _servers,
    "lazy": _implied("lazy"),  # geometry is always lazy
}


def snake_case(name: str) -> str:
    """Convert CamelCase to snake_case.

    >>> snake_case("SampleFrames"), snake_case("SampleAVAFrames")
    ('sample_frames', 'sample_ava_frames')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
