"""Inputs of prediction: files, folders, lists and arrays as Samples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from attrs import frozen

from vidcore.errors import UserError, VideoError
from vidcore.sample import Sample
from vidcore.task.task import Task
from vidcore.video.frames import ArrayReader
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["FrameNames", "Video", "as_sample", "find_videos"]

Video = str | Path | np.ndarray[Any, Any] | Sample


@frozen
class FrameNames:
    """How the images in a folder of frames are named, as in ``vidcore.video.frames.FrameFolderReader``."""

    template: str = "img_{:05}.jpg"
    modality: Literal["RGB", "Flow"] = "RGB"

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the names of the dataset whose pipeline prepares videos for prediction."""
        part = task.prediction_part()
        template, modality = task.get(f"{part}.filename_tmpl"), task.get(f"{part}.modality")
        return cls(template or cls().template, "Flow" if modality == "Flow" else "RGB")

    @property
    def example(self) -> str:
        """The name of a first frame."""
        return self.template.format("x", 1) if self.modality == "Flow" else self.template.format(1)

    def numbers(self, folder: Path) -> list[int]:
        """Return the numbers of the frames in a folder, ascending."""
        first, *between, last = map(re.escape, re.split(r"\{[^{}]*\}", self.template))
        pattern = re.compile(first + "".join(f"x{part}" for part in between) + r"(\d+)" + last)
        return sorted(int(m[1]) for p in folder.iterdir() if (m := pattern.fullmatch(p.name)))


def find_videos(
    paths: Iterable[str | Path], suffixes: Sequence[str] = VIDEO_SUFFIXES, names: FrameNames = FrameNames()
) -> list[Path]:
    """Return the videos in files, folders and lists.

    A folder stands for the videos below it, or is a video of frames; a ``.txt`` file has a path, relative to its own
    folder, in each line. ``suffixes`` are those of the files to find; default: videos. ``names`` are those of frames.

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
        elif names.numbers(path):
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


def as_sample(video: Video, index: int = 0, names: FrameNames = FrameNames()) -> Sample:
    """Return a Sample, not yet decoded, for a file, a folder of frames, or an array of frames.

    Arrays with two channels are optical flow. A Sample is returned with that index.

    Raises ``VideoError`` if a folder has no frames.
    """
    if isinstance(video, Sample):
        return video.replace(index=index)
    if isinstance(video, np.ndarray):
        modality = "Flow" if video.ndim == 4 and video.shape[3] == 2 else "RGB"
        reader = ArrayReader(video)
        return Sample(index=index, path=f"array {index}", video=reader, total_frames=len(video), modality=modality)
    path = Path(video)
    if path.is_dir():
        numbers = names.numbers(path)
        if not numbers:
            raise VideoError(path, f"has no frames named like {names.example}")
        return Sample(
            index=index,
            path=str(path),
            total_frames=len(numbers),
            start_index=numbers[0],
            filename_tmpl=names.template,
            modality=names.modality,
        )
    return Sample(index=index, path=str(path))
