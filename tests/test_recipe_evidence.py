"""Hold recipes to committed facts of published configurations, and to reference networks.

``published_recipes.txt`` has a line of facts for each published configuration, so that a change of a shared fragment is
seen without the reference numbers. ``python tests/test_recipe_evidence.py`` writes it from the configurations, and
prints the recipes of whose network nothing is published, neither its size nor a reference case.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from vid_mmaction2.checkpoints import convert_weights
from vid_mmaction2.config import convert_config
from vid_mmaction2.reader import read_config
from vid_skeleton.graphs import LAYOUTS
from vidcore.config.bind import Call
from vidcore.config.signature import read_signature
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.classes import num_classes
from vidcore.task.task import Task

ROOT = Path(__file__).resolve().parents[1]
PARITY = Path(os.environ.get("VIDCORE_SHARED", ROOT.parent / "shared")) / "parity"
FACTS = Path(__file__).with_name("published_recipes.txt")
NAMES = {
    path.stem: f"{area}/{path.relative_to(folder).with_suffix('')}".replace(
        "recognition/audio/", "recognition_audio/"
    ).replace("retrieval/vindlu/", "multimodal/vindlu/")
    for area in ("recognition", "skeleton", "retrieval", "detection")
    for folder in (ROOT / f"packages/{area}/src/vid_{area}/recipes",)
    for path in sorted(folder.rglob("*.toml"))
    if path.parent.name not in ("base", "distillation", "from_videos", "tubes") and "[stages" not in path.read_text()
}
"""Recipes, and the names of their configurations."""
STEP_FACTS = (
    "scale",
    "crop_size",
    "input_size",
    "size",
    "flip_ratio",
    "magnitude",
    "num_layers",
    "prob",
    "num_repeats",
    "feats",
    "missing",
)
RATE_FACTS = ("lr", "momentum", "weight_decay", "betas", "nesterov", "begin", "end", "milestones", "gamma", "T_max")
RATE_FACTS += ("start_factor", "eta_min", "eta_min_ratio", "convert_to_iter_based")
DIFFER = {
    "i3d_imagenet-pretrained-r50-heavy": r"layer\d\.\d\.conv1\.",  # all blocks have kernels in time
    "slowfast_r50_8xb8-8x8x1": r"_lateral\.",  # longer kernels, or batch norm
    "slowfast_r101_8xb8-8x8x1": r"_lateral\.",
    "tanet_imagenet-pretrained-r50_8xb6-1x1x16": r"\.tam\.G\.",  # as wide as there are frames
    "tsm_imagenet-pretrained-r50-nl": r"\.non_local_block\.",  # the case is the one without embedding
    **dict.fromkeys(("mobileone", "dense161", "rn101-32x4d", "swin-transformer"), r"^(backbone|cls_head)\."),
    **dict.fromkeys(("swin-large", "mvit-large", "vit-large"), r"^(backbone|cls_head)\."),  # wider
    "vit-base-p16_videomaev2": r"^(backbone|cls_head)\.",  # that of VideoMAE, which has a case
    "res336": r"positional_embedding$",  # more patches
    "context": r"\.fc_cls\.",  # features of the frame beside those of a box, or another classifier
    "tricks": r"\.fc_cls\.",
    "lfb-infer": r"\.fc_cls\.",
    "lfb_ava": r"\.fc_cls\.",
    "lfb-max": r"\.fc_cls\.",  # the feature bank of the case has fewer channels
    "lfb-nl": r"\.lt_feat_conv\.",
}
"""Keys of a recipe without a case that its family has in other shapes. Its size is published, except for MViT-L."""
MODEL_PARTS = ("type", "backbone", "neck", "cls_head")
MODEL_PARTS += ("clip", "adapter", "vision_encoder", "text_encoder", "text_decoder")
AREAS = ("recognition", "skeleton", "retrieval", "multimodal", "detection")
BOX_PARTS = ("bbox_roi_extractor", "shared_head", "bbox_head")
BOX_FACTS = (
    "temporal_pool_mode",
    "with_global",
    "operator",
    "focal_gamma",
    "focal_alpha",
    "mlp_head",
    "multilabel",
)

needs_reference = pytest.mark.skipif(not PARITY.is_dir(), reason="needs the reference numbers")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def facts(task: Task) -> str:
    """Return the settings of a Task that decide about its result, in one line."""
    table = task.table
    model = table["model"]
    pre = model if "mean" in model else model.get("data_preprocessor", {})
    parts = [" ".join(model[p] if p == "type" else model[p]["type"] for p in MODEL_PARTS if p in model)]
    if head := model.get("roi_head"):
        parts[0] = " ".join([parts[0], *(_box_part(head[part]) for part in BOX_PARTS if part in head)])
    parts += [f"{num_classes(model)} classes"] if {"cls_head", "roi_head"} & model.keys() else []
    parts += [f"mean {_numbers(pre['mean'])} std {_numbers(pre['std'])}"] if "mean" in pre else []
    train = table.get("train", {})
    if optimizer := task.get("optimizer"):
        parts.append(f"{train.get('epochs')} epochs, {_rates(optimizer)}, clip {train.get('clip_norm')}")
        parts.append(" + ".join(map(_rates, task.get("schedule").values())))
    if weights := train.get("weights"):
        parts.append(f"from {Path(weights).name}")
    parts += [f"{name} {_part(task, name)}" for name in ("train", "val", "test") if name in table.get("data", {})]
    return "; ".join(parts)


def _box_part(table: Mapping[str, Any]) -> str:
    """Return the name of a part of a detector's head and what may differ in it."""
    values = {**table, **table.get("lfb_cfg", {}), **table.get("fbo_cfg", {})}
    return " ".join([table["type"], *(f"{key} {_numbers(values[key])}" for key in BOX_FACTS if key in values)])


