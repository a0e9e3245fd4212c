"""Classification heads: features to class scores per view, and their loss.

Shapes: B samples, V views per sample (clips times crops), S segments (frames of a view that are
scored separately), K classes. ``forward(features, batch_size)`` returns (B, V, K).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.averaging import AverageClips, average_clips
from vid_recognition.models.losses import BCELossWithLogits, ClassWeightedLoss, CrossEntropyLoss, TargetsLoss
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import require

__all__ = [
    "ClassificationHead",
    "FeatureHead",
    "Head",
    "I3DHead",
    "MViTHead",
    "SlowFastHead",
    "TPNHead",
    "TSMHead",
    "TSNHead",
    "TimeSformerHead",
    "UniFormerHead",
    "X3DHead",
    "frames_of_views",
]


class Head(nn.Module):
    """Base of heads: loss and accuracies of class scores, and averaging over views.

    Args:
        loss_cls: loss; default: cross entropy, or binary cross entropy if ``multi_class``.
        average_clips: how views are averaged: ``prob``, ``score`` or ``none``, see ``average_clips``.
        multi_class: samples have any number of classes: sigmoid instead of softmax, multi-hot labels.
        label_smooth_eps: label smoothing: weight of the uniform distribution in the label (arXiv:1906.02629).
        topk: the k of the top-k accuracies reported with the loss.
    """

    num_classes: int | None = None
    """Number of classes; None for heads with more than one classifier."""

    def __init__(
        self,
        loss_cls: nn.Module | None = None,
        average_clips: AverageClips = "prob",
        multi_class: bool = False,
        label_smooth_eps: float = 0.0,
        topk: Sequence[int] = (1, 5),
    ) -> None:
        super().__init__()
        require(all(k > 0 for k in topk), f"topk must be positive, got {tuple(topk)}")
        require(0 <= label_smooth_eps < 1, f"label_smooth_eps must be at least 0 and below 1, got {label_smooth_eps}")
        self.loss_cls = loss_cls or (BCELossWithLogits() if multi_class else CrossEntropyLoss())
        self.average_clips = average_clips
        self.multi_class = multi_class
        self.label_smooth_eps = label_smooth_eps
        self.topk = tuple(topk)

    def forward(self, features: Any, batch_size: int) -> Tensor:
        """Return the scores of each view: (B, V, K)."""
        raise NotImplementedError

    def loss(
        self, scores: Tensor, labels: Tensor, targets: Mapping[str, Tensor] = MappingProxyType({})
    ) -> dict[str, Tensor]:
        """Return the loss and accuracies.

        Args:
            scores: (N, K).
            labels: (N,) int64 class numbers, or (N, K) soft or multi-hot.
            targets: (N, ...) by name, for a ``TargetsLoss``.

        Returns:
            ``loss_cls``, and for class numbers ``top<k>_acc`` for each k; scalars.
        """
        losses: dict[str, Tensor] = {}
        classes = scores.shape[1]
        if labels.ndim > 1 and labels.shape[1] != classes:
            raise UserError(f"labels have {labels.shape[1]} classes, scores have {classes}: see cls_head.num_classes")
        if labels.ndim == 1:
            ranked = scores.detach().topk(min(max(self.topk), classes), dim=1).indices
            hits = ranked == labels[:, None]
            losses = {f"top{k}_acc": hits[:, :k].any(1).float().mean() for k in self.topk}
        if self.label_smooth_eps:
            if labels.ndim == 1:
                labels = F.one_hot(labels, classes)
            labels = (1 - self.label_smooth_eps) * labels + self.label_smooth_eps / classes
        if isinstance(self.loss_cls, TargetsLoss):
            losses |= self.loss_cls(scores, labels, targets)
            return losses
        losses["loss_cls"] = self.loss_cls(scores, labels)
        return losses

    def select_classes(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return weights of a model with the classes of this head selected; None: they are used unchanged."""
        return None

    def average(self, scores: Tensor, mode: AverageClips) -> Tensor:
        """Average over views: (B, V, K) -> (B, K), or (B, V, K) if ``mode`` is ``none``."""
        activation: Literal["softmax", "sigmoid"] = "sigmoid" if self.multi_class else "softmax"
        return average_clips(scores.flatten(0, 1), scores.shape[1], mode, activation)


