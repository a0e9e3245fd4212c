"""Plugins are found, listed and refused as promised."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from vidcore.config.bind import build_component
from vidcore.errors import ConfigError, PluginError
from vidcore.plugins.catalog import load_plugins
from vidcore.plugins.hooks import hookimpl


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an entry point of a module with the given hooks."""

    def make(name: str, **hooks: Any) -> EntryPoint:
        module = types.ModuleType(name)
        for hook, answer in hooks.items():
            scope: dict[str, Any] = {"answer": answer, "hookimpl": hookimpl}
            exec(f"@hookimpl\ndef {hook}():\n    return answer", scope)
            setattr(module, hook, scope[hook])
        monkeypatch.setitem(sys.modules, name, module)
        return EntryPoint(name, name, "vidcore")

    return make


def test_what_plugins_offer_is_listed_unimported(plugin: Any) -> None:
    catalog = load_plugins(
        [plugin("one", vidcore_models={"Net": "no_such_module:Net"}, vidcore_metrics={"F1": "m:F1"})]
    )
    assert catalog.components["Net"].plugin == "one"
    assert list(catalog.of_kind("metrics")) == ["F1"]
    with pytest.raises(PluginError, match="Net of one cannot be loaded from 'no_such_module:Net'"):
        catalog.get("Net").load()


def test_one_name_from_two_plugins_names_both(plugin: Any) -> None:
    one, two = plugin("one", vidcore_models={"Net": "a:Net"}), plugin("two", vidcore_transforms={"Net": "b:Net"})
    with pytest.raises(PluginError, match=r"'Net' is offered twice: by one \(models, a:Net\) and by two \(transforms"):
        load_plugins([one, two])


def test_unknown_hook_is_an_error(plugin: Any) -> None:
    with pytest.raises(PluginError, match=r"vidcore_modles.*vidcore knows vidcore_commands"):
        load_plugins([plugin("one", vidcore_modles={})])


def test_broken_plugin_is_named_and_skipped(plugin: Any) -> None:
    fine = plugin("fine", vidcore_models={"Net": "a:Net"})
    with pytest.warns(UserWarning, match="plugin broken_one is broken and skipped: ModuleNotFoundError"):
        catalog = load_plugins([fine, EntryPoint("broken_one", "does_not_exist", "vidcore")])
    assert list(catalog.components) == ["Net"]
    assert [(p.name, bool(p.error)) for p in catalog.plugins] == [("broken_one", True), ("fine", False)]


def fail() -> None:
    raise RuntimeError("no licence")


@pytest.mark.parametrize(
    ("hook", "answer", "why"),
    [
        ("vidcore_models", fail, "RuntimeError: no licence"),
        ("vidcore_models", lambda: None, "TypeError"),
        ("vidcore_models", lambda: ["Net"], "ValueError"),
        ("vidcore_models", lambda: {"Net": dict}, r"TypeError: vidcore_models must give .*'Net': <class 'dict'>"),
        ("vidcore_models", lambda: {"Net": "module.Net"}, "'module.Net'"),
        ("vidcore_recipes", lambda: "no.such:recipes", "ModuleNotFoundError"),
        ("vidcore_recipes", lambda: "json.scanner:recipes", "'json.scanner' is no package"),
    ],
)
def test_a_plugin_whose_hooks_do_not_work_is_named_and_skipped(
    monkeypatch: pytest.MonkeyPatch, plugin: Any, hook: str, answer: Any, why: str
) -> None:
    module = types.ModuleType("odd")
    setattr(module, hook, hookimpl(types.FunctionType(answer.__code__, globals())))
    monkeypatch.setitem(sys.modules, "odd", module)
    with pytest.warns(UserWarning, match=f"plugin odd is broken and skipped: .*{why}"):
        catalog = load_plugins([plugin("fine", vidcore_models={"Net": "a:Net"}), EntryPoint("odd", "odd", "vidcore")])
    assert [component.plugin for component in catalog.components.values()] == ["fine"]
    assert [p.name for p in catalog.plugins if p.error] == ["odd"]


@pytest.mark.parametrize("source", ["def Net(:", "raise OSError('no GPU')", "import no_such_module"])
def test_a_component_whose_module_is_broken(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "broken_net.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog = load_plugins([plugin("one", vidcore_models={"Net": "broken_net:Net"})])
    with pytest.raises(PluginError, match=r"Net of one cannot be loaded from 'broken_net:Net': "):
        catalog.get("Net").load()
    with pytest.raises(ConfigError, match=r"broken_net.*cannot be read: "):
        build_component({"type": "Net"}, catalog=catalog)


def test_unknown_names_suggest_the_nearest_or_the_package(plugin: Any) -> None:
    catalog = load_plugins([plugin("one", vidcore_models={"Network": "a:Net"})])
    with pytest.raises(PluginError, match="named 'Netwrk'; did you mean 'Network'"):
        catalog.get("Netwrk")
    with pytest.raises(PluginError, match="named 'BMN'; vid-localization brings it: pip install vid-localization"):
        catalog.get("BMN", "models")


def test_recipes_of_two_plugins_may_not_share_a_name(plugin: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for package in ("pack_a", "pack_b"):
        (tmp_path / package / "recipes").mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "recipes" / "net_r50.toml").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    only = load_plugins([plugin("one", vidcore_recipes="pack_a:recipes")])
    assert only.recipes == {"net_r50": tmp_path / "pack_a" / "recipes" / "net_r50.toml"}
    both = load_plugins(
        [plugin("one", vidcore_recipes="pack_a:recipes"), plugin("two", vidcore_recipes="pack_b:recipes")]
    )
    with pytest.raises(PluginError, match="recipe 'net_r50' exists twice"):
        _ = both.recipes
