"""Taking over weights of image classification networks: their names, and inflation to video networks.

A video network that repeats a 2D kernel n times along time, divided by n, gives on a video of
equal frames what the 2D network gives on the frame (I3D, arXiv:1705.07750, section 2.4.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from vidcore.errors import CheckpointError

__all__ = ["convert_2d_weights"]

RENAMES = [
    (re.compile(r"(^|\.)conv(\d)\.weight$"), r"\1conv\2.conv.weight"),
    (re.compile(r"(^|\.)bn(\d)\."), r"\1conv\2.bn."),
    (re.compile(r"downsample\.0\."), "downsample.conv."),
    (re.compile(r"downsample\.1\."), "downsample.bn."),
    (re.compile(r"(denselayer\d+)\.(norm|conv)\.(\d)\."), r"\1.\2\3."),
]
"""From the names of image classification libraries to those of published video networks."""
UNUSED = re.compile(r"^(fc|head|classifier|cls_head)\.|relative_position_index$|attn_mask$")
"""Classifiers, and constants that are computed here."""
VIDEO_ONLY = re.compile(r"non_local_block|_lateral|num_batches_tracked")
"""What an image network never has."""


def convert_2d_weights(net: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the weights of an image network into those of ``net``, a 2D or 3D backbone of the same depth.

    Understands the names of torchvision and of published checkpoints, with or without the
    prefix ``backbone.``; the classifier is left out. A first convolution that takes another
    number of channels (optical flow) gets the mean over the image channels, repeated (TSN,
    arXiv:1608.00859, section 3.3).

    Returns:
        A state dict of ``net`` without the parts that image networks do not have (non-local
        blocks, lateral connections, counters), for ``load_state_dict(..., strict=False)``.

    Raises:
        CheckpointError: where the weights belong to another network.
    """
    if any(k.startswith("backbone.") for k in state_dict):
        state_dict = {k.removeprefix("backbone."): v for k, v in state_dict.items() if k.startswith("backbone.")}
    wanted = {k.replace(".net.", ".").replace(".block.", "."): (k, v) for k, v in net.state_dict().items()}
    out: dict[str, Tensor] = {}
    extra = []
    for name, value in state_dict.items():
        plain = name
        if plain not in wanted:
            for pattern, replacement in RENAMES:
                plain = pattern.sub(replacement, plain)
        if plain in wanted:
            key, target = wanted[plain]
            out[key] = _fit_shape(name, value, target)
        elif not UNUSED.search(name):
            extra.append(name)
    missing = [k for k, _ in wanted.values() if k not in out and not VIDEO_ONLY.search(k)]
    if missing or extra:
        what = f"lack {missing[0]} and {len(missing) - 1} more" if missing else f"have {extra[0]}, which it lacks"
        raise CheckpointError(f"these are not weights of an image network like this {type(net).__name__}: they {what}")
    return out


def _fit_shape(name: str, value: Tensor, target: Tensor) -> Tensor:
    if value.ndim == 4 and target.ndim == 5:
        times = target.shape[2]
        value = value.unsqueeze(2).expand(-1, -1, times, -1, -1) / times
    if value.shape == target.shape:
        return value
    if value.ndim == target.ndim > 1 and value.shape[1] == 3 and value.shape[:1] == target.shape[:1]:
        value = value.mean(1, keepdim=True).expand(-1, target.shape[1], *value.shape[2:])
    if value.shape != target.shape:
        raise CheckpointError(f"{name} has shape {tuple(value.shape)}, this network needs {tuple(target.shape)}")
    return value.contiguous()