class FeatureHead(Head):
    """No classifier: pools features, for ``vidcore features``. It has neither a loss nor predictions.

    Args:
        spatial_type: pooling over height and width: ``avg`` or ``max``.
        temporal_type: pooling over the frames of a sample: ``avg`` or ``max``.

    Weights of a classifier in a checkpoint are not used.
    """

    def __init__(
        self, spatial_type: Literal["avg", "max"] = "avg", temporal_type: Literal["avg", "max"] = "avg"
    ) -> None:
        super().__init__()
        for name, given in (("spatial_type", spatial_type), ("temporal_type", temporal_type)):
            require(given in ("avg", "max"), f"{name} must be avg or max, got {given!r}")
        self.spatial_type, self.temporal_type = spatial_type, temporal_type

    def pool(self, features: Tensor, batch_size: int) -> Tensor:
        """Pool the features of frames (B * V, C, H, W) or of clips (B * V, C, T, H, W): (B, V, C).

        V is 1 for frames, which are those of one sample.
        """
        if features.ndim == 4:
            frames: Tensor = _pooled(features, self.spatial_type, (2, 3)).unflatten(0, (batch_size, -1))
            return _pooled(frames, self.temporal_type, (1,))[:, None]
        if features.ndim == 5:
            features = _pooled(_pooled(features, self.spatial_type, (3, 4)), self.temporal_type, (2,))
        out: Tensor = features.unflatten(0, (batch_size, -1))
        return out

    def forward(self, features: Any, batch_size: int) -> Tensor:
        """Return the features of each view, those of several pathways concatenated: (B, V, C)."""
        paths = [features] if isinstance(features, Tensor) else features
        return torch.cat([self.pool(path, batch_size) for path in paths], -1)

    def loss(self, scores: Tensor, labels: Tensor, targets: Mapping[str, Tensor] = MappingProxyType({})) -> Any:
        raise UserError("FeatureHead has no classifier: it cannot be trained; set cls_head to a head with classes")

    def average(self, scores: Tensor, mode: AverageClips) -> Tensor:
        raise UserError("FeatureHead has no classifier and predicts nothing: 'vidcore features' writes its features")

    def _load_from_state_dict(self, *args: Any) -> None:
        """Ignore the weights of a classifier."""


def _pooled(features: Tensor, how: Literal["avg", "max"], axes: tuple[int, ...]) -> Tensor:
    return features.mean(axes) if how == "avg" else features.amax(axes)


