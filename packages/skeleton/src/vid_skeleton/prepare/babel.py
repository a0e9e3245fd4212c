"""BABEL (arXiv:2106.09696): chunks of five seconds of motion capture, as joints of NTU RGB+D, from the official files.

``train_ntu_sk_60.npy`` holds joints (N, 3, frames, 25, people), ``train_label_60.pkl`` the names of the N chunks and
their classes, alone or first in a row of further columns; and likewise for ``val`` and for 120 classes.
"""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vid_skeleton.files import Track, skeleton_writer
from vid_skeleton.graphs import NTU
from vidcore.data.classes import read_classes
from vidcore.errors import AnnotationError, DataError
from vidcore.pickles import UnsafeError, read_pickle
from vidcore.tools.progress import progress_bar
from vidcore.typing import Array

__all__ = ["convert_babel"]

SPLITS = ("train", "val", "test")
FPS = 30.0


def convert_babel(folder: Path, output: Path, classes: int = 60) -> list[str]:
    """Convert the joints and labels of BABEL; return what a person must know.

    Args:
        folder: is searched with the folders in it.
        output: file of skeletons to write, with the splits ``train``, ``val`` and ``test`` that the folder has.
        classes: 60 or 120, the first of which are the 60.

    Raises ``DataError`` if a file is missing or wrong.
    """
    names = read_classes(Path(str(files("vid_skeleton"))) / "prepare" / "babel_classes.txt")
    assert names is not None
    parts = [
        (split, joints, _find(folder, f"{split}_label_{classes}.pkl"))
        for split in SPLITS
        if (joints := _find(folder, f"{split}_ntu_sk_{classes}.npy"))
    ]
    if not parts:
        raise DataError(f"{folder}: has none of {', '.join(f'{split}_ntu_sk_{classes}.npy' for split in SPLITS)}")
    notes = []
    with skeleton_writer(output, NTU.names, NTU.inward, "metres", 3, names[:classes]) as writer:
        used: Counter[str] = Counter()
        for split, joints, label_file in parts:
            if label_file is None:
                raise DataError(f"{joints}: has no {split}_label_{classes}.pkl beside it")
            data, (keys, labels) = _joints(joints), _labels(label_file, classes)
            if len(keys) != len(data):
                raise DataError(f"{label_file}: has {len(keys)} labels, but {joints} has {len(data)} samples")
            empty = []
            for key, label, sample in progress_bar(zip(keys, labels, data, strict=True), split, len(keys)):
                used[key] += 1
                name = key if used[key] == 1 else f"{key}-{used[key]}"
                try:
                    tracks = _tracks(np.asarray(sample))
                    if not tracks:
                        empty.append(name)
                        continue
                    writer.add(name, sample.shape[1], tracks, fps=FPS, label=label)
                except AnnotationError as error:
                    raise AnnotationError(f"{joints}: {error}") from None
                writer.splits.setdefault(split, []).append(len(writer) - 1)
            notes.append(f"{split}: {len(writer.splits.get(split, ()))} chunks")
            if empty:
                notes.append(f"{split}: {len(empty)} chunks without joints are left out, the first is {empty[0]}")
    return notes


def _find(folder: Path, name: str) -> Path | None:
    found = sorted(folder.rglob(name))
    if len(found) > 1:
        raise DataError(f"{folder}: has {name} twice: {found[0]} and {found[1]}")
    return found[0] if found else None


def _joints(file: Path) -> Array:
    """Map an array (N, 3, frames, 25, people)."""
    try:
        data: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: is not an array that can be read: {error}") from None
    shape = data.shape if isinstance(data, np.ndarray) else ()
    if len(shape) != 5 or (shape[1], shape[3]) != (3, NTU.num_node) or data.dtype.kind != "f":
        found = f"{data.dtype} {shape}" if shape else "none"
        raise DataError(f"{file}: expected an array of floats (samples, 3, frames, 25, people), found {found}")
    return data


def _labels(file: Path, classes: int) -> tuple[list[str], list[int]]:
    """Return the names of the samples and their class numbers."""
    try:
        content = read_pickle(file)
    except UnsafeError as error:
        raise DataError(f"{file}: holds {error}, which is not a plain value: such a file can run code") from None
    except Exception as error:  # whatever is in the file
        raise DataError(f"{file} is not a pickle that can be read: {type(error).__name__}: {error}") from None
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise DataError(f"{file}: expected names and labels of samples, found a {type(content).__name__}")
    names, labels = (_column(value) for value in content)
    if labels and isinstance(labels[0], tuple | list | np.ndarray):  # classes, then further columns
        labels = _column(labels[0])
    if len(names) != len(labels) or not names:
        raise DataError(f"{file}: has {len(names)} names and {len(labels)} labels")
    for i, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < classes:
            raise AnnotationError(f"{file}: {names[i]}: label is {label!r}, expected a number from 0 to {classes - 1}")
    return [str(name) for name in names], [int(label) for label in labels]


def _column(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list | np.ndarray) else []


def _tracks(sample: Array) -> list[Track]:
    """Return the people in joints (3, frames, 25, people); a frame of zeros has nobody."""
    tracks = []
    for person in np.moveaxis(sample, 0, -1).transpose(2, 0, 1, 3):
        seen = np.flatnonzero(person.any((1, 2)))
        if len(seen):
            frames = slice(int(seen[0]), int(seen[-1]) + 1)
            points = np.where(person.any((1, 2), keepdims=True), person, np.nan)[frames]
            tracks.append(Track(frames.start, points.astype(np.float32)))
    return tracks
