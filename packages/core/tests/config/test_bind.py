"""Tables are checked strictly, all problems at once, and built innermost first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vidcore import errors
from vidcore.config.bind import Binder, build, build_component
from vidcore.config.load import Loaded
from vidcore.config.types import Choice, DictOf, ListOf, Object, Scalar, TupleOf, Union
from vidcore.errors import ConfigError, UserError
from vidcore.plugins.catalog import Catalog, Component, load_plugins
from vidcore.task.classes import num_classes
from vidcore.task.task import Task

PARTS = """
from __future__ import annotations
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from attrs import frozen
@frozen
class Pathway:
    depth: int = 50
    ratio: float = 1.0
@frozen
class Net:
    backbone: Module
    slow: Pathway | None = None
    sizes: tuple[int, ...] = (1,)
    file: Path | None = None
    scale: int | tuple[int, int] = 1
    extra: Any = None
@frozen
class Back:
    depth: int
    def __attrs_post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth must not be negative, got {self.depth}")
@frozen
class Acc:
    topk: tuple[int, ...] = (1, 5)
"""


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    (tmp_path / "bind_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bind_parts", raising=False)
    kinds = {"Net": "models", "Back": "models", "Acc": "metrics"}
    return Catalog((), {n: Component(n, k, f"bind_parts:{n}", "test") for n, k in kinds.items()}, {})


def problems(catalog: Catalog, value: Any, wanted: Any) -> list[str]:
    binder = Binder(catalog, Loaded({}))
    binder.bind(value, wanted, ("x",))
    return binder.problems


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("false", Scalar("bool")),
        (2.7, Scalar("int")),
        (True, Scalar("int")),
        (True, Scalar("float")),
        (float("nan"), Scalar("float")),
        (float("inf"), Union((Scalar("float"), Choice((None,))))),
        (10**400, Scalar("float")),
        (1, Scalar("bool")),
        (1, Scalar("str")),
        ([1, "2"], ListOf(Scalar("int"))),
        ([1], TupleOf((Scalar("int"), Scalar("int")))),
        (1, Choice((True,))),
        ({"a": "1"}, DictOf(Scalar("int"))),
        ([1], DictOf(Scalar("int"))),
        ("SGD", Object("Optimizer")),
        ([1, 2, 3], Union((Scalar("int"), TupleOf((Scalar("int"), Scalar("int")))))),
    ],
)
def test_types_are_strict(catalog: Catalog, value: Any, wanted: Any) -> None:
    assert len(problems(catalog, value, wanted)) == 1


def test_valid_values_are_converted(catalog: Catalog) -> None:
    built = build_component(
        {
            "type": "Net",
            "backbone": {"type": "Back", "depth": 3},
            "slow": {"ratio": 2},
            "sizes": [1, 2],
            "file": "a.txt",
            "scale": [3, 4],
            "extra": {"type": "Acc", "topk": [1]},
        },
        catalog=catalog,
    )
    assert built.backbone.depth == 3
    assert built.slow.ratio == 2.0 and type(built.slow.ratio) is float
    assert (built.sizes, built.scale) == ((1, 2), (3, 4))
    assert built.file == Path.cwd() / "a.txt"
    assert built.extra.topk == (1,)


def test_all_problems_at_once_with_paths_and_suggestions(catalog: Catalog) -> None:
    table = {"type": "Net", "backbone": {"type": "Bak", "depth": 1}, "slow": {"dept": 3, "ratio": "a"}, "size": [1]}
    with pytest.raises(ConfigError) as caught:
        build_component(table, catalog=catalog)
    text = caught.value.problems
    assert len(text) == 4
    assert "backbone.type: no installed plugin offers a models component named 'Bak'; did you mean 'Back'?" in text[0]
    assert "slow.dept: unknown key: [slow] takes no 'dept'; did you mean 'depth'?" in text[1]
    assert "slow.ratio: must be a number, got 'a'" in text[2]
    assert "size: unknown key: Net takes no 'size'; did you mean 'sizes'?" in text[3]
    assert "bind_parts" not in sys.modules, "checking must not import components"


def test_missing_and_misplaced_components(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="backbone: is missing: Net requires it"):
        build_component({"type": "Net"}, catalog=catalog)
    with pytest.raises(ConfigError, match=r"'Acc' \(test\) belongs to metrics, but one of models is needed"):
        build_component({"type": "Net", "backbone": {"type": "Acc"}}, catalog=catalog)
    with pytest.raises(ConfigError, match="must be the name of one of models, found only depth"):
        build_component({"type": "Net", "backbone": {"depth": 3}}, catalog=catalog)


def test_rejected_arguments_name_the_key(catalog: Catalog) -> None:
    binder = Binder(catalog, Loaded({}))
    bound = binder.bind({"type": "Back", "depth": -1}, Object("Module"), ("model", "backbone"))
    assert not binder.problems
    with pytest.raises(UserError, match=r"model\.backbone: Back: depth must not be negative, got -1"):
        build(bound)


@pytest.mark.parametrize("error", ["TypeError", "OverflowError", "ZeroDivisionError", "KeyError", "RuntimeError"])
def test_every_error_of_a_constructor_is_one_line_with_the_key(catalog: Catalog, tmp_path: Path, error: str) -> None:
    lines = f"def Broken(size: int) -> None:\n    raise {error}('size is odd\\nraised in some.cpp, line 3')\n"
    (tmp_path / f"raises_{error}.py").write_text(lines)
    catalog.components["Broken"] = Component("Broken", "models", f"raises_{error}:Broken", "test")
    bound = Binder(catalog, Loaded({})).bind({"type": "Broken", "size": 3}, Object("Module"), ("model", "neck"))
    with pytest.raises(UserError, match=r"^task: model\.neck: Broken: .*size is odd[^\n]*$"):
        build(bound)


def test_a_table_of_options_is_not_a_component(catalog: Catalog) -> None:
    table = {"type": "Net", "backbone": {"type": "Back", "depth": 1}, "slow": {"type": "Acc"}}
    with pytest.raises(ConfigError, match=r"slow\.type: unknown key: \[slow\] takes no 'type'; it takes depth, ratio"):
        build_component(table, catalog=catalog)


@pytest.mark.torch
def test_a_number_for_a_parameter_of_type_float_or_tensor() -> None:
    with pytest.raises(ConfigError, match=r"^task: lr: must be a number, got a table$"):
        build_component({"type": "SGD", "lr": {"type": "StepLR", "step_size": 3}})


@pytest.mark.parametrize("kind", ["UserError", "DataError"])
def test_errors_of_components_get_file_and_key(catalog: Catalog, tmp_path: Path, kind: str) -> None:
    lines = f"from vidcore import errors\ndef Odd(size: int) -> None:\n    raise errors.{kind}('Odd: size is odd')\n"
    (tmp_path / f"raises_{kind}.py").write_text(lines)
    catalog.components["Odd"] = Component("Odd", "transforms", f"raises_{kind}:Odd", "test")
    bound = Binder(catalog, Loaded({})).bind({"type": "Odd", "size": 3}, Object("Transform"), ("data", "odd"))
    with pytest.raises(getattr(errors, kind), match=r"^task: data\.odd: Odd: size is odd$"):
        build(bound)


def test_a_mistake_in_data_all_is_reported_once() -> None:
    dataset = {"type": "ConcatDataset", "datasets": []}
    pipeline = {"open": {"type": "OpenVideo", "thread": 1}}
    data = {"all": {"pipeline": pipeline, "worker": 2}, "train": {"dataset": dataset}, "val": {"dataset": dataset}}
    table = {"job": {"type": "ExtractFeatures", "task": "a", "checkpoint": "b", "videos": []}, "data": data}
    with pytest.raises(ConfigError) as caught:
        Task.from_table(table, load_plugins())
    assert caught.value.problems == (
        "task: data.all.pipeline.open.thread: unknown key: OpenVideo takes no 'thread'; did you mean 'threads'?",
        "task: data.all.worker: unknown key: [data.all] takes no 'worker'; did you mean 'workers'?",
    )


@pytest.mark.parametrize(
    ("model", "classes"),
    [
        ({"type": "Net", "num_classes": 80, "head": {"num_classes": 81}}, 80),
        ({"type": "Net", "head": {"num_classes": 5}, "auxiliary": {"num_classes": 3}}, 5),
        ({"type": "Net", "head": {}}, None),
    ],
)
def test_the_number_of_classes_comes_from_the_model_or_its_parts(model: dict[str, Any], classes: int | None) -> None:
    assert num_classes(model) == classes
