"""Compare recipes with the published configurations, converted by the importer, and with published sizes."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from vid_mmaction2.config import convert_config
from vid_mmaction2.reader import read_config
from vidcore.config.bind import Call
from vidcore.config.load import load
from vidcore.config.signature import read_signature
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.task import Task
from vidcore.weights.published import published

ROOT = Path(__file__).resolve().parents[1]
PARITY = Path(os.environ.get("VIDCORE_SHARED", ROOT.parent / "shared")) / "parity"
RECIPES = {
    f"{area}/{path.relative_to(folder).with_suffix('')}".replace("recognition/audio/", "recognition_audio/").replace(
        "retrieval/vindlu/", "multimodal/vindlu/"
    ): path
    for area in ("recognition", "localization", "skeleton", "retrieval", "detection")
    for folder in (ROOT / f"packages/{area}/src/vid_{area}/recipes",)
    for path in sorted(folder.rglob("*.toml"))
    if path.parent.name not in ("base", "distillation", "from_videos", "tubes")
}
"""Every recipe of a published result, by the name of the configuration in ``configs``."""
WHOLE = {name for name, path in RECIPES.items() if "[stages" in path.read_text()}
"""Recipes that run several published configurations one after another."""
ELSEWHERE = {name for name in RECIPES if name.startswith(("localization/actionformer/", "localization/ssn/"))}
"""Recipes of results that were published by others."""
INFERENCE = {name for name in RECIPES if name.endswith("_infer")}
"""Recipes with weights that others trained with the configuration without this ending."""
MISNAMED = ("clip-pre_8xb32-u8_kinetics700", "clip_8xb32-u8_kinetics700")
"""Part of the name of a configuration in the list of results, and what it should be."""

pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="needs the reference numbers")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def settings(value: Any) -> Any:
    """Return all values of a checked Task, including defaults."""
    if isinstance(value, Call):
        parameters = read_signature(value.component.target).parameters.values()
        given = {p.name: p.default for p in parameters} | value.arguments
        return {"type": value.component.name} | {k: settings(v) for k, v in given.items()}
    if isinstance(value, Mapping):
        return {k: settings(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [settings(v) for v in value]
    return value


def test_all_published_files_are_known(catalog: Catalog) -> None:
    zoo = json.loads((PARITY / "zoo.json").read_text())
    urls = {url for one in zoo for url in (one["weights"] if isinstance(one["weights"], list) else [one["weights"]])}
    known = published(catalog)
    assert {url.partition("/mmaction/")[2] for url in urls} == {one.path for one in known.values()}
    assert all(one.digest for one in known.values())


def test_recipes_name_their_published_file(catalog: Catalog) -> None:
    known = published(catalog)
    named = {name: load(name, catalog.recipes).data.get("info", {}).get("weights") for name in catalog.recipes}
    assert {name: file for name, file in named.items() if file} == {
        name: one.file for name, one in known.items() if name in catalog.recipes
    }


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - WHOLE - ELSEWHERE - INFERENCE))
def test_recipes_have_the_batch_size_of_their_learning_rate(name: str, catalog: Catalog) -> None:
    task = Task.load(Path(name).name, catalog)
    if task.get("job"):
        return
    scaling = read_config(PARITY / f"configs/{name}.json").get("auto_scale_lr") or {}
    named = re.search(r"_(\d+)xb(\d+)", name)  # processes and batch size
    batch = math.prod(map(int, named.groups())) if named else None
    expected = scaling.get("base_batch_size", batch)
    if task.get("data.train") and expected is not None:
        assert task.table["train"]["base_batch_size"] == expected
    assert "base_batch_size" not in task.table.get("info", {})


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - WHOLE - ELSEWHERE))
def test_recipes_have_the_published_facts(name: str, catalog: Catalog) -> None:
    imported = convert_config(read_config(PARITY / f"configs/{name.removesuffix('_infer')}.json"), catalog)
    assert not imported.problems
    published = Task.from_table(imported.task, catalog)
    recipe = Task.load(Path(name).name, catalog)
    wanted, got = settings(published.bound), settings(recipe.bound)
    del wanted["info"], got["info"]
    if recipe.get("model") and not recipe.get("data.train"):  # published with a test only, but with options of training
        del wanted["train"], got["train"]
    elif recipe.get("model"):  # published runs scale their rate on request
        del wanted["train"]["base_batch_size"], got["train"]["base_batch_size"]
    if recipe.get("model") and not published.get("data"):  # published without data; recipes can be used for prediction
        for key in ("data", "metrics"):
            del wanted[key], got[key]
        assert got == wanted
        return
    assert got == wanted
    for part in (part for part in ("train", "val", "test") if recipe.get(f"data.{part}.pipeline")):
        assert list(got["data"][part]["pipeline"]) == list(wanted["data"][part]["pipeline"])


AREAS = ("recognition", "recognition_audio", "localization", "skeleton", "retrieval", "multimodal", "detection")


@pytest.mark.parametrize("area", AREAS)
def test_every_published_configuration_has_a_recipe(area: str) -> None:
    folder = PARITY / "configs"
    published = {str(p.relative_to(folder).with_suffix("")) for p in (folder / area).rglob("*.json")}
    ours = {name for name in RECIPES.keys() - WHOLE - ELSEWHERE - INFERENCE if name.startswith(f"{area}/")}
    assert ours == published


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_stages_are_published_configurations_that_read_earlier_results(name: str, catalog: Catalog) -> None:
    extended = tomllib.loads(RECIPES[name].read_text())["stages"]
    for stage, task in Task.load(Path(name).name, catalog).stages.items():
        if "extends" not in extended[stage]:  # adds up the scores of the others
            continue
        published = Task.load(extended[stage]["extends"][0], catalog)
        wanted, got = settings(published.bound), settings(task.bound)
        del wanted["type"], wanted["stages"], got["type"]
        assert list(differing(got, wanted)) == []


def differing(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """Return where two settings differ, except for references to folders of stages."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours.keys() | theirs.keys():
            yield from differing(ours.get(key), theirs.get(key), f"{at}.{key}")
    elif ours != theirs and not str(ours).startswith("{"):
        yield at


