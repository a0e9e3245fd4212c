"""Somebody whom the pipeline does not choose, or who is nowhere to be seen, changes no score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vidcore.batch import collate
from vidcore.config.bind import build_component
from vidcore.geometry import Geometry
from vidcore.nn import Model
from vidcore.plugins.catalog import load_plugins
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.task.task import Task
from vidcore.transforms.compose import Pipeline

CATALOG = load_plugins()
SMALL = {"base_channels": 12, "num_stages": 2, "inflate_stages": [2], "down_stages": [2]}
HEAD = {"type": "GCNHead", "num_classes": 4, "in_channels": 24}
COCO, NTU = {"layout": "coco", "mode": "spatial"}, {"layout": "nturgb+d", "mode": "spatial"}
PLUS = {"gcn_adaptive": "init", "gcn_with_res": True, "tcn_type": "mstcn"}
SLOW = {
    "type": "ResNet3dSlowOnly",
    "depth": 18,
    "base_channels": 8,
    "num_stages": 2,
    "out_indices": [1],
    "inflate": [0, 1],
    "spatial_strides": [2, 2],
    "temporal_strides": [1, 1],
    "dilations": [1, 1],
    "conv1_stride_s": 1,
    "pool1_stride_s": 1,
    "stage_blocks": [1, 1],
}
CNN_HEAD = {"type": "I3DHead", "in_channels": 16, "num_classes": 4}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "ST-GCN++": ({"type": "STGCN", "graph_cfg": COCO, **PLUS, **SMALL}, HEAD, "stgcnpp_8xb16-bone-motion-u100-80e_2d"),
    "2s-AGCN": ({"type": "AAGCN", "graph_cfg": NTU, **SMALL}, HEAD, "2s-agcn_8xb16-bone-u100-80e_3d"),
    "CTR-GCN": ({"type": "CTRGCN", "graph_cfg": NTU, **SMALL}, HEAD, "stgcn_8xb16-joint-u100-80e_3d"),
    "MS-G3D": (
        {"type": "MSG3D", "graph_cfg": {"layout": "coco", "mode": "binary_adj"}, "base_channels": 6},
        HEAD,
        "stgcn_8xb16-joint-motion-u100-80e_2d",
    ),
    "DG-STGCN": ({"type": "DGSTGCN", "graph_cfg": COCO, **SMALL}, HEAD, "stgcnpp_8xb16-joint-u100-80e_2d"),
    "PoseC3D": ({**SLOW, "in_channels": 17}, CNN_HEAD, "slowonly_r50_8xb16-u48-240e_ntu60-xsub-keypoint"),
    "PoseC3D on limbs": ({**SLOW, "in_channels": 17}, CNN_HEAD, "slowonly_r50_8xb16-u48-240e_ntu60-xsub-limb"),
}
FRAMES = 24


def model_and_steps(name: str, keep: int | None) -> tuple[Model, dict[str, Any]]:
    """Return a small network, and the test pipeline of a recipe with one clip, after ``KeepPersons``."""
    backbone, head, recipe = CASES[name]
    recipe = recipe.replace("80e_", "80e_ntu60-xsub-keypoint-")
    torch.manual_seed(0)
    kind = "RecognizerGCN" if head is HEAD else "Recognizer3D"
    model = build_component({"type": kind, "backbone": backbone, "cls_head": head}, "models", CATALOG).eval()
    steps = dict(Task.load(recipe, CATALOG).table["data"]["test"]["pipeline"])
    for step in steps.values():
        if step["type"] == "PreNormalize2D":
            del step["missing"]  # weights were published of networks that see missing joints in a corner
        step |= {"num_clips": 1, "clip_len": 12} if step["type"] == "UniformSampleFrames" else {}
    if keep is not None:
        steps = {"keep": {"type": "KeepPersons", "num_person": keep}, **steps}
    return model, {key: build_component(step, "transforms", CATALOG) for key, step in steps.items()}


def people(axes: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return somebody who moves, and somebody who stands still: (1, frames, joints, axes) each."""
    rng, joints = np.random.default_rng(3), 17 if axes == 2 else 25
    stands = rng.uniform(20, 60, (1, 1, joints, axes)).astype(np.float32)
    moves = stands + rng.uniform(-9, 9, (1, FRAMES, joints, axes)).astype(np.float32)
    return moves, np.repeat(stands + 30, FRAMES, axis=1)


def scores(name: str, points: np.ndarray[Any, Any], confidence: np.ndarray[Any, Any] | None, keep: int | None) -> Any:
    model, steps = model_and_steps(name, keep)
    size = None if confidence is None else Geometry.whole((120, 160))
    sample = Sample(index=0, total_frames=FRAMES, joints=Joints(points, confidence), geometry=size)
    with torch.no_grad():
        batch = model.preprocess(collate([Pipeline(steps)(sample, np.random.default_rng(0))]))
        (predicted,) = model.predict(model(batch.inputs), batch)
    return predicted.scores


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("first", [False, True], ids=["bystander last", "bystander first"])
def test_somebody_who_is_not_chosen_changes_nothing(name: str, first: bool) -> None:
    axes = 3 if CASES[name][2].endswith("3d") else 2
    moves, stands = people(axes)
    both = np.concatenate([stands, moves] if first else [moves, stands])
    sure = np.ones(both.shape[:3], np.float32) if axes == 2 else None
    alone = scores(name, moves, None if sure is None else sure[:1], 1)
    np.testing.assert_allclose(scores(name, both, sure, 1), alone, rtol=0, atol=1e-6)
    assert np.abs(scores(name, both, sure, 2) - alone).max() > 1e-6, "the scores depend on who is seen"


@pytest.mark.parametrize("name", CASES)
def test_somebody_of_zeros_is_nobody(name: str) -> None:
    axes = 3 if CASES[name][2].endswith("3d") else 2
    moves, stands = people(axes)
    padded = np.concatenate([moves, np.zeros_like(moves)])
    sure = np.ones(padded.shape[:3], np.float32) if axes == 2 else None
    if sure is not None:
        sure[1] = 0
    alone = scores(name, moves, None if sure is None else sure[:1], None)
    np.testing.assert_allclose(scores(name, padded, sure, None), alone, rtol=0, atol=1e-6)
    changed = scores(name, np.concatenate([moves, stands]), None if sure is None else np.ones_like(sure), None)
    assert np.abs(changed - alone).max() > 1e-6
