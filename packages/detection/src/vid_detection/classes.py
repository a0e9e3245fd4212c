"""Class names of AVA, and files that list numbers and names of classes.

Numbers in files of AVA count from 1. vidcore counts classes from 0, and has no background class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidcore.data.classes import MOST_CLASSES
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError

__all__ = ["AVA_CATEGORIES", "AVA_CLASSES", "AVA_EVALUATED", "names_by_id", "read_label_map"]

AVA_CLASSES = (
    "bend/bow (at the waist)",
    "crawl",
    "crouch/kneel",
    "dance",
    "fall down",
    "get up",
    "jump/leap",
    "lie/sleep",
    "martial art",
    "run/jog",
    "sit",
    "stand",
    "swim",
    "walk",
    "answer phone",
    "brush teeth",
    "carry/hold (an object)",
    "catch (an object)",
    "chop",
    "climb (e.g., a mountain)",
    "clink glass",
    "close (e.g., a door, a box)",
    "cook",
    "cut",
    "dig",
    "dress/put on clothing",
    "drink",
    "drive (e.g., a car, a truck)",
    "eat",
    "enter",
    "exit",
    "extract",
    "fishing",
    "hit (an object)",
    "kick (an object)",
    "lift/pick up",
    "listen (e.g., to music)",
    "open (e.g., a window, a car door)",
    "paint",
    "play board game",
    "play musical instrument",
    "play with pets",
    "point to (an object)",
    "press",
    "pull (an object)",
    "push (an object)",
    "put down",
    "read",
    "ride (e.g., a bike, a car, a horse)",
    "row boat",
    "sail boat",
    "shoot",
    "shovel",
    "smoke",
    "stir",
    "take a photo",
    "text on/look at a cellphone",
    "throw",
    "touch (an object)",
    "turn (e.g., a screwdriver)",
    "watch (e.g., TV)",
    "work on a computer",
    "write",
    "fight/hit (a person)",
    "give/serve (an object) to (a person)",
    "grab (a person)",
    "hand clap",
    "hand shake",
    "hand wave",
    "hug (a person)",
    "kick (a person)",
    "kiss (a person)",
    "lift (a person)",
    "listen to (a person)",
    "play with kids",
    "push (another person)",
    "sing to (e.g., self, a person, a group)",
    "take (an object) from (a person)",
    "talk to (e.g., self, a person, a group)",
    "watch (a person)",
)
"""The 80 classes of AVA v2.1 and v2.2; class 0 has the number 1 in AVA's files."""
_RARE = (2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75)
AVA_EVALUATED = tuple(name for number, name in enumerate(AVA_CLASSES, 1) if number not in _RARE)
"""The 60 classes with at least 25 boxes in validation and test, which AVA is scored on."""
AVA_CATEGORIES: Mapping[str, range] = {
    "person_movement": range(14),
    "object_manipulation": range(14, 63),
    "person_interaction": range(63, 80),
}
"""Classes of each category."""

_FIELD = re.compile(r"^\s*(?:name:\s*([\"'])(?P<name>.*)\1|(?:label_)?id:\s*(?P<id>\d+)|label_type:\s*\w+)\s*$")


def read_label_map(file: Path) -> dict[int, str]:
    """Return the names in a ``.pbtxt`` file of AVA by their numbers, which count from 1.

    Raises ``AnnotationError`` with the line if an entry has no name or number, or one that another entry has.
    """
    found: dict[int, str] = {}
    name, number = None, None
    for line, text in enumerate(read_text(file, "label file").splitlines(), 1):
        stripped = text.strip()
        if stripped in ("item {", "label {", "item{", "label{"):
            name, number = None, None
        elif stripped == "}":
            if name is None or number is None:
                raise AnnotationError(f"{file}:{line}: an entry needs a name and an id (or label_id)")
            if number in found or name in found.values():
                raise AnnotationError(f"{file}:{line}: {name!r} or its number {number} is listed twice")
            found[number] = name
        elif stripped:
            match = _FIELD.match(text)
            if match is None:
                raise AnnotationError(
                    f"{file}:{line}: must be 'item {{', 'name: \"...\"', 'id: N' or '}}', got {stripped[:60]!r}"
                )
            name = match["name"] or name
            number = int(match["id"]) if match["id"] else number
            if number is not None and not 1 <= number <= MOST_CLASSES:
                raise AnnotationError(f"{file}:{line}: an id must be 1 to {MOST_CLASSES:,}, got {number}")
    if not found:
        raise DataError(f"label file {file} lists no classes")
    return found


def names_by_id(listed: Mapping[int, str], num_classes: int | None = None) -> tuple[str, ...]:
    """Return a name for each number from 1 to the highest.

    AVA's list for evaluation leaves out 20 numbers; they have their names in AVA, if the others do, too.

    Args:
        listed: names by number.
        num_classes: highest number; default: the highest listed, or 80 for a list of AVA's classes.
    """
    ava = all(number <= len(AVA_CLASSES) and AVA_CLASSES[number - 1] == name for number, name in listed.items())
    highest = num_classes or (len(AVA_CLASSES) if ava else max(listed))
    known = dict(enumerate(AVA_CLASSES, 1)) if ava else {}
    return tuple((listed.get(n) or known.get(n) or f"class {n} (without a name)") for n in range(1, highest + 1))


def class_index(names: Sequence[str]) -> dict[str, int]:
    """Return class numbers by name, where blanks and underscores are the same."""
    return {name.replace("_", " "): number for number, name in enumerate(names)}
