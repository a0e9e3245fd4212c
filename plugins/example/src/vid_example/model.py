"""A model: a small 3D convolutional network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcore.batch import Batch
from vidcore.nn import Model
from vidcore.sample import Sample


class MotionNet(Model):
    """Two 3D convolutions on a greyscale clip, global pooling, and a linear classifier.

    Args:
        num_classes: number of classes.
        channels: width of the convolutions.

    Inputs are uint8 clips (batch, views, 3, time, height, width), as returned by ``FormatShape`` with
    ``input_format = "NCTHW"``. ``forward`` returns logits (batch, num_classes) float32, averaged over views.
    """

    def __init__(self, num_classes: int, channels: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, channels, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2))
        self.conv2 = nn.Conv3d(channels, channels, 3, stride=(1, 2, 2), padding=1)
        self.fc = nn.Linear(channels, num_classes)

    def preprocess(self, batch: Batch) -> Batch:
        return batch.replace(inputs=batch.inputs.float().mean(dim=2, keepdim=True) / 255 - 0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        batch, views = inputs.shape[:2]
        x = F.relu(self.conv1(inputs.flatten(0, 1)))
        x = F.relu(self.conv2(x)).mean(dim=(2, 3, 4))
        scores: Tensor = self.fc(x).reshape(batch, views, -1).mean(dim=1)
        return scores

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        assert batch.labels is not None
        return {"loss_cls": F.cross_entropy(outputs, batch.labels)}

    def predict(self, outputs: Tensor, batch: Batch) -> list[Sample]:
        scores = torch.softmax(outputs, dim=1).cpu().numpy()
        return [sample.replace(scores=s) for sample, s in zip(batch.samples, scores, strict=True)]
