"""Conversion of model tables: published names and arguments that differ from those of vidcore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vid_mmaction2 import detection, retrieval, vindlu
from vid_mmaction2.backbones import convert_network
from vid_mmaction2.components import ORDINARY_NORMS, Converter, Rule, Table, drop_arguments, strip_scope, without
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog, load_plugins

__all__ = ["RULES", "convert_model"]


def convert_model(table: Mapping[str, Any], catalog: Catalog | None = None) -> Table:
    """Convert a published model table to a table of vidcore.

    Args:
        table: of MMAction2 1.x, ``{"type": "Recognizer2D", "backbone": {...}, ...}``.
        catalog: the installed components; default: loads all plugins.

    Raises:
        ConfigError: some components or arguments cannot be converted; the message names each.
    """
    converter = Converter(catalog or load_plugins(), RULES, convert_network)
    model = converter.component(table, "model")
    if converter.problems or model is None:
        raise ConfigError(converter.problems)
    return model


def _recognizer(converter: Converter, table: Table, at: str) -> Table:
    """Move test settings to the components that use them."""
    table = dict(table)
    settings = {name: converter.table(table.pop(name, None), f"{at}.{name}") for name in ("train_cfg", "test_cfg")}
    # averages the scores of positions instead of their features: the same
    converter.imply(f"{at}.test_cfg.fcn_test", settings["test_cfg"].pop("fcn_test", None))
    views = settings["test_cfg"].pop("max_testing_views", None)
    if views:
        table["max_testing_views"] = views
    average = settings["test_cfg"].pop("average_clips", None)
    if average and isinstance(table.get("cls_head"), Mapping):
        table["cls_head"] = {"average_clips": average, **table["cls_head"]}
    if settings["test_cfg"].pop("feature_extraction", False):
        converter.leave_out(f"{at}.test_cfg.feature_extraction", True, "vidcore features writes features of any model")
    _match_classes(converter, table, at)
    aux = settings["train_cfg"].pop("aux_info", None)
    converter.leave_out(f"{at}.train_cfg.aux_info", aux, "losses find the targets of the samples themselves")
    if isinstance(backbone := table.get("backbone"), Mapping) and (layers := _layers(dict(backbone))):
        table |= {"backbone": without(backbone, "norm_cfg", "act_cfg"), "layers": layers}
    for name, rest in settings.items():
        for key, value in rest.items():
            if value not in (None, False):
                converter.report(f"{at}.{name}.{key}", "has no equivalent here")
    return table


def _match_classes(converter: Converter, table: Table, at: str) -> None:
    """Give the blending of a batch the number of classes of the head, where a published configuration has another."""
    parts = [table.get(name) for name in ("data_preprocessor", "cls_head")]
    if not all(isinstance(part, Mapping) for part in parts):
        return
    preprocessor, head = (dict(part) for part in parts if part is not None)
    blending, wanted = preprocessor.get("blending"), head.get("num_classes")
    if not isinstance(blending, Mapping) or wanted is None:
        return
    augments = blending.get("augments")
    found = augments if isinstance(augments, (list, tuple)) else [augments] if augments else [blending]
    wrong = {part["num_classes"] for part in found if isinstance(part, Mapping) and "num_classes" in part} - {wanted}
    if not wrong:
        return
    changed = [{**part, "num_classes": wanted} if isinstance(part, Mapping) else part for part in found]
    blending = {**blending, "augments": changed} if augments else changed[0]
    table["data_preprocessor"] = {**preprocessor, "blending": blending}
    converter.notes.append(
        f"{at}.data_preprocessor.blending: is for {wanted} classes, as cls_head is, not {wrong.pop()}"
    )


CHANGEABLE = ("C2D", "ResNet", "ResNet3d", "ResNet3dSlowOnly", "ResNetTSM")
"""Backbones whose norms and activations are options of the recognizer."""
ACTIVATIONS = {"LeakyReLU": "leaky_relu", "SiLU": "silu", "Swish": "silu", "GELU": "gelu", "HSwish": "hardswish"}


def _layers(backbone: Table) -> Table:
    """Return the options for the norms and activations of a backbone; empty if they are those of vidcore."""
    norm, act = backbone.get("norm_cfg") or {}, backbone.get("act_cfg") or {}
    kind, settings = norm.get("type", "BN"), without(norm, "type", "requires_grad")
    layers: Table = {}
    if kind == "GN" and not without(settings, "num_groups"):
        layers = {"norm": "group", **settings}
    elif kind == "SubBatchNorm3D" and not without(settings, "num_splits"):
        layers = {"norm": "sub_batch", **settings}
    elif kind not in ORDINARY_NORMS or settings:
        return {}  # is reported with the backbone
    if norm.get("requires_grad") is False:
        layers["train_norms"] = False
    if not without(act, "type", "inplace") and act.get("type") in ACTIVATIONS:
        layers["activation"] = ACTIVATIONS[act["type"]]
    return layers if strip_scope(str(backbone.get("type"))) in CHANGEABLE else {}


def _head(converter: Converter, table: Table, at: str) -> Table:
    table = dict(table)
    consensus = table.pop("consensus", None)
    if consensus not in (None, {"type": "AvgConsensus", "dim": 1}, {"type": "AvgConsensus"}):
        converter.report(f"{at}.consensus", f"only the mean over segments can be converted, found {consensus}")
    converter.imply(f"{at}.is_shift", shift := table.pop("is_shift", None))
    if shift is False:  # of TSM; only enables temporal_pool
        converter.leave_out(f"{at}.temporal_pool", table.pop("temporal_pool", None), "is_shift is false")
    table.setdefault("average_clips", None)  # the published default is no averaging
    if table.get("multi_class"):
        table.setdefault("loss_cls", {"type": "CrossEntropyLoss"})
    if isinstance(table.get("topk"), int):
        table["topk"] = [table["topk"]]
    return table


def _feature_head(converter: Converter, table: Table, at: str) -> Table:
    """The number of frames is that of a sample."""
    for name in ("backbone_name", "num_segments", "average_clips"):
        converter.imply(f"{at}.{name}", table.get(name))
    return without(table, "backbone_name", "num_segments", "average_clips")


LATERAL = ("lateral_inv", "lateral_norm", "lateral_infl", "lateral_activate", "fusion_kernel")


def _backbone(converter: Converter, table: Table, at: str) -> Table:
    """Convert networks with non-local blocks, and single pathways of SlowFast."""
    table = dict(table)
    if table.get("non_local") or "non_local_cfg" in table:
        options = converter.table(table.get("non_local_cfg"), f"{at}.non_local_cfg")
        if options.get("norm_cfg") is None:  # the published default is no batch norm
            options["norm"] = False
        table["non_local_cfg"] = options
    if table.pop("lateral", False):
        converter.report(f"{at}.lateral", "only the slow pathway of ResNet3dSlowFast has lateral connections")
    why = "has no effect without lateral connections"
    return drop_arguments(**dict.fromkeys((*LATERAL, "speed_ratio", "channel_ratio"), why))(converter, table, at)


def _slowfast(converter: Converter, table: Table, at: str) -> Table:
    """Convert pathways to options; ``channel_ratio`` follows from their widths."""
    table = dict(table)
    ratio = table.pop("channel_ratio", 8)
    slow = _pathway(converter, table.get("slow_pathway"), f"{at}.slow_pathway")
    fast = _pathway(converter, table.get("fast_pathway"), f"{at}.fast_pathway")
    if slow is not None:
        # published defaults are those of a 3D ResNet, ours those of a slow pathway
        slow = {"conv1_kernel": [3, 7, 7], "inflate": [1, 1, 1, 1], "lateral": False, **slow}
        table["slow_pathway"] = slow
    if fast is not None:
        why = "only the slow pathway has lateral connections"
        drop = drop_arguments(**dict.fromkeys(("lateral", *LATERAL), why))
        fast = drop(converter, fast, f"{at}.fast_pathway")
        fast = {"base_channels": 64, "conv1_kernel": [3, 7, 7], **fast}
        table["fast_pathway"] = fast
    wide = converter.integer((slow or {}).get("base_channels"), f"{at}.slow_pathway.base_channels", 64)
    narrow = converter.integer((fast or {}).get("base_channels"), f"{at}.fast_pathway.base_channels", 8)
    if wide != converter.integer(ratio, f"{at}.channel_ratio", 8) * narrow:
        converter.report(f"{at}.channel_ratio", f"must be the ratio of the widths {wide} and {narrow}, found {ratio}")
    return table


def _pathway(converter: Converter, published: Any, at: str) -> Table | None:
    if published is None:
        return None
    drop = drop_arguments(speed_ratio="that of the backbone is used", channel_ratio="that of the backbone is used")
    table = drop(converter, converter.table(published, at), at)
    kind = table.pop("type", "resnet3d")
    if kind != "resnet3d":
        converter.report(f"{at}.type", f"must be resnet3d, found {kind!r}")
    if table.pop("lateral_inv", False):
        converter.report(f"{at}.lateral_inv", "has no equivalent here")
    if table.pop("lateral_infl", 2) != 2:
        converter.report(f"{at}.lateral_infl", "must be 2; lateral connections double the channels")
    activate = table.pop("lateral_activate", [1])
    if not isinstance(activate, (list, tuple)) or any(a != 1 for a in activate):
        converter.report(f"{at}.lateral_activate", "must be 1 for each stage; connections are at all stages or none")
    return table


def _rgbpose(converter: Converter, table: Table, at: str) -> Table:
    """Convert pathways to options; which stages exchange features, and how wide they are, is fixed."""
    fixed = {
        "rgb_pathway": {"num_stages": 4, "lateral": True, "lateral_infl": 1, "lateral_activate": [0, 0, 1, 1]},
        "pose_pathway": {
            "num_stages": 3,
            "lateral": True,
            "lateral_inv": True,
            "lateral_activate": [0, 1, 1],
            "out_indices": [2],
        },
    }
    why = "the widths follow from base_channels of both pathways"
    converter.leave_out(f"{at}.channel_ratio", table.get("channel_ratio"), why)
    table = without(table, "channel_ratio")
    for name, wanted in fixed.items():
        if (pathway := table.get(name)) is not None:
            pathway = dict(converter.table(pathway, f"{at}.{name}"))
            for key, value in {**wanted, "with_pool2": False}.items():
                found = pathway.pop(key, value)
                if (list(found) if isinstance(found, (list, tuple)) else found) != value:
                    converter.report(f"{at}.{name}.{key}", f"must be {value}, found {found}")
            table[name] = pathway
    return table


def _blendings(converter: Converter, table: Table, at: str) -> Table:
    """Wrap a single blending or probability in a list."""
    listed = {k: table[k] for k in ("augments", "probs") if table.get(k) is not None}
    return table | {k: v if isinstance(v, (list, tuple)) else [v] for k, v in listed.items()}


def _resnext(converter: Converter, table: Table, at: str) -> Table:
    table = dict(table)
    if table.pop("style", "pytorch") != "pytorch":
        converter.report(f"{at}.style", "must be pytorch; the stride of a block is in its 3x3 convolution")
    return table


def _bmn(converter: Converter, table: Table, at: str) -> Table:
    """Published training weighted cells outside of the balanced bands."""
    loss = converter.table(table.get("loss_cls"), f"{at}.loss_cls")
    return {**table, "loss_cls": {"weight_outside_bands": True, "type": "BMNLoss", **loss}}


def _pem(converter: Converter, table: Table, at: str) -> Table:
    """Published training averaged before weighting; there is one output."""
    table = {"subsampling": "none", **table}
    if table.pop("output_dim", 1) != 1:
        converter.report(f"{at}.output_dim", "must be 1, the overlap of a proposal")
    return table


def _tem(converter: Converter, table: Table, at: str) -> Table:
    table = dict(table)
    if table.pop("output_dim", 3) != 3:
        converter.report(f"{at}.output_dim", "must be 3, the probabilities of action, start and end")
    return table


def _drn(converter: Converter, table: Table, at: str) -> Table:
    """Convert two flags to one of three stages; drop settings that were never read."""
    unread = "has no effect in published training"
    table = drop_arguments(graph_node_features=unread, fcos_nms_thr=unread)(converter, table, at)
    if table.pop("fcos_num_class", 2) != 2:
        converter.report(f"{at}.fcos_num_class", "must be 2: a sentence matches or not")
    first, second = table.pop("is_first_stage", False), table.pop("is_second_stage", False)
    converter.imply(f"{at}.is_second_stage", second)
    return {**table, "stage": "first" if first else "second" if second else "third"}


def _c3d(converter: Converter, table: Table, at: str) -> Table:
    """Published networks have batch norm only if ``norm_cfg`` is set."""
    converter.imply(f"{at}.style", table.get("style"))
    return {**without(table, "style"), "batch_norm": table.get("norm_cfg") is not None}


def _split_or_separated(converter: Converter, table: Table, at: str) -> Table:
    """R(2+1)D and CSN: the kind of convolution and the epsilon of batch norm are fixed."""
    table = dict(table)
    if table.get("conv_cfg") == {"type": "Conv2plus1d"}:
        del table["conv_cfg"]
    if norm := dict(table.get("norm_cfg") or {}):
        if norm.pop("eps", 1e-5) != 1e-3:
            converter.report(f"{at}.norm_cfg.eps", "must be 0.001")
        table["norm_cfg"] = norm
    return table


TPN_KEYS = {
    "spatial_modulation_cfg": ("in_channels", "out_channels"),
    "temporal_modulation_cfg": ("downsample_scales",),
    "upsample_cfg": ("scale_factor", "mode"),
    "downsample_cfg": ("downsample_scale",),
    "level_fusion_cfg": ("in_channels", "mid_channels", "out_channels", "downsample_scales"),
    "aux_head_cfg": ("out_channels", "loss_weight"),
}


def _tpn(converter: Converter, table: Table, at: str) -> Table:
    """Convert the nested tables of the neck to arguments."""
    nested = {k: dict(v or {}) for k, v in table.items() if k.endswith("_cfg")}
    spatial, temporal, up, down, fusion, aux = (
        nested.get(f"{name}_cfg", {})
        for name in ("spatial_modulation", "temporal_modulation", "upsample", "downsample", "level_fusion", "aux_head")
    )
    levels, out = list(table["in_channels"]), table["out_channels"]
    one = [1, 1, 1]
    for name, taken in TPN_KEYS.items():
        for key in without(nested.get(name, {}), *taken):
            converter.report(f"{at}.{name}.{key}", "has no equivalent here")
    for key in without(table, "in_channels", "out_channels", "flow_type", *TPN_KEYS):
        converter.report(f"{at}.{key}", "has no equivalent here")
    for name, found, wanted in (
        ("spatial_modulation_cfg.in_channels", spatial.get("in_channels", levels), levels),
        ("level_fusion_cfg.in_channels", fusion.get("in_channels", [out] * len(levels)), [out] * len(levels)),
        ("level_fusion_cfg.mid_channels", fusion.get("mid_channels", [out] * len(levels)), [out] * len(levels)),
        ("upsample_cfg.scale_factor", up.get("scale_factor", one), one),
        ("upsample_cfg.mode", up.get("mode", "nearest"), "nearest"),
    ):
        if found != wanted:
            converter.report(f"{at}.{name}", f"must be {wanted}, found {found}")
    return {
        "in_channels": levels,
        "out_channels": out,
        "spatial_channels": spatial.get("out_channels", levels[-1]),
        "temporal_scales": temporal.get("downsample_scales", [8] * len(levels)),
        "fused_channels": fusion.get("out_channels", 2048),
        "fusion_scales": fusion.get("downsample_scales", [one] * len(levels)),
        "downsample_scale": down.get("downsample_scale", one),
        **({"num_classes": aux["out_channels"], "aux_weight": aux.get("loss_weight", 0.5)} if aux else {}),
        "flow_type": table.get("flow_type", "cascade"),
    }


ARCHITECTURES = {"t": "tiny", "s": "small", "b": "base", "l": "large"}


def _transformer(eps: float = 1e-5, any_size: bool = True, **fixed: Any) -> Rule:
    """Return a rule for a transformer: its norms have that epsilon, its activations are GELU.

    Args:
        eps: of the layer norms.
        any_size: the network takes clips of any size, so that ``img_size`` has no effect.
        fixed: arguments of vidcore's network that give the published behaviour.
    """

    def rule(converter: Converter, table: Table, at: str) -> Table:
        table = dict(table)
        norm = converter.table(table.get("norm_cfg"), f"{at}.norm_cfg")
        plain = without(norm, "type", "eps") in ({}, {"requires_grad": True})
        found_eps = norm.get("eps", 1e-5 if norm else eps)
        if converter.kind(norm, f"{at}.norm_cfg", "LN") != "LN" or found_eps != eps or not plain:
            converter.report(f"{at}.norm_cfg", f"must be LN with an eps of {eps:g}, found {norm}")
        act = converter.table(table.get("act_cfg"), f"{at}.act_cfg")
        if converter.kind(act, f"{at}.act_cfg", "GELU") != "GELU" or without(act, "type"):
            converter.report(f"{at}.act_cfg", f"must be GELU, found {act}")
        implied = ["norm_cfg", "act_cfg", "pretrained_type"]  # weights are recognised by their names
        for name in (*implied, "img_size") if any_size else implied:
            converter.imply(f"{at}.{name}", table.pop(name, None))
        table |= fixed
        if isinstance(table.get("arch"), str):
            table["arch"] = ARCHITECTURES.get(table["arch"], table["arch"])
        return table

    return rule


def _uniformerv2(converter: Converter, table: Table, at: str) -> Table:
    """The number and the width of the global blocks follow from other arguments."""
    table = dict(table)
    blocks = len(table.get("return_list", [8, 9, 10, 11]))
    for name, wanted in (("n_layers", blocks), ("n_dim", table.get("width", 768))):
        if (found := table.pop(name, wanted)) != wanted:
            converter.report(f"{at}.{name}", f"must be {wanted}, found {found}")
    converter.imply(f"{at}.clip_pretrained", table.pop("clip_pretrained", None))  # weights are known by their names
    return table


def _uniformer_head(converter: Converter, table: Table, at: str) -> Table:
    """The published maps of Kinetics-710 are in vidcore."""
    table = _head(converter, table, at)
    if found := re.search(r"(^|/)map_k([467]00)\.json$", str(table.get("channel_map"))):
        table["channel_map"] = f"kinetics{found[2]}"
    return table


HEADS = ("I3D", "MViT", "SlowFast", "TimeSformer", "TPN", "TRN", "TSM", "TSN", "TSNAudio", "X3D")
RULES: dict[str, Rule] = {
    **detection.RULES,
    **retrieval.RULES,
    **vindlu.RULES,
    "BMN": _bmn,
    "C3D": _c3d,
    "DRN": _drn,
    "PEM": _pem,
    "TEM": _tem,
    "TPN": _tpn,
    "RandomBatchAugment": _blendings,
    "ResNeXt": _resnext,
    **{f"Recognizer{dimensions}": _recognizer for dimensions in ("2D", "3D", "Audio", "GCN")},
    "MMRecognizer3D": _recognizer,
    "RGBPoseConv3D": _rgbpose,
    "RGBPoseHead": _head,
    **{f"{name}Head": _head for name in HEADS},
    **dict.fromkeys(("ResNetTIN", "ResNetTSM", "ResNet3d", "ResNet3dSlowOnly"), _backbone),
    "FeatureHead": _feature_head,
    "ResNet3dSlowFast": _slowfast,
    "UniFormerHead": _uniformer_head,
    "UniFormerV2": _uniformerv2,
    **dict.fromkeys(("TimeSformer", "VisionTransformer"), _transformer(eps=1e-6, any_size=False)),
    **dict.fromkeys(("ResNet2Plus1d", "ResNet3dCSN"), _split_or_separated),
    "MViT": _transformer(eps=1e-6),
    "SwinTransformer3D": _transformer(bias_of_small_windows="first"),
    "UniFormer": _transformer(eps=1e-6),
}
