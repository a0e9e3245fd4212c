"""Recipes of skeletons: they build the network that they state, and streams differ in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vid_skeleton.files import Track, skeleton_writer
from vid_skeleton.graphs import COCO, NTU, Layout
from vidcore.config.bind import build_component
from vidcore.plugins.catalog import load_plugins
from vidcore.task.task import Task
from vidcore.transforms.compose import Pipeline

CATALOG = load_plugins()
RECIPES = {name: path.parent.name for name, path in CATALOG.recipes.items() if "/vid_skeleton/" in path.as_posix()}
NETWORKS = ("2s-agcn", "stgcn", "stgcnpp")
STREAMS = {"joint": ["j"], "bone": ["b"], "joint-motion": ["jm"], "bone-motion": ["bm"]}


@pytest.mark.parametrize(
    "name", [name for name, family in RECIPES.items() if family in NETWORKS and "-four-" not in name]
)
def test_a_recipe_states_the_size_of_its_network(name: str) -> None:
    task = Task.load(name, CATALOG)
    with torch.device("meta"):
        model = task.build("model")
    assert sum(p.numel() for p in model.parameters()) == task.table["info"]["parameters"]


@pytest.mark.parametrize(("layout", "units"), [(COCO, "pixels"), (NTU, "metres")])
def test_a_file_of_skeletons_becomes_the_input_of_a_recipe(layout: Layout, units: str, tmp_path: Path) -> None:
    axes, rng = 2 if units == "pixels" else 3, np.random.default_rng(0)
    with skeleton_writer(tmp_path / "s.npz", layout.names, layout.inward, units, axes) as writer:
        points = rng.normal(50, 9, (2, 30, layout.num_node, axes)).astype(np.float32)
        points[1, 4, 7] = np.nan
        tracks = [Track(0, points[0]), Track(0, points[1])]
        writer.add("a", 30, tracks, (120, 160) if units == "pixels" else (0, 0), 30.0, 0)
        writer.splits["xsub_val"] = [0]
    table = Task.load(f"stgcnpp_8xb16-bone-motion-u100-80e_ntu60-xsub-keypoint-{axes}d", CATALOG).table["data"]["test"]
    dataset = build_component({**table["dataset"], "ann_file": str(tmp_path / "s.npz")}, "datasets", CATALOG)
    steps = {name: build_component(step, "transforms", CATALOG) for name, step in table["pipeline"].items()}
    made = Pipeline(steps)(dataset[0], rng).inputs["joints"]
    assert isinstance(made, np.ndarray) and made.shape == (10, 2, 100, layout.num_node, 3)
    assert np.isfinite(made).all() and made.any()


@pytest.mark.parametrize("name", [name for name in RECIPES if "-four-streams-" in name])
def test_streams_differ_in_their_features_only(name: str) -> None:
    whole = Task.load(name, CATALOG)
    *streams, total = whole.stages.values()
    tables = [task.table for task in streams]
    for table, feats in zip(tables, STREAMS.values(), strict=True):
        del table["info"]
        for part in ("train", "val", "test"):
            assert table["data"][part]["pipeline"]["stream"].pop("feats") == feats
    assert all(table == tables[0] for table in tables)
    assert list(total.table["job"]["streams"]) == list(whole.stages)[:-1]
