"""A release file has weights and metadata, and its name ends in its hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from vidcore.config.toml import dumps
from vidcore.engine.checkpoint import save
from vidcore.engine.weights import read_weights
from vidcore.errors import CheckpointError, UserError
from vidcore.task.publish import publish
from vidcore.task.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    task = {
        "model": {"type": "Net", "data_preprocessor": {"mean": [1.0]}},
        "data": {"val": {"pipeline": {"sample": {"type": "SampleFrames", "clip_len": 8}}}},
    }
    folder = RunFolder.prepare(tmp_path / "run", dumps(task))
    weight = torch.arange(6.0).reshape(2, 3)
    state = {"a": weight, "b": weight.T}  # one memory, which safetensors alone would refuse
    save(folder.checkpoints / "best.pt", {"state_dict": state, "class_names": ["x", "y"], "scores": {"acc/top1": 0.5}})
    folder.report.write_text(json.dumps({"task": "net", "protocol": {"data": "data.val"}}))
    return folder


def test_a_release_has_class_names_and_contract(run: RunFolder, tmp_path: Path) -> None:
    path = publish(run, tmp_path / "out")
    assert path.name == f"net-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.safetensors"
    weights, about = read_weights(path)
    assert weights["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert about["class_names"] == ["x", "y"]
    assert about["contract"]["pipeline"]["sample"]["clip_len"] == 8
    assert about["scores"] == {"acc/top1": 0.5}
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {"a", "b"}


def test_a_changed_release_is_refused(run: RunFolder, tmp_path: Path) -> None:
    path = publish(run, tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        read_weights(path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold a finished run"):
        publish(RunFolder(tmp_path), tmp_path)
