"""Discovery of plugins, and the catalog of what they offer.

Components are imported by ``Component.load``, not before. Every call of ``load_plugins`` makes a new catalog, so
there is no global state.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import pluggy
from attrs import frozen

from vidcore.errors import MissingLibraryError, PluginError, missing_library, nearest
from vidcore.files import sha256
from vidcore.plugins import hooks
from vidcore.plugins.file import import_file, nothing_offered
from vidcore.plugins.hooks import GROUP
from vidcore.plugins.place import failed_at, with_place

__all__ = ["NOT_OFFERED", "Catalog", "Component", "Plugin", "kind_of", "load_plugins"]

KINDS = (
    *("models", "datasets", "transforms", "metrics", "optimizers", "groupings", "schedules", "decoders", "observers"),
    *("jobs", "readers", "writers", "drawers"),
)
"""Kinds of components that the core uses. A plugin may add others."""

NOT_OFFERED = {
    "CSVLog": "was removed: pandas.read_json('metrics.jsonl', lines=True) reads what every run logs",
    "LBFGS": "is not supported: it needs the loss as a function",
    "Muon": "is not supported: it takes matrices only, no convolutions or biases",
    "SparseAdam": "is not supported: it needs sparse gradients",
    "data features": "is now 'vidcore data convert-features'",
    "evaluate": "is now 'vidcore score'",
    "opencv": "was removed: OpenCV returns wrong frames of some files; use 'pyav'",
}
"""Names of removed or unsupported components and commands -> why, and what to use instead."""


@frozen
class Component:
    """Something a plugin offers: its name, its kind and where its code is."""

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

        Raises ``PluginError`` if either does not exist or the module cannot be imported, ``MissingLibraryError`` if it
        needs an optional library that is not installed.
        """
        try:
            return attrgetter(self.attribute)(importlib.import_module(self.module))
        except MissingLibraryError:
            raise
        except Exception as error:  # a plugin's module may raise anything
            if missing := missing_library(self.name, error):
                raise missing from error
            why = error if isinstance(error, ImportError | AttributeError) else with_place(error)
            raise PluginError(f"{self.name} of {self.plugin} cannot be loaded from {self.target!r}: {why}") from error


@frozen
class Plugin:
    """An installed distribution with plugins, or a file that is not installed."""

    name: str
    version: str
    """Of a file: ``sha256:`` and its hash."""
    error: str | None = None
    """Why it was skipped."""
    file: Path | None = None
    """The file, if it is not installed: it was named with ``--plugin``."""


@frozen
class Catalog:
    """Everything the installed plugins offer, by name."""

    plugins: tuple[Plugin, ...]
    components: dict[str, Component]
    commands: dict[str, Component]
    recipe_folders: tuple[tuple[str, Path], ...] = ()
    """(plugin, folder) of every plugin with recipes."""

    @property
    def files(self) -> dict[str, str]:
        """Name and hash of every plugin that is a file, for reports and checkpoints."""
        return {plugin.name: plugin.version for plugin in self.plugins if plugin.file is not None}

    def compare_files(self, recorded: Any, source: str) -> None:
        """Warn about plugin files that differ from those with which a checkpoint was made.

        Args:
            recorded: ``plugins`` of the checkpoint: names and hashes.
            source: the checkpoint, for the warning.
        """
        for name, digest in recorded.items() if isinstance(recorded, dict) else ():
            if self.files.get(name, digest) != digest:
                warnings.warn(f"{source}: was made with a different {name}", stacklevel=2)

    def get(self, name: str, kind: str | None = None) -> Component:
        """Return the component of that name; raise ``PluginError``, with a suggestion, if there is none."""
        found = self.components.get(name)
        if found is None:
            raise PluginError(self._unknown(name, kind))
        if kind is not None and found.kind != kind:
            raise PluginError(f"{name!r} ({found.plugin}) belongs to {found.kind}, but one of {kind} is needed here")
        return found

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of components: those of the core and those that plugins add."""
        return tuple(dict.fromkeys([*KINDS, *(c.kind for c in self.components.values())]))

    def of_kind(self, kind: str) -> dict[str, Component]:
        """Return the components of one kind, sorted by name."""
        return {n: c for n, c in sorted(self.components.items()) if c.kind == kind}

    def _unknown(self, name: str, kind: str | None) -> str:
        if name in NOT_OFFERED:
            return f"{name!r} {NOT_OFFERED[name]}"
        hint = nearest(name, self.of_kind(kind) if kind else self.components)
        what = f"{kind} component" if kind else "component"
        listing = f"vidcore list {kind}" if kind else "vidcore list"
        install = f"; install the vid-... package that has it, or name its file with --plugin ({listing} shows all)"
        return f"no installed plugin offers a {what} named {name!r}{hint or install}"

    @cached_property
    def recipes(self) -> dict[str, Path]:
        """Path of every recipe by its name (file name without ``.toml``); fragments in ``base`` have no name."""
        found: dict[str, Path] = {}
        for plugin, folder in self.recipe_folders:
            for path in sorted(folder.rglob("*.toml")):
                if "base" in path.relative_to(folder).parts[:-1]:
                    continue
                if path.stem in found:
                    raise PluginError(f"recipe {path.stem!r} exists twice: {found[path.stem]} and {path} ({plugin})")
                found[path.stem] = path
        return found

    def class_list(self, dataset: object) -> Path | None:
        """Return the file with the class names of a dataset, ``classes/DATASET.txt`` in a folder of recipes, if any."""
        files = (folder / "classes" / f"{dataset}.txt" for _, folder in self.recipe_folders)
        return next((file for file in files if file.is_file()), None)


def kind_of(annotation: str) -> str:
    """Return the kind of component that a parameter takes if it is annotated with this class or protocol.

    The kind is the name in the plural: a plugin that offers a kind ``trackers`` calls its protocol ``Tracker``. The
    only exception is ``nn.Module``, which means one of ``models``.

    >>> kind_of("PoseEstimator")
    'pose_estimators'
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", "Model" if annotation == "Module" else annotation)
    return f"{words.lower()}s"


