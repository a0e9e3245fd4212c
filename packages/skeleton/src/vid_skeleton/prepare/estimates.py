"""From the files of pose estimators to a file of skeletons."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from attrs import evolve, frozen

from vid_skeleton.estimates.persons import Estimates, Options, Source
from vid_skeleton.estimates.reading import find_sources, read_estimates
from vid_skeleton.extraction import tracks_of
from vid_skeleton.files import skeleton_writer
from vidcore.data.classes import MOST_CLASSES, read_classes
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError, UserError, nearest, some
from vidcore.tools.progress import progress_bar

__all__ = ["Converted", "Labels", "convert_estimates", "read_labels"]


@frozen
class Labels:
    """The classes of videos, and their splits."""

    classes: Mapping[str, str]
    """Video -> class."""
    splits: Mapping[str, str]
    """Video -> split."""


@frozen
class Converted:
    """What was written, and what a person must know."""

    videos: int
    joints: str
    classes: int | None
    """None: the videos have no labels."""
    bad: Sequence[str]
    """Files that were left out, with the reasons."""
    notes: Sequence[str]


def read_labels(file: Path) -> Labels:
    """Read a table of ``name,class`` or ``name,class,split``, with or without these words as its first line.

    Raises ``AnnotationError``, which names the line, if it is something else or names a video twice.
    """
    classes: dict[str, str] = {}
    splits: dict[str, str] = {}
    try:
        for number, row in enumerate(csv.reader(io.StringIO(read_text(file, "file of labels")), strict=True), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or (number == 1 and cells in (["name", "class"], ["name", "class", "split"])):
                continue
            if len(cells) not in (2, 3) or not all(cells[:2]):
                raise AnnotationError(f"{file}:{number}: expected name,class or name,class,split, found {row!r:.60}")
            if cells[0] in classes:
                raise AnnotationError(f"{file}:{number}: {cells[0]!r} is listed twice")
            classes[cells[0]] = cells[1]
            if cells[2:] and cells[2]:
                splits[cells[0]] = cells[2]
    except csv.Error as error:
        raise AnnotationError(f"{file}: is not a table in CSV: {error}") from None
    if not classes:
        raise AnnotationError(f"{file}: has no line name,class")
    return Labels(classes, splits)


def convert_estimates(
    source: Path,
    output: Path,
    options: Options,
    form: str | None = None,
    layout: str | None = None,
    labels: Labels | None = None,
    by_folder: bool = False,
    classes: Path | None = None,
    split: str | None = None,
) -> Converted:
    """Write the persons that an estimator found in videos to a file of skeletons.

    Files that cannot be read are left out; the others are converted. The joints of all videos must be of one layout:
    that of the first, unless ``layout`` names one.

    Args:
        source: file or folder.
        output: file to write.
        options: what the files do not say.
        form: one of ``FORMATS``; default: what each file looks like.
        layout: ``coco`` or ``openpose``: convert the joints, by name.
        labels: classes of the videos; default: those in the files, if they have some.
        by_folder: a video's class is the folder below ``source`` in which it lies.
        classes: file of class names, in the order of their numbers; default: sorted.
        split: name of a split to which all videos belong.

    Raises ``DataError`` if nothing can be converted, ``UserError`` if arguments do not fit.
    """
    sources = find_sources(source)
    if by_folder and all(item.folder is None for item in sources):
        raise UserError(f"{source}: has no videos in folders, whose names could be their classes")
    run = _Run(form, options, layout, labels, by_folder)
    names = read_classes(classes) if classes else run.class_names(sources)
    bad: list[str] = []
    notes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    unlabelled: list[str] = []
    known: set[str] = set()
    videos = run.read(sources, bad)
    waiting: list[Estimates] = []
    while not any(len(found.persons) for found in waiting) and (found := next(videos, None)) is not None:
        waiting.append(found)
    if not waiting:
        raise DataError(f"{source}: no video can be converted; {bad[0]}")
    first = waiting[-1]  # without persons, a file does not say what joints they would have
    with skeleton_writer(output, first.joints.names, first.joints.inward, class_names=names) as writer:
        for found in chain(waiting, videos):
            try:
                if len(found.persons) and found.joints.names != first.joints.names:
                    raise AnnotationError(
                        f"has {_joints(found)}, but {first.name} has {_joints(first)}: choose some with --layout"
                    )
                number = run.number(found, names)
                tracks = tracks_of(found.persons)
                writer.add(found.name, found.total, tracks, found.size, found.fps, number)
            except AnnotationError as error:
                bad.append(f"{found.name}: {error}")
                continue
            known.add(found.name)
            if number is None:
                unlabelled.append(found.name)
            given = labels.splits.get(found.name) if labels else None
            for name in dict.fromkeys(name for name in (given, split) if name):
                writer.splits.setdefault(name, []).append(len(writer) - 1)
            odd = dict(found.notes)
            if found.size == (0, 0):
                odd["videos without the size of their frames, which many steps need (see --size)"] = 1
            if not tracks:
                odd["videos without persons"] = 1
            for what, count in odd.items():
                notes[what] += count
                examples.setdefault(what, found.name)
        if not len(writer):
            raise DataError(f"{source}: no video can be converted; {bad[0]}")
        if labels and (lacking := [name for name in labels.classes if name not in known]):
            notes[f"names in the file of labels without a video ({some(lacking, 3)})"] = len(lacking)
    labelled = len(unlabelled) < len(writer)
    if labelled and unlabelled:
        notes["videos without a class"] = len(unlabelled)
        examples["videos without a class"] = unlabelled[0]
    shown = [
        f"{what}: {n}" + (f", the first is {examples[what]}" if what in examples else "") for what, n in notes.items()
    ]
    return Converted(len(writer), _joints(first), len(names) if names and labelled else None, bad, shown)


def _joints(found: Estimates) -> str:
    return f"{found.joints.num_node} joints ({found.layout})"


@frozen
class _Run:
    form: str | None
    options: Options
    layout: str | None
    labels: Labels | None
    by_folder: bool

    def read(self, sources: Sequence[Source], bad: list[str]) -> Iterator[Estimates]:
        """Yield the videos of all sources; those that cannot be read are added to ``bad``."""
        for item in progress_bar(sources, "skeletons"):
            try:
                videos = read_estimates(item, self.options, self.form)
            except AnnotationError as error:
                bad.append(str(error))
                continue
            for found in videos:
                if self.by_folder:
                    found = evolve(found, label=item.folder)
                elif self.labels is not None:
                    found = evolve(found, label=self.labels.classes.get(found.name))
                try:
                    yield found if self.layout is None else found.converted(self.layout)
                except UserError as error:  # joints that cannot be converted
                    bad.append(f"{found.name}: {error}")

    def class_names(self, sources: Sequence[Source]) -> tuple[str, ...] | None:
        """Return the classes of all videos; None if they have none, or only numbers."""
        if self.by_folder:
            return _sorted(item.folder for item in sources)
        if self.labels is not None:
            return _sorted(self.labels.classes.values())
        first = next(self.read(sources, []), None)
        if first is None or first.form != "kinetics-skeleton":
            return None
        return _sorted(found.label for found in self.read(sources, []) if isinstance(found.label, str))

    def number(self, found: Estimates, names: Sequence[str] | None) -> int | None:
        """Return the class number of a video; None if it has no class."""
        label = found.label
        if label is None:
            return None
        if names is not None and label in names:
            return names.index(str(label))
        if isinstance(label, str):
            if names is None and not NUMBER.fullmatch(label):
                raise AnnotationError(f"its class is {label!r}, but the videos before it have none: see --classes")
            if not NUMBER.fullmatch(label):
                hint = nearest(label, names or ())
                raise AnnotationError(f"its class {label!r} is none of the {len(names or ())} classes{hint}")
            label = int(label)
        if label >= (limit := MOST_CLASSES if names is None else len(names)):
            raise AnnotationError(f"its class number {label} is too high: there are {limit} classes")
        return label


NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def _sorted(labels: Iterable[str | None]) -> tuple[str, ...] | None:
    """Return the distinct names in order; None if all of them are numbers, or there are none."""
    found = sorted({label for label in labels if label is not None})
    return None if all(map(NUMBER.fullmatch, found)) else tuple(found)
