"""Datasets, metrics, models and observers subclass the base class of their kind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog, Component
from vidcore.task.task import Task

PARTS = """
from __future__ import annotations
from torch import nn
from vidcore.nn import Model
from vidcore.protocols import Dataset

class Alike:
    class_names = num_classes = None
    def __len__(self) -> int:
        return 1
    def __getitem__(self, index: int) -> object:
        return None

class Real(Dataset, Alike):
    def __len__(self) -> int:
        return 1
    def __getitem__(self, index: int) -> object:
        return None

class Half(Dataset):
    def __len__(self) -> int:
        return 1

class Plain(nn.Module):
    pass

class Whole(Model):
    pass
"""
KINDS = {"Alike": "datasets", "Real": "datasets", "Half": "datasets", "Plain": "models", "Whole": "models"}
CONCAT = Component("ConcatDataset", "datasets", "vidcore.data.wrappers:ConcatDataset", "core")


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    (tmp_path / "base_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "base_parts", raising=False)
    offered = {n: Component(n, k, f"base_parts:{n}", "test") for n, k in KINDS.items()}
    return Catalog((), offered | {"ConcatDataset": CONCAT}, {})


@pytest.mark.torch
def test_objects_of_other_classes_are_refused_when_built(catalog: Catalog) -> None:
    table = {"model": {"type": "Plain"}, "data": {"train": {"dataset": {"type": "Alike"}}}, "metrics": {}}
    task = Task.from_table(table, catalog)
    with pytest.raises(ConfigError, match=r"model: Plain: must be a subclass of vidcore\.nn\.Model, got Plain"):
        task.build("model")
    wanted = r"data\.train\.dataset: Alike: must be a subclass of vidcore\.protocols\.Dataset, got Alike"
    with pytest.raises(ConfigError, match=wanted):
        task.build("data.train")
    inner = {"type": "ConcatDataset", "datasets": [{"type": "Real"}, {"type": "Alike"}]}
    task = Task.from_table({"model": {"type": "Whole"}, "data": {"train": {"dataset": inner}}}, catalog)
    with pytest.raises(ConfigError, match=r"data\.train\.dataset\.datasets\.1: Alike: must be a subclass"):
        task.build("data.train")
    assert type(task.build("model")).__name__ == "Whole"


@pytest.mark.torch
def test_missing_methods_of_a_subclass_are_named(catalog: Catalog) -> None:
    table = {"model": {"type": "Whole"}, "data": {"train": {"dataset": {"type": "Half"}}}}
    with pytest.raises(ValueError, match=r"data\.train\.dataset: Half: .*__getitem__"):
        Task.from_table(table, catalog).build("data.train")
