"""Layers and losses: non-local block, temporal shift, classification losses, values that heads report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vid_recognition.audio.resnet import ConvAudio
from vid_recognition.models.heads import I3DHead
from vid_recognition.models.layers import ConvUnit
from vid_recognition.models.losses import BCELossWithLogits, CBFocalLoss, CrossEntropyLoss, HVULoss, NLLLoss
from vid_recognition.models.non_local import NonLocal
from vid_recognition.models.norms import SubBatchNorm3D
from vid_recognition.models.r2plus1d import Conv2plus1d
from vid_recognition.models.resnet_tsm import ResNetTSM, TemporalShift, temporal_shift
from vid_recognition.models.tanet import AdaptiveModule, TemporalAdaptive
from vid_recognition.models.timesformer import NormedMlp, SpatialAttention, TemporalAttention
from vid_recognition.models.tin import OffsetNet, TemporalInterlace, WeightNet, interlace
from vid_recognition.models.tpn import (
    TPN,
    AuxiliaryHead,
    Downsample,
    LevelFusion,
    SpatialModulation,
    TemporalModulation,
)
from vid_recognition.models.trn import MultiScaleRelation, Relation, TRNHead


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


def evaluated(module: nn.Module, row: Any) -> dict[str, Any]:
    load(module, row.inputs["weights"])
    module.train(row.settings["mode"] != "evaluation")
    with torch.no_grad():
        return {"y": module(torch.from_numpy(row.inputs["x"])).numpy()}


def audio_convolution(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    out, channels = row.inputs["weights"]["conv_1.conv.weight"].shape[:2]
    kernel = given["kernel"] if isinstance(given["kernel"], int) else tuple(given["kernel"])
    return evaluated(ConvAudio(channels, out, kernel, given["join"], given["stride"]), row)


def factorised_convolution(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if row.what == "middle channels":
        made = [Conv2plus1d(i, o, *triples(kernel, 1)) for i, o, kernel in row.inputs["in_out_kernel"]]
        return {"middle": [conv.conv_s.out_channels for conv in made]}
    conv = Conv2plus1d(given["in"], given["out"], *triples(given["kernel"], given["stride"]), bias=given["bias"])
    return evaluated(conv, row)


def triples(*values: Any) -> list[Any]:
    return [(v,) * 3 if isinstance(v, int) else tuple(v) for v in values]


def interlacing(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if row.what == "shift":
        return {"y": interlace(*(torch.from_numpy(row.inputs[k]) for k in ("x", "offsets"))).numpy()}
    if row.what == "offsets":
        return evaluated(OffsetNet(given["channels"], given["groups"], given["segments"]), row)
    if row.what == "weights":
        return evaluated(WeightNet(given["channels"], given["groups"]), row)
    return evaluated(TemporalInterlace(given["channels"], given["segments"], given["divisor"]), row)


def adaptive(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    options = TemporalAdaptive(given["alpha"], given["beta"], given["kernel"])
    return evaluated(AdaptiveModule(given["channels"], given["segments"], options), row)


def relations(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if row.what == "head":
        kind, weights = given["relation"], row.inputs["weights"]
        head = TRNHead(4, weights["fc_cls.weight"].shape[1], given["segments"], kind, given["hidden"]).eval()
        load(head, weights)
        x = torch.from_numpy(row.inputs["x"])
        with torch.no_grad():
            return {"y": head(x, len(x) // given["segments"])[:, 0].numpy()}
    module = (Relation if row.what == "all segments" else MultiScaleRelation)(
        given["hidden"], given["segments"], given["classes"]
    )
    if isinstance(module, Relation):
        return evaluated(module, row)
    load(module, row.inputs["weights"])
    with torch.no_grad():
        return {"y": module(torch.from_numpy(row.inputs["x"]), [sets[:3] for sets in module.sets]).numpy()}


def pyramid(case: Any, row: Any) -> dict[str, Any]:
    given, weights = row.settings, row.inputs["weights"]
    levels = [torch.from_numpy(row.inputs[k]) for k in ("x", "x0", "x1", "x2") if k in row.inputs]
    if "labels" in given:
        neck = TPN((levels[0].shape[1], 32), spatial_channels=32, num_classes=len(weights["fc.bias"])).eval()
        assert neck.aux_head is not None
        load(neck.aux_head, weights)
        losses = neck.loss(neck.aux_head(levels[0]), torch.tensor(given["labels"]))
        return {name: value.item() for name, value in losses.items()}
    modules: dict[str, Callable[[], nn.Module]] = {
        "downsampling": lambda: Downsample(unit_like(weights), given["scale"], given["position"]),
        "fusion": lambda: LevelFusion(
            [x.shape[1] for x in levels],
            [len(weights[f"downsamples.{i}.conv.conv.weight"]) for i in range(len(levels))],
            len(weights["fusion_conv.conv.weight"]),
            given["scales"],
        ),
        "spatial": lambda: SpatialModulation(given["in"], given["out"]),
        "temporal": lambda: TemporalModulation(levels[0].shape[1], len(weights["conv.conv.weight"]), given["scale"]),
        "neck": lambda: TPN(
            [x.shape[1] for x in levels],
            out_channels=len(weights["downsample_ops.0.conv.conv.weight"]),
            spatial_channels=levels[-1].shape[1],
            temporal_scales=given.get("scales", (2, 2)),
            upsample_scale=(1, 1, 1) if given["top_down"] else None,
            fused_channels=len(weights["level_fusion_1.fusion_conv.conv.weight"]),
            flow_type=given["flow"],
        ),
        "auxiliary": lambda: AuxiliaryHead(levels[0].shape[1], given["classes"]),
    }
    module = modules[row.what.split()[0].strip(",:")]().eval()
    load(module, weights)
    with torch.no_grad():
        found = module(levels if row.what.split()[0] in ("fusion", "spatial", "neck") else levels[0])
    if isinstance(found, Tensor):
        return {"y": found.numpy()}
    return {f"y{i}": y.numpy() for i, y in enumerate(found)}


def unit_like(weights: dict[str, np.ndarray]) -> ConvUnit:
    planes, inplanes, *kernel = weights["conv.conv.weight"].shape
    norm, bias = "conv.bn.weight" in weights, "conv.conv.bias" in weights
    conv = nn.Conv3d(inplanes, planes, kernel, padding=[k // 2 for k in kernel], bias=bias)
    return ConvUnit(conv, norm=norm, act=nn.ReLU() if norm else None)


def divided_attention(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if row.what.startswith("feed-forward"):
        return evaluated(NormedMlp(8, given["hidden"], eps=1e-5), row)
    kind = TemporalAttention if row.what.startswith("temporal") else SpatialAttention
    return evaluated(kind(8, given["heads"], given["frames"], eps=1e-5), row)


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


def category_loss(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    loss = HVULoss(
        given["categories"],
        given["numbers"],
        given["category_weights"],
        given["type"],
        given["with_mask"],
        given["reduction"],
        given["loss_weight"],
    )
    scores = torch.from_numpy(row.inputs["scores"]).requires_grad_()
    targets = {name: torch.from_numpy(row.inputs[name]) for name in ("mask", "category_mask")}
    values = loss(scores, torch.from_numpy(row.inputs["labels"]), targets)
    values["loss_cls"].backward()
    assert scores.grad is not None
    return {name: value.item() for name, value in values.items()} | {"grad": scores.grad.numpy()}


def split_batch_norm(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if "x" not in row.inputs:
        SubBatchNorm3D(3, given["splits"])(torch.zeros(4, 3, 1, 1, 1))
        return {}
    x = torch.from_numpy(row.inputs["x"])
    norm = SubBatchNorm3D(x.shape[1], given["splits"], given["eps"], given["momentum"], given["affine"])
    load(norm, row.inputs["weights"])
    with torch.no_grad():
        out = {"y_train": norm(x)}
        nn.Module.train(norm, False)  # without the statistics of the parts
        out["y_eval_before"] = norm(x)
        nn.Module.train(norm)
        norm.eval()
        out["y_eval_after"] = norm(x)
    out |= {"split_running_mean": norm.split_bn.running_mean, "split_running_var": norm.split_bn.running_var}
    out |= {"aggregated_mean": norm.bn.running_mean, "aggregated_var": norm.bn.running_var}
    return {name: value.numpy() for name, value in out.items()}


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
    "modules.audio_convolution": audio_convolution,
    "modules.non_local": non_local,
    "modules.temporal_shift": shift,
    "modules.factorised_convolution": factorised_convolution,
    "modules.temporal_interlace": interlacing,
    "modules.temporal_adaptive": adaptive,
    "modules.temporal_relation": relations,
    "modules.pyramid": pyramid,
    "modules.divided_attention": divided_attention,
    "modules.cross_entropy": cross_entropy,
    "modules.binary_losses": binary_losses,
    "modules.category_loss": category_loss,
    "modules.head_loss": head_loss,
    "modules.split_batch_norm": split_batch_norm,
}
