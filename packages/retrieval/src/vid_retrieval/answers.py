"""Answers to questions: their normal form and their accuracy (VQA, arXiv:1505.00468, visualqa.org/evaluation)."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["answer_accuracy", "normal_answer"]

CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll let's ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've she's should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
UNCHANGED = {"let's", "she's"}
"""Contractions that the official table does not complete."""
APOSTROPHES = {
    word[:i] + word[i + 1 :]: word
    for word in CONTRACTIONS.split()
    if word not in UNCHANGED
    for i, character in enumerate(word)
    if character == "'"
}
"""Contractions by their spelling with one apostrophe missing."""
APOSTROPHES["somebody'd"] = "somebodyd"  # as the official table has it
DIGITS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
DIGITS |= {"seven": "7", "eight": "8", "nine": "9", "ten": "10"}
ARTICLES = {"a", "an", "the"}
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
THOUSANDS = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")


def normal_answer(answer: str) -> str:
    """Return an answer without case, articles and punctuation, with numbers as digits and contractions spelled out.

    >>> normal_answer("The two-wheeled bikes, I think!"), normal_answer("dont know"), normal_answer("1,000 people")
    ('2 wheeled bikes i think', "don't know", '1000 people')
    """
    given = answer.replace("\n", " ").replace("\t", " ").strip()
    text, all_go = given, THOUSANDS.search(given) is not None
    for mark in PUNCTUATION:
        goes = all_go or f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if goes else " ")
    words = (DIGITS.get(word, word) for word in FULL_STOP.sub("", text).lower().split())
    return " ".join(APOSTROPHES.get(word, word) for word in words if word not in ARTICLES)


def answer_accuracy(answer: str, references: Sequence[str], weights: Sequence[float], full: float = 0.3) -> float:
    """Return the accuracy of an answer, from 0 to 1: the weight of the references equal to it, divided by ``full``.

    Args:
        answer: the predicted one; compared in normal form.
        references: annotated answers.
        weights: share of the annotators who gave each.
        full: weight that is enough for full accuracy: 0.3 is three of ten annotators.
    """
    normal = normal_answer(answer)
    weight = sum(w for reference, w in zip(references, weights, strict=True) if normal_answer(reference) == normal)
    return min(1.0, weight / full)
