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


WRONG_CLASSES = {
    **dict.fromkeys(("kinetics700", "kinetics710"), 400),
    "tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb": 174,
    "tsm_imagenet-pretrained-r50_8xb16-1x1x8-100e_kinetics400-rgb": 174,
    "tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_kinetics400-rgb": 174,
    "tsm_imagenet-pretrained-r50_8xb16-dense-1x1x8-50e_kinetics400-rgb": 174,
}
"""Results (or data sets) listed with the size of the same network for another number of classes."""
WRONG_NETWORK = {
    ("tsm_imagenet-pretrained-r101_8xb16-1x1x8-50e_sthv2-rgb", "2.736M"),
    ("slowonly_r50_8xb16-8x8x1-256e_imagenet-kinetics400-rgb", "32.45M"),
}
"""Listed with the size of TSM with MobileNetV2 (the right size stands in a second entry), and of SlowOnly without
the classifier of pictures."""


def _zoo() -> list[dict[str, Any]]:
    if not PARITY.is_dir():
        return []
    entries = json.loads((PARITY / "zoo.json").read_text())
    return [e for e in entries if e["collection"] in METHODS and e["config"].startswith("recognition/")]


@pytest.mark.parametrize("entry", _zoo(), ids=lambda e: Path(e["config"]).name)
def test_every_published_result_has_a_recipe_of_its_size(entry: dict[str, Any], catalog: Catalog) -> None:
    name, listed = Path(entry["config"]).name, entry["params"]
    task = Task.load(name, catalog)
    info, head = task.table["info"], task.table["model"]["cls_head"]
    assert info["weights"] == Path(entry["weights"]).name
    assert (info["top1"], info["top5"]) == tuple(entry["results"][0]["metrics"].values())
    if (name, listed) in WRONG_NETWORK:
        return
    classes = next((n for key, n in WRONG_CLASSES.items() if key in name), head["num_classes"])
    size = info["parameters"] - (head["num_classes"] - classes) * (head["in_channels"] + 1)
    digits = len(listed.rstrip("M").partition(".")[2])
    assert abs(size / 1e6 - float(listed.rstrip("M"))) <= 10**-digits
