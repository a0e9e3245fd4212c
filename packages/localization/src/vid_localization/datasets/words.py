"""Words: their numbers in a table, and sentences split by the rules of the Penn Treebank, as in published ones."""

from __future__ import annotations

import re
from pathlib import Path

from vidcore.data.fields import whole_number
from vidcore.data.text import read_json

__all__ = ["read_words", "split_words"]

RULES = (
    (re.compile(r"``|''|[\"“”]"), r' " '),
    (re.compile(r"([:,])(?!\d)"), r" \1 "),
    (re.compile(r"(\.{2,})"), r" \1 "),
    (re.compile(r"([;@#$%&?!()\[\]{}<>])"), r" \1 "),
    (re.compile(r"(--)"), r" \1 "),
    (re.compile(r"(\S)('(?:s|m|d|ll|re|ve)|n't)(?=\s|$)", re.IGNORECASE), r"\1 \2"),
    (re.compile(r"(?<=[^'\s])'(?=\s|$)"), r" '"),
)
"""Patterns and their replacements, in order."""
JOINED = re.compile(r"\b(?:(can)(not)|(gon|wan)(na)|(got)(ta)|(gim|lem)(me))\b", re.IGNORECASE)


def split_words(sentence: str) -> list[str]:
    """Split a sentence into words, without full stops.

    >>> split_words("the person doesn't close it, then leaves.")
    ['the', 'person', 'does', "n't", 'close', 'it', ',', 'then', 'leaves']
    """
    text = sentence.replace(".", "")
    for pattern, by in RULES:
        text = pattern.sub(by, text)
    return JOINED.sub(lambda m: " ".join(g for g in m.groups() if g), text).split()


def read_words(file: Path) -> dict[str, int]:
    """Read a table of words and their numbers from a JSON file.

    Raises:
        AnnotationError: a number is not valid.
        DataError: the file does not exist.
    """
    words = read_json(file, "table")
    return {word: whole_number(f"{file}: {word}", number, 1) for word, number in words.items()}
