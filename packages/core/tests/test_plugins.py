"""Discovery, listing and errors of plugins."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vidcore.cli import Context, cli
from vidcore.config.bind import build_component
from vidcore.errors import ConfigError, PluginError, UserError
from vidcore.plugins.catalog import load_plugins
from vidcore.plugins.hooks import hookimpl, offer
from vidcore.task.task import Task


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an entry point of a module with the given hooks."""

    def make(name: str, **hooks: Any) -> EntryPoint:
        module = types.ModuleType(name)
        for hook, answer in hooks.items():
            scope: dict[str, Any] = {"answer": answer, "hookimpl": hookimpl}
            exec(f"@hookimpl\ndef {hook}():\n    return answer", scope)
            setattr(module, hook, scope[hook])
        monkeypatch.setitem(sys.modules, name, module)
        return EntryPoint(name, name, "vidcore")

    return make


def test_components_are_listed_without_importing_them(plugin: Any) -> None:
    catalog = load_plugins(
        [plugin("one", vidcore_components={"models": {"Net": "no_such_module:Net"}, "metrics": {"F1": "m:F1"}})]
    )
    assert catalog.components["Net"].plugin == "one"
    assert list(catalog.of_kind("metrics")) == ["F1"]
    with pytest.raises(PluginError, match="Net of one cannot be loaded from 'no_such_module:Net'"):
        catalog.get("Net").load()


def test_one_name_from_two_plugins_names_both(plugin: Any) -> None:
    one, two = (
        plugin("one", vidcore_components={"models": {"Net": "a:Net"}}),
        plugin("two", vidcore_components={"transforms": {"Net": "b:Net"}}),
    )
    with pytest.raises(PluginError, match=r"'Net' is offered twice: by one \(models, a:Net\) and by two \(transforms"):
        load_plugins([one, two])


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        (
            "vidcore_component",
            r"^one: vidcore_component is not a hook; did you mean 'vidcore_components'\?; vidcore has",
        ),
        ("vidcore_models", "^one: vidcore_models is not a hook: return .* under 'models' in vidcore_components$"),
        ("vidcore_steps", "^one: vidcore_steps is not a hook: return .* under 'jobs' in vidcore_components$"),
    ],
)
def test_an_unknown_or_old_hook_is_an_error_that_names_the_right_one(plugin: Any, hook: str, problem: str) -> None:
    with pytest.raises(PluginError, match=problem):
        load_plugins([plugin("one", **{hook: {}})])


def test_broken_plugin_is_named_and_skipped(plugin: Any) -> None:
    fine = plugin("fine", vidcore_components={"models": {"Net": "a:Net"}})
    with pytest.warns(UserWarning, match="plugin broken_one is broken and skipped: ModuleNotFoundError"):
        catalog = load_plugins([fine, EntryPoint("broken_one", "does_not_exist", "vidcore")])
    assert list(catalog.components) == ["Net"]
    assert [(p.name, bool(p.error)) for p in catalog.plugins] == [("broken_one", True), ("fine", False)]


def fail() -> None:
    raise RuntimeError("no licence")


@pytest.mark.parametrize(
    ("hook", "answer", "why"),
    [
        ("vidcore_components", fail, "RuntimeError: no licence"),
        ("vidcore_components", lambda: None, "TypeError"),
        ("vidcore_components", lambda: ["models"], "ValueError"),
        ("vidcore_components", lambda: {"models": ["Net"]}, "ValueError"),
        ("vidcore_components", lambda: {"my kind": {"Net": "a:Net"}}, "TypeError: vidcore_components .*got 'my kind'"),
        ("vidcore_components", lambda: {"commands": {"run": "a:run"}}, "TypeError: vidcore_components .*'commands'"),
        (
            "vidcore_components",
            lambda: {"models": {"Net": dict}},
            r"TypeError: vidcore_components must return .* of models, got 'Net': <class 'dict'>",
        ),
        ("vidcore_components", lambda: {"models": {"Net": "module.Net"}}, "'module.Net'"),
        ("vidcore_commands", lambda: {"run": "module.run"}, "vidcore_commands must return .*'module.run'"),
        ("vidcore_recipes", lambda: "no.such:recipes", "ModuleNotFoundError"),
        ("vidcore_recipes", lambda: "json.scanner:recipes", "'json.scanner' is not a package"),
    ],
)
def test_a_plugin_with_broken_hooks_is_named_and_skipped(
    monkeypatch: pytest.MonkeyPatch, plugin: Any, hook: str, answer: Any, why: str
) -> None:
    module = types.ModuleType("odd")
    setattr(module, hook, hookimpl(types.FunctionType(answer.__code__, globals())))
    monkeypatch.setitem(sys.modules, "odd", module)
    with pytest.warns(UserWarning, match=f"plugin odd is broken and skipped: .*{why}"):
        catalog = load_plugins(
            [plugin("fine", vidcore_components={"models": {"Net": "a:Net"}}), EntryPoint("odd", "odd", "vidcore")]
        )
    assert [component.plugin for component in catalog.components.values()] == ["fine"]
    assert [p.name for p in catalog.plugins if p.error] == ["odd"]


