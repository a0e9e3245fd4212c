"""ActionFormer: segments and their classes in one step (Zhang, Wu and Li, ECCV 2022, arXiv:2202.07925).

The features of a video, of any length, become a pyramid: convolutions, transformer blocks with local attention, and
blocks that halve the number of positions. At each position of each level a classifier predicts the classes, and a
regressor the distances to start and end. Soft suppression and voting select among all positions.

Shapes: B samples, C channels, T positions, P positions of all levels together, K classes. The unit of places and
distances is one position of the features; 0 is the middle of the first.

Differs from the authors' code in the names of parameters: weights published with it cannot be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_localization.models.actionformer_layers import Block, ChannelNorm, ConvStack, masked, sinusoids
from vid_localization.models.spans import check_features, covered_seconds, required_targets, with_predictions
from vid_localization.names import sample_label
from vid_localization.post.detections import suppress_by_class
from vidcore.batch import Batch, Ragged
from vidcore.errors import DataError, UserError
from vidcore.nn import Model, require
from vidcore.protocols import Transform
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["ActionFormer", "assign", "boundary_loss", "focal_loss"]

PRIOR = 0.01
"""Probability of each class before training."""
FINEST = 4
"""Largest distance that the first level predicts; it doubles with every level."""
EMBEDDING, HEAD = 2, 2
"""Convolutions before the blocks, and of each head before its output."""
MEMORY = 0.9
"""Decay of the moving average of the number of positives."""
SAME = 1e-3
"""A position learns all segments whose lengths differ by less than this from the shortest."""
MIN_SCORE = 0.001

Outputs = dict[str, Tensor]
"""``logits`` (B, P, K); ``distances`` (B, P, 2) to start and end; ``valid`` (B, P) bool; ``points`` (P, 2), place of
each position and stride of its level."""


class ActionFormer(Model):
    """Predict segments with classes from features.

    Args:
        feat_dim: channels of the features.
        num_classes: number of classes; default: one, action, and segments get the classes of the whole video
            (``LoadVideoClasses``, or ``vidcore predict --classifier``).
        hidden_dim: channels of all layers.
        levels: levels of the pyramid; each has half the positions of the one before.
        stem_blocks: transformer blocks before the pyramid.
        heads: heads of the attention.
        window_size: number of positions that a position attends to, itself in the middle (odd), or -1 for all;
            one number, or one for each level.
        position_embedding: add sines and cosines of the position to the features.
        dropout: dropout rate in the blocks.
        drop_path: probability of dropping a residual branch in training.
        center_sample_radius: a position learns a segment if it is less than this number of strides from its middle.
        label_smoothing: fraction of a label that is spread evenly over all classes.
        regression_weight: factor of ``reg_loss``.
        initial_positives: initial value of the average number of positives per step.
        pre_nms_top_k: largest number of candidates of each level.
        min_duration: least duration of a segment, in positions of the features.
        soft_nms_sigma: width of the soft suppression within each class.
        voting_threshold: least overlap of candidates that count in moving a segment.
        post_process_top_k: largest number of segments of a video.
    """

    positives: Tensor

    def __init__(
        self,
        feat_dim: int,
        num_classes: int | None = None,
        hidden_dim: int = 512,
        levels: int = 6,
        stem_blocks: int = 2,
        heads: int = 4,
        window_size: int | Sequence[int] = 19,
        position_embedding: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        center_sample_radius: float = 1.5,
        label_smoothing: float = 0.0,
        regression_weight: float = 1.0,
        initial_positives: float = 100.0,
        pre_nms_top_k: int = 2000,
        min_duration: float = 0.05,
        soft_nms_sigma: float = 0.5,
        voting_threshold: float = 0.7,
        post_process_top_k: int = 200,
    ) -> None:
        super().__init__()
        windows = [window_size] * levels if isinstance(window_size, int) else list(window_size)
        require(len(windows) == levels, f"window_size has {len(windows)} numbers for {levels} levels")
        require(
            all(w == -1 or (w > 0 and w % 2) for w in windows), f"window_size must be odd, or -1; got {window_size}"
        )
        require(hidden_dim % heads == 0, f"hidden_dim must be a multiple of heads, got {hidden_dim} and {heads}")
        require(levels > 0, f"levels must be above 0, got {levels}")
        self.feat_dim, self.num_classes, self.position_embedding = feat_dim, num_classes, position_embedding
        self.center_sample_radius, self.label_smoothing = center_sample_radius, label_smoothing
        self.regression_weight = regression_weight
        self.pre_nms_top_k, self.min_duration, self.post_process_top_k = pre_nms_top_k, min_duration, post_process_top_k
        self.soft_nms_sigma, self.voting_threshold = soft_nms_sigma, voting_threshold
        # part of the state, for exact resume
        self.register_buffer("positives", torch.tensor(initial_positives))

        def block(level: int, stride: int) -> Block:
            return Block(hidden_dim, heads, windows[level], stride, drop_path, dropout)

        self.embedding = ConvStack(feat_dim, *[hidden_dim] * EMBEDDING)
        self.stem = nn.ModuleList(block(0, 1) for _ in range(stem_blocks))
        self.branch = nn.ModuleList(block(level, 2) for level in range(1, levels))
        self.norms = nn.ModuleList(ChannelNorm(hidden_dim) for _ in range(levels))
        self.classify, self.regress = (ConvStack(*[hidden_dim] * (HEAD + 1)) for _ in range(2))
        self.classifier = nn.Conv1d(hidden_dim, num_classes or 1, 3, padding=1)
        self.regressor = nn.Conv1d(hidden_dim, 2, 3, padding=1)
        self.level_scales = nn.Parameter(torch.ones(levels))
        for module in self.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        assert self.classifier.bias is not None
        nn.init.constant_(self.classifier.bias, -math.log((1 - PRIOR) / PRIOR))

    def preprocess(self, batch: Batch) -> Batch:
        """Features as float32, and the number of positions of each sample.

        Raises:
            UserError: the features have a different number of channels.
        """
        check_features(batch.inputs, self.feat_dim)
        inputs = {"features": batch.inputs.float(), "lengths": batch.lengths["features"]}
        return batch.replace(inputs=inputs)

    def sample_step(self) -> Transform:
        """Convert the true segments of an annotated video to positions of its features."""
        return _OnGrid(self.num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        """``features`` (B, C, T) and ``lengths`` (B,) -> predictions of every position of every level."""
        x = inputs["features"]
        valid = (torch.arange(x.shape[2], device=x.device) < inputs["lengths"][:, None])[:, None]
        x = self.embedding(masked(x, valid), valid)
        if self.position_embedding:
            x = masked(x + sinusoids(x.shape[2], x.shape[1], x.device).to(x.dtype), valid)
        for block in self.stem:
            x, valid = block(x, valid)
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for level, norm in enumerate(self.norms):
            if level:
                x, valid = self.branch[level - 1](x, valid)
            place = torch.arange(x.shape[2], device=x.device) * 2.0**level
            points = torch.stack((place, torch.full_like(place, 2.0**level)), 1)
            seen = masked(norm(x), valid)
            logits = self.classifier(self.classify(seen, valid))
            distances = F.relu(self.regressor(self.regress(seen, valid)) * self.level_scales[level])
            # half precision cannot distinguish positions far from the beginning
            found.append((logits.mT, distances.mT.float() * points[:, 1:2], valid[:, 0], points))
        logits, distances, valid = (torch.cat(parts, 1) for parts in list(zip(*found, strict=True))[:3])
        points = torch.cat([rest[3] for rest in found])
        return {"logits": logits.float(), "distances": distances, "valid": valid, "points": points}

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """``cls_loss`` over all positions, ``reg_loss`` over positives; both per average number of positives.

        Raises:
            UserError: a sample is not annotated.
        """
        points, valid = outputs["points"], outputs["valid"]
        segments, kinds = (ragged.split() for ragged in required_targets(batch, Ragged, "segments", "classes"))
        found = [assign(points, *each, self.center_sample_radius) for each in zip(segments, kinds, strict=True)]
        true, classes = (torch.stack(parts) for parts in zip(*found, strict=True))
        positive = valid & (classes > 0).any(-1)
        if self.training:
            count = batch.collectives.all_reduce_mean(positive.sum().float()).clamp(min=1)
            self.positives.lerp_(count.to(self.positives), 1 - MEMORY)
        classes = classes * (1 - self.label_smoothing) + self.label_smoothing / (classes.shape[-1] + 1)
        distance = boundary_loss(outputs["distances"][positive], true[positive])
        # a copy: with gradient accumulation the next forward pass changes the buffer before this backward pass
        average = self.positives.clone()
        return {
            "cls_loss": focal_loss(outputs["logits"][valid], classes[valid]).sum() / average,
            "reg_loss": self.regression_weight * distance.sum() / average,
        }

    def predict(self, outputs: Outputs, batch: Batch) -> list[Sample]:
        """The samples with ``segments``, best first."""
        outputs = {key: value.detach() for key, value in outputs.items()}
        place = outputs["points"][:, 0]
        starts, ends = (place + sign * outputs["distances"][..., i] for i, sign in enumerate((-1, 1)))
        segments = torch.stack((starts, ends), -1).double().cpu().numpy()
        scores = (outputs["logits"].sigmoid() * outputs["valid"][..., None]).double().cpu().numpy()
        levels = np.unique(outputs["points"][:, 1].cpu().numpy(), return_inverse=True)[1]
        found = []
        for sample, rows, row_scores in zip(batch.samples, segments, scores, strict=True):
            first, step = _grid(sample)
            kept, kept_scores, labels = self._select(rows, row_scores, levels)
            seconds = covered_seconds(sample) if sample.duration is None else sample.duration
            fractions = (kept * step + first).clip(0, seconds) / seconds
            table = np.column_stack((fractions, kept_scores))
            found.append(with_predictions(sample, table, seconds, None if self.num_classes is None else labels))
        return found

    def _select(self, segments: Array, scores: Array, levels: Array) -> tuple[Array, Array, Array]:
        """Segments (P, 2), scores (P, K) and levels (P,) of positions -> the best segments, scores and classes."""
        long = segments[:, 1] - segments[:, 0] > self.min_duration
        place, label = np.nonzero((scores > MIN_SCORE) & long[:, None])
        order = np.argsort(-scores[place, label], kind="stable")
        kept = [order[levels[place[order]] == level][: self.pre_nms_top_k] for level in range(levels.max() + 1)]
        order = np.concatenate(kept)
        place, label = place[order], label[order]
        return suppress_by_class(
            segments[place],
            scores[place, label],
            label,
            self.soft_nms_sigma,
            self.post_process_top_k,
            MIN_SCORE,
            self.voting_threshold,
        )


@frozen
class _OnGrid:
    """Sets the targets ``segments`` (n, 2) in positions of the features, and ``classes`` (n, K) one-hot, float32."""

    num_classes: int | None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``DataError`` if the duration is not known, ``UserError`` if segments have no valid classes."""
        first, step = _grid(sample)
        true = sample.segments
        if true is None:
            return sample
        if self.num_classes is not None and true.labels is None:
            raise UserError(
                f"{sample_label(sample)}: training needs the true segments of every sample, with their classes"
            )
        segments = (np.asarray(true.spans, np.float64) - first) / step
        labels = np.zeros(len(segments), np.int64) if self.num_classes is None else np.asarray(true.labels)
        classes = (labels[:, None] == np.arange(self.num_classes or 1)).astype(np.float32)
        if (classes.sum(1) != 1).any():
            raise UserError(f"{sample_label(sample)}: has classes {labels.tolist()}, the model has {self.num_classes}")
        return sample.with_targets(segments=Varying(segments.astype(np.float32)), classes=Varying(classes))