def _part(task: Task, name: str) -> str:
    steps = task.get(f"data.{name}.pipeline").values()
    batch = task.table["data"][name].get("batch_size", 1)
    return f"{batch} x {' '.join(_step(step) for step in steps)}"


def _step(step: Call) -> str:
    """Return the name of a step and its most important numbers."""
    values = _values(step)
    if "clip_len" in values:
        views = "twice" if values.get("twice_sample") else ""
        clips = values.get("num_clips", 1)
        return f"{step.component.name} {values['clip_len']}x{values.get('frame_interval')}x{clips}{views}"
    numbers = "x".join(_numbers(values[key]) for key in STEP_FACTS if values.get(key) is not None)
    return f"{step.component.name} {numbers}".strip()


def _rates(call: Call) -> str:
    """Return the name of an optimizer or schedule, and its numbers."""
    values = _values(call)
    return " ".join([call.component.name, *(f"{key} {_numbers(values[key])}" for key in RATE_FACTS if values.get(key))])


def _values(call: Call) -> dict[str, Any]:
    """Return all arguments of a component, including defaults."""
    return {p.name: p.default for p in read_signature(call.component.target).parameters.values()} | call.arguments


def _numbers(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_numbers, value))
    return f"{float(value):g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def configured(name: str) -> str:
    """Return the name of the configuration of a recipe; some have weights that others trained with it."""
    return name.removesuffix("_infer")


def committed() -> dict[str, tuple[str, str]]:
    """Return the evidence and the facts of each published configuration."""
    rows = [line.split("; ", 2) for line in FACTS.read_text().splitlines()]
    return {name: (known, rest) for name, known, rest in rows}


def published_facts(name: str, catalog: Catalog) -> str:
    """Return the facts of a published configuration, converted by the importer."""
    imported = convert_config(read_config(PARITY / f"configs/{name}.json"), catalog)
    if imported.problems:
        raise ConfigError(imported.problems)
    return facts(Task.from_table(imported.task, catalog))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_recipes_have_the_committed_facts(name: str, catalog: Catalog) -> None:
    assert configured(name) in committed(), f"run {Path(__file__).name} to add it"
    own, published = facts(Task.load(name, catalog)), committed()[configured(name)][1]
    assert own == published or own.partition("; test ")[0] == published  # some are published without data


@needs_reference
@pytest.mark.parametrize("name", sorted(committed().keys() & NAMES.keys()))
def test_committed_facts_are_the_published_ones(name: str, catalog: Catalog) -> None:
    assert committed()[name] == (evidence(NAMES[name]), published_facts(NAMES[name], catalog))