class ClassificationHead(Head):
    """Pooling, dropout and a linear classifier.

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        spatial_type: ``avg`` averages features over space and time, ``none`` expects pooled features.
        dropout_ratio: probability of zeroing a feature while training.
        init_std: standard deviation of the classifier's initial weights.

    and the arguments of ``Head``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        spatial_type: Literal["avg", "none"] = "avg",
        dropout_ratio: float = 0.5,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(num_classes > 0, f"num_classes must be positive, got {num_classes}")
        weight = self.loss_cls.class_weight if isinstance(self.loss_cls, ClassWeightedLoss) else None
        weights = num_classes if weight is None else len(weight)
        require(weights == num_classes, f"loss_cls has weights for {weights} classes, but num_classes is {num_classes}")
        self.num_classes = num_classes
        self.spatial_type = spatial_type
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc_cls = nn.Linear(in_channels, num_classes)
        nn.init.normal_(self.fc_cls.weight, std=init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def pool(self, features: Tensor) -> Tensor:
        """Average over space and time, unless ``spatial_type`` is ``none``: (rows, C, ...) -> (rows, C)."""
        if self.spatial_type == "avg" and features.ndim > 2:
            return features.mean(tuple(range(2, features.ndim)))
        return features.flatten(1)

    def linear(self, pooled: Tensor) -> Tensor:
        """Apply the classifier: (rows, in_channels) -> (rows, num_classes).

        Raises ``UserError`` if the number of channels differs.
        """
        return _linear(self.fc_cls, pooled)

    def classify(self, features: Any) -> Tensor:
        """Return the scores of each row of the features: (rows, num_classes)."""
        return self.linear(self.dropout(self.pool(features)))

    def row_scores(self, features: Any, batch_size: int) -> Tensor:
        """Return the scores of all rows of each sample, such as frames: (B, rows, K)."""
        scores: Tensor = self.classify(features).unflatten(0, (batch_size, -1))
        return scores

    def combine(self, scores: Tensor) -> Tensor:
        """Return the scores of the views of each sample from those of its rows: (B, rows, K) -> (B, V, K)."""
        return scores

    def forward(self, features: Any, batch_size: int) -> Tensor:
        return self.combine(self.row_scores(features, batch_size))


class I3DHead(ClassificationHead):
    """Scores clips, for networks on clips. Takes the arguments of ``ClassificationHead``."""


class TimeSformerHead(ClassificationHead):
    """Classifies the features of a transformer (arXiv:2102.05095). Takes the arguments of ``ClassificationHead``."""

    def __init__(
        self, num_classes: int, in_channels: int, dropout_ratio: float = 0.0, init_std: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, init_std=init_std, **kwargs)


class TPNHead(ClassificationHead):
    """Scores clips after a temporal pyramid (arXiv:2004.03548). Takes the arguments of ``ClassificationHead``."""


class MViTHead(ClassificationHead):
    """Scores clips by the class token of a transformer, or by the mean of its patches (arXiv:2112.01526).

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        with_cls_token: use the last of the features, a class token; otherwise the first, those of patches.
        init_std: standard deviation of the classifier's initial weights, a truncated normal distribution.
        init_scale: factor on the classifier's initial weights and bias.

    and the arguments of ``ClassificationHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        with_cls_token: bool = True,
        init_std: float = 0.02,
        init_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, init_std=init_std, **kwargs)
        self.with_cls_token = with_cls_token
        nn.init.trunc_normal_(self.fc_cls.weight, std=init_std)
        nn.init.constant_(self.fc_cls.bias, 0.02)
        with torch.no_grad():
            self.fc_cls.weight.mul_(init_scale)
            self.fc_cls.bias.mul_(init_scale)

    def classify(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        if not isinstance(features, Tensor):
            features = features[-1] if self.with_cls_token else features[0]
        if self.with_cls_token and features.ndim > 2:
            raise UserError("cls_head.with_cls_token needs backbone.output_cls_token")
        return super().classify(features)


KINETICS710_RENAMED = {
    "passing american football (not in game)": "passing American football (not in game)",
    "picking fruit": "picking apples",
    "throwing ball (not baseball or American football)": "throwing ball",
}
"""Classes of Kinetics-600 and -700 that have a different name in Kinetics-710."""


def kinetics710_numbers(dataset: str) -> list[int]:
    """Return the number of each class of a dataset in weights of UniFormerV2 that were trained on Kinetics-710.

    They are those that recipes start from, whose name ends in ``20221219-77d34f81``. Their first 400 classes are those
    of Kinetics-400 in an order of their own, listed in ``recipes/classes/kinetics710_uniformerv2.txt``;
    ``kinetics710.txt`` has them in the order of Kinetics-400.

    Args:
        dataset: kinetics400, kinetics600 or kinetics700.
    """
    folder = Path(__file__).parents[1] / "recipes" / "classes"
    names = (folder / f"{dataset}.txt").read_text(encoding="utf-8").splitlines()
    merged, weights = (
        (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        for name in ("kinetics710", "kinetics710_uniformerv2")
    )
    if dataset == "kinetics400":  # the same classes, under newer names
        names = merged[: len(names)]
    return [weights.index(KINETICS710_RENAMED.get(name, name)) for name in names]


class UniFormerHead(ClassificationHead):
    """Classifies the features of a transformer, whose weights may come from a classifier of more classes.

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        channel_map: which classes of the weights that training starts from are those of this head (arXiv:2211.09552,
            section 4): the dataset, for the weights of Kinetics-710 that recipes start from; or a file of a JSON list
            with the number of each class in the weights. It is used if the weights have a different number of classes.

    and the arguments of ``ClassificationHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        channel_map: Literal["kinetics400", "kinetics600", "kinetics700"] | Path | None = None,
        dropout_ratio: float = 0.0,
        init_std: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, init_std=init_std, **kwargs)
        self.channel_map = channel_map

    def select_classes(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        keys = ("cls_head.fc_cls.weight", "cls_head.fc_cls.bias")
        found = {len(state_dict[key]) for key in keys if key in state_dict}
        if self.channel_map is None or found in (set(), {self.num_classes}):
            return None
        chosen = self._chosen(self.channel_map)
        if not isinstance(chosen, list) or not all(type(i) is int and 0 <= i < min(found) for i in chosen):
            raise CheckpointError(
                f"cls_head.channel_map: {self.channel_map} must list class numbers below {min(found)}"
            )
        if len(chosen) != self.num_classes:
            wanted = f"num_classes is {self.num_classes}"
            raise CheckpointError(f"cls_head.channel_map: {self.channel_map} has {len(chosen)} numbers, and {wanted}")
        return {**state_dict, **{key: state_dict[key][chosen] for key in keys if key in state_dict}}

    @staticmethod
    def _chosen(channel_map: str | Path) -> Any:
        if isinstance(channel_map, str):
            return kinetics710_numbers(channel_map)
        try:
            return json.loads(channel_map.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cls_head.channel_map: {channel_map} cannot be read: {error}") from None


class X3DHead(ClassificationHead):
    """Two fully connected layers after pooling (arXiv:2004.04730, table 1).

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        hidden: width of the first layer.
        fc1_bias: whether the first layer has a bias.

    and the arguments of ``ClassificationHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden: int = 2048,
        fc1_bias: bool = False,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, hidden, init_std=init_std, **kwargs)
        self.fc1 = nn.Linear(in_channels, hidden, bias=fc1_bias)
        nn.init.normal_(self.fc1.weight, std=init_std)
        if self.fc1.bias is not None:
            nn.init.zeros_(self.fc1.bias)
        self.fc2 = self.fc_cls
        del self.fc_cls  # published weights name it fc2

    def classify(self, features: Any) -> Tensor:
        hidden = torch.relu_(_linear(self.fc1, self.pool(features)))
        return self.fc2(self.dropout(hidden))


class SlowFastHead(ClassificationHead):
    """Classifies the pooled and concatenated features of both pathways (arXiv:1812.03982, section 3.5).

    Takes the arguments of ``ClassificationHead``.
    """

    def __init__(self, num_classes: int, in_channels: int, dropout_ratio: float = 0.8, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, **kwargs)

    def classify(self, features: tuple[Tensor, Tensor]) -> Tensor:
        slow, fast = features
        joined = torch.cat((self.pool(fast), self.pool(slow)), dim=1)
        return self.linear(self.dropout(joined))


class TSNHead(ClassificationHead):
    """Segmental consensus: the mean of the scores of all frames of a sample (arXiv:1608.00859, section 3.1).

    Takes the arguments of ``ClassificationHead``. Crops count as frames.
    """

    def __init__(self, num_classes: int, in_channels: int, dropout_ratio: float = 0.4, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, **kwargs)

    def combine(self, scores: Tensor) -> Tensor:
        return scores.mean(1, keepdim=True)


class TSMHead(ClassificationHead):
    """The mean of the scores of the frames of each view (arXiv:1811.08383).

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        num_segments: frames of a view; must be that of the backbone.
        temporal_pool: must be that of the backbone, which halves the number of frames.

    and the arguments of ``ClassificationHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_segments: int = 8,
        temporal_pool: bool = False,
        dropout_ratio: float = 0.8,
        init_std: float = 0.001,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout_ratio, init_std=init_std, **kwargs)
        self.num_segments = num_segments // 2 if temporal_pool else num_segments
        require(self.num_segments > 0, f"num_segments must be positive, got {num_segments}")

    def combine(self, scores: Tensor) -> Tensor:
        return frames_of_views(scores, self.num_segments).mean(2)


def _linear(layer: nn.Linear, pooled: Tensor) -> Tensor:
    """Apply the first layer of a head; raise ``UserError`` if the number of channels differs."""
    if (found := pooled.shape[1]) != layer.in_features:
        raise UserError(f"cls_head.in_channels is {layer.in_features}, but the backbone returns {found} channels")
    out: Tensor = layer(pooled)
    return out


def frames_of_views(rows: Tensor, num_segments: int) -> Tensor:
    """Split the frames of each sample into views: (B, V * S, C) -> (B, V, S, C).

    Raises ``UserError`` if they do not divide.
    """
    if rows.shape[1] % num_segments:
        raise UserError(
            f"{rows.shape[1]} frames per sample do not divide into views of {num_segments} segments:"
            " num_segments of backbone and head must match num_clips of the pipeline"
        )
    views: Tensor = rows.unflatten(1, (-1, num_segments))
    return views
