"""Answers: normal form, accuracy, files."""

import json

import numpy as np
import pytest

from vid_retrieval.answers import APOSTROPHES, normal_answer
from vid_retrieval.metrics.answers import VQAMCACC, ReportVQA, VQAAcc
from vid_retrieval.records import Answers, Texts
from vidcore.errors import DataError, UserError
from vidcore.metrics import Mistakes
from vidcore.sample import Sample


def question(index, answers, predicted):
    texts = Texts(("what is it",), np.array([100 + index]))
    shares = np.full(len(answers), 1 / len(answers))
    target = Sample(index=index, key=str(100 + index), extra={"texts": texts, "answers": Answers(answers, shares)})
    return target.with_extra(answers=Answers(predicted, np.ones(len(predicted)))), target


def test_contractions_with_a_missing_apostrophe():
    assert [normal_answer(a) for a in ("isnt", "couldnt've", "couldn'tve", "oclock", "twas")] == [
        "isn't", "couldn't've", "couldn't've", "o'clock", "'twas",
    ]  # fmt: skip
    assert len(APOSTROPHES) == len(set(APOSTROPHES)) and normal_answer("lets") == "lets"


def test_accuracy_of_answers_and_the_file_of_all_answers(tmp_path):
    pairs = [
        question(0, ("running", "walking"), ("Running!", "walking")),  # half of the annotators: full score
        question(1, ("a", "b", "c", "d"), ("b",)),  # a quarter
        question(2, ("two",), ("3",)),
    ]
    metrics = VQAAcc(), ReportVQA(), Mistakes()
    for metric in metrics:
        metric.update([p for p, _ in pairs], [t for _, t in pairs])
    assert metrics[0].compute()["VQA/acc"] == pytest.approx(100 * (1 + 0.25 / 0.3 + 0) / 3)
    (path,) = metrics[1].write(tmp_path)
    assert json.loads(path.read_text()) == [
        {"question_id": 100, "answer": "Running!"},
        {"question_id": 101, "answer": "b"},
        {"question_id": 102, "answer": "3"},
    ]
    (table,) = metrics[2].write(tmp_path)
    assert table.read_text().splitlines()[1] == "102,two,3,0.0"


def test_multiple_choice():
    metric = VQAMCACC()
    targets = [Sample(index=i, label=1) for i in range(4)]
    metric.update([t.replace(scores=np.eye(3, dtype=np.float32)[i % 3]) for i, t in enumerate(targets)], targets)
    assert metric.compute() == {"VQAMC/acc": 25}


def test_what_cannot_be_scored_is_refused():
    predicted, target = question(0, ("a",), ())
    with pytest.raises(DataError, match="question 100 has no predicted answer"):
        VQAAcc().update([predicted], [target])
    with pytest.raises(DataError, match="VQAMCACC needs scores"):
        VQAMCACC().update([target], [target])
    with pytest.raises(UserError, match="must be above 0 and at most 1, got 0"):
        VQAAcc(0)
