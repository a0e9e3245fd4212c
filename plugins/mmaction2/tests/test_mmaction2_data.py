"""Data loaders, datasets and pipelines."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from vid_mmaction2.config import Imported
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task

Converted = Callable[..., Imported]
Loader = Callable[..., dict[str, Any]]


def test_a_repeated_dataset(converted: Converted, published: dict[str, Any]) -> None:
    loader = copy.deepcopy(published["train_dataloader"])
    once = converted().task["data"]["train"]
    loader["dataset"] = {"type": "RepeatDataset", "times": 3, "dataset": loader["dataset"]}
    imported = converted(train_dataloader=loader)
    assert imported.problems == ()
    train = imported.task["data"]["train"]
    assert train["dataset"] == {"type": "RepeatDataset", "times": 3, "dataset": once["dataset"]}
    assert train["pipeline"] == once["pipeline"]


def test_a_loader_in_a_list_is_read_with_a_note(converted: Converted, loader: Loader) -> None:
    plain = converted(train_dataloader=loader("train"))
    listed = converted(train_dataloader=[loader("train")])
    assert listed.task == plain.task and listed.problems == ()
    (note,) = set(listed.notes) - set(plain.notes)
    assert note.startswith("train_dataloader: is a list of one table") and "read as that table" in note
    assert converted(train_dataloader=[loader("train")] * 2).problems == (
        "train_dataloader: must be a table with a dataset",
    )


def test_prefixes_and_class_names_of_a_dataset(catalog: Catalog, converted: Converted, loader: Loader) -> None:
    train = loader("train")
    train["dataset"]["data_prefix"] = {"video": "clips", "img": "frames"}  # merged from two base files
    train["dataset"]["metainfo"] = {"classes": ("run", "jump")}
    videos = converted(train_dataloader=train)
    train["dataset"]["type"] = "RawframeDataset"
    frames = converted(train_dataloader=train)
    assert (videos.problems, frames.problems) == ((), ())
    assert videos.task["data"]["train"]["dataset"]["data_root"] == "data/k400/clips"
    assert frames.task["data"]["train"]["dataset"]["data_root"] == "data/k400/frames"
    assert frames.task["data"]["train"]["dataset"]["classes"] == ["run", "jump"]
    Task.from_table(frames.task, catalog)
    train["dataset"]["data_prefix"] = {"audio": "a", "video": "b"}
    assert "must be a single prefix, found audio, video" in converted(train_dataloader=train).problems[0]


def test_balanced_classes_are_the_loaders(catalog: Catalog, converted: Converted, loader: Loader) -> None:
    dataset = {"type": "ClassBalancedDataset", "oversample_thr": 1e-3, "dataset": loader("train")["dataset"]}
    imported = converted(train_dataloader=loader("train", dataset=dataset))
    assert imported.problems == ()
    assert imported.notes[0].startswith(
        "train_dataloader.dataset: ClassBalancedDataset (oversample_thr=0.001) is balanced"
    )
    train = imported.task["data"]["train"]
    assert (train["balanced"], train["balance_power"], train["dataset"]["type"]) == (True, 0.5, "VideoDataset")
    Task.from_table(imported.task, catalog)


@pytest.mark.parametrize(
    ("step", "name", "wanted"),
    [
        ({"type": "PIMSInit"}, "open_2", {"type": "OpenVideo"}),
        ({"type": "ImageDecode"}, "decode_2", {"type": "Decode"}),
        ({"type": "PyAVDecodeMotionVector"}, "decode_2", {"type": "DecodeMotionVectors"}),
        (
            {"type": "PyAVDecodeMotionVector", "multi_thread": True},
            "decode_2",
            {"type": "DecodeMotionVectors", "threads": 0},
        ),
        (
            {"type": "PytorchVideoWrapper", "op": "RandAugment", "magnitude": 7, "num_layers": 4},
            "augment",
            {"type": "RandAugment", "magnitude": 7, "num_layers": 4},
        ),
        (
            {"type": "PytorchVideoWrapper", "op": "AugMix", "width": 2},
            "augment",
            {"type": "AugMix", "width": 2},
        ),
        (
            {"type": "ImgAug", "transforms": "default"},
            "augment",
            {"type": "RandAugment", "magnitude": 9, "num_layers": 2, "prob": 1.0, "magnitude_std": 0.0},
        ),
        (
            {"type": "ImgAug", "transforms": [{"type": "Fliplr", "p": 0.5}]},
            "flip",
            {"type": "Flip", "flip_ratio": 0.5},
        ),
        (
            {"type": "ImgAug", "transforms": [{"type": "Flipud"}]},
            "flip",
            {"type": "Flip", "flip_ratio": 1, "direction": "vertical"},
        ),
        (
            {"type": "ImgAug", "transforms": [{"type": "Rotate", "rotate": (-20, 20)}]},
            "albumentations",
            {
                "type": "Albumentations",
                "op": "Rotate",
                "arguments": {"limit": [-20, 20], "border_mode": 0, "p": 1.0},
            },
        ),
        (
            {"type": "TorchVisionWrapper", "op": "ColorJitter", "hue": 0.1},
            "jitter",
            {"type": "ColorJitter", "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0.1},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "RandomHorizontalFlip", "p": 0.3},
            "flip",
            {"type": "Flip", "flip_ratio": 0.3},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "CenterCrop", "size": 96},
            "crop_2",
            {"type": "CenterCrop", "crop_size": 96},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "RandAugment", "num_ops": 3},
            "torch_vision",
            {"type": "TorchVision", "op": "RandAugment", "arguments": {"num_ops": 3}},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "RandomGrayscale", "p": 0.2},
            "random_grayscale",
            {"type": "RandomGrayscale", "p": 0.2},
        ),
        (
            {"type": "MultiGroupCrop", "crop_size": 96, "groups": 3},
            "crop_2",
            {"type": "MultiGroupCrop", "crop_size": 96, "groups": 3},
        ),
        (
            {"type": "RandomScale", "scales": [(340, 256), (426, 320)], "mode": "value"},
            "random_scale",
            {"type": "RandomScale", "scales": [[340, 256], [426, 320]], "mode": "value"},
        ),
        ({"type": "ColorJitter", "alpha_std": 0.2}, "lighting", {"type": "PCALighting", "alpha_std": 0.2}),
        ({"type": "TorchVisionWrapper", "op": "RandomCrop", "size": 96}, "crop_2", {"type": "RandomCrop", "size": 96}),
        (
            {"type": "PackActionInputs", "collect_keys": ["imgs", "heatmap_imgs"]},
            "pack_action_inputs",
            {"type": "PackActionInputs", "collect_keys": ["imgs", "heatmap_imgs"]},
        ),
    ],
)
def test_steps_with_different_names_here(
    catalog: Catalog, step: dict[str, Any], name: str, wanted: dict[str, Any], converted: Converted, loader: Loader
) -> None:
    train = loader("train")
    train["dataset"]["pipeline"].append(step)
    imported = converted(train_dataloader=train)
    assert imported.problems == ()
    assert imported.task["data"]["train"]["pipeline"][name] == wanted
    Task.from_table(imported.task, catalog)


def test_color_space_aug_of_old_versions_is_approximate(converted: Converted, loader: Loader) -> None:
    train = loader("train")
    train["dataset"]["pipeline"].append({"type": "ColorJitter", "color_space_aug": True, "alpha_std": 0.2})
    imported = converted(train_dataloader=train)
    pipeline = imported.task["data"]["train"]["pipeline"]
    assert (pipeline["jitter"]["type"], pipeline["lighting"]["alpha_std"]) == ("ColorJitter", 0.2)
    assert any("color_space_aug is a ColorJitter of about the same strength" in note for note in imported.notes)


def test_images_and_long_videos_of_omnisource(catalog: Catalog, converted: Converted, loader: Loader) -> None:
    train = loader("train")
    train["dataset"]["type"] = "ImageDataset"
    assert converted(train_dataloader=train).task["data"]["train"]["dataset"]["type"] == "VideoDataset"
    train["dataset"] |= {"type": "RawVideoDataset", "clipname_tmpl": "{}.mp4", "sampling_strategy": "random"}
    imported = converted(train_dataloader=train)
    assert imported.problems == ()
    data = imported.task["data"]["train"]
    assert (data["dataset"]["type"], data["dataset"]["clipname_tmpl"]) == ("RawVideoDataset", "{}.mp4")
    assert next(iter(data["pipeline"].items())) == ("pick", {"type": "PickClip", "sampling_strategy": "random"})
    Task.from_table(imported.task, catalog)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "DecordDecode", "mode": "efficient"},
        {"type": "PIMSInit", "mode": "efficient"},
        {"type": "LoadRGBFromFile", "color_type": "grayscale"},
    ],
)
def test_decoding_that_changes_frames_is_reported(step: dict[str, Any], converted: Converted, loader: Loader) -> None:
    train = loader("train")
    train["dataset"]["pipeline"].append(step)
    (problem,) = converted(train_dataloader=train).problems
    assert re.search(r"pipeline\[\d+\]\.(mode|color_type): '(efficient|grayscale)' has no equivalent", problem)


def test_repeated_augmentation_becomes_an_option_of_the_loader(
    catalog: Catalog, converted: Converted, loader: Loader
) -> None:
    dataset = {**loader("train")["dataset"], "type": "RepeatAugDataset", "num_repeats": 2}
    repeated = loader("train", dataset=dataset, collate_fn={"type": "repeat_pseudo_collate"})
    imported = converted(train_dataloader=repeated)
    assert imported.problems == ()
    train = imported.task["data"]["train"]
    assert (train["num_repeats"], train["sample_once"], train["dataset"]["type"]) == (2, False, "VideoDataset")
    Task.from_table(imported.task, catalog)


def test_concatenated_datasets_share_a_pipeline_or_have_their_own(
    catalog: Catalog, converted: Converted, loader: Loader
) -> None:
    parts = [loader("train")["dataset"], loader("val")["dataset"]]
    one = converted(train_dataloader=loader("train", dataset={"type": "ConcatDataset", "datasets": parts[:1] * 2}))
    assert one.problems == ()
    train = one.task["data"]["train"]
    assert [d["ann_file"] for d in train["dataset"]["datasets"]] == ["data/k400/train.txt"] * 2
    assert "sample" in train["pipeline"]
    two = converted(train_dataloader=loader("train", dataset={"type": "ConcatDataset", "datasets": parts}))
    assert two.problems == ()
    (step,) = two.task["data"]["train"]["pipeline"].values()
    assert [list(steps) for steps in step["pipelines"]] == [list(train["pipeline"])] * 2
    assert [steps["sample"]["test_mode"] for steps in step["pipelines"]] == [False, True]
    Task.from_table(two.task, catalog)
