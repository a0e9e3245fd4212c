"""Inputs of prediction: files, folders, lists and arrays as Samples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidcore.errors import UserError, VideoError
from vidcore.sample import Sample
from vidcore.video.frames import ArrayReader
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["Video", "as_sample", "find_videos"]

Video = str | Path | np.ndarray[Any, Any]


def find_videos(paths: Iterable[str | Path], suffixes: Sequence[str] = VIDEO_SUFFIXES) -> list[Path]:
    """Return the videos in files, folders and lists.

    A folder stands for the videos below it, or is a video of frames; a ``.txt`` file has a path, relative to its own
    folder, in each line. ``suffixes`` are those of the files to find; default: videos.

    Raises ``UserError`` if a path does not exist, a folder has neither videos nor frames, or a list is empty.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_file() and path.suffix.lower() == ".txt":
            found += _listed(path)
        elif path.is_file():
            found.append(path)
        elif not path.is_dir():
            raise UserError(f"{path}: no such file or folder")
        elif inside := sorted(p for p in path.rglob("[!.]*") if p.suffix.lower() in suffixes and p.is_file()):
            found += inside  # without the hidden files that some systems add
        elif _frame_numbers(path):
            found.append(path)
        else:
            raise UserError(f"{path}: has no videos below it ({' '.join(suffixes)}), and no frames")
    return found


def _listed(file: Path) -> list[Path]:
    lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"{file}: lists no videos")
    return [file.parent / name for name in names]


def _frame_numbers(folder: Path) -> list[int]:
    return sorted(int(m[1]) for p in folder.iterdir() if (m := re.fullmatch(r"img_(\d+)\.jpe?g", p.name)))


def as_sample(video: Video, index: int = 0) -> Sample:
    """Return a Sample, not yet decoded, for a file, a folder of frames, or an array of frames.

    Raises ``VideoError`` if a folder has no frames.
    """
    if isinstance(video, np.ndarray):
        return Sample(index=index, path=f"array {index}", video=ArrayReader(video), total_frames=len(video))
    path = Path(video)
    if path.is_dir():
        numbers = _frame_numbers(path)
        if not numbers:
            raise VideoError(path, "has no frames named like img_00001.jpg")
        return Sample(index=index, path=str(path), total_frames=len(numbers), start_index=numbers[0])
    return Sample(index=index, path=str(path))
