"""Every recipe resolves, is valid, and builds a network of the size it states."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

import vid_recognition
from vidcore.cli import run
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.task import Task

FOLDER = Path(vid_recognition.__file__).parent / "recipes"
RECIPES = sorted(p for p in FOLDER.rglob("*.toml") if p.parent.name != "base")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def test_recipes_are_found_by_name(catalog: Catalog) -> None:
    assert len(RECIPES) >= 53
    assert all(catalog.recipes[p.stem] == p for p in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_is_complete_and_of_the_stated_size(path: Path, catalog: Catalog) -> None:
    task = Task.load(path.stem, catalog)
    task.require("data.train", "data.val", "data.test", "train.epochs", "optimizer", "schedule", "metrics.acc")
    info = task.table["info"]
    assert info["paper"].startswith("https://arxiv.org/abs/")
    with torch.device("meta"):
        model = task.build("model")
    assert sum(p.numel() for p in model.parameters()) == info["parameters"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_has_only_what_differs(path: Path) -> None:
    text = path.read_text()
    own = tomllib.loads(text)
    assert own["extends"], "extends fragments"
    assert len(text.splitlines()) <= 45
    assert "parameters" in own["info"]


def test_the_list_of_recipes_has_scores_and_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "recipes", "--task", "recognition"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line for line in lines if not line.startswith(" ")} == {p.stem for p in RECIPES}
    assert all(len(line) <= 80 for line in lines if line.startswith(" "))
    at = lines.index("tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb")
    assert lines[at + 1] == "  recognition, kinetics400, 24.3 M parameters, top1 72.83, top5 90.65"
    facts = [line for line in lines if line.startswith("  recognition, ")]
    assert len(facts) == len(RECIPES)
    assert all(re.match(r"  recognition, (kinetics[47][01]0|sthv2), [\d.]+ M parameters", line) for line in facts)


def test_filters_of_the_list_of_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--dataset", "kinetics710"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")] == [
        "slowonly_imagenet-pretrained-r50_32xb8-8x8x1-steplr-150e_kinetics710-rgb"
    ]
    assert run(["list", "recipes", "--dataset", "kinetics40"]) == 2
    assert "--dataset kinetics40: no recipe has it; did you mean 'kinetics400'?\n" in capsys.readouterr().err
    assert run(["list", "models", "--task", "recognition"]) == 2
    assert "--task and --dataset select recipes, not models" in capsys.readouterr().err


def test_every_fragment_is_used() -> None:
    used = {(p.parent / name).resolve() for p in FOLDER.rglob("*.toml") for name in _extends(p)}
    assert {p.resolve() for p in (FOLDER / "base").glob("*.toml")} <= used


def test_fragments_are_private(catalog: Catalog) -> None:
    assert not {p.stem for p in (FOLDER / "base").glob("*.toml")} & catalog.recipes.keys()


def _extends(path: Path) -> list[str]:
    found = tomllib.loads(path.read_text()).get("extends", [])
    return [found] if isinstance(found, str) else found
