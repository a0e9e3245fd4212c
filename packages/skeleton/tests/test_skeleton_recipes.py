"""Recipes of skeletons: they build the network that they state, and streams differ in one line."""

from __future__ import annotations

import pytest
import torch

from vidcore.plugins.catalog import load_plugins
from vidcore.task.task import Task

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
