"""RGBPose-Conv3D: a network on frames and a network on heatmaps of joints that exchange features.

Paper: Revisiting Skeleton-based Action Recognition, arXiv:2104.13586, section 3.4 and table 2.
Shapes: N clips, T frames, H height, W width; ``imgs`` (N, 3, T, H, W) and ``heatmap_imgs``
(N, joints, T * speed_ratio, H / 4, W / 4); output (N, 2048, T, H/32, W/32) and
(N, 512, T * speed_ratio, H/32, W/32).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.heads import Head
from vid_recognition.models.layers import ConvUnit, init_conv_net
from vid_recognition.models.recognizers import Recognizer
from vid_recognition.models.resnet3d import ResNet3d
from vid_recognition.records import StreamScores
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.nn import pool_positions, require, require_type
from vidcore.sample import Sample

__all__ = ["MMRecognizer3D", "PosePathway", "RGBPathway", "RGBPoseConv3D", "RGBPoseHead"]

STREAMS = ("rgb", "pose")
INPUTS = ("imgs", "heatmap_imgs")


@frozen(kw_only=True)
class RGBPathway:
    """Options of the network on frames, which has four stages; see the arguments of ``ResNet3d``."""

    depth: int = 50
    base_channels: int = 64
    conv1_kernel: tuple[int, int, int] = (1, 7, 7)
    inflate: Sequence[int] = (0, 0, 1, 1)
    fusion_kernel: int = 7
    """Temporal kernel of the convolutions that add features of heatmaps."""

    def network(self, lateral: Sequence[int]) -> ResNet3d:
        """Build the network; ``lateral`` has the channels that are added before each stage."""
        return ResNet3d(
            depth=self.depth,
            base_channels=self.base_channels,
            conv1_kernel=self.conv1_kernel,
            inflate=self.inflate,
            with_pool2=False,
            lateral_channels=lateral,
        )


@frozen(kw_only=True)
class PosePathway:
    """Options of the network on heatmaps, which has three stages; see the arguments of ``ResNet3d``."""

    depth: int = 50
    stage_blocks: Sequence[int] = (4, 6, 3)
    in_channels: int = 17
    base_channels: int = 32
    conv1_kernel: tuple[int, int, int] = (1, 7, 7)
    conv1_stride_s: int = 1
    conv1_stride_t: int = 1
    pool1_stride_s: int = 1
    pool1_stride_t: int = 1
    inflate: Sequence[int] = (0, 1, 1)
    spatial_strides: Sequence[int] = (2, 2, 2)
    temporal_strides: Sequence[int] = (1, 1, 1)
    dilations: Sequence[int] = (1, 1, 1)
    lateral_infl: int = 16
    """The channels that the network on frames adds are 1 / 16 of its own."""
    fusion_kernel: int = 7
    """Temporal kernel of the transposed convolutions that add features of frames."""

    def network(self, lateral: Sequence[int]) -> ResNet3d:
        """Build the network; ``lateral`` has the channels that are added before each stage."""
        return ResNet3d(
            depth=self.depth,
            stage_blocks=self.stage_blocks,
            in_channels=self.in_channels,
            num_stages=3,
            base_channels=self.base_channels,
            out_indices=(2,),
            spatial_strides=self.spatial_strides,
            temporal_strides=self.temporal_strides,
            dilations=self.dilations,
            conv1_kernel=self.conv1_kernel,
            conv1_stride_s=self.conv1_stride_s,
            conv1_stride_t=self.conv1_stride_t,
            pool1_stride_s=self.pool1_stride_s,
            pool1_stride_t=self.pool1_stride_t,
            inflate=self.inflate,
            with_pool2=False,
            lateral_channels=lateral,
        )


class RGBPoseConv3D(nn.Module):
    """Two 3D ResNets that add features to each other before the last two stages of each.

    Args:
        speed_ratio: frames of heatmaps for each frame of the video.
        rgb_detach: features of heatmaps get no gradients from the network on frames.
        pose_detach: features of frames get no gradients from the network on heatmaps.
        rgb_drop_path: probability that a training step adds no features of heatmaps.
        pose_drop_path: probability that a training step adds no features of frames.
        rgb_pathway: options of the network on frames.
        pose_pathway: options of the network on heatmaps.

    ``forward``: frames and heatmaps -> features of both.
    """

    def __init__(
        self,
        speed_ratio: int = 4,
        rgb_detach: bool = False,
        pose_detach: bool = False,
        rgb_drop_path: float = 0.0,
        pose_drop_path: float = 0.0,
        rgb_pathway: RGBPathway = RGBPathway(),
        pose_pathway: PosePathway = PosePathway(),
    ) -> None:
        super().__init__()
        require(speed_ratio > 0, f"speed_ratio must be positive, got {speed_ratio}")
        for name, share in (("rgb_drop_path", rgb_drop_path), ("pose_drop_path", pose_drop_path)):
            require(0 <= share < 1, f"{name} must be at least 0 and below 1, got {share}")
        self.speed_ratio = speed_ratio
        self.rgb_detach, self.pose_detach = rgb_detach, pose_detach
        self.rgb_drop_path, self.pose_drop_path = rgb_drop_path, pose_drop_path
        pose = pose_pathway.network((0, 0, 0)).channels
        rgb = rgb_pathway.network((0, 0, 0, 0)).channels
        to_pose = [channels // pose_pathway.lateral_infl for channels in rgb[1:3]]
        self.rgb_path = rgb_pathway.network((0, 0, *pose[:2]))
        self.pose_path = pose_pathway.network((0, *to_pose))
        for i in range(2):
            kernel = rgb_pathway.fusion_kernel
            down = nn.Conv3d(
                pose[i], pose[i], (kernel, 1, 1), (speed_ratio, 1, 1), ((kernel - 1) // 2, 0, 0), bias=False
            )
            self.rgb_path.add_module(f"layer{i + 2}_lateral", ConvUnit(down, norm=False))
            kernel = pose_pathway.fusion_kernel
            up = nn.ConvTranspose3d(
                rgb[i + 1],
                to_pose[i],
                (kernel, 1, 1),
                (speed_ratio, 1, 1),
                ((kernel - 1) // 2, 0, 0),
                (speed_ratio - 1, 0, 0),
                bias=False,
            )
            lateral = nn.Sequential()
            for name, part in (("conv", up), ("bn", nn.BatchNorm3d(to_pose[i])), ("relu", nn.ReLU(inplace=True))):
                lateral.add_module(name, part)
            self.pose_path.add_module(f"layer{i + 1}_lateral", lateral)
            init_conv_net(down)
            init_conv_net(lateral)

    def forward(self, imgs: Tensor, heatmap_imgs: Tensor) -> tuple[Tensor, Tensor]:
        if heatmap_imgs.shape[2] != imgs.shape[2] * self.speed_ratio:
            raise UserError(
                f"RGBPoseConv3D needs {self.speed_ratio} frames of heatmaps for each frame of the video (speed_ratio), "
                f"got {heatmap_imgs.shape[2]} for {imgs.shape[2]}"
            )
        rgb, pose = self.rgb_path.stem(imgs), self.pose_path.stem(heatmap_imgs)
        for stage in self.rgb_path.stages[:2]:
            rgb = self.rgb_path.run_stage(stage, rgb)
        pose = self.pose_path.run_stage(self.pose_path.stages[0], pose)
        for i in range(2):
            to_rgb = self.rgb_path.get_submodule(f"layer{i + 2}_lateral")(pose.detach() if self.rgb_detach else pose)
            to_pose = self.pose_path.get_submodule(f"layer{i + 1}_lateral")(rgb.detach() if self.pose_detach else rgb)
            if to_rgb.shape[3:] != rgb.shape[3:]:
                raise UserError(
                    "RGBPoseConv3D needs heatmaps of a quarter of the size of the frames, got "
                    f"{heatmap_imgs.shape[3]} x {heatmap_imgs.shape[4]} for {imgs.shape[3]} x {imgs.shape[4]} pixels"
                )
            rgb = torch.cat((rgb, self._dropped(to_rgb, self.rgb_drop_path)), 1)
            pose = torch.cat((pose, self._dropped(to_pose, self.pose_drop_path)), 1)
            rgb = self.rgb_path.run_stage(self.rgb_path.stages[i + 2], rgb)
            pose = self.pose_path.run_stage(self.pose_path.stages[i + 1], pose)
        return rgb, pose

    def _dropped(self, x: Tensor, share: float) -> Tensor:
        return torch.zeros_like(x) if self.training and share and float(torch.rand(())) < share else x


class RGBPoseHead(Head):
    """Classifies the features of both networks, each for itself.

    Args:
        num_classes: number of classes.
        in_channels: channels of the features of frames and of heatmaps.
        loss_components: the networks that are trained, of ``rgb`` and ``pose``.
        loss_weights: weight of each loss, or one for all.
        dropout: probability of zeroing a feature while training.
        init_std: standard deviation of the initial weights.

    and the arguments of ``Head``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: tuple[int, int],
        loss_components: Sequence[str] = STREAMS,
        loss_weights: float | Sequence[float] = 1.0,
        dropout: float = 0.5,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        weights = [loss_weights] * len(loss_components) if isinstance(loss_weights, int | float) else [*loss_weights]
        require(
            bool(loss_components) and set(loss_components) <= set(STREAMS),
            f"loss_components must be of rgb and pose, got {list(loss_components)}",
        )
        require(
            len(weights) == len(loss_components),
            f"loss_weights has {len(weights)} numbers, but loss_components has {len(loss_components)} entries",
        )
        self.num_classes = num_classes
        self.loss_weights = dict(zip(loss_components, weights, strict=True))
        self.dropout = nn.Dropout(dropout)
        self.fc_rgb, self.fc_pose = (nn.Linear(channels, num_classes) for channels in in_channels)
        for layer in (self.fc_rgb, self.fc_pose):
            nn.init.normal_(layer.weight, std=init_std)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Any, batch_size: int) -> Any:
        """Return the scores of both networks for each view: a pair of (B, V, K)."""
        layers = (self.fc_rgb, self.fc_pose)
        return tuple(
            layer(self.dropout(x.mean((2, 3, 4)))).unflatten(0, (batch_size, -1))
            for layer, x in zip(layers, features, strict=True)
        )

    def stream_losses(
        self, scores: tuple[Tensor, Tensor], labels: Tensor, targets: Mapping[str, Tensor] = MappingProxyType({})
    ) -> dict[str, Tensor]:
        """Return losses and accuracies of (N, K) scores of both networks, under ``rgb_...`` and ``pose_...``."""
        out: dict[str, Tensor] = {}
        for name, part in zip(STREAMS, scores, strict=True):
            if (weight := self.loss_weights.get(name)) is not None:
                found = self.loss(part, labels, targets)
                out |= {f"{name}_{key}": value * weight if "loss" in key else value for key, value in found.items()}
        return out


