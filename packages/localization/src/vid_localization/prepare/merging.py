"""Feature files from one kind to another, several of a video joined, and brought to one length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import evolve

from vidcore.errors import DataError
from vidcore.features.files import SUFFIXES, FeatureInfo, read_features, rescale
from vidcore.typing import Array

__all__ = ["feature_files", "merge_features", "merged_note"]


def feature_files(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of every video, one of each folder in their order.

    Raises:
        DataError: a folder has no feature files, two of one video, or a video is not in all of them.
    """
    tables = []
    for folder in folders:
        found: dict[str, Path] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix in SUFFIXES and (other := found.setdefault(path.stem, path)) != path:
                raise DataError(f"{path} and {other} are features of one video; which are meant?")
        if not found:
            raise DataError(f"{folder}: there are no feature files ({', '.join(SUFFIXES)})")
        tables.append(found)
    names = sorted(set().union(*tables))
    for table, folder in zip(tables, folders, strict=True):
        missing = [name for name in names if name not in table]
        if missing:
            raise DataError(f"{folder}: {len(missing)} of {len(names)} videos are missing, for example {missing[0]}")
    return {name: [table[name] for table in tables] for name in names}


def merge_features(paths: Sequence[Path], length: int | None = None) -> Array:
    """Features of one video side by side: (T, sum of channels) float32.

    Args:
        paths: its files.
        length: positions to rescale each to.

    Raises:
        DataError: a file is wrong, or the lengths differ and no length is given.
    """
    parts = [read_features(path) for path in paths]
    if length is not None:
        parts = [rescale(part, length) for part in parts]
    elif len({len(part) for part in parts}) > 1:
        listed = ", ".join(f"{path} has {len(part)}" for path, part in zip(paths, parts, strict=True))
        raise DataError(f"features of one video differ in length: {listed}; a common --length makes them fit")
    return np.concatenate(parts, 1)


def merged_note(paths: Sequence[Path], merged: Array) -> FeatureInfo | None:
    """What is known of time for merged features: as the note on the first file that has one says."""
    notes = (FeatureInfo.read(path) for path in paths)
    note = next((n for n in notes if n is not None), None)
    return note and evolve(note, settings="merged", rows=merged.shape[0], channels=merged.shape[1])