@pytest.mark.parametrize("source", ["def Net(:", "raise OSError('no GPU')", "import no_such_module"])
def test_a_component_whose_module_is_broken(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "broken_net.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog = load_plugins([plugin("one", vidcore_components={"models": {"Net": "broken_net:Net"}})])
    with pytest.raises(PluginError, match=r"Net of one cannot be loaded from 'broken_net:Net': "):
        catalog.get("Net").load()
    with pytest.raises(ConfigError, match=r"broken_net.*cannot be read: "):
        build_component({"type": "Net"}, catalog=catalog)


def test_unknown_names_suggest_the_nearest_or_the_package(plugin: Any) -> None:
    catalog = load_plugins([plugin("one", vidcore_components={"models": {"Network": "a:Net"}})])
    with pytest.raises(PluginError, match="named 'Netwrk'; did you mean 'Network'"):
        catalog.get("Netwrk")
    with pytest.raises(PluginError, match=r"named 'BMN'; install the vid-\.\.\. package .*vidcore list models shows"):
        catalog.get("BMN", "models")


def test_offer_maps_names_to_modules() -> None:
    assert offer("a.b", one=["X", "Y"], two=["Z"]) == {"X": "a.b.one:X", "Y": "a.b.one:Y", "Z": "a.b.two:Z"}
    assert offer("a", package=["X"]) == {"X": "a.package:X"}


TRACKING = """
from __future__ import annotations
import numpy as np
from attrs import frozen
from typing import Protocol
from torch import nn
from vidcore.sample import Sample

class Tracker(Protocol):
    def follow(self, boxes: np.ndarray) -> np.ndarray: ...

@frozen
class Sort:
    iou: float = 0.3
    def follow(self, boxes: np.ndarray) -> np.ndarray:
        return boxes

@frozen
class Flow:
    levels: int
    def follow(self, boxes: np.ndarray) -> np.ndarray:
        return boxes

@frozen
class Follow:
    tracker: Tracker
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample

class Net(nn.Module):
    pass
"""


@pytest.fixture
def trackers(plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The core, and a package that adds a kind of component and a transform that takes one."""
    (tmp_path / "tracking_parts.py").write_text(TRACKING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tracking_parts", raising=False)
    targets = {name: f"tracking_parts:{name}" for name in ("Net", "Follow", "Sort", "Flow")}
    offered = {
        "models": {"Net": targets["Net"]},
        "transforms": {"Follow": targets["Follow"]},
        "trackers": {name: targets[name] for name in ("Sort", "Flow")},
    }
    return [
        plugin("vid_tracking", vidcore_components=offered),
        EntryPoint("core", "vidcore.plugins.builtin", "vidcore"),
    ]


def tracking_task(**tracker: Any) -> dict[str, Any]:
    data = {"dataset": {"type": "ConcatDataset", "datasets": []}, "pipeline": {}}
    data["pipeline"] = {"open": {"type": "OpenVideo"}, "follow": {"type": "Follow", "tracker": tracker}}
    return {"model": {"type": "Net"}, "data": {"train": data}}


@pytest.mark.torch
def test_a_package_adds_a_kind_and_a_task_uses_it(trackers: list[EntryPoint]) -> None:
    catalog = load_plugins(trackers)
    task = Task.from_table(tracking_task(type="Flow", levels=3), catalog)
    assert "tracking_parts" not in sys.modules
    (_, follow) = task.build("data.train.pipeline").values()
    assert (type(follow.tracker).__name__, follow.tracker.levels) == ("Flow", 3)


@pytest.mark.parametrize(
    ("tracker", "problem"),
    [
        ({"type": "Flow"}, "tracker.levels: is missing: Flow requires it"),
        ({"type": "Sort", "iuo": 0.5}, "unknown key: Sort takes no 'iuo'; did you mean 'iou'?"),
        ({"type": "Resize"}, "'Resize' (vidcore) belongs to transforms, but one of trackers is needed here"),
        ({"type": "Srt"}, "no installed plugin offers a trackers component named 'Srt'; did you mean 'Sort'?"),
    ],
)
def test_components_of_a_new_kind_are_checked_before_anything_is_imported(
    trackers: list[EntryPoint], tracker: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Task.from_table(tracking_task(**tracker), load_plugins(trackers))
    (found,) = caught.value.problems
    assert problem.replace("(vidcore)", "(core)") in found
    assert "tracking_parts" not in sys.modules


def test_components_of_a_new_kind_are_listed(trackers: list[EntryPoint]) -> None:
    context = Context()
    context.catalog = load_plugins(trackers)
    listed = CliRunner().invoke(cli, ["list", "trackers"], obj=context)
    assert [line.split()[:2] for line in listed.output.splitlines()[1:]] == [["trackers", "Flow"], ["trackers", "Sort"]]
    assert "2 trackers" in CliRunner().invoke(cli, ["plugins"], obj=context).output
    wrong = CliRunner().invoke(cli, ["list", "tracker"], obj=context)
    assert isinstance(wrong.exception, UserError) and "did you mean 'trackers'?" in str(wrong.exception)


def test_recipes_of_two_plugins_may_not_share_a_name_but_fragments_may(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pack_a", "pack_b"):
        (tmp_path / package / "recipes" / "base").mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "recipes" / "base" / "clips.toml").touch()
        (tmp_path / package / "recipes" / f"net_{package}.toml").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    both = [plugin("one", vidcore_recipes="pack_a:recipes"), plugin("two", vidcore_recipes="pack_b:recipes")]
    assert load_plugins(both).recipes == {
        f"net_{package}": tmp_path / package / "recipes" / f"net_{package}.toml" for package in ("pack_a", "pack_b")
    }
    (tmp_path / "pack_b" / "recipes" / "net_pack_a.toml").touch()
    with pytest.raises(PluginError, match="recipe 'net_pack_a' exists twice"):
        _ = load_plugins(both).recipes