class MMRecognizer3D(Recognizer):
    """For frames and heatmaps together. ``forward``: ``imgs`` and ``heatmap_imgs`` -> a pair of (B, V, K).

    Takes the arguments of ``Recognizer``; the backbone is ``RGBPoseConv3D``, the head ``RGBPoseHead``.
    """

    layout = "batch views channels time height width"
    averages_clips = True

    def __init__(self, backbone: nn.Module, cls_head: nn.Module, **kwargs: Any) -> None:
        super().__init__(
            require_type(backbone, RGBPoseConv3D, "backbone"), require_type(cls_head, RGBPoseHead, "cls_head"), **kwargs
        )
        if self.cls_head.average_clips == "none":
            raise UserError("MMRecognizer3D adds up the scores of two networks: average_clips must be score or prob")

    def extract_features(self, inputs: Any) -> Any:
        """Return the features of both networks for each view: (B * V, C, T, H, W) each."""
        if isinstance(inputs, Tensor) or set(inputs) != set(INPUTS):
            found = "one" if isinstance(inputs, Tensor) else ", ".join(inputs)
            raise UserError(f"MMRecognizer3D takes the inputs imgs and heatmap_imgs, got {found}: see PackActionInputs")
        views = [inputs[name].flatten(0, 1) for name in INPUTS]
        at_once = None if self.training else self.max_testing_views
        if at_once is None or at_once >= len(views[0]):
            return self.backbone(*views)
        parts = zip(
            *(self.backbone(*both) for both in zip(*(v.split(at_once) for v in views), strict=True)), strict=True
        )
        return tuple(torch.cat(part) for part in parts)

    def forward(self, inputs: Any) -> Any:
        """Return the class scores of frames and of heatmaps for each view: a pair of (B, V, K)."""
        return self.cls_head(self.extract_features(inputs), inputs["imgs"].shape[0])

    def clip_features(self, inputs: Any) -> Tensor:
        """Return features of both networks, averaged over positions and views: (B, C)."""
        pooled = torch.cat([pool_positions(path) for path in self.extract_features(inputs)], 1)
        out: Tensor = pooled.unflatten(0, (len(inputs["imgs"]), -1)).mean(1)
        return out

    def clip_logits(self, inputs: Any) -> Tensor:
        """Return the mean class scores of both networks and all views: (B, K)."""
        rgb, pose = self(inputs)
        out: Tensor = (rgb + pose).mean(1) / 2
        return out

    def loss(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return losses and accuracies of both networks, the mean over all views."""
        if batch.labels is None:
            raise UserError("training needs a label for each sample")
        labels = batch.labels.repeat_interleave(outputs[0].shape[1], 0)
        head = require_type(self.cls_head, RGBPoseHead, "cls_head")
        return head.stream_losses(tuple(scores.flatten(0, 1) for scores in outputs), labels)

    def class_scores(self, outputs: Any) -> Tensor:
        return self._of_networks(outputs).mean(1)

    def _of_networks(self, outputs: Any) -> Tensor:
        """Return the scores of both networks: (B, 2, K)."""
        head = self.cls_head
        return torch.stack([head.average(scores.float(), head.average_clips) for scores in outputs], 1)

    def predict(self, outputs: Any, batch: Batch) -> list[Sample]:
        """Return the samples with ``scores``, the mean of both networks, and the scores of each in ``streams``."""
        parts = self._of_networks(outputs).detach().cpu().numpy()
        return [
            sample.replace(scores=rows.mean(0)).with_extra(streams=StreamScores(rows, STREAMS))
            for sample, rows in zip(batch.samples, parts, strict=True)
        ]