WRONG_CLASSES = {
    **dict.fromkeys(("kinetics700", "kinetics710"), 400),
    "tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb": 174,
    "tsm_imagenet-pretrained-r50_8xb16-1x1x8-100e_kinetics400-rgb": 174,
    "tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_kinetics400-rgb": 174,
    "tsm_imagenet-pretrained-r50_8xb16-dense-1x1x8-50e_kinetics400-rgb": 174,
}
"""Results (or datasets) listed with the size of the same network for a different number of classes."""
WRONG_NETWORK = {
    ("tsm_imagenet-pretrained-r101_8xb16-1x1x8-50e_sthv2-rgb", "2.736M"),
    ("slowonly_r50_8xb16-8x8x1-256e_imagenet-kinetics400-rgb", "32.45M"),
    ("ircsn_sports1m-pretrained-r152-bnfrozen_32x2x1-58e_kinetics400-rgb", "33.02M"),
    ("swin-small-p244-w877_in1k-pre_32xb4-amp-32x2x1-30e_kinetics710-rgb", "197M"),
}
"""Listed with the size of TSM with MobileNetV2 (a second entry has the right size), of SlowOnly without the classifier
of pictures, of the interaction-preserved CSN, and of Swin-L."""
SCORES = {"top1": "Top 1 Accuracy", "top5": "Top 5 Accuracy"}


def _zoo(area: str) -> list[dict[str, Any]]:
    if not PARITY.is_dir():
        return []
    entries = json.loads((PARITY / "zoo.json").read_text())
    return [e for e in entries if e["config"].startswith(area)]


