"""Whole configurations become Tasks; what has no equivalent is reported with its place."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vid_mmaction2.config import Imported, convert_config
from vid_mmaction2.reader import read_config
from vidcore.config.toml import dumps
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task

SHARED = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[4] / "shared"))

Converted = Callable[..., Imported]


def test_a_whole_configuration_becomes_a_task(
    catalog: Catalog, converted: Converted, published: dict[str, Any]
) -> None:
    imported = converted()
    assert imported.problems == ()
    task = imported.task
    assert task["model"] == {
        "type": "Recognizer3D",
        "backbone": {"type": "ResNet3dSlowOnly", "depth": 50},
        "cls_head": {
            "type": "I3DHead",
            "in_channels": 2048,
            "num_classes": 400,
            "spatial_type": "none",
            "average_clips": "none",
        },
        "data_preprocessor": published["model"]["data_preprocessor"],
        "max_testing_views": 10,
    }
    train = task["data"]["train"]
    assert list(train["pipeline"]) == ["open", "sample", "decode", "resize", "crop", "resize_2", "format"]
    assert train["pipeline"]["open"] == {"type": "OpenVideo", "threads": 2}
    assert train["pipeline"]["decode"] == {"type": "Decode"}
    assert train["pipeline"]["resize"] == {"type": "Resize", "scale": [-1, 256]}
    assert train["dataset"] == {
        "type": "VideoDataset",
        "ann_file": "data/k400/train.txt",
        "data_root": "data/k400/videos_train",
    }
    assert {k: v for k, v in train.items() if k not in ("dataset", "pipeline")} == {
        "batch_size": 8,
        "workers": 4,
        "drop_last": True,
    }
    assert task["train"] == {
        "epochs": 30,
        "val_interval": 5,
        "accumulate": 4,
        "clip_norm": 40,
        "checkpoint_interval": 2,
        "keep": 0,
        "log_interval": 50,
        "weights": "resnet50-0676ba61.pth",
    }
    assert task["optimizer"] == published["optim_wrapper"]["optimizer"]
    assert task["param_groups"] == {
        "type": "DefaultGroups",
        "norm_decay_mult": 0.0,
        "custom_keys": {"backbone": {"lr_mult": 0.1}},
    }
    assert list(task["schedule"]) == ["warmup", "cosine"]
    assert task["metrics"] == {"acc": {"type": "AccMetric", "topk": [1, 3]}}
    assert task["runtime"] == {"precision": "fp16", "seed": 7, "deterministic": True}
    assert task["info"] == {"base_batch_size": 64}
    Task.from_table(task, catalog)
    assert tomllib.loads(dumps(task)) == task


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a configuration with another value at ``path`` (``a.b.c``)."""
    copied = at = copy.deepcopy(config)
    *above, last = path.split(".")
    for key in above:
        at = at.setdefault(key, {})
    at[last] = value
    return copied


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("model.backbone.type", "ResNet9d", "model.backbone.type: no installed plugin offers a component"),
        ("model.backbone.depht", 50, "model.backbone.depht: ResNet3dSlowOnly of vidcore has no argument 'depht'; did"),
        ("model.backbone.norm_cfg", {"type": "GN", "eps": 0.1}, "model.backbone.norm_cfg: only default batch norm"),
        (
            "model.backbone.conv_cfg",
            {"type": "Conv2plus1d"},
            "only ordinary convolutions can be converted, found Conv2p",
        ),
        ("model.backbone.act_cfg", {"type": "Mish"}, "model.backbone.act_cfg: only ReLU"),
        ("model.backbone.lateral", True, "model.backbone.lateral: only the slow pathway"),
        ("model.backbone.pretrained", "mmcls://x", "model.backbone.pretrained: is not converted; set train.weights"),
        ("model.cls_head.consensus", {"type": "TRN"}, "model.cls_head.consensus: only the mean over segments"),
        ("model.test_cfg", {"fused": True}, "model.test_cfg.fused: has no equivalent"),
        ("model.neck", {"type": "TPM"}, "TPM"),
        ("train_dataloader.sampler.type", "ClassAware", "train_dataloader.sampler: ClassAware has no equivalent"),
        ("train_dataloader.collate_fn", {"type": "pad_collate"}, "collate_fn: pad_collate has no"),
        ("train_dataloader.dataset.type", "MyData", "train_dataloader.dataset.type: no installed plugin"),
        (
            "train_dataloader.dataset.sample_by",
            3,
            "train_dataloader.dataset.sample_by: VideoDataset of vidcore has no argument",
        ),
        (
            "train_dataloader.dataset.pipeline",
            [{"type": "ImgAug", "transforms": [{"type": "Rotate"}]}],
            "train_dataloader.dataset.pipeline[0].transforms: this augmenter of imgaug is not converted;",
        ),
        (
            "train_dataloader.dataset.pipeline",
            [{"type": "PytorchVideoWrapper", "op": "MixVideo"}],
            "train_dataloader.dataset.pipeline[0].type: no installed plugin offers a component named 'PytorchVideoW",
        ),
        ("train_cfg", {"type": "MyLoop", "max_epochs": 1}, "train_cfg.type: MyLoop has no equivalent"),
        ("default_hooks.checkpoint.save_best", [3], "default_hooks.checkpoint.save_best: must be the name of a score"),
        ("optim_wrapper.constructor", "Mine", "optim_wrapper.constructor: Mine has no equivalent"),
        (
            "param_scheduler",
            [{"type": "LinearParamScheduler", "param_name": "weight_decay"}],
            "param_scheduler[0].param_name: must be lr or momentum, found weight_decay",
        ),
        ("param_scheduler", [{"type": "CosineMomentum"}], "param_scheduler[0].type: no installed plugin"),
        ("custom_hooks", [{"type": "MyHook"}], "custom_hooks[0]: MyHook has no equivalent"),
        (
            "custom_hooks",
            [{"type": "EMAHook", "ema_type": "StochasticWeightAverage"}],
            "custom_hooks[0].ema_type: must",
        ),
        (
            "custom_hooks",
            [{"type": "EMAHook", "begin_epoch": 3}],
            "custom_hooks[0].begin_epoch: must be 0: the average",
        ),
        ("param_scheduler", [{"type": "ReduceOnPlateauLR", "begin": 3, "monitor": "a"}], "[0].begin: must not be set"),
        ("custom_hooks", {"type": "EMAHook"}, "custom_hooks: must be a list of tables"),
        ("custom_hooks", ["EMAHook"], "custom_hooks: must be a list of tables"),
        ("randomness", 7, "randomness: must be a table"),
        ("val_cfg", "ValLoop", "val_cfg: must be a table"),
        ("default_hooks.extra", {"type": "X"}, "default_hooks.extra: X has no equivalent"),
        ("load_from", {"a": 1}, "load_from: must be a string, found dict"),
        ("auto_scale_lr", 8, "auto_scale_lr: must be a table"),
        ("train_dataloader.dataset.ann_file", None, "train_dataloader.dataset.ann_file: must be a string, found None"),
        ("train_dataloader.dataset.ann_file", 3, "train_dataloader.dataset.ann_file: must be a string, found int"),
        ("train_dataloader.sampler", 3, "train_dataloader.sampler: must be a table, found int"),
        ("train_dataloader.batch_sampler", {"type": "X"}, "train_dataloader.batch_sampler: has no equivalent here"),
        ("default_hooks.checkpoint.interval", "x", "default_hooks.checkpoint.interval: must be an integer, found 'x'"),
        ("default_hooks.timer", 3, "default_hooks.timer: must be a table, found int"),
        ("default_hooks.timer", {"type": "MyTimer"}, "default_hooks.timer: MyTimer has no equivalent here"),
        ("optim_wrapper.clip_grad", [1], "optim_wrapper.clip_grad: must be a table, found list"),
        ("visualizer", "x", "visualizer: must be a table"),
        ("model.test_cfg", 3, "model.test_cfg: must be a table, found int"),
        ("test_evaluator", {"type": "MyMetric"}, "test_evaluator.type: no installed plugin offers"),
        ("val_cfg.type", "MyValLoop", "val_cfg.type: MyValLoop has no equivalent"),
        ("lr_config", {"policy": "step"}, "lr_config: cannot be converted: it belongs to MMAction2 0.x"),
        ("compile", {"mode": "max-autotune"}, "compile: must be true or false"),
        ("model_wrapper_cfg", {"type": "MMFullyShardedDataParallel"}, "model_wrapper_cfg.type: MMFullySharded"),
        ("optim_wrapper.dtype", "float64", "optim_wrapper.dtype: must be float16 or bfloat16, found float64"),
        (
            "param_scheduler",
            [{"type": "LinearLR", "by_epoch": False, "end": 500}],
            "optim_wrapper.accumulative_counts: iterations are batches there and steps here; divide",
        ),
    ],
)
def test_what_cannot_be_converted_is_reported(
    catalog: Catalog, path: str, value: Any, problem: str, published: dict[str, Any]
) -> None:
    problems = convert_config(changed(published, path, value), catalog).problems
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("resume", True, "resume: True: use vidcore run --resume"),
        ("custom_imports", {"imports": ["mine"]}, "custom_imports: {'imports': ['mine']}: turn custom code"),
        ("work_dir", "./runs/a", "work_dir: ./runs/a: use vidcore run --dir"),
        ("launcher", "slurm", "launcher: slurm: start processes with torchrun"),
        ("env_cfg", {"cudnn_benchmark": True}, "env_cfg.cudnn_benchmark: True: randomness.deterministic forbids it"),
        ("env_cfg", {"mp_cfg": {"mp_start_method": "spawn"}}, "env_cfg.mp_cfg.mp_start_method: spawn: "),
        ("log_processor", {"custom_cfg": [{"data_src": "x"}]}, "log_processor.custom_cfg: [{'data_src': 'x'}]: "),
        ("randomness.diff_rank_seed", True, "randomness.diff_rank_seed: True: "),
        ("default_hooks.visualization", {"type": "VisualizationHook", "enable": True}, "default_hooks.visualization: "),
        ("custom_hooks", [{"type": "EmptyCacheHook"}], "custom_hooks[0]: EmptyCacheHook: "),
        ("default_hooks.checkpoint.out_dir", "x", "default_hooks.checkpoint.out_dir: x: "),
        ("default_hooks.logger.out_suffix", ".log", "default_hooks.logger.out_suffix: .log: "),
        ("optim_wrapper.loss_scale", 512.0, "optim_wrapper.loss_scale: 512.0: "),
        ("model_wrapper_cfg", {"broadcast_buffers": True}, "model_wrapper_cfg.broadcast_buffers: True: "),
        ("model.backbone.init_cfg", {"type": "Kaiming"}, "model.backbone.init_cfg: {'type': 'Kaiming'}: "),
        ("model.test_cfg", {"feature_extraction": True}, "model.test_cfg.feature_extraction: True: vidcore features"),
        ("model.train_cfg", {"aux_info": ["mask"]}, "model.train_cfg.aux_info: ['mask']: losses find the targets"),
        (
            "model.backbone.init_cfg",
            {"type": "Pretrained", "checkpoint": "torchvision://resnet50", "map_location": "cpu"},
            "model.backbone.init_cfg.map_location: cpu: has no equivalent here",
        ),
        (
            "model.backbone.init_cfg",
            {"type": "Pretrained", "checkpoint": "a.pth"},
            "model.backbone.pretrained: torchvision://resnet50: a.pth replaces it",
        ),
        ("train_dataloader.sampler.round_up", True, "train_dataloader.sampler.round_up: True: "),
        ("train_dataloader.dataset.max_refetch", 9, "train_dataloader.dataset.max_refetch: 9: "),
        ("train_dataloader.dataset.metainfo", {"palette": [1]}, "train_dataloader.dataset.metainfo.palette: [1]: "),
        (
            "train_dataloader.dataset.pipeline",
            [{"type": "DecordInit", "io_backend": "petrel"}],
            "train_dataloader.dataset.pipeline[0].io_backend: petrel: files are read from local folders",
        ),
        ("param_scheduler", [{"type": "StepLR", "step_size": 3, "last_step": 7}], "param_scheduler[0].last_step: 7: "),
    ],
)
def test_settings_without_effect_are_listed(
    catalog: Catalog, path: str, value: Any, place: str, published: dict[str, Any]
) -> None:
    imported = convert_config(changed(published, path, value), catalog)
    assert imported.problems == ()
    (line,) = imported.left_out
    assert line.startswith(place)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything within a value."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [(*at, key) for key, _ in inner] + [path for key, v in inner for path in _places(v, (*at, key))]


