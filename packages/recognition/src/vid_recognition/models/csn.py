"""Channel-separated networks: a 3D ResNet whose 3x3x3 convolutions are depthwise.

Paper: Video Classification with Channel-Separated Convolutional Networks, arXiv:1904.02811.
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W), output (N, 2048, T/8, H/32, W/32).
What differs: batch norm has an epsilon of 1e-3, as in the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from torch import nn

from vid_recognition.models.resnet3d import DEPTHS, BlockOptions, Bottleneck3d, ResNet3d, conv_unit
from vidcore.nn import require

__all__ = ["ResNet3dCSN"]


class _Reduced(Bottleneck3d):
    """Interaction-reduced: only the 1x1x1 convolutions mix channels (section 3.3)."""

    preserved = False

    def __init__(self, inplanes: int, planes: int, options: BlockOptions, *parts: nn.Module | None) -> None:
        super().__init__(inplanes, planes, options, *parts)
        first = [options.conv_unit(planes, planes, (1, 1, 1), relu=False)] if self.preserved else []
        depthwise = options.conv_unit(planes, planes, (3, 3, 3), options.stride, options.dilation, groups=planes)
        self.conv2 = nn.Sequential(*first, depthwise)


class _Preserved(_Reduced):
    """Interaction-preserved: a 1x1x1 convolution before the depthwise one mixes channels, too."""

    preserved = True


def _with(block: type[Bottleneck3d]) -> dict[int, Any]:
    return {depth: (block, blocks) for depth, (kind, blocks) in DEPTHS.items() if kind is Bottleneck3d}


class ResNet3dCSN(ResNet3d):
    """Interaction-reduced and interaction-preserved channel-separated networks (table 2).

    Args:
        depth: 50, 101 or 152.
        bottleneck_mode: ``ir`` reduces, ``ip`` preserves the interaction of channels.
        bn_frozen: do not train the weights of batch norm; with ``norm_eval``.

    and the arguments of ``ResNet3d``, except those of inflation: all depthwise kernels are 3x3x3.
    """

    conv_unit: ClassVar = staticmethod(partial(conv_unit, eps=1e-3))

    def __init__(
        self,
        depth: int,
        bottleneck_mode: Literal["ir", "ip"] = "ir",
        bn_frozen: bool = False,
        temporal_strides: Sequence[int] = (1, 2, 2, 2),
        norm_eval: bool = False,
        **kwargs: Any,
    ) -> None:
        require(norm_eval or not bn_frozen, "bn_frozen needs norm_eval, which fixes the statistics as well")
        self.bn_frozen = bn_frozen
        self.depths = _with(_Preserved if bottleneck_mode == "ip" else _Reduced)
        super().__init__(depth, temporal_strides=temporal_strides, inflate=(0, 0, 0, 0), norm_eval=norm_eval, **kwargs)

    def fix_norms(self) -> None:
        super().fix_norms()
        if self.bn_frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.requires_grad_(False)