@pytest.mark.parametrize(
    "entry",
    [*_zoo("recognition"), *_zoo("skeleton")],
    ids=lambda e: Path(e["config"]).name,
)
def test_a_recipe_has_the_published_weights_scores_and_size(entry: dict[str, Any], catalog: Catalog) -> None:
    own = entry["name"] if entry["name"].startswith("mvit") else entry["config"]  # which share one configuration
    name, listed = Path(own).name.removesuffix(".py").replace(*MISNAMED), entry["params"]
    task = Task.load(name, catalog)
    info, head = task.table["info"], task.table["model"]["cls_head"]
    assert info["weights"] == Path(entry["weights"]).name
    for result in entry["results"][:1]:
        assert {info.get(key) for key in SCORES} == {result["metrics"].get(score) for score in SCORES.values()}
    if listed is None or (name, listed) in WRONG_NETWORK:
        return
    classes = next((n for key, n in WRONG_CLASSES.items() if key in name), head["num_classes"])
    size = info["parameters"] - (head["num_classes"] - classes) * (head["in_channels"] + 1)
    if isinstance(listed, int):
        assert size == listed
    else:
        digits = len(listed.rstrip("M").partition(".")[2])
        assert abs(size / 1e6 - float(listed.rstrip("M"))) <= 10**-digits


@pytest.mark.parametrize(
    "entry",
    _zoo("localization/"),
    ids=lambda e: Path(e["config"]).name,
)
def test_every_published_localization_result_has_a_recipe(entry: dict[str, Any], catalog: Catalog) -> None:
    info = Task.load(Path(entry["config"]).name, catalog).table["info"]
    listed = [entry["weights"]] if isinstance(entry["weights"], str) else entry["weights"]
    assert info["weights"] == Path(listed[-1]).name
    known = {Task.load(Path(n).name, catalog).table.get("info", {}).get("weights") for n in RECIPES.keys() - WHOLE}
    assert {Path(w).name for w in listed} <= known  # BSN has two networks
    scores = {k.replace("(", "_").replace(")", ""): v for k, v in entry["results"][0]["metrics"].items()}
    assert {k: info[k.replace("AUC", "auc")] for k in scores} == scores


@pytest.mark.parametrize("entry", [*_zoo("retrieval"), *_zoo("multimodal")], ids=lambda e: Path(e["config"]).name)
def test_a_recipe_of_language_has_the_published_facts(entry: dict[str, Any], catalog: Catalog) -> None:
    name = Path(entry["config"]).name
    info = Task.load(name, catalog).table["info"]
    assert info["weights"] == Path(entry["weights"]).name
    assert [value for key, value in info.items() if "/" in key] == list(entry["results"][0]["metrics"].values())
    assert info["parameters"] == json.loads((PARITY / f"models/{name}.json").read_text())["num_params"]


@pytest.mark.parametrize("entry", _zoo("detection/"), ids=lambda e: Path(e["config"]).name)
def test_every_published_detection_result_has_a_recipe(entry: dict[str, Any], catalog: Catalog) -> None:
    info = Task.load(Path(entry["config"]).name, catalog).table["info"]
    assert info["weights"] == Path(entry["weights"]).name
    (result,) = entry["results"]
    assert result["metrics"] == {{"frame_mAP": "f-mAP"}.get(k, k): v for k, v in info.items() if k.endswith("mAP")}


SMALLER_BANK = {"slowonly-lfb-max", "slowonly-lfb-nl"}
"""Detectors whose reference case has a feature bank with fewer channels."""


@pytest.mark.parametrize(
    "name", sorted(n for n in RECIPES.keys() - WHOLE if n.startswith(("detection/", "localization/")))
)
def test_a_network_has_the_stated_size(name: str, catalog: Catalog) -> None:
    task = Task.load(Path(name).name, catalog)
    if task.get("model"):
        with torch.device("meta"):
            model = task.build("model")
        assert sum(p.numel() for p in model.parameters()) == task.table["info"]["parameters"]
    case = PARITY / f"models/{Path(name).name}.json"
    if case.exists() and Path(name).name.partition("_")[0] not in SMALLER_BANK:
        assert json.loads(case.read_text())["num_params"] == task.table["info"]["parameters"]
