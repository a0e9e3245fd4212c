"""Weights are loaded into a model, or the differences are reported."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from vidcore.data.classes import names_beside_weights
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
    with pytest.raises(CheckpointError, match=r"backbone.1.weight is \(8,\) in the file and \(16,\) in.*; and 1 more$"):
        load_state(net(4, width=16), source.state_dict(), new_classes=True)


def test_positions_and_norms_of_a_different_size_are_not_classifiers() -> None:
    source, model = net(), net()
    source.position, model.position = nn.Parameter(torch.zeros(9, 8)), nn.Parameter(torch.zeros(4, 8))
    source.norm, model.norm = nn.LayerNorm(6), nn.LayerNorm(8)
    with pytest.raises(CheckpointError) as caught:
        load_state(model, source.state_dict(), new_classes=True, source="a.pt")
    assert str(caught.value) == (
        "a.pt: belongs to a different model: position is (9, 8) in the file and (4, 8) in the model; norm.weight is "
        "(6,) in the file and (8,) in the model; norm.bias is (6,) in the file and (8,) in the model"
    )
    assert len(load_state(model, source.state_dict(), new_classes=True, ignore=["position", "norm."])) == 3


def test_the_nearest_keys_are_named() -> None:
    state = net().state_dict()
    state["backbone.0.wieght"] = state.pop("backbone.0.weight")
    with pytest.raises(CheckpointError) as caught:
        load_state(net(), state)
    assert str(caught.value) == (
        "weights: belongs to a different model: backbone.0.weight is missing from the file, which has "
        "backbone.0.wieght; backbone.0.wieght is not in the model, which has backbone.0.weight"
    )


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
    torch.save(wrap(state), tmp_path / "a.pth")
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


@pytest.mark.parametrize("wrap", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_are_removed(tmp_path: Path, wrap: str) -> None:
    torch.save({wrap + k: v for k, v in net().state_dict().items()}, tmp_path / "a.pth")
    load_weights(net(), tmp_path / "a.pth")


def test_a_prefix_is_offered_and_removed(tmp_path: Path) -> None:
    state = {f"model.{k}": v for k, v in net().state_dict().items()}
    content = {"state_dict": state | {"loss.weight": torch.ones(3)}, "hyper_parameters": {"lr": 1}}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), tmp_path / "last.ckpt")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/last.ckpt: belongs to a different model: backbone.0.weight is missing")
    assert said.endswith(
        "; its names begin with 'model.' (PyTorch Lightning's), as model.backbone.0.weight does: remove that with "
        "train.weights_prefix = 'model.' (for a --checkpoint: --set train.weights_prefix=model.)"
    )
    load_weights(net(), tmp_path / "last.ckpt", prefix="model.")
    torch.save(net().state_dict(), tmp_path / "own.pt")
    load_weights(net(), tmp_path / "own.pt", prefix="model.")  # nothing to remove


@pytest.mark.parametrize(
    ("names", "tool"),
    [
        (("s1.pathway0_stem.conv.weight", "s2.pathway0_res0.branch2.a.weight", "head.projection.weight"), "PySlowFast"),
        (("blocks.0.multipathway_blocks.0.conv.weight", "blocks.1.res_blocks.0.branch2.conv_a.weight"), "PyTorchVideo"),
        (
            ("videomae.encoder.layer.0.attention.output.weight", "classifier.weight"),
            "Hugging Face Transformers",
        ),
        (("blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "patch_embed.proj.weight"), "timm or VideoMAE"),
        (("Conv3d_1a_7x7.conv3d.weight", "Mixed_3b.b0.conv3d.weight", "logits.conv3d.weight"), "pytorch-i3d"),
    ],
)
def test_names_of_other_tools_are_recognised(tmp_path: Path, names: tuple[str, ...], tool: str) -> None:
    torch.save({"model_state": {name: torch.ones(2) for name in names}, "epoch": 3}, tmp_path / "a.pyth")
    with pytest.raises(CheckpointError, match=rf"a\.pyth: .*; its names look like those of {tool} \({names[0]}"):
        load_weights(net(), tmp_path / "a.pyth")


def test_names_that_are_not_strings(tmp_path: Path) -> None:
    torch.save({"state_dict": {0: torch.ones(3), ("a", 1): torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: the names of weights must be strings, and one is 0"):
        read_weights(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: a: must be the name of a tensor, and is 'text'"):
        load_state(net(), {"a": "text"}, source="a.pth")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"class_names": "run"}, "class_names must be a list of names, and is a str"),
        ({"class_names": {"run": 0}}, "class_names must be a list of names, and is a dict"),
        ({"class_names": ["run", 3]}, r"class_names\.1 must be a name, and is 3"),
        ({"class_names": ["run", " "]}, r"class_names\.1 must be a name, and is ' '"),
        ({"class_names": ["run", "sit", "run"]}, "class_names: class name 'run' is listed twice"),
        ({"meta": {"dataset_meta": {"classes": ["run", None]}}}, r"meta\.dataset_meta\.classes\.1 must be a name"),
    ],
)
def test_class_names_beside_weights(about: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^a\.pth: {message}"):
        names_beside_weights(about, "a.pth")


def test_valid_class_names_beside_weights() -> None:
    names = ["run", "sit"]
    assert names_beside_weights({"class_names": names}) == ("run", "sit")
    assert names_beside_weights({"meta": {"dataset_meta": {"classes": names}}}) == ("run", "sit")
    for about in ({}, {"class_names": None}, {"class_names": []}, {"meta": 3}, {"meta": {"dataset_meta": None}}):
        assert names_beside_weights(about) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    state = net().state_dict()
    state["cls_head.weight"][1, 2] = value
    torch.save(state, tmp_path / "a.pt")
    said = r"a.pt: weights contain NaN or Inf: cls_head.weight \(1 of 32 numbers\); use an earlier checkpoint"
    with pytest.raises(CheckpointError, match=said):
        load_weights(net(), tmp_path / "a.pt")
    load_state(net(), state, ignore=["cls_head."])  # which is then trained from random values
