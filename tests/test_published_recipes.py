"""Recipes against the published configurations, brought over by the importer, and their published sizes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from vid_mmaction2.config import convert_config
from vid_mmaction2.reader import read_config

from vidcore.config.bind import Call
from vidcore.config.signature import read_signature
from vidcore.config.task import Task
from vidcore.plugins import Catalog, load_plugins

ROOT = Path(__file__).resolve().parents[1]
PARITY = Path(os.environ.get("VIDCORE_SHARED", ROOT.parent / "shared")) / "parity"
RECIPES = ROOT / "packages/recognition/src/vid_recognition/recipes"
PUBLISHED = sorted(p.relative_to(RECIPES).with_suffix("") for p in RECIPES.rglob("*.toml") if p.parent.name != "base")
METHODS = ("TSN", "TSM", "C2D", "I3D", "SlowOnly", "SlowFast")

pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="needs the reference numbers")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def settings(value: Any) -> Any:
    """Everything a checked Task says, defaults included."""
    if isinstance(value, Call):
        parameters = read_signature(value.component.target).parameters.values()
        given = {p.name: p.default for p in parameters} | value.arguments
        return {"type": value.component.name} | {k: settings(v) for k, v in given.items()}
    if isinstance(value, Mapping):
        return {k: settings(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [settings(v) for v in value]
    return value


@pytest.mark.parametrize("name", PUBLISHED, ids=lambda p: p.name)
def test_recipe_says_what_was_published(name: Path, catalog: Catalog) -> None:
    imported = convert_config(read_config(PARITY / f"configs/recognition/{name}.json"), catalog)
    assert not imported.problems
    published = Task.from_table(imported.task, catalog)
    recipe = Task.load(name.name, catalog)
    wanted, got = settings(published.bound), settings(recipe.bound)
    del wanted["info"], got["info"]
    assert got == wanted
    for part in ("train", "val", "test"):
        assert list(got["data"][part]["pipeline"]) == list(wanted["data"][part]["pipeline"])


OTHER_CLASSES = "the size of the network was published with another number of classes"
WRONG_SIZES = {
    "2.736M": "the table of this network was published with a slip; the second entry has 42.86M",
}


def _zoo() -> list[dict[str, Any]]:
    if not PARITY.is_dir():
        return []
    entries = json.loads((PARITY / "zoo.json").read_text())
    return [e for e in entries if e["collection"] in METHODS and e["config"].startswith("recognition/")]


@pytest.mark.parametrize("entry", _zoo(), ids=lambda e: e["config"])
def test_every_published_result_has_a_recipe_of_its_size(entry: dict[str, Any], catalog: Catalog) -> None:
    info = Task.load(Path(entry["config"]).name, catalog).table["info"]
    assert info["weights"] == Path(entry["weights"]).name
    assert (info["top1"], info["top5"]) == tuple(entry["results"][0]["metrics"].values())
