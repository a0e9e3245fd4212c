"""Fixtures: a published configuration, and its conversion."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from vid_mmaction2.config import Imported, convert_config
from vidcore.plugins.catalog import Catalog, load_plugins


def pipeline(*crop: dict[str, Any], test: bool = False) -> list[dict[str, Any]]:
    return [
        {"type": "DecordInit", "io_backend": "disk", "num_threads": 2},
        {"type": "SampleFrames", "clip_len": 8, "frame_interval": 8, "num_clips": 1, "test_mode": test},
        {"type": "mmaction.DecordDecode"},
        {"type": "Resize", "scale": [-1, 256], "lazy": True},
        *crop,
        {"type": "Resize", "scale": [224, 224], "keep_ratio": False},
        {"type": "FormatShape", "input_format": "NCTHW"},
        {"type": "PackActionInputs"},
    ]


def make_loader(part: str, **more: Any) -> dict[str, Any]:
    return {
        "batch_size": 8,
        "num_workers": 4,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": part == "train"},
        "dataset": {
            "type": "VideoDataset",
            "ann_file": f"{part}.txt",
            "data_root": "data/k400",
            "data_prefix": {"video": f"videos_{part}"},
            "pipeline": pipeline({"type": "CenterCrop", "crop_size": 224}, test=part != "train"),
            "test_mode": part != "train",
        },
        **more,
    }


CONFIG: dict[str, Any] = {
    "default_scope": "mmaction",
    "custom_variable": 3,
    "model": {
        "type": "Recognizer3D",
        "backbone": {
            "type": "ResNet3dSlowOnly",
            "depth": 50,
            "pretrained": "torchvision://resnet50",
            "lateral": False,
            "norm_cfg": {"type": "BN3d", "requires_grad": True},
            "conv_cfg": {"type": "Conv3d"},
            "act_cfg": {"type": "ReLU", "inplace": True},
            "init_cfg": None,
        },
        "cls_head": {"type": "I3DHead", "in_channels": 2048, "num_classes": 400, "spatial_type": None},
        "data_preprocessor": {
            "type": "ActionDataPreprocessor",
            "mean": [1.5, 2, 3],
            "std": [4, 5, 6],
            "format_shape": "NCTHW",
            "blending": {
                "type": "RandomBatchAugment",
                "augments": [
                    {"type": "MixupBlending", "alpha": 0.8, "num_classes": 400},
                    {"type": "CutmixBlending", "alpha": 1, "num_classes": 400},
                ],
            },
        },
        "train_cfg": None,
        "test_cfg": {"max_testing_views": 10},
    },
    "train_dataloader": make_loader("train", drop_last=True),
    "val_dataloader": make_loader("val"),
    "test_dataloader": make_loader("val", batch_size=1),
    "val_evaluator": {"type": "AccMetric", "metric_options": {"top_k_accuracy": {"topk": [1, 3]}}},
    "test_evaluator": {"type": "AccMetric", "metric_options": {"top_k_accuracy": {"topk": [1, 3]}}},
    "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 30, "val_begin": 1, "val_interval": 5},
    "val_cfg": {"type": "ValLoop"},
    "optim_wrapper": {
        "type": "AmpOptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.05},
        "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"backbone": {"lr_mult": 0.1}}},
        "clip_grad": {"max_norm": 40, "norm_type": 2},
        "accumulative_counts": 4,
    },
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": True, "end": 5, "convert_to_iter_based": True},
        {"type": "CosineAnnealingLR", "T_max": 25, "eta_min": 0, "begin": 5, "end": 30},
    ],
    "default_hooks": {
        "runtime_info": {"type": "RuntimeInfoHook"},
        "checkpoint": {"type": "CheckpointHook", "interval": 2, "max_keep_ckpts": -1, "save_best": "auto"},
        "logger": {"type": "LoggerHook", "interval": 50},
    },
    "randomness": {"seed": 7, "deterministic": True},
    "auto_scale_lr": {"enable": False, "base_batch_size": 64},
}


def older_part(part: str) -> dict[str, Any]:
    norm = {"type": "Normalize", "mean": [1.5, 2, 3], "std": [4, 5, 6], "to_bgr": False}
    packed = {"type": "Collect", "keys": ["imgs", "label"], "meta_keys": []}
    *steps, shape, _ = pipeline({"type": "CenterCrop", "crop_size": 224}, test=part != "train")
    steps = [*steps, norm, shape, packed, {"type": "ToTensor", "keys": ["imgs", "label"]}]
    files = {"ann_file": f"data/k400/{part}.txt", "data_prefix": f"data/k400/videos_{part}"}
    return {"type": "VideoDataset", **files, "pipeline": steps, "test_mode": part != "train"}


OLDER: dict[str, Any] = {
    "dataset_type": "VideoDataset",
    "model": {
        **{key: CONFIG["model"][key] for key in ("type", "backbone", "cls_head", "train_cfg")},
        "test_cfg": {"average_clips": "prob", "max_testing_views": 10},
    },
    "data": {
        "videos_per_gpu": 8,
        "workers_per_gpu": 4,
        "train_dataloader": {"drop_last": True},
        "test_dataloader": {"videos_per_gpu": 1},
        **{part: older_part(part) for part in ("train", "val", "test")},
    },
    "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "paramwise_cfg": {"norm_decay_mult": 0.0}},
    "optimizer_config": {"grad_clip": {"max_norm": 40, "norm_type": 2}},
    "lr_config": {
        "policy": "CosineAnnealing",
        "min_lr": 0,
        "warmup": "linear",
        "warmup_by_epoch": True,
        "warmup_iters": 5,
        "warmup_ratio": 0.1,
    },
    "total_epochs": 30,
    "checkpoint_config": {"interval": 2},
    "evaluation": {
        "interval": 5,
        "metrics": ["top_k_accuracy", "mean_class_accuracy"],
        "metric_options": {"top_k_accuracy": {"topk": [1, 3]}},
        "save_best": "top1_acc",
    },
    "log_config": {"interval": 50, "hooks": [{"type": "TextLoggerHook"}, {"type": "TensorboardLoggerHook"}]},
    "dist_params": {"backend": "nccl"},
    "log_level": "INFO",
    "work_dir": "./work_dirs/slowonly",
    "load_from": None,
    "resume_from": None,
    "workflow": [["train", 1]],
    "find_unused_parameters": False,
}
"""The same training in the layout of 0.x."""


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_plugins()


@pytest.fixture
def loader() -> Callable[..., dict[str, Any]]:
    """Return a function: part of the data, changes -> a published data loader."""
    return make_loader


@pytest.fixture
def published() -> dict[str, Any]:
    """Return a whole configuration."""
    return copy.deepcopy(CONFIG)


@pytest.fixture
def older() -> dict[str, Any]:
    """Return a whole configuration of 0.x."""
    return copy.deepcopy(OLDER)


@pytest.fixture
def converted(catalog: Catalog, published: dict[str, Any]) -> Callable[..., Imported]:
    """Return a function: changes of sections -> the conversion of the configuration with these changes."""
    return lambda **changes: convert_config({**copy.deepcopy(published), **changes}, catalog)
