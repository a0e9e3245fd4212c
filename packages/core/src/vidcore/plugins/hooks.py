"""The hooks a plugin may implement: entry-point group ``vidcore``, one module per plugin.

Hooks declare, they never build: each returns a mapping from a name to ``"module:attribute"``,
so that listing what is installed imports neither torch nor OpenCV. A whole plugin::

    # pyproject.toml
    [project.entry-points.vidcore]
    mine = "my_package.plugin"

    # my_package/plugin.py
    from vidcore.plugins.hooks import hookimpl

    @hookimpl
    def vidcore_models() -> dict[str, str]:
        return {"MyNet": "my_package.net:MyNet"}
"""

from __future__ import annotations

import pluggy

hookspec = pluggy.HookspecMarker("vidcore")
hookimpl = pluggy.HookimplMarker("vidcore")

KINDS = (
    "models",
    "datasets",
    "transforms",
    "metrics",
    "optimizers",
    "groupings",
    "schedules",
    "decoders",
    "observers",
    "jobs",
    "writers",
)
"""Kinds of components a Task can name; a name belongs to one component, whatever its kind."""


@hookspec
def vidcore_models() -> dict[str, str]:  # type: ignore[empty-body]
    """Whole models and their parts (backbones, necks, heads, losses): ``nn.Module`` classes.

    ``return {"MyHead": "my_package.heads:MyHead"}``
    """


@hookspec
def vidcore_datasets() -> dict[str, str]:  # type: ignore[empty-body]
    """Data sets: ``return {"MyDataset": "my_package.data:MyDataset"}``; see ``vidcore.protocols.Dataset``."""


@hookspec
def vidcore_transforms() -> dict[str, str]:  # type: ignore[empty-body]
    """Steps of a pipeline: ``return {"Blur": "my_package.blur:Blur"}``; see ``vidcore.protocols.Transform``."""


@hookspec
def vidcore_metrics() -> dict[str, str]:  # type: ignore[empty-body]
    """Metrics: ``return {"F1": "my_package.scores:F1"}``; see ``vidcore.protocols.Metric``."""


@hookspec
def vidcore_optimizers() -> dict[str, str]:  # type: ignore[empty-body]
    """Optimizers, called with parameter groups first: ``return {"Lion": "my_package.lion:Lion"}``."""


@hookspec
def vidcore_groupings() -> dict[str, str]:  # type: ignore[empty-body]
    """Ways to split a model into parameter groups: ``return {"MyGroups": "my_package.groups:MyGroups"}``."""


@hookspec
def vidcore_schedules() -> dict[str, str]:  # type: ignore[empty-body]
    """Learning-rate schedules: ``return {"Saw": "my_package.saw:Saw"}``."""


@hookspec
def vidcore_decoders() -> dict[str, str]:  # type: ignore[empty-body]
    """Video readers, called with a path: ``return {"gpu": "my_package.gpu:GpuReader"}``."""


@hookspec
def vidcore_observers() -> dict[str, str]:  # type: ignore[empty-body]
    """Loggers and the like: ``return {"MyLogger": "my_package.log:MyLogger"}``."""


@hookspec
def vidcore_jobs() -> dict[str, str]:  # type: ignore[empty-body]
    """Stages of a run that train nothing: ``return {"MakeFiles": "my_package.files:MakeFiles"}``.

    See ``vidcore.protocols.Job``.
    """


@hookspec
def vidcore_writers() -> dict[str, str]:  # type: ignore[empty-body]
    """Ways to write predictions: ``vidcore predict --write mine=PATH`` calls ``write(path, samples)``.

    ``return {"mine": "my_package.writing:write"}``
    """


@hookspec
def vidcore_recipes() -> str:  # type: ignore[empty-body]
    """The folder of this plugin's recipes, searched at any depth: ``return "my_package:recipes"``."""


@hookspec
def vidcore_commands() -> dict[str, str]:  # type: ignore[empty-body]
    """Subcommands of ``vidcore``: click commands, ``return {"hello": "my_package.cli:hello"}``.

    Import torch and the like inside the command's function: ``vidcore --help`` loads its module.
    """
