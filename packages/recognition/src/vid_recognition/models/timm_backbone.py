"""Image networks of timm by name, for those who have installed it.

vidcore does not require timm. No other module imports it.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from vidcore.errors import MissingLibraryError, UserError, nearest

__all__ = ["timm_backbone"]

Layout = Literal["NCHW", "NHWC", "NLC"]


def timm_backbone(
    name: str,
    pretrained: bool = False,
    in_channels: int = 3,
    layout: Layout = "NCHW",
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """Build an image network of timm without its classifier. Its weights have the names that timm gives them.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W'), or (N, C, L) for the layout NLC.

    Args:
        name: name of the network in timm.
        pretrained: let timm download weights.
        in_channels: channels of a frame.
        layout: axes of the features that the network returns: NHWC for most Swin, NLC (tokens) for vision transformers.
        arguments: further arguments of the network.

    Raises:
        MissingLibraryError: timm is not installed.
        UserError: timm has no such network, or the network does not take the arguments.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingLibraryError("TimmBackbone", "timm") from error
    options = {"in_chans": in_channels, "num_classes": 0, "global_pool": "", **(arguments or {})}
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (RuntimeError, TypeError, ValueError) as error:
        hint = nearest(name, timm.list_models()) if name not in timm.list_models() else ""
        raise UserError(f"TimmBackbone: {name}: {error}{hint}") from error
    if layout != "NCHW":
        network.register_forward_hook(_channels_first)
    return network


def _channels_first(network: nn.Module, inputs: Any, features: Tensor) -> Tensor:
    return features.movedim(-1, 1)
