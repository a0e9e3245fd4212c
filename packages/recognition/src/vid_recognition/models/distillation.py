"""Distillation of class scores: a small recognizer learns to relate classes and samples as a larger one does.

Paper: Knowledge Distillation from A Stronger Teacher, arXiv:2205.10536, section 4.

Shapes: B samples, V views, R rows (the views or frames of a sample that are scored separately), N rows of all samples,
K classes.

What differs: the teacher is in evaluation mode as a whole. Published trainings kept its dropout.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.heads import ClassificationHead
from vid_recognition.models.recognizers import Recognizer
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.nn import FeatureModel, require, require_type
from vidcore.sample import Sample

__all__ = ["Distillation", "correlation_distance", "relation_loss"]

Outputs = Tensor | tuple[Tensor, Tensor, Tensor]


def correlation_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of 1 - Pearson's correlation of the rows of two matrices (equation 4).

    >>> float(correlation_distance(torch.tensor([[1.0, 2, 3]]), torch.tensor([[2.0, 4, 6]])).round(decimals=4))
    0.0
    """
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return (1 - F.cosine_similarity(a, b)).mean()


def relation_loss(
    student: Tensor, teacher: Tensor, inter_weight: float = 1.0, intra_weight: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """Compare the relations of classes within rows, and of rows within classes (equations 8 to 10).

    Args:
        student, teacher: class scores before softmax, (N, K).
        inter_weight: weight of the relations of the classes of a row, beta in the paper.
        intra_weight: weight of the relations of the rows of a class, gamma in the paper.
        temperature: divides the scores before softmax.
    """
    ours, theirs = ((scores.float() / temperature).softmax(1) for scores in (student, teacher))
    loss = inter_weight * correlation_distance(ours, theirs) + intra_weight * correlation_distance(ours.T, theirs.T)
    return temperature**2 * loss


class Distillation(FeatureModel):
    """Trains a student with its own loss and with the scores of a teacher, which is not trained.

    ``train.weights = { teacher = "..." }`` has the weights of the teacher. Predictions are those of the student; its
    weights alone are those of a checkpoint with ``train.weights_prefix = "student."``.

    Args:
        student: the recognizer to train; its preprocessing is used for both.
        teacher: a recognizer with the same classes that scores as many rows of a sample.
        loss_weight: weight of the loss of relations.
        inter_weight, intra_weight, temperature: see ``relation_loss``.

    ``forward``: inputs of the student -> its scores (B, V, K). With gradients, followed by the scores of the rows of
    the student and of the teacher, (B, R, K) each.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        loss_weight: float = 1.0,
        inter_weight: float = 1.0,
        intra_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.student = require_type(student, Recognizer, "student")
        self.teacher = require_type(teacher, Recognizer, "teacher")
        ours, theirs = _head(self.student, "student"), _head(self.teacher, "teacher")
        require(
            ours.num_classes == theirs.num_classes,
            f"student and teacher must have the same classes, and have {ours.num_classes} and {theirs.num_classes}",
        )
        require(temperature > 0, f"temperature must be positive, got {temperature}")
        self.loss_weight, self.temperature = loss_weight, temperature
        self.inter_weight, self.intra_weight = inter_weight, intra_weight
        self.teacher.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Distillation:
        super().train(mode)
        self.teacher.eval()
        return self

    def preprocess(self, batch: Batch) -> Batch:
        return self.student.preprocess(batch)

    def forward(self, inputs: Tensor) -> Outputs:
        if not torch.is_grad_enabled():
            scores: Tensor = self.student(inputs)
            return scores
        rows = _rows(self.student, inputs)
        with torch.no_grad():
            taught = _rows(self.teacher, inputs)
        if rows.shape != taught.shape:
            raise UserError(
                f"student and teacher must score as many rows of a sample, and score {rows.shape[1]} and "
                f"{taught.shape[1]}: see num_segments"
            )
        return _head(self.student, "student").combine(rows), rows, taught

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the losses and accuracies of the student, and ``loss_dist``."""
        if isinstance(outputs, Tensor):
            return self.student.loss(outputs, batch)
        scores, rows, taught = outputs
        relations = relation_loss(
            rows.flatten(0, 1), taught.flatten(0, 1), self.inter_weight, self.intra_weight, self.temperature
        )
        return self.student.loss(scores, batch) | {"loss_dist": self.loss_weight * relations}

    def class_scores(self, outputs: Outputs) -> Tensor:
        return self.student.class_scores(outputs if isinstance(outputs, Tensor) else outputs[0])

    def predict(self, outputs: Outputs, batch: Batch) -> list[Sample]:
        return self.student.predict(outputs if isinstance(outputs, Tensor) else outputs[0], batch)

    def clip_features(self, inputs: Any) -> Tensor:
        return self.student.clip_features(inputs)

    def clip_logits(self, inputs: Any) -> Tensor:
        return self.student.clip_logits(inputs)


def _head(recognizer: Recognizer, name: str) -> ClassificationHead:
    require(recognizer.neck is None, f"{name} must not have a neck")
    head: ClassificationHead = require_type(recognizer.cls_head, ClassificationHead, f"{name}.cls_head")
    return head


def _rows(recognizer: Recognizer, inputs: Tensor) -> Tensor:
    """Return the scores of the rows of each sample: (B, R, K)."""
    return _head(recognizer, "recognizer").row_scores(recognizer.extract_features(inputs), len(inputs))
