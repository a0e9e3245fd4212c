"""Questions about videos."""

import json
import re

import pytest

from vid_retrieval.datasets.questions import MSRVTTVQA, MSRVTTVQAMC
from vidcore.errors import AnnotationError


def write(tmp_path, rows, name="qa.json"):
    path = tmp_path / name
    path.write_text(json.dumps(rows))
    return path


def test_questions_have_weighted_answers(tmp_path):
    rows = [
        {"question_id": 9, "video": "a.mp4", "question": "Who's there?", "answer": ["cat", "dog", "cat"]},
        {"question_id": 4, "video": "b.mp4", "question": "What"},
    ]
    answers = write(tmp_path, ["dog", "bird"], "answers.json")
    first, second = dataset = MSRVTTVQA(write(tmp_path, rows), tmp_path, answers)
    assert first.extra["texts"].strings == ("whos there",) and first.extra["texts"].ids.tolist() == [9]
    assert first.key == "9" and first.extra["answers"].strings == ("cat", "dog")
    assert first.extra["answers"].weights.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert "answers" not in second.extra and second.path == str(tmp_path / "b.mp4")
    assert dataset.notes() == [f"1 of 2 questions have an answer in {answers}"]
    assert [s.key for s in MSRVTTVQA(write(tmp_path, rows), indices=[1])] == ["4"]


def test_choices_have_the_right_one_as_label(tmp_path):
    rows = [
        {"video": "a.mp4", "caption": ["A dog.", "a cat"], "answer": 1},
        {"video": "b.mp4", "caption": ["x", "y", "z"]},
    ]
    first, second = dataset = MSRVTTVQAMC(write(tmp_path, rows))
    assert first.extra["texts"].strings == ("a dog", "a cat") and first.label == 1
    assert second.label is None and dataset.num_classes == 3 and dataset.labels.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (MSRVTTVQA, {"video": "a"}, "entry 1: has no 'question'; it has video"),
        (MSRVTTVQA, {"video": "a", "question": "?"}, "entry 1: nothing remains of the question"),
        (MSRVTTVQA, {"video": "a", "question": "x", "question_id": 1.5}, "entry 1: question_id must be a whole number"),
        (MSRVTTVQA, {"video": "a", "question": "x", "answer": 3}, "entry 1: a text must be a string, got 3"),
        (MSRVTTVQAMC, {"video": "a", "caption": "x"}, "entry 1: 'caption' must be a list of at least two captions"),
        (
            MSRVTTVQAMC,
            {"video": "a", "caption": ["x", "y"], "answer": 2},
            "entry 1: answer must be a whole number from 0 to 1",
        ),
    ],
)
def test_entries_that_are_not_valid_are_named(tmp_path, kind, row, message):
    with pytest.raises(AnnotationError, match=re.escape(message)):
        kind(write(tmp_path, [row]))


def test_lists_of_answers_are_checked(tmp_path):
    questions = write(tmp_path, [{"video": "a", "question": "x", "answer": "y"}])
    for content, message in (([], "must be a list of answers"), (["a", "a"], "the answer 'a' is listed twice")):
        with pytest.raises(AnnotationError, match=message):
            MSRVTTVQA(questions, answer_list=write(tmp_path, content, "answers.json"))
