"""Every recipe resolves, is valid, and builds a network of the size it states."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

import vid_recognition
from vid_recognition.models.distillation import Distillation
from vidcore.cli import run
from vidcore.data.classes import read_classes
from vidcore.errors import CheckpointError, ConfigError, DataError
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.classes import num_classes
from vidcore.task.context import check_class_count
from vidcore.task.initial import load_initial_weights
from vidcore.task.task import Task

FOLDER = Path(vid_recognition.__file__).parent / "recipes"
RECIPES = sorted(p for p in FOLDER.rglob("*.toml") if p.parent.name != "base")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def test_recipes_are_found_by_name(catalog: Catalog) -> None:
    assert len(RECIPES) >= 123
    assert all(catalog.recipes[p.stem] == p for p in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_is_complete_and_of_the_stated_size(path: Path, catalog: Catalog) -> None:
    task = Task.load(path.stem, catalog)
    task.require("data.test", "metrics.acc")
    if task.get("data.train"):
        task.require("data.val", "train.epochs", "optimizer", "schedule")
    info = task.table["info"]
    assert info["paper"].startswith("https://arxiv.org/abs/")
    assert "weights" not in info or info["license"], "the licence of the weights"
    with torch.device("meta"):
        model = task.build("model")
    counted = model.student if isinstance(model, Distillation) else model
    assert sum(p.numel() for p in counted.parameters()) == info["parameters"]


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
    assert lines[at + 1] == "  recognition, kinetics400, 24.3 M params, top1 72.83, top5 90.65, Apache-2.0"
    at = lines.index("tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb")
    assert lines[at + 1] == "  recognition, kinetics400, 2.74 M params, no weights"
    facts = [line for line in lines if line.startswith("  recognition, ")]
    assert len(facts) == len(RECIPES)
    assert all(
        re.match(r"  recognition, (kinetics[467][01]0|mitv1|sthv[12]|ucf101), [\d.]+ M params", line) for line in facts
    )


def test_filters_of_the_list_of_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--dataset", "kinetics710"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")] == [
        "slowonly_imagenet-pretrained-r50_32xb8-8x8x1-steplr-150e_kinetics710-rgb",
        "swin-small-p244-w877_in1k-pre_32xb4-amp-32x2x1-30e_kinetics710-rgb",
        "uniformerv2-base-p16-res224_clip-pre_u8_kinetics710-rgb",
        "uniformerv2-base-p16-res224_clip_u8_kinetics710-rgb",
        "uniformerv2-large-p14-res224_clip-pre_u8_kinetics710-rgb",
        "uniformerv2-large-p14-res336_clip-pre_u8_kinetics710-rgb",
    ]
    assert run(["list", "recipes", "--dataset", "kinetics40"]) == 2
    assert "--dataset kinetics40: no recipe has it; did you mean 'kinetics400'?\n" in capsys.readouterr().err
    assert run(["list", "models", "--task", "recognition"]) == 2
    assert "--task, --dataset and --wide are about recipes, not models" in capsys.readouterr().err


def test_the_wide_list_has_a_line_for_each_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--wide", "--dataset", "ucf101", "--task", "recognition"]) == 0
    assert [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()] == [
        ["name", "task", "dataset", "parameters", "published scores", "weights"],
        [
            *("c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb", "recognition", "ucf101", "78.4 M"),
            *("top1 83.08, top5 95.93", "Apache-2.0"),
        ],
    ]


CLASSES = {
    "diving48": (48, {0: "Back+15som+05Twis+FREE", 47: "Reverse+Dive+NoTwis+TUCK"}),
    "gym99": (99, {68: "(BB) round-off", 98: "(UB) (swing forward) double salto backward stretched"}),
    "hmdb51": (51, {0: "brush_hair", 50: "wave"}),
    "kinetics400": (400, {6: "arm wrestling", 399: "zumba"}),
    "kinetics600": (600, {1: "acting in play", 599: "zumba"}),
    "kinetics700": (700, {1: "acting in play", 699: "zumba"}),
    "kinetics710": (710, {6: "arm wrestling", 399: "zumba", 400: "poaching eggs", 709: "bull fighting"}),
    "kinetics710_uniformerv2": (
        710,
        {0: "riding a bike", 341: "abseiling", 400: "poaching eggs"},
    ),
    "mitv1": (339, {0: "clapping", 338: "typing"}),
    "ntu60": (60, {42: "falling", 59: "walking apart from each other"}),
    "ntu120": (120, {42: "falling", 119: "finger-guessing game (playing rock-paper-scissors)"}),
    "sthv1": (174, {2: "Turning the camera left while filming something", 41: "Pushing something from right to left"}),
    "sthv2": (174, {86: "Pulling something from left to right", 173: "Wiping something off of something"}),
    "ucf101": (101, {34: "Hammering", 35: "HammerThrow", 46: "JumpingJack", 47: "JumpRope", 100: "YoYo"}),
}
"""Number of classes of each dataset, and the places of some of them."""


@pytest.mark.parametrize("dataset", CLASSES)
def test_lists_of_classes_have_the_published_order(dataset: str, catalog: Catalog) -> None:
    count, some = CLASSES[dataset]
    file = catalog.class_list(dataset)
    names = read_classes(file)
    assert file is not None and names is not None
    assert len(names) == count
    assert {i: names[i] for i in some} == some
    assert file.read_text().isascii()


def test_every_list_of_classes_is_tested() -> None:
    assert {file.stem for file in (FOLDER / "classes").iterdir()} == CLASSES.keys()


def test_lists_of_kinetics_share_names(catalog: Catalog) -> None:
    k400, k600, k700, k710 = (read_classes(catalog.class_list(f"kinetics{n}")) or () for n in (400, 600, 700, 710))
    assert list(k600) == sorted(k600)
    assert set(k710) <= {*k400, *k600, *k700}
    assert sum(old != new for old, new in zip(k400, k710, strict=False)) == 13, "renamed in later versions"
    assert set(k700) - set(k710) == {"throwing ball (not baseball or American football)"}


def test_flips_swap_classes_that_mirror_each_other(catalog: Catalog) -> None:
    swapped = set()
    for name in (path.stem for path in RECIPES):
        table = Task.load(name, catalog).table
        pipeline = table["data"].get("train", {}).get("pipeline", {})
        for old, new in pipeline.get("flip", {}).get("flip_label_map", {}).items():
            names = read_classes(catalog.class_list(table["info"]["dataset"])) or ()
            mirrored = re.sub("left|right", lambda side: {"left": "right", "right": "left"}[side[0]], names[int(old)])
            assert mirrored == names[new], name
            swapped.add((table["info"]["dataset"], int(old)))
    assert len(swapped) == 12, "six of each Something-Something"


def test_recipes_have_the_classes_of_their_dataset(catalog: Catalog) -> None:
    for name in (path.stem for path in RECIPES):
        task = Task.load(name, catalog)
        dataset, model = task.table["info"]["dataset"], task.table["model"]
        classes = model.get("cls_head", {}).get("video_classes") or num_classes(model)
        if dataset in CLASSES:
            assert classes == CLASSES[dataset][0], name


FEATURES = """
[job]
type = "ExtractFeatures"
task = "tpn-slowonly_r50"
checkpoint = "missing.pt"
videos = []
"""


def test_a_job_finds_the_recipe_by_the_beginning_of_its_name(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.toml").write_text(FEATURES)
    task = Task.load("task.toml", catalog)
    assert not any("tpn" in line for line in task.missing_files())
    with pytest.raises(CheckpointError, match=r"missing\.pt"):
        task.build("job")(tmp_path / "features", 0, 1, catalog)


FOLDERS = """
extends = ["tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb"]
[data.train.dataset]
{replace}
type = "FolderDataset"
data_root = "train"
"""


def test_a_recipe_on_folders_says_what_to_do(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "task.toml"
    for label in ("left", "right"):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "a.mp4").touch()
    file.write_text(FOLDERS.format(replace=""))
    drops = rf"{file} inherits it: _replace_ = true in \[data.train.dataset\] drops what that inherits"
    with pytest.raises(ConfigError, match=rf"FolderDataset takes no 'ann_file'.*; {drops}$"):
        Task.load(file, catalog)
    file.write_text(FOLDERS.format(replace="_replace_ = true"))
    task = Task.load(file, catalog)
    without = "it is the recipe's: set data.test.dataset in your Task, or data.test = false to do without"
    with pytest.raises(DataError, match=rf"data.test.dataset: .* does not exist; {without}$"):
        task.build("data.test")
    dataset = task.build("data.train").dataset
    assert check_class_count(task, "data.train", dataset) == (
        "data.train.dataset: has 2 classes, but the model's num_classes is 400; set it to 2"
    )
    assert check_class_count(task, "data.val", dataset) is None, "it may have fewer than those of the training"
    with pytest.raises(CheckpointError, match=r"^train.weights: .*\.pth does not exist; put it there, get it"):
        load_initial_weights(task.build("model"), task.build("train"), catalog)


def test_every_fragment_is_used() -> None:
    used = {(p.parent / name).resolve() for p in FOLDER.rglob("*.toml") for name in _extends(p)}
    assert {p.resolve() for p in (FOLDER / "base").glob("*.toml")} <= used


def test_fragments_are_private(catalog: Catalog) -> None:
    assert not {p.stem for p in (FOLDER / "base").glob("*.toml")} & catalog.recipes.keys()


def _extends(path: Path) -> list[str]:
    found = tomllib.loads(path.read_text()).get("extends", [])
    return [found] if isinstance(found, str) else found
