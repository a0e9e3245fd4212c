"""The classes of a Task reach nested datasets."""

from __future__ import annotations

from pathlib import Path

from vidcore.plugins.catalog import load_plugins
from vidcore.task.task import Task


def test_classes_reach_repeated_and_concatenated_datasets() -> None:
    catalog = load_plugins()
    listed = {"type": "VideoDataset", "ann_file": "list.txt"}
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": dict(listed)}
    joined = {"type": "ConcatDataset", "datasets": [dict(listed), repeated]}
    head = {"type": "TSNHead", "num_classes": 2, "in_channels": 512}
    model = {"type": "Recognizer2D", "backbone": {"type": "ResNet", "depth": 18}, "cls_head": head}
    table = {"model": model, "data": {"classes": "names.txt", "train": {"dataset": joined}}}
    task = Task.from_table(table, catalog)
    first, second = task.table["data"]["train"]["dataset"]["datasets"]
    names = str(Path("names.txt").absolute())
    assert first["classes"] == second["dataset"]["classes"] == names
    assert "classes" not in second
