"""Notes about the data of a Task: what is allowed, but likely a mistake. Nothing here imports torch."""

from __future__ import annotations

import os
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field, frozen

from vidcore.data.labels import SampleClasses
from vidcore.data.wrappers import ConcatDataset
from vidcore.errors import some
from vidcore.protocols import Dataset, Observer, StepValues
from vidcore.typing import Array

if TYPE_CHECKING:
    from vidcore.data.pool.loader import Loader

__all__ = ["BadSampleNotes", "Notes", "data_notes"]


@define
class Notes:
    """The notes of a run: each is printed once, and listed in the report."""

    say: Callable[[str], None] = print
    """Prints a line, in a run on rank 0 only."""
    lines: list[str] = field(factory=list)
    _printed: set[str] = field(factory=set)

    def add(self, *notes: str) -> None:
        """Print notes and keep them for the report."""
        for note in notes:
            self.show(note)
            if note not in self.lines:
                self.lines.append(note)

    def show(self, note: str) -> None:
        """Print a note that the report will state later, perhaps with other numbers."""
        if note not in self._printed:
            self.say(f"note: {note}")
        self._printed.add(note)


class BadSampleNotes(Observer):
    """Prints what is known of bad samples after the first epoch, and after the first evaluation that has any."""

    def __init__(self, loaders: Iterable[Loader], notes: Notes) -> None:
        """
        Args:
            loaders: those of the run.
            notes: print.
        """
        self._loaders = list(loaders)
        self._notes = notes

    def on_epoch(self, epoch: int, values: StepValues) -> None:
        self._show()

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        self._show()

    def _show(self) -> None:
        for loader in list(self._loaders):
            for note in loader.bad.notes():
                self._notes.show(note)
                self._loaders.remove(loader)


def data_notes(datasets: Mapping[str, Dataset]) -> list[str]:
    """Return notes about the datasets of a run, by the parts of ``[data]`` that they belong to."""
    paths = {part: _Paths.of(dataset) for part, dataset in datasets.items()}
    return [
        *(f"data.{part}: {note}" for part, dataset in datasets.items() for note in dataset.notes()),
        *_contradictions(paths),
        *_shared_videos(paths),
        *_classes_without_samples(datasets),
        *_similar_class_names(datasets),
        *_similar_paths(paths),
    ]


@frozen(eq=False)
class _Paths:
    """The paths of a dataset as hashes, which take a tenth of the memory."""

    dataset: Dataset
    exact: Array
    """(paths,) int64: of paths without ``..`` and links to folders, so that one file has one path."""
    folded: Array
    """(paths,) int64: of the same without regard for case."""

    @classmethod
    def of(cls, dataset: Dataset) -> _Paths:
        real = cache(os.path.realpath)
        exact, folded = array("q"), array("q")
        for path in dataset.sample_paths():
            folder, name = os.path.split(path)
            path = f"{real(folder)}/{name}"
            exact.append(hash(path))
            folded.append(hash(unicodedata.normalize("NFC", path).casefold()))
        return cls(dataset, np.array(exact, np.int64), np.array(folded, np.int64))

    def __getitem__(self, index: int) -> str:
        return next(islice(self.dataset.sample_paths(), index, None))

    def labels(self) -> Array | None:
        """Return the class of each path, if they are known."""
        labels = self.dataset.labels
        return labels if isinstance(labels, np.ndarray) and len(labels) == len(self.exact) else None


def _contradictions(paths: Mapping[str, _Paths]) -> Iterator[str]:
    """Report videos to which joined lists give different classes; a dataset refuses those within one list."""
    for part, own in paths.items():
        labels = own.labels()
        if labels is None or not isinstance(own.dataset, ConcatDataset):
            continue
        _, first, group = np.unique(own.exact, return_index=True, return_inverse=True)
        wrong = np.flatnonzero(labels != labels[first[group]])
        if len(wrong):
            yield (
                f"data.{part}: {len(wrong)} of {len(labels)} samples have a different class than an earlier one of the "
                f"same video, for example {own[int(wrong[0])]}"
            )


def _shared_videos(paths: Mapping[str, _Paths]) -> Iterator[str]:
    """Report videos of an evaluation that are also trained on, which makes its scores too high."""
    for (part, own), (trained, theirs) in product(paths.items(), repeat=2):
        if part.startswith("train") or not trained.startswith("train"):
            continue
        shared, i, j = np.intersect1d(own.exact, theirs.exact, return_indices=True)
        if len(shared):
            a, b = own.labels(), theirs.labels()
            comparable = a is not None and b is not None and own.dataset.class_names == theirs.dataset.class_names
            other = int(np.count_nonzero(a[i] != b[j])) if comparable and a is not None and b is not None else 0
            yield (
                f"data.{part}: {len(shared)} of its {len(np.unique(own.exact))} videos are in data.{trained} as well"
                f"{f', {other} of them with a different class' if other else ''}, for example {own[int(i.min())]}"
            )


def _similar_paths(paths: Mapping[str, _Paths]) -> Iterator[str]:
    exact = np.concatenate([p.exact for p in paths.values()])
    _, first = np.unique(exact, return_index=True)  # each file once
    folded = np.concatenate([p.folded for p in paths.values()])[first]
    _, group, sizes = np.unique(folded, return_inverse=True, return_counts=True)
    if not (sizes > 1).any():
        return
    places = [(part, i) for part, p in paths.items() for i in range(len(p.exact))]
    earliest = np.argmin(np.where(sizes[group] > 1, first, len(exact)))  # hashes have another order in each process
    one, two = sorted(first[group == group[earliest]].tolist())[:2]
    (_, i), (part, j) = places[one], places[two]
    pair = paths[places[one][0]][i], paths[part][j]
    more = f", and {int((sizes - 1).sum()) - 1} more do" if (sizes - 1).sum() > 1 else ""
    yield (
        f"data.{part}: {pair[0]} and {pair[1]} differ by case only{more}: a file system that ignores case has only one "
        "of them"
    )


def _classes_without_samples(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    for part, dataset in datasets.items():
        classes = SampleClasses.of(dataset)
        if classes is None or not classes.totals.any() or part.startswith("train_extra."):
            continue  # a list for prediction has no labels, and additional data may have few classes
        known = max(dataset.num_classes or 0, len(classes.totals))
        missing = [k for k in range(known) if k >= len(classes.totals) or not classes.totals[k]]
        if missing:
            verb = "has" if len(missing) == 1 else "have"
            named = some([classes.name(k) for k in missing])
            yield f"data.{part}: {len(missing)} of {known} classes {verb} no sample: {named}"


def _similar_class_names(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    done: set[tuple[str, ...]] = set()
    for part, dataset in datasets.items():
        names = dataset.class_names or ()
        if names in done:
            continue
        done.add(names)
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(_simplified(name), name)
            if other != name:
                how = "case" if other.casefold() == name.casefold() else "case, spaces or punctuation"
                yield f"data.{part}: classes {other!r} and {name!r} differ by {how} only: are they one class?"


def _simplified(name: str) -> str:
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip() or name
