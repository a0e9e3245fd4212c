"""The three hooks that a plugin may implement. A plugin is a module in the entry-point group ``vidcore``.

Hooks only declare, so that listing what is installed imports neither torch nor OpenCV. A complete plugin::

    # pyproject.toml
    [project.entry-points.vidcore]
    mine = "my_package.plugin"

    # my_package/plugin.py
    from vidcore.plugins.hooks import hookimpl, offer

    @hookimpl
    def vidcore_components() -> dict[str, dict[str, str]]:
        return {
            "models": offer("my_package.models", mynet=["MyNet"], heads=["MyHead", "OtherHead"]),
            "decoders": {"gpu": "my_package.gpu:GpuReader"},  # a different name than the class
            "trackers": offer("my_package", tracking=["Sort"]),  # a new kind
        }

    @hookimpl
    def vidcore_recipes() -> str:
        return "my_package:recipes"

    @hookimpl
    def vidcore_commands() -> dict[str, str]:
        return {"hello": "my_package.cli:hello"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pluggy

GROUP = "vidcore"
"""The group of entry points."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


def offer(package: str, /, **modules: Iterable[str]) -> dict[str, str]:
    """Return ``name -> "package.module:name"`` for the names in each module of a package.

    >>> offer("my_package.models", mynet=["MyNet"])
    {'MyNet': 'my_package.models.mynet:MyNet'}
    """
    return {name: f"{package}.{module}:{name}" for module, names in modules.items() for name in names}


@hookspec
def vidcore_components() -> Mapping[str, Mapping[str, str]]:  # type: ignore[empty-body]
    """Return the components that a Task can name, by kind and name.

    A package adds a kind by offering components of it: a parameter of type ``Tracker`` takes one of ``trackers``.
    """


@hookspec
def vidcore_recipes() -> str:  # type: ignore[empty-body]
    """Return the folder of recipes, ``"package:folder"``: TOML files at any depth; those in ``base`` have no name.

    ``classes/DATASET.txt`` in it has the class names, one per line, of models whose recipes have
    ``info.dataset = "DATASET"``. ``published.tsv`` in it lists published weights: columns ``name`` (of the recipe) and
    ``path`` (below the root of the server). Without it, ``info.weights`` of recipes names their files.
    """


@hookspec
def vidcore_commands() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return click commands of ``vidcore`` by name; ``"data prepare"`` is ``prepare`` in the group ``data``."""