def assign(points: Tensor, segments: Tensor, classes: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Assign to each position the shortest of the segments that match it (section 3.3).

    A segment matches a position that lies within it, less than ``radius`` strides from its middle, and whose larger
    distance to start and end is in the range of the level.

    Args:
        points: (P, 2) place and stride.
        segments: (n, 2).
        classes: (n, K) one-hot.
        radius: in strides.

    Returns:
        Distances to start and end (P, 2), undefined for positions without segment; classes (P, K), 1.0 or 0.0.
    """
    place, stride = points[:, :1], points[:, 1:]
    if not len(segments):
        return torch.zeros_like(points), points.new_zeros(len(points), classes.shape[1])
    low = torch.where(stride > 1, FINEST / 2 * stride, 0)
    high = torch.where(stride < stride.max(), FINEST * stride, math.inf)
    distances = torch.stack((place - segments[:, 0], segments[:, 1] - place), -1)
    farthest = distances.amax(-1)
    fits = (distances.amin(-1) > 0) & ((place - segments.mean(1)).abs() < radius * stride)
    fits &= (farthest >= low) & (farthest <= high)
    lengths = torch.where(fits, segments[:, 1] - segments[:, 0], math.inf)
    shortest, which = lengths.min(1, keepdim=True)
    assigned = fits & (lengths <= shortest + SAME)
    return distances.take_along_dim(which[..., None], 1)[:, 0], (assigned.to(classes) @ classes).clamp(max=1)


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of independent classes (arXiv:1708.02002): one value per logit; targets may be soft."""
    chance = logits.sigmoid()
    wrong = chance * (1 - targets) + (1 - chance) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * wrong**gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def boundary_loss(found: Tensor, true: Tensor) -> Tensor:
    """Distance-IoU loss (arXiv:1911.08287) of segments around one place: 1 - IoU + (gap of middles / hull)^2.

    Args:
        found, true: (n, 2) non-negative distances to start and end.

    Returns:
        (n,)
    """
    shared, hull = torch.minimum(found, true).sum(1), torch.maximum(found, true).sum(1).clamp(min=1e-8)
    union = (found.sum(1) + true.sum(1) - shared).clamp(min=1e-8)
    gap = (found - true).diff(dim=1)[:, 0] / 2
    return 1 - shared / union + (gap / hull) ** 2


def _times(sample: Sample) -> Array:
    if sample.feature_times is None or not len(sample.feature_times):
        raise DataError(f"{sample_label(sample)}: has no feature_times: the duration of the video is not known")
    return np.asarray(sample.feature_times, np.float64)


def _grid(sample: Sample) -> tuple[float, float]:
    """Seconds of the middle of the first position, and between neighbouring positions."""
    times = _times(sample)
    return float(times[0]), float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 2 * float(times[0])
