"""Turning the labels of an annotation file into class numbers."""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from vidcore.errors import AnnotationError, DataError, nearest

__all__ = ["INTEGER", "Vocabulary"]

INTEGER = re.compile(r"[+-]?[0-9]{1,9}").fullmatch
"""Longer digits are no class and no number of frames, but part of a name."""


class Vocabulary:
    """Collects labels and numbers them at the end, when it is clear whether they are names or numbers.

    A label among ``class_names`` is that class, else a whole number is a class number. Without
    ``class_names``, labels that are all whole numbers are class numbers; otherwise the names are
    sorted and numbered from 0. Mistakes are reported with the line where a label first occurs.
    """

    def __init__(self, file: Path, class_names: tuple[str, ...] | None = None, num_classes: int | None = None) -> None:
        if class_names is not None and num_classes not in (None, len(class_names)):
            raise DataError(f"num_classes is {num_classes}, but there are {len(class_names)} class names")
        self.file = file
        self.class_names = class_names
        self.num_classes = num_classes if class_names is None else len(class_names)
        self._ids: dict[int | str, int] = {}
        self._lines: list[int] = []
        self._labels = array("i")

    def add(self, label: int | str, line: int) -> None:
        """Note the next label and the line it stands in."""
        number = self._ids.setdefault(label, len(self._ids))
        if number == len(self._lines):
            self._lines.append(line)
        self._labels.append(number)

    def finish(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Return the class numbers of all labels in order of arrival: (labels,) int32."""
        if self.class_names is None and not all(isinstance(x, int) or INTEGER(x) for x in self._ids):
            self._learn_names()
        known = {name: i for i, name in enumerate(self.class_names or ())}
        numbers = [self._class_number(label, known) for label in self._ids]
        return np.array(numbers, np.int32)[np.array(self._labels, np.int32)]

    def _learn_names(self) -> None:
        for label in self._ids:
            if isinstance(label, int):
                raise self._error(label, f"label {label} is a number, but other labels are names")
        self.class_names = tuple(sorted(map(str, self._ids)))
        if self.num_classes not in (None, len(self.class_names)):
            raise DataError(
                f"{self.file} names {len(self.class_names)} classes, but num_classes is {self.num_classes}; "
                "give all names with classes"
            )
        self.num_classes = len(self.class_names)

    def _class_number(self, label: int | str, known: dict[str, int]) -> int:
        if isinstance(label, str):
            if label in known:
                return known[label]
            if not INTEGER(label):
                raise self._error(label, f"label {label!r} is none of the {len(known)} classes{nearest(label, known)}")
        number = int(label)
        if not 0 <= number < (self.num_classes or 2**31):
            allowed = f"0 to {self.num_classes - 1}" if self.num_classes else "0 and up"
            raise self._error(label, f"label {number} is out of range, allowed is {allowed}")
        return number

    def _error(self, label: int | str, text: str) -> AnnotationError:
        return AnnotationError(f"{self.file}:{self._lines[self._ids[label]]}: {text}")