@pytest.mark.parametrize("wrong", [None, 3, "x", [], [3], {}, {"type": 3}, {"type": "X"}, [["a"]]], ids=repr)
@pytest.mark.parametrize("layout", ["published", "older"])
def test_values_of_any_type_in_any_place_raise_no_exception(
    catalog: Catalog, wrong: Any, layout: str, request: pytest.FixtureRequest
) -> None:
    whole = request.getfixturevalue(layout)
    for *above, last in _places(whole):
        config = at = copy.deepcopy(whole)
        for key in above:
            at = at[key]
        at[last] = wrong
        assert _is_toml(convert_config(config, catalog).task)


def _is_toml(value: Any) -> bool:
    """Whether TOML can represent a value; ``dumps`` takes much longer to tell."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_toml(v) for key, v in value.items())
    return all(map(_is_toml, value)) if isinstance(value, list) else isinstance(value, str | int | float)


def test_many_components_end_the_conversion(converted: Converted) -> None:
    with pytest.raises(ConfigError, match=r"param_scheduler\[\d+\]: a configuration may have at most 1000 components"):
        converted(param_scheduler=[{"type": "StepLR", "step_size": 3}] * 10_000)


def test_many_problems_end_the_conversion(converted: Converted) -> None:
    with pytest.raises(ConfigError, match="more problems follow"):
        converted(custom_hooks=[{"type": "X"}] * 10_000)


COMPLETE = {"detection", "localization", "recognition", "recognition_audio"}
"""Folders of configurations that all convert."""


def _published() -> list[Path]:
    return sorted((SHARED / "parity" / "configs").rglob("*.json"))


@pytest.mark.parametrize("path", _published(), ids=lambda p: p.stem)
def test_every_published_configuration_converts_or_reports_why_not(path: Path, catalog: Catalog) -> None:
    imported = convert_config(read_config(path), catalog)
    assert all(re.match(r"[a-z_]+(\.\w+|\[\d+\])*: \S", problem) for problem in imported.problems)
    if COMPLETE & set(path.parts):
        assert imported.problems == ()
    if not imported.problems:
        Task.from_table(imported.task, catalog)
    assert tomllib.loads(dumps(imported.task)) == imported.task