def load_plugins(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None, files: Iterable[str | Path] = ()
) -> Catalog:
    """Import every installed plugin module and collect what they declare.

    An installed plugin that cannot be imported, or whose hooks raise or return something not valid, is skipped with a
    warning.

    Args:
        entry_points: the installed plugins; default: all in the group ``vidcore``.
        files: plugins that are not installed, one Python file each, as ``--plugin`` names them. Their folders are
            appended to ``sys.path``, so that processes that load data import them, too.

    Raises:
        PluginError: two plugins offer one name, a plugin implements an unknown hook, or a file cannot be used.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hooks)
    plugins: list[Plugin] = []
    offered: list[Component] = []
    folders: list[tuple[str, Path]] = []
    unknown: list[tuple[str, str]] = []
    found = list(importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points)
    for entry in sorted(found, key=lambda e: (e.dist.name if e.dist else "", e.name)):
        name = entry.dist.name if entry.dist else entry.name
        version = entry.dist.version if entry.dist else "?"
        try:
            module = entry.load()
            manager.register(module, name=name if not manager.has_plugin(name) else f"{name}:{entry.name}")
            unknown += [(name, h.name) for h in manager.get_hookcallers(module) or () if not h.has_spec()]
            components, recipes = _declared(manager, module, name)
        except (Exception, SystemExit) as error:  # an error in one plugin must not stop the others
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"plugin {name} is broken and skipped: {reason}", stacklevel=2)
            plugins.append(Plugin(name, version, reason))
        else:
            offered += components
            folders += [(name, folder) for folder in recipes]
            if all(p.name != name for p in plugins):
                plugins.append(Plugin(name, version))
    for path in dict.fromkeys(Path(file).resolve() for file in files):
        module = import_file(path)
        manager.register(module, name=str(path))
        unknown += [(path.name, h.name) for h in manager.get_hookcallers(module) or () if not h.has_spec()]
        try:
            components, recipes = _declared(manager, module, path.name)
        except Exception as error:
            raise PluginError(f"{failed_at(error) or path}: {type(error).__name__}: {error}") from error
        if not components and not recipes and all(name != path.name for name, _ in unknown):
            raise nothing_offered(path, module)
        offered += components
        folders += [(path.name, folder) for folder in recipes]
        plugins.append(Plugin(path.name, f"sha256:{sha256(path)}", file=path))
    for name, hook in unknown:
        raise PluginError(_unknown_hook(name, hook))
    commands = _by_name(c for c in offered if c.kind == "commands")
    return Catalog(tuple(plugins), _by_name(c for c in offered if c.kind != "commands"), commands, tuple(folders))


def _unknown_hook(plugin: str, hook: str) -> str:
    known = sorted(n for n in vars(hooks) if n.startswith("vidcore_"))
    kind = hook.removeprefix("vidcore_")
    kind = "jobs" if kind == "steps" else kind  # the old name
    if kind in KINDS:
        return f"{plugin}: {hook} is not a hook: return these components under {kind!r} in vidcore_components"
    return f"{plugin}: {hook} is not a hook{nearest(hook, known)}; vidcore has {', '.join(known)}"


def _declared(manager: pluggy.PluginManager, module: Any, plugin: str) -> tuple[list[Component], list[Path]]:
    """Return what the hooks of a plugin declare: components and commands, and folders of recipes."""
    components: list[Component] = []
    folders: list[Path] = []
    for hook in manager.get_hookcallers(module) or ():
        declare: Callable[[], Any] = next(impl.function for impl in hook.get_hookimpls() if impl.plugin is module)
        if hook.name == "vidcore_recipes":
            folders.append(_folder(str(declare())))
        elif hook.name == "vidcore_commands":
            components += _offered(hook.name, "commands", declare(), plugin)
        elif hook.name == "vidcore_components":
            for kind, names in dict(declare()).items():
                if not isinstance(kind, str) or not kind.isidentifier() or kind in ("commands", "recipes"):
                    raise TypeError(f"{hook.name} must return kinds like trackers or pose_estimators, got {kind!r}")
                components += _offered(hook.name, kind, names, plugin)
    return components, folders


def _offered(hook: str, kind: str, names: Any, plugin: str) -> Iterator[Component]:
    for name, target in dict(names).items():
        if not isinstance(name, str) or not isinstance(target, str) or ":" not in target:
            raise TypeError(f'{hook} must return names and "module:attribute" of {kind}, got {name!r}: {target!r}')
        yield Component(name, kind, target, plugin)


def _by_name(components: Iterable[Component]) -> dict[str, Component]:
    found: dict[str, Component] = {}
    for new in components:
        old = found.setdefault(new.name, new)
        if old is not new:
            raise PluginError(
                f"{new.name!r} is offered twice: by {old.plugin} ({old.kind}, {old.target}) "
                f"and by {new.plugin} ({new.kind}, {new.target}); uninstall one of them"
            )
    return found


def _folder(declared: str) -> Path:
    package, _, inside = declared.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"recipes are declared in {declared!r}, but {package!r} is not a package")
    return Path(next(iter(spec.submodule_search_locations))) / inside
