"""Recipes of detectors: each builds, and has the size that it states."""

from __future__ import annotations

import pytest
import torch

from vidcore.plugins.catalog import load_plugins
from vidcore.task.task import Task

CATALOG = load_plugins()
FOLDER = dict(CATALOG.recipe_folders)["vid-detection"]
NAMES = sorted(name for name, path in CATALOG.recipes.items() if path.is_relative_to(FOLDER))


def test_there_are_recipes_for_every_data_set() -> None:
    assert len(NAMES) == 33
    known = {Task.load(name, CATALOG).table.get("info", {}).get("dataset") for name in NAMES}
    assert known == {"ava-v2.1", "ava-v2.2", "ava-kinetics", "multisports", "jhmdb", "ucf101-24", None}


@pytest.mark.parametrize("name", NAMES)
def test_detectors_have_the_stated_size(name: str) -> None:
    task = Task.load(name, CATALOG)
    for stage in task.stages.values() or [task]:
        if stage.get("model"):
            with torch.device("meta"):
                model = stage.build("model")
            assert sum(p.numel() for p in model.parameters()) == stage.table["info"]["parameters"]
