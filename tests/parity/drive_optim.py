"""Parameter groups and learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from vidcore.config.bind import build_component
from vidcore.engine.optim import build_optimizer
from vidcore.engine.schedules import RateSchedule


def learning_rates(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    per_epoch, epochs = s["iterations_per_epoch"], s["epochs"]
    schedules = [build_component(table, "schedules") for table in s["schedules"]]
    plan = RateSchedule(schedules, per_epoch, per_epoch * epochs)
    own = [s["base_lr"] * factor for factor in s["group_factors"]]
    rates = [plan.rates(step, own) for step in range(per_epoch * epochs)]
    return {"lr": np.array(rates).reshape(epochs, per_epoch, -1)[:, s["iterations_kept"]]}


def _layer(kind: str, shapes: dict[str, list[int]]) -> nn.Module:
    """Return a module of class ``kind`` with parameters of the given shapes; a dummy class if torch has none."""
    weight = shapes.get("weight", [1])
    options: dict[str, Any] = {"bias": "bias" in shapes}
    layer: nn.Module
    if kind.startswith("Conv"):
        groups = weight[0] if weight[1] == 1 else 1
        layer = getattr(nn, kind)(weight[1] * groups, weight[0], tuple(weight[2:]), groups=groups, **options)
    elif kind == "Linear":
        layer = nn.Linear(weight[1], weight[0], **options)
    elif kind.startswith(("BatchNorm", "InstanceNorm", "SyncBatchNorm")):
        layer = getattr(nn, kind)(weight[0], affine=bool(shapes))
    elif kind == "GroupNorm":
        layer = nn.GroupNorm(1, weight[0])
    elif kind == "LayerNorm":
        layer = nn.LayerNorm(weight)
    else:
        layer = type(kind, (nn.Module,), _methods(kind))()
    for name, shape in shapes.items():
        if name not in dict(layer.named_parameters(recurse=False)):
            layer.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    return layer


def _methods(kind: str) -> dict[str, Any]:
    """Return ``layer_of`` for the two transformers of the reference."""
    return {"layer_of": _layer_of} if kind in ("MViT", "VisionTransformer") else {}


def _layer_of(backbone: nn.Module, name: str) -> int | None:
    match name.split("."):
        case [part, *_] if part.startswith(("cls_token", "mask_token", "pos_embed", "patch_embed")):
            return 0
        case ["blocks", number, *_]:
            return int(number) + 1
    return None


def _model(inputs: dict[str, Any]) -> nn.Module:
    model = nn.Module()
    parameters, modules = inputs["parameters"], inputs["modules"]
    shapes: dict[str, dict[str, list[int]]] = {"": {}}
    for name, about in parameters.items():
        parent, _, leaf = name.rpartition(".")
        shapes.setdefault(parent, {})[leaf] = about["shape"]
    for name, kind in modules.items():
        parent, _, leaf = name.rpartition(".")
        layer = _layer(kind, shapes.get(name, {})) if shapes.get(name) else type(kind, (nn.Module,), _methods(kind))()
        model.get_submodule(parent).add_module(leaf, layer)
    for name, shape in shapes[""].items():
        model.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameters[name]["trained"])
    return model


def _groups(row: Any, grouping: dict[str, Any]) -> dict[str, Any]:
    model = _model(row.inputs)
    table = {**row.settings.get("optimizer", {"type": "SGD", "lr": 0.1})}
    if "betas" in table:
        table["betas"] = tuple(table["betas"])
    factory = getattr(torch.optim, table.pop("type"))
    optimizer = build_optimizer(factory, table, model, build_component(grouping, "groupings"))
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        "per_parameter": {
            names[id(p)]: {"lr": g["lr"], "weight_decay": g["weight_decay"]}
            for g in optimizer.param_groups
            for p in g["params"]
        }
    }


def groups_default(case: Any, row: Any) -> dict[str, Any]:
    factors = dict(row.settings["factors"] or {})
    factors.pop("bypass_duplicate", None)  # a shared parameter always counts once
    return _groups(row, {"type": "DefaultGroups", **factors})


def groups_by_name(case: Any, row: Any) -> dict[str, Any]:
    return _groups(row, {"type": "SwinGroups", "custom_keys": row.settings["factors"]})


def groups_by_depth(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    return _groups(row, {"type": "LayerDecayGroups", "decay_rate": s["decay_rate"], "num_layers": s["num_layers"]})


def groups_shift_network(case: Any, row: Any) -> dict[str, Any]:
    return _groups(row, {"type": "TSMGroups", "fc_lr5": row.settings["last_layer_higher"]})


OPS = {
    "optim.learning_rates": learning_rates,
    "optim.groups_default": groups_default,
    "optim.groups_by_name": groups_by_name,
    "optim.groups_by_depth": groups_by_depth,
    "optim.groups_shift_network": groups_shift_network,
}
