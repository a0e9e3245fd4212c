"""Annotation files as flat arrays."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen

from vid_recognition.datasets.classes import Vocabulary
from vid_recognition.datasets.readers import Layout, Row, read_rows
from vidcore.data.classes import check_file
from vidcore.data.index import Ragged, StringTable, select_rows
from vidcore.errors import AnnotationError, DataError

__all__ = ["Annotations", "Labels", "load_annotations"]

Labels = np.ndarray[Any, np.dtype[np.int32]] | Ragged[np.int32]
"""Single-label: (N,) int32, -1 if unknown. Multi-label: the class numbers of each entry."""


@frozen(eq=False)
class Annotations:
    """The content of an annotation file with N entries."""

    names: StringTable
    labels: Labels
    numbers: np.ndarray[Any, np.dtype[Any]]
    """(N, columns) int32, or float64 with decimals: the number columns of the layout, such as the number of frames."""
    class_names: tuple[str, ...] | None = None
    num_classes: int | None = None
    notes: tuple[str, ...] = ()
    """What is odd about the file, one sentence each."""

    def take(self, indices: int | Sequence[int]) -> Annotations:
        """Return the first n entries (n >= 0), the last -n (n < 0), or the listed ones."""
        rows = select_rows(indices, len(self.names))
        labels = self.labels.take(rows) if isinstance(self.labels, Ragged) else self.labels[rows]
        return evolve(self, names=self.names.take(rows), labels=labels, numbers=self.numbers[rows])


def load_annotations(
    file: Path, layout: Layout, class_names: tuple[str, ...] | None = None, num_classes: int | None = None
) -> Annotations:
    """Read an annotation file.

    Raises ``AnnotationError`` for a line that is not valid, ``DataError`` for a missing or empty file.
    """
    check_file(file, "annotation file")
    vocabulary = Vocabulary(file, class_names, num_classes)
    counts, lines = array("i"), array("i")
    numbers: array[Any] = array("d" if layout.decimals else "i")
    labelled: Row | None = None
    unlabelled: Row | None = None

    def names() -> Iterator[str]:
        nonlocal labelled, unlabelled
        for row in read_rows(file, layout):
            lines.append(row.line)
            counts.append(len(row.labels))
            numbers.extend(row.numbers)
            for label in row.labels:
                vocabulary.add(label, row.line)
            if row.labels:
                labelled = labelled or row
            else:
                unlabelled = unlabelled or row
            yield row.name

    table = StringTable.from_strings(names())
    if not len(table):
        raise DataError(f"annotation file {file} has no entries")
    if labelled and unlabelled and not layout.multi_class and not layout.compat:
        where, other = f"{file}:{unlabelled.line}", f"line {labelled.line}"
        raise AnnotationError(f"{where}: no label for {unlabelled.name!r}, but {other} has one")
    values, sizes = vocabulary.finish(), np.array(counts, np.int64)
    labels: Labels
    if layout.multi_class:
        labels = Ragged(values, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]))
    else:
        labels = np.full(len(sizes), -1, np.int32)
        labels[sizes == 1] = values
    columns = np.array(numbers, np.float64 if layout.decimals else np.int32).reshape(len(table), len(layout.columns))
    found = Annotations(table, labels, columns, vocabulary.class_names, vocabulary.num_classes)
    return evolve(found, notes=tuple(_repetitions(file, layout, found, lines)))


def _repetitions(file: Path, layout: Layout, found: Annotations, lines: Sequence[int]) -> list[str]:
    """Return a note if lines repeat earlier ones.

    Raises ``AnnotationError`` if one video has two classes, except that lists of published code may be so.
    """
    paths = map(os.path.normpath, found.names)
    if {"offset", "start"} & set(layout.columns):  # several samples of one folder or file
        paths = map(repr, zip(paths, found.numbers.tolist(), strict=True))
    hashes = np.fromiter(map(hash, paths), np.int64, len(found.names))
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    later = np.flatnonzero(first[group] != np.arange(len(hashes)))
    repeated: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    for i in later.tolist():
        j = int(first[group[i]])
        same = np.array_equal(np.sort(found.labels[i], axis=None), np.sort(found.labels[j], axis=None))
        (repeated if same else other).append((i, j))
    notes = []
    if other:
        i, j = other[0]
        what = f"{found.names[i]!r} has the label {_label(found, i)}, but {_label(found, j)} in line {lines[j]}"
        if not layout.multi_class and not layout.compat:
            raise AnnotationError(f"{file}:{lines[i]}: {what}; several labels need multi_class = true")
        many = "1 line has" if len(other) == 1 else f"{len(other)} lines have"
        notes.append(f"{many} a different label than an earlier line for the same video: {file}:{lines[i]}: {what}")
    if repeated:
        i, j = repeated[0]
        many = "1 line repeats an earlier one" if len(repeated) == 1 else f"{len(repeated)} lines repeat earlier ones"
        notes.append(f"{many}, for example {file}:{lines[i]} that of line {lines[j]}")
    return notes


def _label(found: Annotations, index: int) -> str:
    names = found.class_names or ()
    numbers = np.atleast_1d(found.labels[index]).tolist()
    return ", ".join(repr(names[n]) if 0 <= n < len(names) else str(n) for n in numbers) or "none"
