"""Conversion of the weights of image classification networks: renaming, and inflation to 3D networks.

A 2D kernel repeated N times along time and divided by N gives, on a still video, the output of the 2D network on
the frame (I3D, arXiv:1705.07750, section 2.4.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from vidcore.errors import CheckpointError

__all__ = ["convert_2d_weights", "of_backbone"]

RENAMES = [
    (re.compile(r"(^|\.)conv(\d)\.weight$"), r"\1conv\2.conv.weight"),
    (re.compile(r"(^|\.)bn(\d)\."), r"\1conv\2.bn."),
    (re.compile(r"downsample\.0\."), "downsample.conv."),
    (re.compile(r"downsample\.1\."), "downsample.bn."),
    (re.compile(r"(denselayer\d+)\.(norm|conv)\.(\d)\."), r"\1.\2\3."),
]
"""Names in image classification libraries to names in published video networks."""
UNUSED = re.compile(r"^(fc|head|classifier|cls_head)\.|relative_position_index$|attn_mask$")
"""Weights to ignore: classifiers, and constants that are computed here."""
VIDEO_ONLY = re.compile(r"non_local_block|_lateral|num_batches_tracked")
"""Weights that image networks lack."""


def convert_2d_weights(net: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an image network to those of ``net``, a 2D or 3D backbone of the same depth.

    Accepts the names of torchvision and of published checkpoints, with or without the prefix
    ``backbone.``; ignores the classifier. If the first convolution has a different number of input
    channels (optical flow), its weights are the mean over the image channels, repeated (TSN,
    arXiv:1608.00859, section 3.3).

    Returns:
        A state dict of ``net`` without what image networks lack (non-local blocks, lateral
        connections, counters), for ``load_state_dict(..., strict=False)``.

    Raises:
        CheckpointError: the weights belong to a different network.
    """
    state_dict = of_backbone(state_dict)
    expected = {k.replace(".net.", ".").replace(".block.", "."): (k, v) for k, v in net.state_dict().items()}
    out: dict[str, Tensor] = {}
    unexpected = []
    for name, value in state_dict.items():
        renamed = name
        if renamed not in expected:
            for pattern, replacement in RENAMES:
                renamed = pattern.sub(replacement, renamed)
        if renamed in expected:
            key, target = expected[renamed]
            out[key] = _fit_shape(name, value, target)
        elif not UNUSED.search(name):
            unexpected.append(name)
    missing = [k for k, _ in expected.values() if k not in out and not VIDEO_ONLY.search(k)]
    if missing or unexpected:
        what = f"lack {missing[0]} and {len(missing) - 1} more" if missing else f"have {unexpected[0]}, which it lacks"
        raise CheckpointError(f"these are not weights of an image network like this {type(net).__name__}: they {what}")
    return out


def of_backbone(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that begin with ``backbone.``, without that; all weights if none do."""
    if not any(k.startswith("backbone.") for k in state_dict):
        return dict(state_dict)
    return {k.removeprefix("backbone."): v for k, v in state_dict.items() if k.startswith("backbone.")}


def _fit_shape(name: str, value: Tensor, target: Tensor) -> Tensor:
    """Inflate a kernel over time, and repeat the mean of its input channels, if ``target`` needs it."""
    if value.ndim == 4 and target.ndim == 5:
        times = target.shape[2]
        value = value.unsqueeze(2).expand(-1, -1, times, -1, -1) / times
    if value.shape == target.shape:
        return value
    if value.ndim == target.ndim > 1 and value.shape[1] == 3 and value.shape[:1] == target.shape[:1]:
        value = value.mean(1, keepdim=True).expand(-1, target.shape[1], *value.shape[2:])
    if value.shape != target.shape:
        raise CheckpointError(f"{name} has shape {tuple(value.shape)}, but this network needs {tuple(target.shape)}")
    return value.contiguous()
