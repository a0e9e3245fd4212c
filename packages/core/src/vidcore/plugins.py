"""Finding plugins, and the catalog of what they offer.

Nothing offered is imported until ``Component.load``; a fresh manager comes from every call of
``load_plugins``, so tests and notebooks never share one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import pluggy
from attrs import frozen

from vidcore import hookspecs
from vidcore.errors import PluginError, nearest
from vidcore.hookspecs import KINDS

__all__ = ["Catalog", "Component", "load_plugins"]

GROUP = "vidcore"

KNOWN_PACKAGES = {
    "vid-localization": (
        *("BMN", "TEM", "PEM", "TCANet", "DRN", "SSN", "ActionFormer", "BMNLoss", "SSNLoss"),
        *("ActivityNetDataset", "CharadesSTADataset", "ANetMetric", "THUMOSMetric", "RecallatTopK"),
        *("LoadLocalizationFeature", "LoadProposals", "LoadProposalFeatures", "LoadProposalSegments"),
        *("LoadVideoClasses", "FormatQuery", "GenerateProposals"),
    ),
    "vid-mmaction2": ("import",),
    "vid-recognition": ("Recognizer2D", "Recognizer3D", "ResNet", "ResNet3d", "ResNet3dSlowFast", "ResNet3dSlowOnly",
                        "ResNetTSM", "C2D", "TSNHead", "TSMHead", "I3DHead", "SlowFastHead", "VideoDataset",
                        "RawframeDataset", "AccMetric", "ConfusionMatrix", "ActionDataPreprocessor"),
}  # fmt: skip
"""Which of our packages brings a name that is not installed, for messages."""


@frozen
class Component:
    """Something a plugin offers: its name, kind, where its code is, and who offers it."""

    name: str
    kind: str
    target: str
    """``module:attribute``"""
    plugin: str
    """Name of the distribution."""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def attribute(self) -> str:
        return self.target.partition(":")[2]

    def load(self) -> Any:
        """Import the module and return the attribute.

        Raises ``PluginError`` where either does not exist.
        """
        try:
            return attrgetter(self.attribute)(importlib.import_module(self.module))
        except (ImportError, AttributeError) as error:
            raise PluginError(f"{self.name} of {self.plugin} cannot be loaded from {self.target!r}: {error}") from error


@frozen
class Plugin:
    """An installed distribution that takes part, or the reason why it does not."""

    name: str
    version: str
    error: str | None = None


@frozen
class Catalog:
    """Everything the installed plugins offer, by name."""

    plugins: tuple[Plugin, ...]
    components: dict[str, Component]
    commands: dict[str, Component]
    recipe_folders: tuple[tuple[str, Path], ...] = ()
    """(plugin, folder) of every plugin with recipes."""

    def get(self, name: str, kind: str | None = None) -> Component:
        """Return the component of that name; ``PluginError`` with a suggestion where there is none."""
        found = self.components.get(name)
        if found is None:
            raise PluginError(self._unknown(name, kind))
        if kind is not None and found.kind != kind:
            raise PluginError(f"{name!r} ({found.plugin}) belongs to {found.kind}, but one of {kind} is needed here")
        return found

    def of_kind(self, kind: str) -> dict[str, Component]:
        """The components of one kind, sorted by name."""
        return {n: c for n, c in sorted(self.components.items()) if c.kind == kind}

    def _unknown(self, name: str, kind: str | None) -> str:
        names = self.of_kind(kind) if kind else self.components
        hint = nearest(name, names)
        installed = {p.name for p in self.plugins}
        for package, brings in KNOWN_PACKAGES.items():
            if name in brings and package not in installed:
                hint = f"; {package} brings it: pip install {package}"
        what = f"{kind} component" if kind else "component"
        return f"no installed plugin offers a {what} named {name!r}{hint or '; vidcore list shows what there is'}"

    @cached_property
    def recipes(self) -> dict[str, Path]:
        """Path of every recipe by its name (file name without ``.toml``)."""
        found: dict[str, Path] = {}
        for plugin, folder in self.recipe_folders:
            for path in sorted(folder.rglob("*.toml")):
                if path.stem in found:
                    raise PluginError(f"recipe {path.stem!r} exists twice: {found[path.stem]} and {path} ({plugin})")
                found[path.stem] = path
        return found


def load_plugins(entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> Catalog:
    """Import every installed plugin module and gather what they declare.

    A plugin that cannot be imported is named in a warning and skipped. Two plugins offering one
    name, or a hook no specification knows, raise ``PluginError``.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    plugins: list[Plugin] = []
    found = list(importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points)
    for entry in sorted(found, key=lambda e: (e.dist.name if e.dist else "", e.name)):
        name = entry.dist.name if entry.dist else entry.name
        version = entry.dist.version if entry.dist else "?"
        try:
            manager.register(entry.load(), name=name if not manager.has_plugin(name) else f"{name}:{entry.name}")
        except Exception as error:  # whatever a stranger's module raises must not stop the others
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"plugin {name} is broken and skipped: {reason}", stacklevel=2)
            plugins.append(Plugin(name, version, reason))
        else:
            if all(p.name != name for p in plugins):
                plugins.append(Plugin(name, version))
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{error}; vidcore knows {', '.join(sorted(_hooks()))}") from error

    components: dict[str, Component] = {}
    commands: dict[str, Component] = {}
    for kind in (*KINDS, "commands"):
        _gather(manager, kind, commands if kind == "commands" else components)
    folders = tuple(
        (i.plugin_name, _folder(i.plugin_name, str(i.function()))) for i in manager.hook.vidcore_recipes.get_hookimpls()
    )
    return Catalog(tuple(plugins), components, commands, folders)


def _hooks() -> list[str]:
    return [n for n in vars(hookspecs) if n.startswith("vidcore_")]


def _gather(manager: pluggy.PluginManager, kind: str, into: dict[str, Component]) -> None:
    impls = getattr(manager.hook, f"vidcore_{kind}").get_hookimpls()
    for impl in impls:
        declare: Callable[[], dict[str, str]] = impl.function
        for name, target in declare().items():
            new = Component(name, kind, target, impl.plugin_name.partition(":")[0])
            old = into.setdefault(name, new)
            if old is not new:
                raise PluginError(
                    f"{name!r} is offered twice: by {old.plugin} ({old.kind}, {old.target}) "
                    f"and by {new.plugin} ({new.kind}, {new.target}); uninstall one of them"
                )


def _folder(plugin: str, declared: str) -> Path:
    package, _, inside = declared.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(f"{plugin} declares recipes in {declared!r}, but {package!r} is no package")
    return Path(next(iter(spec.submodule_search_locations))) / inside
