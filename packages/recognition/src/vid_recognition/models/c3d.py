"""C3D: eight 3x3x3 convolutions and two fully connected layers.

Paper: Learning Spatiotemporal Features with 3D Convolutional Networks, arXiv:1412.0767, figure 3.
Shapes: N clips, T frames, H height, W width; input (N, 3, 16, 112, 112), output (N, 4096).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import ConvUnit, check_channels
from vidcore.errors import UserError

__all__ = ["C3D"]

CONVOLUTIONS = {"1a": 64, "2a": 128, "3a": 256, "3b": 256, "4a": 512, "4b": 512, "5a": 512, "5b": 512}
"""Name and number of channels."""
POOLS = {"1a": (1, 2, 2), "2a": (2, 2, 2), "3b": (2, 2, 2), "4b": (2, 2, 2)}
"""Name of the convolution before each pooling, and its window."""


class C3D(nn.Module):
    """C3D up to its last hidden layer, ``fc7``.

    Args:
        in_channels: channels of a frame.
        out_dim: numbers that reach ``fc6``: 8192 for clips of 16 frames of 112 x 112 pixels.
        dropout_ratio: probability of zeroing a hidden unit while training.
        init_std: standard deviation of the initial weights of the fully connected layers.
        batch_norm: end convolutions with batch norm, which the paper does not have.

    ``forward``: (N, in_channels, T, H, W) -> (N, 4096).
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_dim: int = 8192,
        dropout_ratio: float = 0.5,
        init_std: float = 0.005,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        for name, channels in CONVOLUTIONS.items():
            conv = nn.Conv3d(in_channels, channels, 3, padding=1)
            self.add_module(f"conv{name}", ConvUnit(conv, norm=batch_norm, act=nn.ReLU(inplace=True)))
            in_channels = channels
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.last_pool = nn.MaxPool3d(2, 2, padding=(0, 1, 1))
        self.fc6, self.fc7 = nn.Linear(out_dim, 4096), nn.Linear(4096, 4096)
        self.dropout = nn.Dropout(dropout_ratio)
        for layer in (self.fc6, self.fc7):
            nn.init.normal_(layer.weight, std=init_std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        check_channels(x, self.in_channels)
        if min(x.shape[2:]) < 16:
            raise UserError(
                "C3D needs clips of at least 16 frames of 16 x 16 pixels, which it halves four times, got "
                f"{x.shape[2]} frames of {x.shape[3]} x {x.shape[4]} (height x width)"
            )
        for name in CONVOLUTIONS:
            x = self.get_submodule(f"conv{name}")(x)
            if window := POOLS.get(name):
                x = nn.functional.max_pool3d(x, window, window)
        x = self.last_pool(x).flatten(1)
        if x.shape[1] != self.fc6.in_features:
            raise UserError(
                f"C3D.out_dim is {self.fc6.in_features}, but these clips give {x.shape[1]} numbers: 8192 if they have "
                "16 frames of 112 x 112 pixels"
            )
        for layer in (self.fc6, self.fc7):
            x = self.dropout(torch.relu_(layer(x)))
        return x
