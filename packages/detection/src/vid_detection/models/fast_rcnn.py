"""Fast R-CNN for actions: a clip around a key frame, and what each of the given boxes in this frame does.

Papers: Fast R-CNN, arXiv:1504.08083; AVA, arXiv:1705.08421; SlowFast, arXiv:1812.03982, section 4.
Shapes: B samples, N boxes of each, K classes, T frames; clips (B, 1, C, T, H, W) or (B, C, T, H, W).
What differs: boxes come from a person detector and are not refined. There is no proposal network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from attrs import frozen
from torch import Tensor, nn

from vid_detection.banks import bank_key, open_bank
from vid_detection.models.assigning import MaxIoUAssignerAVA, RandomSampler, box_targets
from vid_detection.models.feature_bank import LFB, FBOHead
from vid_detection.models.roi_head import AVARoIHead
from vidcore.batch import Batch, Ragged
from vidcore.errors import DataError, UserError
from vidcore.nn import Model, Preprocessor, image_weights, require_type
from vidcore.protocols import ReadsBoxes, Transform
from vidcore.records import Boxes, Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["FastRCNN"]


class FastRCNN(Model):
    """A video backbone and a head for the actions of boxes.

    Proposals come with the sample, and so does the truth in training (``Sample.proposals``, ``Sample.boxes``). Labels
    are class numbers, one for each box, or multi-hot rows. Training uses true boxes and proposals that match them;
    prediction uses the proposals, in their order. A sample without boxes has no influence on the loss, and an empty
    prediction.

    Args:
        backbone: network that maps clips to one map of features, or to several pathways.
        roi_head: box features and classifier.
        data_preprocessor: preprocessing of clips; default: conversion to float32.
        assigner: matches proposals with true boxes.
        sampler: chooses among them.
        pos_weight: weight in the loss of boxes that match a true one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        roi_head: nn.Module,
        data_preprocessor: nn.Module | None = None,
        assigner: MaxIoUAssignerAVA = MaxIoUAssignerAVA(min_pos_iou=0.9),  # noqa: B008 - immutable
        sampler: RandomSampler = RandomSampler(),  # noqa: B008 - immutable
        pos_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.roi_head = require_type(roi_head, AVARoIHead, "roi_head")
        preprocessor = Preprocessor() if data_preprocessor is None else data_preprocessor
        self.data_preprocessor = require_type(preprocessor, Preprocessor, "data_preprocessor")
        self.assigner, self.sampler, self.pos_weight = assigner, sampler, pos_weight

    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        multilabel = self.roi_head.bbox_head.multilabel
        if labels == "multi" and not multilabel:
            raise UserError("boxes have several labels: set multilabel of the bbox_head")
        return f"{'sigmoid' if multilabel else 'softmax'} of the actions of each box"

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        head = self.roi_head.bbox_head
        known = counts.new_zeros(head.num_classes)
        known[: len(counts)] = counts
        return head.weight_classes(known.to(next(self.parameters()).device), samples)

    def sample_step(self) -> Transform:
        """Add the proposals to the inputs, and what to learn to the targets."""
        head, shared = self.roi_head.bbox_head, self.roi_head.shared_head
        window = shared.lfb if isinstance(shared, FBOHead) else None
        return _BoxInputs(head.num_classes, self.assigner, self.sampler, self.pos_weight, window)

    def preprocess(self, batch: Batch) -> Batch:
        """Normalise clips; while training, replace the proposals with the boxes to learn from.

        Raises ``UserError`` if the clips have several views.
        """
        if not isinstance(batch.inputs, Mapping) or not {"imgs", "boxes"} <= batch.inputs.keys():
            raise UserError("FastRCNN needs clips (FormatShape) and boxes, which its sample_step puts beside them")
        clips = batch.inputs["imgs"]
        if clips.ndim == 5:  # FormatShape with collapse
            clips = clips[:, None]
        if clips.ndim != 6 or clips.shape[1] != 1:
            raise UserError(f"FastRCNN needs one clip of each sample (batch 1 C T H W), got shape {tuple(clips.shape)}")
        clips = self.data_preprocessor.normalise(clips)[:, 0]
        batch = batch.replace(inputs={**batch.inputs, "imgs": clips, "count": batch.lengths["boxes"]})
        return self.with_training_boxes(batch) if self.training else batch

    def with_training_boxes(self, batch: Batch) -> Batch:
        """Return a preprocessed batch with the boxes to learn from, and their targets, instead of the proposals.

        Raises ``UserError`` if a sample has no truth.
        """
        if "learnt_boxes" not in batch.targets:
            raise UserError("training needs true boxes with labels (Sample.boxes) for each sample")
        boxes, labels, weights = (batch.targets[f"learnt_{name}"] for name in ("boxes", "labels", "weights"))
        assert isinstance(boxes, Ragged)
        inputs = {**batch.inputs, "boxes": _padded(boxes), "count": boxes.lengths}
        return batch.replace(inputs=inputs, targets={**batch.targets, "labels": labels, "weights": weights})

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores of each box before a sigmoid or softmax, and of the background if there is one: (B, N, K).

        Args:
            inputs: ``imgs`` (B, C, T, H, W), normalised; ``boxes`` (B, N, 4) ``x1, y1, x2, y2`` in pixels. Optional:
                ``count`` (B,) boxes that are not padding; ``bank`` (B, L, D) rows of a feature bank.
        """
        features = self.backbone(inputs["imgs"])
        out: Tensor = self.roi_head(features, inputs["boxes"], inputs.get("count"), inputs.get("bank"))
        return out

    def box_vectors(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the features of boxes, pooled as those in feature banks are: (R, C), clip by clip.

        Args:
            inputs: of ``forward``.
        """
        x = self.roi_head.box_features(self.backbone(inputs["imgs"]), inputs["boxes"], inputs.get("count"))
        return x.mean(2).amax((2, 3))

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss_action_cls``, and recall and precision of classes, of the boxes in the batch.

        Raises ``UserError`` if a sample has no truth.
        """
        labels, weights = batch.targets.get("labels"), batch.targets.get("weights")
        if not isinstance(labels, Ragged):
            raise UserError("the loss needs true boxes with labels (Sample.boxes) for each sample")
        rows = outputs[labels.owners, labels.places]
        return self.roi_head.bbox_head.loss(
            rows, labels.values, weights.values if isinstance(weights, Ragged) else None
        )

    def predict(self, outputs: Tensor, batch: Batch) -> list[Sample]:
        """Return the samples with ``boxes``: the proposals, with the probability of each class (n, K).

        They are fractions of width and height of the decoded frame (``relative``).
        """
        head = self.roi_head.bbox_head
        scores = head.actions(head.probabilities(outputs.float()))
        found = []
        for i, sample in enumerate(batch.samples):
            count = int(batch.lengths["boxes"][i])
            proposals = sample.proposals if isinstance(sample.proposals, Boxes) else None
            xyxy = np.zeros((0, 4), np.float32) if proposals is None else proposals.xyxy
            track = None if proposals is None else proposals.track
            rows = scores[i, :count].detach().cpu().numpy()
            boxes = Boxes(_fractions(xyxy, sample), scores=rows, track=track, relative=True)
            found.append(sample.replace(boxes=boxes))
        return found

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return the backbone of a recognizer, or of an image network after conversion; None for a whole detector."""
        own = self.state_dict()
        if not any(key in own and own[key].ndim == value.ndim for key, value in state_dict.items() if value.ndim > 2):
            return image_weights(self.backbone, state_dict)
        if any(key.startswith("roi_head.") for key in state_dict):
            return None
        return {key: value for key, value in state_dict.items() if key in own}


