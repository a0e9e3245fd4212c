"""C2D: a 2D ResNet whose only temporal operation is pooling.

Paper: Non-local Neural Networks, arXiv:1711.07971, section 4 and table 1.
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W), output (N, 2048, T/2, H/32, W/32).
What differs: time is pooled once, after the first stage.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vid_recognition.models.resnet import ResNet

__all__ = ["C2D"]


class C2D(ResNet):
    """ResNet on the frames of clips, with max pooling of adjacent frames after the first stage.

    Takes the arguments of ``ResNet``. ``forward``: (N, C, T, H, W) -> (N, C', T // 2, H', W').
    """

    def __init__(self, depth: int, **kwargs: Any) -> None:
        super().__init__(depth, **kwargs)
        self.maxpool = nn.MaxPool2d(3, stride=2)  # no padding, unlike image networks

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        clips = x.shape[0]
        x = self.stem(x.transpose(1, 2).flatten(0, 1))
        outputs = []
        for i, stage in enumerate(self.stages):
            x = self.run_stage(stage, x)
            if i == 0:
                frames = x.unflatten(0, (clips, -1))
                pairs = frames.shape[1] // 2
                x = torch.maximum(frames[:, : 2 * pairs : 2], frames[:, 1 : 2 * pairs : 2]).flatten(0, 1)
            if i in self.out_indices:
                outputs.append(x.unflatten(0, (clips, -1)).transpose(1, 2))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)
