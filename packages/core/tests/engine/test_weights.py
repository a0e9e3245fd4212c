"""Weights are loaded into a model, or the differences are reported."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from vidcore.engine.weights import load_state, load_weights, read_weights
from vidcore.errors import CheckpointError


def net(classes: int = 4, width: int = 8) -> nn.Module:
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
    model.cls_head = nn.Linear(width, classes)
    return model


def test_arrays_and_tensors_are_loaded_strictly() -> None:
    source, model = net(), net()
    state = {k: v.numpy() for k, v in source.state_dict().items()}
    assert load_state(model, state) == ()
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_counters_may_be_missing_but_parameters_may_not() -> None:
    state = net().state_dict()
    del state["backbone.1.num_batches_tracked"]
    assert load_state(net(), state) == ()
    del state["backbone.1.running_mean"]
    with pytest.raises(CheckpointError, match=r"a different model: backbone.1.running_mean is missing from the file"):
        load_state(net(), state)


def test_differences_to_a_different_model_are_listed() -> None:
    with pytest.raises(CheckpointError) as caught:
        load_state(net(5), net(4).state_dict(), source="a.pt")
    assert str(caught.value) == (
        "a.pt: belongs to a different model: cls_head.weight is (4, 8) in the file and (5, 8) in the model; "
        "cls_head.bias is (4,) in the file and (5,) in the model"
    )
    with pytest.raises(CheckpointError, match=r"is missing from the file; .*; and 3 more$"):
        load_state(net(), {"backbone.0.bias": torch.zeros(8)})
    with pytest.raises(CheckpointError, match="extra is not in the model"):
        load_state(net(), {**net().state_dict(), "extra": torch.zeros(1)})


def test_a_classifier_of_a_different_size_can_be_skipped() -> None:
    source, model = net(4), net(5)
    fresh = model.cls_head.weight.clone()
    left = load_state(model, source.state_dict(), new_classes=True)
    assert [line.split()[0] for line in left] == ["cls_head.weight", "cls_head.bias"]
    assert torch.equal(model.cls_head.weight, fresh)
    assert torch.equal(model.backbone[0].weight, source.backbone[0].weight)
    with pytest.raises(CheckpointError, match=r"cls_head.weight is \(4, 8\) in the file and \(4, 16\)"):
        load_state(net(4, width=16), source.state_dict(), new_classes=True)


def test_ignored_prefixes() -> None:
    state = {k: v for k, v in net(4).state_dict().items() if k != "backbone.0.bias"}
    state |= {"aux.weight": torch.zeros(1), "cls_head.weight": torch.zeros(7, 7)}
    left = load_state(net(4), state, ignore=["aux.", "cls_head.", "backbone.0"])
    assert {line.split()[0] for line in left} == {"aux.weight", "cls_head.weight", "backbone.0.bias"}
    with pytest.raises(CheckpointError, match=r"aux.weight"):
        load_state(net(4), state, ignore=["cls_head.", "backbone.0"])


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "meta": {"epoch": 3}}, lambda s: {"model": s}]
)
def test_common_layouts_of_files(tmp_path: Path, wrap: object) -> None:
    state = {f"module.{k}": v for k, v in net().state_dict().items()}
    torch.save(wrap(state), tmp_path / "a.pth")  # type: ignore[operator]
    weights, about = read_weights(tmp_path / "a.pth")
    assert list(weights) == list(net().state_dict())
    assert about in ({}, {"meta": {"epoch": 3}})
    load_weights(net(), tmp_path / "a.pth")


def test_files_without_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a.pth: holds no weights"):
        read_weights(tmp_path / "a.pth")


def test_the_hash_in_the_name_must_match(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "a.pth")
    digest = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()[:8]
    good = (tmp_path / "a.pth").rename(tmp_path / f"net_20220901-{digest}.pth")
    load_weights(net(), good)
    bad = good.rename(tmp_path / "net_20220901-f6a40d08.pth")
    with pytest.raises(CheckpointError, match=f"SHA-256 begins with {digest}, but its name has f6a40d08"):
        load_weights(net(), bad)


def test_safetensors(tmp_path: Path) -> None:
    state = {k: v.numpy() for k, v in net().state_dict().items() if v.ndim}
    save_file(state, tmp_path / "a.safetensors")
    load_weights(net(), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match=r"b.safetensors"):
        load_weights(net(), tmp_path / "b.safetensors")
