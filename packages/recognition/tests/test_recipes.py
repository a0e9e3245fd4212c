"""Every recipe resolves, is valid, and builds a network of the size it states."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch
from attrs import evolve

import vid_recognition
from vidcore.cli import run
from vidcore.data.classes import read_classes
from vidcore.errors import CheckpointError, ConfigError, DataError, UserError
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.predict.predictor import Predictor
from vidcore.task.classes import num_classes
from vidcore.task.context import check_class_count, load_initial_weights
from vidcore.task.task import Task

FOLDER = Path(vid_recognition.__file__).parent / "recipes"
RECIPES = sorted(p for p in FOLDER.rglob("*.toml") if p.parent.name != "base")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def test_recipes_are_found_by_name(catalog: Catalog) -> None:
    assert len(RECIPES) >= 78
    assert all(catalog.recipes[p.stem] == p for p in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_is_complete_and_of_the_stated_size(path: Path, catalog: Catalog) -> None:
    task = Task.load(path.stem, catalog)
    task.require("data.test", "metrics.acc")
    if task.get("data.train"):
        task.require("data.val", "train.epochs", "optimizer", "schedule")
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
    assert all(
        re.match(r"  recognition, (kinetics[467][01]0|sthv[12]|ucf101), [\d.]+ M parameters", line) for line in facts
    )


def test_filters_of_the_list_of_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--dataset", "kinetics710"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")] == [
        "slowonly_imagenet-pretrained-r50_32xb8-8x8x1-steplr-150e_kinetics710-rgb"
    ]
    assert run(["list", "recipes", "--dataset", "kinetics40"]) == 2
    assert "--dataset kinetics40: no recipe has it; did you mean 'kinetics400'?\n" in capsys.readouterr().err
    assert run(["list", "models", "--task", "recognition"]) == 2
    assert "--task and --dataset select recipes, not models" in capsys.readouterr().err


SMALL = """
info = { dataset = "shapes", weights = "published.pth" }
[model]
type = "Recognizer2D"
backbone = { type = "ResNet", depth = 18 }
cls_head = { type = "TSNHead", num_classes = 2, in_channels = 512 }
[data.val]
dataset = { type = "VideoDataset", ann_file = "list.txt" }
pipeline = { decode = { type = "Decode" }, format = { type = "FormatShape", input_format = "NCHW" } }
"""


def test_published_weights_come_with_the_class_names_of_their_dataset(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "small_shapes-rgb.toml").write_text(SMALL)
    own = evolve(catalog, recipe_folders=(*catalog.recipe_folders, ("vid-own", tmp_path)))
    task = Task.load("small_shapes", own)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"small_shapes-rgb: needs weights: put published.pth into this folder, or"):
        Predictor(task)
    assert task.name == "small_shapes-rgb"
    torch.save({"state_dict": task.build("model").state_dict()}, tmp_path / "published.pth")
    assert Predictor(task, "published.pth").class_names is None
    (tmp_path / "classes/shapes.txt").write_text("circle\nsquare\n")
    assert Predictor(task).class_names == ("circle", "square"), "with the weights of the recipe"
    (tmp_path / "classes/shapes.txt").write_text("circle\nsquare\nstar\n")  # of a Task for fewer classes
    assert Predictor(task).class_names is None


def test_lists_of_classes_have_the_classes_of_their_recipes(catalog: Catalog) -> None:
    seen: dict[str, int] = {}
    for name in catalog.recipes:
        task = Task.load(name, catalog)
        dataset = task.table.get("info", {}).get("dataset")
        file = catalog.class_list(dataset)
        if file is not None and "model" in task.table:
            names = read_classes(file)
            assert names is not None
            head = task.table["model"]["cls_head"]
            assert len(names) == (head.get("video_classes") or num_classes(task.table["model"])), name
            seen[str(dataset)] = seen.get(str(dataset), 0) + 1
    assert seen.keys() == {"kinetics400", "kinetics700", "sthv2"}
    names = read_classes(catalog.class_list("kinetics400"))
    assert names is not None
    assert (names[6], names[-1]) == ("arm wrestling", "zumba")


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
    with pytest.raises(CheckpointError, match=r"^train.weights: .*\.pth does not exist; put it there, name"):
        load_initial_weights(task.build("model"), task.build("train"))


def test_every_fragment_is_used() -> None:
    used = {(p.parent / name).resolve() for p in FOLDER.rglob("*.toml") for name in _extends(p)}
    assert {p.resolve() for p in (FOLDER / "base").glob("*.toml")} <= used


def test_fragments_are_private(catalog: Catalog) -> None:
    assert not {p.stem for p in (FOLDER / "base").glob("*.toml")} & catalog.recipes.keys()


def _extends(path: Path) -> list[str]:
    found = tomllib.loads(path.read_text()).get("extends", [])
    return [found] if isinstance(found, str) else found
