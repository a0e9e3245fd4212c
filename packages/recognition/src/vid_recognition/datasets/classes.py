"""Conversion of the labels of an annotation file to class numbers."""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from vidcore.data.classes import MOST_CLASSES
from vidcore.errors import AnnotationError, DataError, nearest

__all__ = ["INTEGER", "OTHER_NUMBER", "Vocabulary"]

INTEGER = re.compile(r"[+-]?[0-9]{1,9}").fullmatch
"""More than nine digits are not a class number or a number of frames."""
OTHER_NUMBER = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]{10,}|[0-9]+(\.[0-9]*)?e[+-]?[0-9]+)", re.I).fullmatch
"""A number that cannot be a class number, and is hardly a name."""


class Vocabulary:
    """Collects labels and numbers them at the end, once it is clear whether they are names or numbers.

    With ``class_names``, a label is one of these names or a class number. Without them, labels are
    class numbers if all are integers, or names if none is, sorted and numbered from 0.
    Errors name the line in which a label first occurs, or what ``place`` makes of its number: ``"{file}:{line}"``.
    """

    def __init__(
        self,
        file: Path,
        class_names: tuple[str, ...] | None = None,
        num_classes: int | None = None,
        place: str = "{file}:{line}",
    ) -> None:
        if class_names is not None and num_classes not in (None, len(class_names)):
            raise DataError(f"num_classes is {num_classes}, but there are {len(class_names)} class names")
        if num_classes is not None and not 1 <= num_classes <= MOST_CLASSES:
            raise DataError(f"num_classes is {num_classes}; it must be from 1 to {MOST_CLASSES}")
        self.file, self.place = file, place
        self.class_names = class_names
        self.num_classes = num_classes if class_names is None else len(class_names)
        self._ids: dict[int | str, int] = {}
        self._lines: list[int] = []
        self._labels = array("i")

    def add(self, label: int | str, line: int) -> None:
        """Add the next label and its line."""
        number = self._ids.setdefault(label, len(self._ids))
        if number == len(self._lines):
            self._lines.append(line)
        self._labels.append(number)

    def finish(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Return the class numbers of all labels, in the order they were added: (labels,) int32."""
        if self.class_names is None and not all(isinstance(x, int) or INTEGER(x) for x in self._ids):
            self._learn_names()
        known = {name: i for i, name in enumerate(self.class_names or ())}
        numbers = [self._class_number(label, known) for label in self._ids]
        return np.array(numbers, np.int32)[np.array(self._labels, np.int32)]

    def _learn_names(self) -> None:
        hint = "list all names in classes"
        if other := next((label for label in self._ids if isinstance(label, str) and OTHER_NUMBER(label)), None):
            raise self._error(other, f"label {other!r} is not a class number; if it is a name, {hint}")
        for label in self._ids:
            if isinstance(label, int) or INTEGER(label):
                raise self._error(label, f"label {label} is a number, but others are names; {hint}")
        self.class_names = tuple(sorted(map(str, self._ids)))
        if self.num_classes not in (None, len(self.class_names)):
            raise DataError(
                f"{self.file} has {len(self.class_names)} class names, but num_classes is {self.num_classes}; "
                "list all names in classes"
            )
        self.num_classes = len(self.class_names)

    def _class_number(self, label: int | str, known: dict[str, int]) -> int:
        if isinstance(label, str):
            if label in known:
                return known[label]
            if not INTEGER(label):
                raise self._error(
                    label, f"label {label!r} is not one of the {len(known)} classes{nearest(label, known)}"
                )
        number = int(label)
        count = self.num_classes or MOST_CLASSES
        if not 0 <= number < count:
            raise self._error(label, f"label {number} is out of range; allowed: 0 to {count - 1}")
        return number

    def _error(self, label: int | str, text: str) -> AnnotationError:
        line = self._lines[self._ids[label]]
        return AnnotationError(f"{self.place.format(file=self.file, line=line)}: {text}")
