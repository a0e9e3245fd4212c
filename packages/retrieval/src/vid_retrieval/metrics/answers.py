"""Metrics of answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vid_retrieval.answers import answer_accuracy
from vid_retrieval.records import Answers, Texts, extra_record
from vidcore.errors import DataError, UserError
from vidcore.files import write_json
from vidcore.metrics import Columns, SamplePairs
from vidcore.predictions import require_finite
from vidcore.sample import Sample

__all__ = ["VQAMCACC", "ReportVQA", "VQAAcc"]


def _best(predicted: Sample, target: Sample, where: str) -> str:
    answers = extra_record(predicted, "answers", Answers, where)
    if not len(answers):
        raise DataError(f"{where}: question {target.key} has no predicted answer")
    return answers.strings[0]


class VQAAcc(Columns):
    """Accuracy of answers in percent, ``VQA/acc``: the weight of the equal references, divided by a full score.

    Answers are compared in the normal form of VQA (arXiv:1505.00468), see ``vid_retrieval.answers``.

    Args:
        full_score_weight: weight of references that is enough for full accuracy.
    """

    def __init__(self, full_score_weight: float = 0.3) -> None:
        super().__init__()
        if not 0 < full_score_weight <= 1:
            raise UserError(f"full_score_weight of VQAAcc must be above 0 and at most 1, got {full_score_weight:g}")
        self.full_score_weight = full_score_weight

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predicted and annotated samples with ``extra["answers"]``."""
        require_finite(predictions, targets, "VQAAcc")
        scores = []
        for predicted, target in zip(predictions, targets, strict=True):
            true = extra_record(target, "answers", Answers, "VQAAcc")
            best = _best(predicted, target, "VQAAcc")
            scores.append(answer_accuracy(best, true.strings, true.weights.tolist(), self.full_score_weight))
        self.add(targets, accuracy=np.array(scores, np.float64))

    def compute(self) -> dict[str, float]:
        """Return the score."""
        return {"VQA/acc": 100 * float(self.columns()["accuracy"].mean())}


class VQAMCACC(Columns):
    """Percentage of multiple choices that are right: ``VQAMC/acc``."""

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predictions with ``scores`` of the options, or ``label``, and targets with ``label``."""
        require_finite(predictions, targets, "VQAMCACC")
        found = [p.label if p.scores is None else int(np.argmax(p.scores)) for p in predictions]
        true = [t.label for t in targets]
        if None in found or None in true:
            raise DataError("VQAMCACC needs scores or the number of an option, and the number of the right one")
        self.add(targets, right=np.array(found) == np.array(true))

    def compute(self) -> dict[str, float]:
        """Return the score."""
        return {"VQAMC/acc": 100 * float(self.columns()["right"].mean())}


class ReportVQA(SamplePairs):
    """Writes the answers to all questions as ``[{"question_id": 0, "answer": "running"}]``; computes no score.

    Args:
        file_path: name in the run folder, or a path.
    """

    def __init__(self, file_path: str = "answers.json") -> None:
        super().__init__()
        self.file_path = file_path

    def check(self, predicted: Sample, target: Sample) -> None:
        """Raise ``DataError`` unless there are a question and a predicted answer."""
        extra_record(target, "texts", Texts, "ReportVQA")
        _best(predicted, target, "ReportVQA")

    def slim(self, sample: Sample) -> Sample:
        """Return the sample with its question and answers alone."""
        extra = {name: sample.extra[name] for name in ("texts", "answers") if name in sample.extra}
        return Sample(index=sample.index, key=sample.key, path=sample.path, extra=extra)

    def compute(self) -> dict[str, float]:
        """Return no scores."""
        return {}

    def write(self, folder: Path) -> list[Path]:
        """Write the file and return its path."""
        path = folder / self.file_path
        rows = []
        for predicted, target in self.pairs():
            ids = extra_record(target, "texts", Texts, "ReportVQA").ids
            number = target.key if ids is None else int(ids[0])
            rows.append({"question_id": number, "answer": _best(predicted, target, "ReportVQA")})
        write_json(path, rows)
        return [path]
