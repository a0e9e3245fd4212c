"""Conversion of feature files: several of a video are merged, and rescaled to one length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import evolve

from vidcore.errors import DataError
from vidcore.features.files import SUFFIXES, FeatureInfo, read_features, rescale
from vidcore.typing import Array

__all__ = ["feature_files", "merge_features", "merged_info"]


def feature_files(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of every video, one from each folder, in the order of the folders.

    Raises:
        DataError: a folder has no feature files, has two of one video, or lacks a video of another folder.
    """
    tables = []
    for folder in folders:
        found: dict[str, Path] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix in SUFFIXES and (other := found.setdefault(path.stem, path)) != path:
                raise DataError(f"{path} and {other} are features of the same video; remove one")
        if not found:
            raise DataError(f"{folder}: has no feature files ({', '.join(SUFFIXES)})")
        tables.append(found)
    names = sorted(set().union(*tables))
    for table, folder in zip(tables, folders, strict=True):
        missing = [name for name in names if name not in table]
        if missing:
            raise DataError(f"{folder}: {len(missing)} of {len(names)} videos are missing, for example {missing[0]}")
    return {name: [table[name] for table in tables] for name in names}


def merge_features(paths: Sequence[Path], length: int | None = None) -> Array:
    """Features of one video, concatenated along channels: (T, sum of channels) float32.

    Args:
        paths: files of the video.
        length: number of positions to rescale each file to; default: no rescaling.

    Raises:
        DataError: a file is not valid, or the lengths differ and ``length`` is None.
    """
    parts = [read_features(path) for path in paths]
    if length is not None:
        parts = [rescale(part, length) for part in parts]
    elif len({len(part) for part in parts}) > 1:
        listed = ", ".join(f"{path} has {len(part)}" for path, part in zip(paths, parts, strict=True))
        raise DataError(f"features of one video differ in length: {listed}; rescale them with --length")
    return np.concatenate(parts, 1)


def merged_info(paths: Sequence[Path], merged: Array) -> FeatureInfo | None:
    """The ``FeatureInfo`` of merged features, with the times of the first file that has one."""
    infos = (FeatureInfo.read(path) for path in paths)
    info = next((i for i in infos if i is not None), None)
    return info and evolve(info, settings="merged", rows=merged.shape[0], channels=merged.shape[1])
