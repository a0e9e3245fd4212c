"""Other norms and activations in the place of those of a backbone."""

from __future__ import annotations

from typing import Literal

import torch
from attrs import field, frozen
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vid_recognition.models.layers import Backbone
from vid_recognition.models.norms import SubBatchNorm3D
from vidcore.nn import require
from vidcore.validators import at_least

__all__ = ["LayerOptions"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}


@frozen
class LayerOptions:
    """``[model.layers]``: which norms and activations a backbone has. They are replaced before weights are loaded."""

    norm: Literal["batch", "group", "sub_batch"] = "batch"
    """``group``: group norm, for small batches (arXiv:1803.08494). ``sub_batch``: ``SubBatchNorm3D``, on clips."""
    num_groups: int = field(default=32, validator=at_least(1))
    """Groups of ``group``; must divide the channels of each norm."""
    num_splits: int = field(default=1, validator=at_least(1))
    """Parts of a batch of ``sub_batch``."""
    train_norms: bool = True
    """Train weight and bias of the norms."""
    activation: Literal["relu", "leaky_relu", "silu", "gelu", "hardswish"] = "relu"
    """In place of ReLU, in ResNets."""

    def apply(self, backbone: nn.Module) -> None:
        """Replace the layers of a network. Raises ``ValueError`` if it has none of that kind."""
        norms = 0
        for module in list(backbone.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, _BatchNorm):
                    norms += 1
                    module.register_module(name, self._norm(child))
                elif type(child) is nn.ReLU and self.activation != "relu":
                    module.register_module(name, ACTIVATIONS[self.activation]())
        kind = type(backbone).__name__
        require(norms > 0 or (self.norm == "batch" and self.train_norms), f"layers: {kind} has no batch norm to change")
        swaps = any(isinstance(part, Backbone) and part.any_activation for part in backbone.modules())
        require(swaps or self.activation == "relu", f"layers.activation: {kind} has activations that are not replaced")

    def _norm(self, norm: _BatchNorm) -> nn.Module:
        new: nn.Module = norm
        if self.norm == "group":
            new = nn.GroupNorm(self.num_groups, norm.num_features, norm.eps, norm.affine)
        elif self.norm == "sub_batch":
            require(isinstance(norm, nn.BatchNorm3d), 'layers.norm = "sub_batch" is for networks on clips')
            momentum = 0.1 if norm.momentum is None else norm.momentum
            new = SubBatchNorm3D(norm.num_features, self.num_splits, norm.eps, momentum, norm.affine)
        own = dict(norm.named_parameters(recurse=False))
        with torch.no_grad():
            for name, parameter in new.named_parameters(recurse=False):  # as initialised: some blocks begin with zero
                parameter.copy_(own[name])
                parameter.requires_grad_(own[name].requires_grad and self.train_norms)
        return new
