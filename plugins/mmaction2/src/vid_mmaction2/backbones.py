"""Image networks of torchvision, timm and MMPretrain (MMClassification), under their names there.

A network that vidcore has becomes that one; all others of timm are built by timm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vid_mmaction2.components import Converter, Table, drop_arguments, without

__all__ = ["convert_network"]

RESNETS = {f"resnet{depth}": {"type": "ResNet", "depth": depth} for depth in (18, 34, 50, 101, 152)}
DENSENETS = {f"densenet{depth}": {"type": "DenseNet", "depth": depth} for depth in (121, 161, 169, 201)}
RESNEXTS: dict[str, Table] = {
    f"resnext{depth}_{groups}x{width}d": {
        "type": "ResNeXt",
        "depth": depth,
        "groups": groups,
        "width_per_group": width,
    }
    for depth, groups, width in ((50, 32, 4), (101, 32, 8), (101, 64, 4))
}
SWINS: dict[str, Table] = {
    f"swin_{size}_patch4_window7_224": {
        "type": "SwinTransformer",
        "embed_dim": width,
        "depths": [2, 2, middle, 2],
        "num_heads": [width // 32 * 2**i for i in range(4)],
        "window_size": 7,
    }
    for size, width, middle in (("tiny", 96, 6), ("small", 96, 18), ("base", 128, 18), ("large", 192, 18))
}
SWIN_SIZES = ("tiny", "small", "base", "large")

TORCHVISION_FILES = {
    "resnet18": ("resnet18-f37072fd.pth",),
    "resnet34": ("resnet34-b627a593.pth",),
    "resnet50": ("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    "resnet101": ("resnet101-63fe2227.pth", "resnet101-cd907fc2.pth"),
    "resnet152": ("resnet152-394f9c45.pth", "resnet152-f82ba261.pth"),
    "resnext50_32x4d": ("resnext50_32x4d-7cdf4587.pth", "resnext50_32x4d-1a0047aa.pth"),
    "resnext101_32x8d": ("resnext101_32x8d-8ba56ff5.pth", "resnext101_32x8d-110c445d.pth"),
    "resnext101_64x4d": ("resnext101_64x4d-173b62eb.pth",),
    "densenet121": ("densenet121-a639ec97.pth",),
    "densenet161": ("densenet161-8d451a50.pth",),
    "densenet169": ("densenet169-b2777c0a.pth",),
    "densenet201": ("densenet201-c1103571.pth",),
}
"""Files of the weights IMAGENET1K_V1 and, if there are any, IMAGENET1K_V2."""
SWIN_FILES = {"base": "swin_base_patch4_window7_224_22kto1k.pth", "large": "swin_large_patch4_window7_224_22kto1k.pth"}

TORCHVISION_SWINS = {"swin_t": ("tiny", 0.2), "swin_s": ("small", 0.3), "swin_b": ("base", 0.5)}
"""Names in torchvision -> size, stochastic depth."""
MOBILENET_FILE = "mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth"
OTHER_FILE = "is used: the same network, trained on ImageNet by others; those of the configuration have other names"
FLATTENED = "its features are flattened maps of 7 x 7; use TimmBackbone, and in_channels = 512 for the head"

MMPRETRAIN = {"MobileNetV2", "MobileOne", "ResNet", "ResNeXt"}
"""Networks that are named in the same way here."""
UNUSED = "the classifier is not part of a backbone"


def convert_network(converter: Converter, table: Table, at: str) -> Table:
    """Return the table of a network of another package with the name and arguments here; others are unchanged."""
    scope, dot, name = table["type"].partition(".")
    if not dot or scope not in SCOPES:
        return table
    return SCOPES[scope](converter, table, name, at)


def _mmpretrain(converter: Converter, table: Table, name: str, at: str) -> Table:
    if name == "SwinTransformer":
        return _mmpretrain_swin(converter, table, at)
    if name not in MMPRETRAIN:
        return table
    why = "weights are initialised otherwise"
    table = drop_arguments(zero_init_residual=why)(converter, table, at)
    usual = {"deep_stem": False, "avg_down": False, "stem_channels": 64, "base_channels": 64, "drop_path_rate": 0.0}
    if name == "ResNet":
        for key, value in usual.items():
            if table.get(key, value) == value:
                converter.imply(f"{at}.{key}", table.pop(key, None))
    return {**table, "type": name}


def _mmpretrain_swin(converter: Converter, table: Table, at: str) -> Table:
    table = without(table, "type")
    arch = str(table.pop("arch", "tiny"))
    size = next((size for size in SWIN_SIZES if arch in (size, size[0])), None)
    if size is None:
        converter.report(f"{at}.arch", f"must be one of {', '.join(SWIN_SIZES)}, found {arch:.60}")
        return {**table, "type": "SwinTransformer"}
    usual = {"img_size": ..., "pad_small_map": ..., "norm_cfg": {"type": "LN"}, "out_indices": [3], "drop_rate": 0.0}
    usual |= {"out_after_downsample": False, "use_abs_pos_embed": False, "norm_eval": False, "stage_cfgs": {}}
    for key, value in usual.items():
        found = list(table[key]) if isinstance(table.get(key), tuple) else table.get(key)
        if value is ... or found in (None, value):
            converter.imply(f"{at}.{key}", table.pop(key, None))
    weights = table.pop("init_cfg", None)
    if isinstance(weights, dict) and weights.get("type") == "Pretrained":
        table["pretrained"] = _replaced(converter, f"{at}.init_cfg.checkpoint", swin_file(size))
        converter.leave_rest(weights, f"{at}.init_cfg", why=f"{swin_file(size)} replaces it")
    elif weights is not None:
        table["init_cfg"] = weights
    return {**SWINS[f"swin_{size}_patch4_window7_224"], **table}


def _replaced(converter: Converter, at: str, file: str) -> str:
    converter.notes.append(f"{at}: {file} {OTHER_FILE}")
    return file


def swin_file(size: str) -> str:
    """Return the file of the weights of a Swin transformer on images."""
    return SWIN_FILES.get(size, f"swin_{size}_patch4_window7_224.pth")


def _torchvision_by_other_weights(converter: Converter, table: Table, name: str, at: str) -> Table:
    """Convert a network whose weights have other names in torchvision."""
    table = _classifier(converter, without(table, "type"), at)
    wanted = [table.pop(key, None) for key in ("weights", "pretrained")]
    converter.leave_out(f"{at}.dropout", table.pop("dropout", None), UNUSED)
    if name == "mobilenet_v2":
        own, file = {"type": "MobileNetV2", "widen_factor": table.pop("width_mult", 1.0)}, MOBILENET_FILE
    else:
        size, rate = TORCHVISION_SWINS[name]
        rate = table.pop("stochastic_depth_prob", rate)
        own, file = {**SWINS[f"swin_{size}_patch4_window7_224"], "drop_path_rate": rate}, swin_file(size)
    if any(wanted):
        table["pretrained"] = _replaced(converter, f"{at}.{'weights' if wanted[0] else 'pretrained'}", file)
    return {**table, **own}


def _torchvision(converter: Converter, table: Table, name: str, at: str) -> Table:
    if name == "mobilenet_v2" or name in TORCHVISION_SWINS:
        return _torchvision_by_other_weights(converter, table, name, at)
    if name.startswith("vgg"):
        converter.report(f"{at}.type", f"{table['type']} is not converted: {FLATTENED}")
        return {"type": "TimmBackbone", "name": name}
    own = {**RESNETS, **RESNEXTS, **DENSENETS}.get(name)
    if own is None:
        return table
    table = _classifier(converter, table, at)
    weights, pretrained = table.pop("weights", None), table.pop("pretrained", None)
    files = TORCHVISION_FILES[name]
    if isinstance(weights, str):
        choice = weights.rpartition(".")[2]
        file = {"IMAGENET1K_V1": files[0], "DEFAULT": files[-1], f"IMAGENET1K_V{len(files)}": files[-1]}.get(choice)
        if file is None:
            converter.report(f"{at}.weights", f"must be IMAGENET1K_V1, IMAGENET1K_V2 or DEFAULT, found {weights!r:.60}")
        converter.imply(f"{at}.pretrained", pretrained)
        return {**table, **own, **({"pretrained": file} if file else {})}
    if weights is not None:
        converter.report(f"{at}.weights", f"must be a string, found {type(weights).__name__}")
    return {**table, **own, **_pretrained(pretrained, files[0])}


def _timm(converter: Converter, table: Table, name: str, at: str) -> Table:
    own = {**RESNETS, **DENSENETS, **SWINS}.get(name)
    if own is None:
        return _built_by_timm(table, name)
    table = _classifier(converter, table, at)
    converter.imply(f"{at}.feature_shape", table.pop("feature_shape", None))
    pretrained = table.pop("pretrained", None)
    if name in SWINS:
        size = name.split("_")[1]
        return {**table, **own, **_pretrained(pretrained, swin_file(size))}
    if pretrained is True:
        converter.report(f"{at}.pretrained", "is not converted; set train.weights to a file with the weights of timm")
        pretrained = None
    return {**table, **own, **_pretrained(pretrained, "")}


def _built_by_timm(table: Table, name: str) -> Table:
    layout = {"layout": table["feature_shape"]} if table.get("feature_shape") is not None else {}
    given = {new: table[old] for old, new in (("in_chans", "in_channels"),) if old in table}
    pretrained = {"pretrained": table["pretrained"]} if table.get("pretrained") is not None else {}
    rest = without(table, "type", "feature_shape", "in_chans", "pretrained", "init_cfg")
    init = {"init_cfg": table["init_cfg"]} if "init_cfg" in table else {}
    arguments = {"arguments": rest} if rest else {}
    return {"type": "TimmBackbone", "name": name, **pretrained, **given, **layout, **init, **arguments}


def _pretrained(value: Any, file: str) -> Table:
    """``pretrained`` is a switch there, and a file here."""
    return {} if value in (None, False) else {"pretrained": file if value is True else value}


def _classifier(converter: Converter, table: Table, at: str) -> Table:
    """Remove what belongs to the classifier of a network, or to its download."""
    drop = drop_arguments(num_classes=UNUSED, progress=UNUSED, global_pool=UNUSED, zero_init_residual=UNUSED)
    return drop(converter, table, at)


SCOPES: dict[str, Callable[[Converter, Table, str, str], Table]] = {
    "mmcls": _mmpretrain,
    "mmpretrain": _mmpretrain,
    "timm": _timm,
    "torchvision": _torchvision,
}
