"""Published weights are found by the name of their recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from attrs import evolve

from vidcore import Predictor, training
from vidcore.errors import CheckpointError, UserError
from vidcore.files import sha256
from vidcore.plugins.catalog import load_plugins
from vidcore.task.initial import load_initial_weights
from vidcore.task.names import known_names
from vidcore.task.task import Task
from vidcore.tools import fetch
from vidcore.weights.published import Published

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


def test_published_weights_are_found_by_the_name_of_their_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/small_shapes.toml").write_text(SMALL.replace("published.pth", "small-01234567.pth"))
    catalog = load_plugins()
    own = evolve(catalog, recipe_folders=(*catalog.recipe_folders, ("vid-own", tmp_path / "recipes")))
    mine = "extends = ['small_shapes']\nmodel.cls_head.num_classes = 3\ntrain.weights = 'small_sh'"
    (tmp_path / "mine.toml").write_text(mine)
    task = Task.load(tmp_path / "mine.toml", own)
    missing = (
        f"{tmp_path}/mine.toml: train.weights: {tmp_path}/small_sh does not exist; get it with 'vidcore weights get"
    )
    assert any(line.startswith(missing) for line in task.missing_files())
    monkeypatch.setenv("VIDCORE_WEIGHTS", str(tmp_path))
    torch.save({"state_dict": Task.load("small_shapes", own).build("model").state_dict()}, tmp_path / "small.pth")
    digest = sha256(tmp_path / "small.pth")[:8]
    (tmp_path / "small.pth").rename(tmp_path / f"small-{digest}.pth")
    (tmp_path / "recipes/small_shapes.toml").write_text(SMALL.replace("published.pth", f"small-{digest}.pth"))
    assert not any("train.weights" in line for line in task.missing_files())
    lines = load_initial_weights(task.build("model"), task.build("train"), own)
    assert [line.split()[0] for line in lines] == ["cls_head.fc_cls.weight", "cls_head.fc_cls.bias"]
    recipe = Task.load("small_shapes", own)
    assert Predictor(recipe).batch_size == Predictor(recipe, "small_sh").batch_size == 1
    assert fetch.weights_for(recipe, None) == fetch.weights_for(task, "small_sh") == tmp_path / f"small-{digest}.pth"
    with pytest.raises(UserError, match="needs weights: name a checkpoint"):
        fetch.weights_for(task, None)
    with pytest.raises(CheckpointError, match=r"small_x does not exist; did you mean 'small_shapes'"):
        Predictor(recipe, "small_x")


def test_a_run_downloads_the_weights_that_it_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(one: Published, *_: object) -> Path:
        asked.append(one.file)
        return tmp_path / one.file

    monkeypatch.setattr(fetch, "get", get)
    monkeypatch.setenv("VIDCORE_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("VIDCORE_MIRROR", raising=False)
    (tmp_path / "mine.toml").write_text(
        SMALL + "[train.weights]\n'backbone' = 'resnet50-11ad3fa6.pth'\n'cls_head' = 'mine.toml'\n"
    )
    task = Task.load(tmp_path / "mine.toml", load_plugins())
    training._obtain_weights(task)
    assert asked == [], "no mirror is configured"
    monkeypatch.setenv("VIDCORE_MIRROR", "https://mirror.example.org/{file}")
    training._obtain_weights(task)
    assert asked == ["resnet50-11ad3fa6.pth"]
    assert fetch.obtain("slowonly_r50_8xb16-4x16x1", task.catalog).name == asked[1]
    assert asked[1] == "slowonly_r50_4x16x1_256e_8xb16_kinetics400-rgb_20220901-f6a40d08.pth"


def test_published_weights_come_with_the_class_names_of_their_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "small_shapes-rgb.toml").write_text(SMALL)
    catalog = load_plugins()
    own = evolve(catalog, recipe_folders=(*catalog.recipe_folders, ("vid-own", tmp_path)))
    task = Task.load("small_shapes", own)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"small_shapes-rgb: needs weights: published.pth does not exist;"):
        Predictor(task)
    assert task.name == "small_shapes-rgb"
    torch.save({"state_dict": task.build("model").state_dict()}, tmp_path / "published.pth")
    assert Predictor(task, "published.pth").class_names is None
    (tmp_path / "classes/shapes.txt").write_text("circle\nsquare\n")
    assert Predictor(task).class_names == ("circle", "square"), "with the weights of the recipe"
    (tmp_path / "classes/shapes.txt").write_text("circle\nsquare\nstar\n")  # of a Task for fewer classes
    assert Predictor(task).class_names is None


def test_published_weights_with_two_classifiers_have_the_names_of_clips() -> None:
    task = Task.load("slowonly_r50_8xb16-8x8x1-256e_imagenet-kinetics400-rgb", load_plugins())
    names = known_names(task, {}, f"somewhere/{task.table['info']['weights']}")
    assert names is not None and (len(names), names[0]) == (400, "abseiling")
    assert known_names(task, {}, "mine.pth") is None, "may have other classes"