@cache
def cases() -> dict[str, dict[str, Any]]:
    """Return the reference networks of these areas by the name of their configuration."""
    found = [json.loads(path.read_text()) for path in sorted((PARITY / "models").glob("*.json"))]
    return {case["case"]: case for case in found if str(case["upstream_config"]).startswith(AREAS)}


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the floating-point weights of a network by key."""
    return {key: _row(value) for key, value in model.state_dict().items() if value.is_floating_point()}


def _row(value: torch.Tensor) -> tuple[int, ...]:
    """Return a shape; a published scalar is a row of one here."""
    return tuple(value.shape) or (1,)


def case_shapes(case: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of a reference network, with the keys of vidcore."""
    listed = {key: torch.empty(shape, device="meta") for key, shape in case["checkpoint"].items()}
    second = "cls_head.new_cls."  # the published head of TPN keeps its classifier twice
    return {key: _row(value) for key, value in convert_weights(listed).items() if not key.startswith(second)}


def patterns(weights: Mapping[str, tuple[int, ...]]) -> set[tuple[str, int]]:
    """Return keys with ``#`` for numbers, and the number of axes."""
    return {(re.sub(r"\d+", "#", key), len(shape)) for key, shape in weights.items()}


@needs_reference
@pytest.mark.parametrize("name", sorted(NAMES))
def test_networks_have_the_keys_and_shapes_of_a_reference_case(name: str, catalog: Catalog) -> None:
    task = Task.load(name, catalog)
    with torch.device("meta"):
        model = task.build("model")
    own = shapes(model)
    if (case := cases().get(configured(name))) and "-lfb-" not in name:
        assert own == case_shapes(case)
        return
    family = [case for case in cases().values() if case["upstream_config"].split("/")[1] == NAMES[name].split("/")[1]]
    differ = next((keys for part, keys in DIFFER.items() if part in name), r"$.")
    same = {key: shape for key, shape in own.items() if not re.search(differ, key)}
    assert patterns(same) <= {pattern for case in family for pattern in patterns(case_shapes(case))}
    assert any(not list(_differences(same, case, task.table["model"])) for case in family)


def _sizes(model: Mapping[str, Any], background: bool = False) -> list[int | None]:
    """Return the number of outputs, and the numbers of joints and of their channels for one person and two."""
    graph = model["backbone"].get("graph_cfg")
    joints = LAYOUTS[graph["layout"]].num_node if graph else 0
    return [(num_classes(model) or 0) + background, joints, 3 * joints, 6 * joints]


def _differences(own: dict[str, tuple[int, ...]], case: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys that both have with different shapes, beside the numbers of classes and joints."""
    head = model.get("roi_head", {}).get("bbox_head", {})  # the published number of classes includes the background
    renamed = dict(zip(_sizes(case["model"]), _sizes(model, head.get("background_class", False)), strict=True))
    for key, shape in case_shapes(case).items():
        if key in own and own[key] != tuple(renamed.get(n, n) for n in shape):
            yield key


def evidence(configuration: str) -> str:
    """Return what is published of a network: a reference ``case``, its ``size``, or ``nothing``."""
    if Path(configuration).name in cases():
        return "case"
    sized = {entry["config"] for entry in json.loads((PARITY / "zoo.json").read_text()) if entry["params"]}
    return "size" if configuration in sized else "nothing"


if __name__ == "__main__":
    installed = load_plugins()
    lines = []
    folder = PARITY / "configs"
    for path in (path for area in AREAS for path in sorted(folder.glob(f"{area}*/**/*.json"))):
        configuration = str(path.relative_to(PARITY / "configs").with_suffix(""))
        try:
            lines.append(f"{path.stem}; {evidence(configuration)}; {published_facts(configuration, installed)}")
        except Exception as error:
            print(f"{path.stem}: {str(error).splitlines()[0]}")
    FACTS.write_text("".join(f"{line}\n" for line in lines))
    unproven = [name for name, (known, _) in committed().items() if known == "nothing"]
    print("neither a case nor a size is published of:", *unproven, sep="\n")
