"""Every recipe resolves, is valid, and builds a network of the size it states."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

import vid_recognition
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


def test_every_fragment_is_used() -> None:
    used = {(p.parent / name).resolve() for p in FOLDER.rglob("*.toml") for name in _extends(p)}
    assert {p.resolve() for p in (FOLDER / "base").glob("*.toml")} <= used


def test_fragments_are_private(catalog: Catalog) -> None:
    assert not {p.stem for p in (FOLDER / "base").glob("*.toml")} & catalog.recipes.keys()


def _extends(path: Path) -> list[str]:
    found = tomllib.loads(path.read_text()).get("extends", [])
    return [found] if isinstance(found, str) else found
