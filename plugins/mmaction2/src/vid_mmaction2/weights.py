"""Initial weights: of the whole network, or of its parts."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Table

__all__ = ["convert_weights"]

IMAGE_WEIGHTS = {
    "mmcls://mobilenet_v2": "mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth",
    "torchvision://resnet18": "resnet18-f37072fd.pth",
    "torchvision://resnet34": "resnet34-b627a593.pth",
    "torchvision://resnet50": "resnet50-0676ba61.pth",
    "torchvision://resnet101": "resnet101-63fe2227.pth",
    "torchvision://resnet152": "resnet152-394f9c45.pth",
    **{name: f"{name.replace('/', '-')}.pt" for name in ("ViT-B/16", "ViT-L/14", "ViT-L/14_336")},
}
"""Files of the short names of image networks."""


PARTS = {"slow_pathway": "slow_path", "fast_pathway": "fast_path"}
"""Names of parts that differ from those of their tables."""


def convert_weights(converter: Converter, config: Mapping[str, Any], train: Table) -> None:
    """Convert initial weights: of the whole network, of an image network for its backbone, or of several parts."""
    whole = config.get("load_from") or converter.weights.get("model")
    if not isinstance(config.get("load_from") or "", str):
        converter.report("load_from", f"must be a string, found {type(config['load_from']).__name__}")
        return
    if whole:
        train["weights"] = file_name(whole)
        for at, name in converter.weights.items():
            if at != "model" or config.get("load_from"):
                converter.leave_out(f"{at}.pretrained", name, "weights of the whole network replace it")
        return
    files: dict[str, str] = {}
    for at, name in converter.weights.items():
        if "://" in (file := file_name(name)):
            converter.report(f"{at}.pretrained", f"is not converted; set train.weights to the file of {name}")
        else:
            files[".".join(PARTS.get(key, key) for key in at.split(".")[1:])] = file
    if files.keys() == {"backbone", "cls_head"} and len(set(files.values())) == 1:
        del files["cls_head"]  # one file for both is that of the whole network
    if files:
        train["weights"] = files["backbone"] if files.keys() == {"backbone"} else files


def file_name(url: str) -> str:
    """Return the file name of a URL or of a short name such as ``torchvision://resnet50``; others are unchanged."""
    if url.startswith(("http://", "https://")):
        return posixpath.basename(url)
    return IMAGE_WEIGHTS.get(url, url)
