"""Layers and losses: non-local block, temporal shift, classification losses, values that heads report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vid_recognition.models.heads import I3DHead
from vid_recognition.models.losses import BCELossWithLogits, CBFocalLoss, CrossEntropyLoss, NLLLoss
from vid_recognition.models.non_local import NonLocal
from vid_recognition.models.resnet_tsm import ResNetTSM, TemporalShift, temporal_shift


def non_local(case: Any, row: Any) -> dict[str, Any]:
    if "x" not in row.inputs:
        block = NonLocal().block(16)
        return {"output_weight_sum": block.conv_out.bn.weight.detach().abs().sum().item()}
    given = row.settings
    options = NonLocal(
        mode=given["function"],
        sub_sample=given["subsample"],
        use_scale=given["scale"],
        reduction=given["reduction"],
        norm=given["norm"],
    )
    block = options.block(row.inputs["x"].shape[1], given["dimensions"])
    block.train(given["mode"] != "evaluation")
    load(block, row.inputs["weights"])
    with torch.no_grad():
        return {"y": block(torch.from_numpy(row.inputs["x"])).numpy()}


def load(module: nn.Module, weights: dict[str, np.ndarray]) -> None:
    state = {k: torch.from_numpy(v) for k, v in weights.items()}
    counters = {k: v for k, v in module.state_dict().items() if k.endswith("num_batches_tracked")}
    module.load_state_dict(counters | state)


def shift(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if "place" in given:
        net = ResNetTSM(given["depth"], shift_place=given["place"])
        return {"number": sum(isinstance(m, TemporalShift) for m in net.modules())}
    return {"y": temporal_shift(torch.from_numpy(row.inputs["x"]), given["segments"], given["divisor"]).numpy()}


def with_gradient(loss: Callable[[Tensor, Tensor], Tensor], row: Any) -> dict[str, Any]:
    scores = torch.from_numpy(row.inputs["scores"]).requires_grad_()
    value = loss(scores, torch.from_numpy(row.inputs["labels"]))
    value.backward()
    assert scores.grad is not None
    return {"loss": value.item(), "grad": scores.grad.numpy()}


def cross_entropy(case: Any, row: Any) -> dict[str, Any]:
    loss = NLLLoss if "log likelihood" in row.what else CrossEntropyLoss
    return with_gradient(loss(**row.settings), row)


def binary_losses(case: Any, row: Any) -> dict[str, Any]:
    settings = dict(row.settings)
    if "samples_per_class" not in settings:
        return with_gradient(BCELossWithLogits(**settings), row)
    loss = CBFocalLoss(settings.pop("samples_per_class"), **settings)
    if "scores" not in row.inputs:
        assert loss.class_weight is not None
        return {"weights": loss.class_weight.double().numpy()}
    return with_gradient(loss, row)


def head_loss(case: Any, row: Any) -> dict[str, Any]:
    settings = dict(row.settings)
    if table := settings.pop("loss_cls", None):
        options = {k: v for k, v in table.items() if k != "type"}
        settings["loss_cls"] = {"CrossEntropyLoss": CrossEntropyLoss, "BCELossWithLogits": BCELossWithLogits}[
            table["type"]
        ](**options)
    scores = torch.from_numpy(row.inputs["scores"])
    head = I3DHead(scores.shape[1], 4, **settings)
    return {k: v.item() for k, v in head.loss(scores, torch.from_numpy(row.inputs["labels"])).items()}


OPS = {
    "modules.non_local": non_local,
    "modules.temporal_shift": shift,
    "modules.cross_entropy": cross_entropy,
    "modules.binary_losses": binary_losses,
    "modules.head_loss": head_loss,
}
