"""Where the videos, or folders of frames, of a dataset are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vidcore.errors import DataError, some
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["find_videos"]


def find_videos(root: Path | None, names: Sequence[str]) -> list[str | None]:
    """Return the path of each video: a file or a folder of frames; None where there is neither.

    A video is at ``root/name``, with or without a suffix, or, by the last part of its name, anywhere below ``root``. If
    there is none of them at all, the paths are ``root/name``: the data may be on another machine.

    Raises ``DataError`` if several files have the name of a video.
    """
    folder = root or Path()
    found: list[str | None] = [_direct(folder, name) for name in names]
    if None in found and root is not None and root.is_dir():
        missing = {_stem(name) for name, path in zip(names, found, strict=True) if path is None}
        below = _below(root, missing)
        for i, name in enumerate(names):
            if found[i] is None and (paths := below.get(_stem(name))):
                exact = [path for path in paths if os.path.splitext(os.path.relpath(path, root))[0] == name]
                if len(exact or paths) > 1:
                    raise DataError(f"several files could be the video {name}: {some(exact or paths)}")
                found[i] = (exact or paths)[0]
    if all(path is None for path in found):
        return [str(folder / name) for name in names]
    return found


def _stem(name: str) -> str:
    base = os.path.basename(name)
    stem, suffix = os.path.splitext(base)
    return stem if suffix.lower() in VIDEO_SUFFIXES else base


def _direct(folder: Path, name: str) -> str | None:
    path = str(folder / name)
    return path if os.path.exists(path) else next((path + s for s in VIDEO_SUFFIXES if os.path.isfile(path + s)), None)


def _below(root: Path, wanted: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for folder, folders, files in os.walk(root):
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in VIDEO_SUFFIXES and stem in wanted:
                found.setdefault(stem, []).append(os.path.join(folder, name))
        for name in [name for name in folders if name in wanted]:
            found.setdefault(name, []).append(os.path.join(folder, name))
            folders.remove(name)  # not into folders of frames
    return {name: sorted(paths) for name, paths in found.items()}