@frozen
class _BoxInputs(ReadsBoxes):
    """Sets the input ``boxes`` (n, 4), and the targets ``labels`` (n, K) of these.

    The boxes to learn from are the targets ``learnt_boxes`` (m, 4), ``learnt_labels`` (m, K) and ``learnt_weights``
    (m,). With a feature bank, sets the input ``bank`` (L, D). Everything is float32.
    """

    num_classes: int
    assigner: MaxIoUAssignerAVA
    sampler: RandomSampler
    pos_weight: float
    window: LFB | None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``DataError`` for boxes that are not valid, or labels beyond the classes."""
        boxes = _checked(sample, sample.proposals, "proposals")
        sample = sample.with_inputs(boxes=Varying(boxes))
        if self.window is not None and "bank" not in sample.inputs:
            sample = sample.with_inputs(bank=self._window(self.window, sample, rng))
        if sample.boxes is None or sample.boxes.labels is None:
            return sample
        truth, labels = _checked(sample, sample.boxes, "boxes"), self._labels(sample)
        assigned = self.assigner.assign(boxes, truth, labels)
        chosen = self.sampler.sample(assigned, boxes, truth, labels, rng)
        positives = len(chosen.positives)
        learnt, weights = box_targets([chosen.labels[:positives]], [len(chosen.negatives)], self.pos_weight)
        return sample.with_targets(
            labels=Varying(assigned.labels),
            learnt_boxes=Varying(chosen.boxes),
            learnt_labels=Varying(learnt),
            learnt_weights=Varying(weights),
        )

    def _labels(self, sample: Sample) -> Array:
        """Return labels of the true boxes as (n, K) float32."""
        assert sample.boxes is not None
        labels = np.asarray(sample.boxes.labels)
        known = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=-1)) + 1
        if known > self.num_classes or labels.min(initial=0) < 0 or (labels.ndim == 2 and known != self.num_classes):
            what = f"labels of {known} classes" if labels.ndim == 2 else f"labels from {labels.min()} to {labels.max()}"
            raise DataError(
                f"sample {sample.index} ({sample.path}): boxes have {what}, but the model has {self.num_classes}"
                " (num_classes of the bbox_head)"
            )
        if labels.ndim == 2:
            return labels.astype(np.float32)
        return np.eye(self.num_classes, dtype=np.float32)[labels]

    def _window(self, options: LFB, sample: Sample, rng: np.random.Generator) -> Array:
        if options.bank is None:
            raise UserError("FBOHead: lfb_cfg.bank must be the folder of a feature bank")
        return options.window(open_bank(str(options.bank)), *bank_key(sample), rng)


def _checked(sample: Sample, boxes: Any, name: str) -> Array:
    """Return (n, 4) float32 boxes in pixels; none if the sample has none."""
    if boxes is None:
        return np.zeros((0, 4), np.float32)
    at = f"sample {sample.index} ({sample.path}): {name}"
    if not isinstance(boxes, Boxes):
        raise DataError(f"{at} must be boxes, found {type(boxes).__name__}")
    if boxes.relative:
        raise DataError(f"{at} are still fractions of the frame: the pipeline needs Decode before the model")
    xyxy = np.asarray(boxes.xyxy, np.float32)
    wrong = ~np.isfinite(xyxy).all(1) | (xyxy[:, 2:] < xyxy[:, :2]).any(1)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{at}: row {row + 1} is {xyxy[row].tolist()}; boxes are x1, y1, x2, y2 with x1 <= x2, y1 <= y2"
        )
    return xyxy


def _fractions(xyxy: Array, sample: Sample) -> Array:
    """Return boxes of the current frames as fractions of the decoded ones."""
    if sample.geometry is None:
        raise UserError(f"sample {sample.index} ({sample.path}): boxes need the size of the frames: see Decode")
    return np.asarray(sample.geometry.relative(xyxy), np.float32)


def _padded(rows: Ragged) -> Tensor:
    """Return the rows of each sample, padded with zeros: (B, N, ...)."""
    most = int(rows.lengths.max()) if len(rows.lengths) else 0
    out = rows.values.new_zeros((len(rows.lengths), most, *rows.values.shape[1:]))
    out[rows.owners, rows.places] = rows.values
    return out
