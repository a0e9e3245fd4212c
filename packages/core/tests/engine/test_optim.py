"""Parameter groups, and all optimizers of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vidcore.config.bind import build_component
from vidcore.config.signature import read_signature
from vidcore.engine.optim import DefaultGroups, LayerDecayGroups, Rule, SwinGroups, TSMGroups, build_optimizer
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import NOT_OFFERED, load_plugins

OPTIMIZERS = load_plugins().of_kind("optimizers")


def net() -> nn.Module:
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4))
    model.head = nn.Linear(4, 2)
    return model


def factors(model: nn.Module, grouping: Any) -> dict[str, tuple[float, float]]:
    """(rate, decay) of every parameter for an optimizer with rate 1 and decay 1."""
    names = {p: n for n, p in model.named_parameters()}
    optimizer = build_optimizer(torch.optim.SGD, {"lr": 1.0, "weight_decay": 1.0}, model, grouping)
    return {names[p]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_trains(name: str) -> None:
    factory = OPTIMIZERS[name].load()
    signature = read_signature(OPTIMIZERS[name].target)
    assert "lr" in signature.parameters
    assert not signature.untyped
    model = nn.Linear(3, 1)
    before = model.weight.clone()
    optimizer = build_optimizer(factory, {"lr": 0.1}, model)
    loss = model(torch.ones(2, 3)).sum()
    loss.backward()
    optimizer.step()
    assert not torch.equal(before, model.weight)


def test_all_optimizers_of_torch_are_offered_or_listed_as_unsupported() -> None:
    have = {n for n in torch.optim.__all__ if isinstance(getattr(torch.optim, n), type)}
    assert have - {"Optimizer", *NOT_OFFERED} == set(OPTIMIZERS)


def test_errors_of_optimizers_are_reported() -> None:
    with pytest.raises(ConfigError, match=r"optimizer: Muon: .*2D parameters"):
        build_optimizer(torch.optim.Muon, {"lr": 0.1}, net())


def test_no_rules_make_one_group_with_the_optimizers_own_defaults() -> None:
    optimizer = build_optimizer(torch.optim.AdamW, {"lr": 0.1}, net())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.1, 0.1, 0.01)
    assert build_optimizer(torch.optim.AdamW, {}, net()).param_groups[0]["lr"] == 1e-3


def test_equal_factors_share_a_group_and_parameters_are_not_repeated() -> None:
    model = net()
    model.tied = model.head
    optimizer = build_optimizer(
        torch.optim.SGD, {"lr": 1.0}, model, DefaultGroups(norm_decay_mult=0.0, bias_lr_mult=2.0)
    )
    sizes = [len(g["params"]) for g in optimizer.param_groups]
    assert sum(sizes) == len(list(model.parameters())) == 8
    assert len(sizes) == 3


def test_kinds_of_layers() -> None:
    found = factors(
        net(), DefaultGroups(norm_decay_mult=0.1, dwconv_decay_mult=0.2, bias_decay_mult=0.3, bias_lr_mult=4.0)
    )
    assert found["backbone.0.weight"] == (1.0, 1.0)
    assert found["backbone.0.bias"] == (4.0, 0.3)
    assert found["backbone.1.weight"] == (1.0, 0.1)
    assert found["backbone.1.bias"] == (1.0, 0.1)
    assert found["backbone.2.bias"] == (4.0, 0.2)
    assert factors(net(), DefaultGroups(flat_decay_mult=0.0))["backbone.1.weight"] == (1.0, 0.0)


def test_the_longest_name_fragment_wins() -> None:
    keys = {"backbone": Rule(lr_mult=0.1), "backbone.1": Rule(decay_mult=0.0), "kbone.1": Rule(lr_mult=7.0)}
    found = factors(net(), DefaultGroups(custom_keys=keys, bias_lr_mult=9.0))
    assert found["backbone.0.bias"] == (0.1, 1.0)
    assert found["backbone.1.weight"] == (1.0, 0.0)
    assert found["head.bias"] == (9.0, 1.0)


def test_all_name_fragments_multiply() -> None:
    keys = {"backbone": Rule(lr_mult=0.1), ".1.": Rule(lr_mult=0.5, decay_mult=0.0)}
    found = factors(net(), SwinGroups(custom_keys=keys))
    assert found["backbone.1.weight"] == (0.05, 0.0)
    assert found["backbone.0.weight"] == (0.1, 1.0)
    assert found["head.weight"] == (1.0, 1.0)


def test_tsm() -> None:
    found = factors(net(), TSMGroups(fc_lr5=True))
    assert found["backbone.0.bias"] == (2.0, 0.0)
    assert found["backbone.1.weight"] == (1.0, 0.0)
    assert (found["head.weight"], found["head.bias"]) == ((5.0, 1.0), (10.0, 0.0))
    assert factors(net(), TSMGroups())["head.bias"] == (2.0, 0.0)
    model = net()
    model.norm = nn.LayerNorm(4)
    with pytest.raises(ConfigError, match=r"TSMGroups: norm.weight belongs to a LayerNorm"):
        factors(model, TSMGroups())


class VisionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(2, 2)
        self.blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
        self.norm = nn.LayerNorm(2)

    def layer_of(self, name: str) -> int | None:
        part, number, *_ = name.split(".")
        return int(number) + 1 if part == "blocks" else 0 if part == "patch_embed" else None


def test_deeper_layers_learn_faster() -> None:
    model = nn.Module()
    model.backbone, model.head = VisionTransformer(), nn.Linear(2, 2)
    found = factors(model, LayerDecayGroups(decay_rate=0.5, num_layers=2))
    assert found == {
        "backbone.patch_embed.weight": (0.125, 1.0),
        "backbone.patch_embed.bias": (0.125, 0.0),
        "backbone.blocks.0.weight": (0.25, 1.0),
        "backbone.blocks.0.bias": (0.25, 0.0),
        "backbone.blocks.1.weight": (0.5, 1.0),
        "backbone.blocks.1.bias": (0.5, 0.0),
        "backbone.norm.weight": (1.0, 0.0),
        "backbone.norm.bias": (1.0, 0.0),
        "head.weight": (1.0, 1.0),
        "head.bias": (1.0, 0.0),
    }


def test_layer_decay_refuses_unsupported_models() -> None:
    with pytest.raises(ConfigError, match=r"requires a backbone with a layer_of method; Sequential has none"):
        factors(net(), LayerDecayGroups(decay_rate=0.5, num_layers=2))


def test_mistakes_are_user_errors() -> None:
    with pytest.raises(ConfigError, match=r"optimizer: SGD: .*learning rate"):
        build_optimizer(torch.optim.SGD, {"lr": -1.0}, net())
    with pytest.raises(ConfigError, match="no parameters"):
        build_optimizer(torch.optim.SGD, {"lr": 1.0}, nn.ReLU())
    empty = nn.Sequential(nn.ReLU(), nn.ParameterList([torch.zeros(0, 3)]))
    with pytest.raises(ConfigError, match=r"model: 1\.0 has shape \(0, 3\), and no size may be 0"):
        build_optimizer(torch.optim.SGD, {"lr": 1.0}, empty)


def test_groupings_from_tables() -> None:
    built = build_component({"type": "SwinGroups", "custom_keys": {"norm": {"decay_mult": 0.0}}}, "groupings")
    assert built == SwinGroups(custom_keys={"norm": Rule(decay_mult=0.0)})
    with pytest.raises(ConfigError, match="decay_mult"):
        build_component({"type": "SwinGroups", "custom_keys": {"norm": {"decay_mul": 0.0}}}, "groupings")
