"""Initial weights: of the whole network, or of its backbone."""

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
}
"""Files of the short names of image networks."""


def convert_weights(converter: Converter, config: Mapping[str, Any], train: Table) -> None:
    """Initial weights, of the whole network or of its backbone, are one option here."""
    if not isinstance(config.get("load_from") or "", str):
        converter.report("load_from", f"must be a string, found {type(config['load_from']).__name__}")
    elif config.get("load_from"):
        train["weights"] = file_name(config["load_from"])
        for at, name in converter.weights.items():
            converter.leave_out(f"{at}.pretrained", name, "load_from replaces it")
        return
    for i, (at, name) in enumerate(converter.weights.items()):
        file = file_name(name)
        if i or "://" in file:
            converter.report(f"{at}.pretrained", f"is not converted; set train.weights to the file of {name}")
        else:
            train["weights"] = file


def file_name(url: str) -> str:
    """Return the file name of a URL or of a short name such as ``torchvision://resnet50``; others are unchanged."""
    if url.startswith(("http://", "https://")):
        return posixpath.basename(url)
    return IMAGE_WEIGHTS.get(url, url)
