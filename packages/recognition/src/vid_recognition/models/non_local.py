"""Non-local block: attention between all positions, with a residual connection.

Paper: Non-local Neural Networks, arXiv:1711.07971, section 3 and eq. 6.
Shapes: N clips, C channels, P positions (the product of T, H, W); in and out (N, C, T, H, W).
What differs: ``use_scale`` divides the products of the embedded Gaussian by the square root of their channels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.layers import ConvUnit

__all__ = ["NonLocal", "NonLocalBlock"]

Mode = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


@frozen
class NonLocal:
    """Options of the non-local blocks of a network."""

    mode: Mode = "embedded_gaussian"
    """Pairwise function (section 3.2)."""
    sub_sample: bool = False
    """Halve height and width of keys and values (section 3.3)."""
    use_scale: bool = True
    """Divide the products of ``embedded_gaussian`` by the square root of the number of channels."""
    reduction: int = 2
    """Divisor of the channels of the embeddings."""
    norm: bool = True
    """End the block with batch norm."""

    def block(self, channels: int, dims: int = 3) -> NonLocalBlock:
        """Return a block for ``channels`` channels and ``dims`` axes of positions."""
        return NonLocalBlock(channels, self, dims)


class NonLocalBlock(nn.Module):
    """(N, C, ...) -> the same shape; initially the identity, because the last layer is initialised with zeros."""

    def __init__(self, channels: int, options: NonLocal, dims: int = 3) -> None:
        super().__init__()
        self.options = options
        inner = max(channels // options.reduction, 1)
        conv = CONVS[dims]
        self.g: nn.Module = ConvUnit(conv(channels, inner, 1), norm=False)
        self.conv_out = ConvUnit(conv(inner, channels, 1, bias=not options.norm), norm=options.norm)
        embedded = options.mode != "gaussian"
        self.theta: nn.Module = ConvUnit(conv(channels, inner, 1), norm=False) if embedded else nn.Identity()
        self.phi: nn.Module = ConvUnit(conv(channels, inner, 1), norm=False) if embedded else nn.Identity()
        if options.mode == "concatenation":
            self.concat_project = ConvUnit(nn.Conv2d(2 * inner, 1, 1, bias=False), norm=False)
        if options.sub_sample:
            pool = POOLS[dims]((1, 2, 2) if dims == 3 else 2)
            self.g = nn.Sequential(self.g, pool)
            self.phi = nn.Sequential(self.phi, pool) if embedded else pool
        self.init_weights()

    def init_weights(self) -> None:
        """Initialise embeddings with a small normal, the last layer with zeros (section 4.1)."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        last = self.conv_out.bn if self.options.norm else self.conv_out.conv
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        query = self.theta(x).flatten(2).transpose(1, 2)  # (N, P, C')
        key = self.phi(x).flatten(2).transpose(1, 2)  # (N, P', C')
        value = self.g(x).flatten(2).transpose(1, 2)  # (N, P', C')
        match self.options.mode:
            case "gaussian":
                y = F.scaled_dot_product_attention(query, key, value, scale=1.0)
            case "embedded_gaussian":
                scale = query.shape[2] ** -0.5 if self.options.use_scale else 1.0
                y = F.scaled_dot_product_attention(query, key, value, scale=scale)
            case "dot_product":  # (q k') v = q (k' v): linear in the number of positions
                y = query @ (key.transpose(1, 2) @ value) / key.shape[1]
            case "concatenation":  # w [q, k] = w1 q + w2 k
                weight_q, weight_k = self.concat_project.conv.weight.flatten().chunk(2)
                weights = torch.relu((query @ weight_q)[:, :, None] + (key @ weight_k)[:, None, :])
                y = weights @ value / key.shape[1]
        out: Tensor = self.conv_out(y.transpose(1, 2).unflatten(2, x.shape[2:]))
        return out + x
