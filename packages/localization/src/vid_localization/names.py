"""Names of videos in annotation files, result files and messages."""

from __future__ import annotations

from pathlib import Path

from vidcore.errors import DataError
from vidcore.sample import Sample

__all__ = ["result_name", "safe_path", "sample_label", "video_name"]


def video_name(sample: Sample) -> str:
    """The name of a video in annotation files: its key, or the name of its file without suffix."""
    return str(sample.key or Path(sample.path or f"video_{sample.index}").stem)


def result_name(name: str) -> str:
    """The name of a video in result files: without the ``v_`` of annotation files.

    >>> result_name("v_QOlSCBRmfWY")
    'QOlSCBRmfWY'
    """
    return name.removeprefix("v_")


def safe_path(folder: Path, name: str, suffix: str) -> Path:
    """The file in a folder to write for a video.

    Raises ``DataError`` if the name leads out of the folder: names come from downloaded files.
    """
    path = folder / f"{name}{suffix}"
    if path.parent != folder:
        raise DataError(f"the video name {name!r} cannot be the name of a file in {folder}")
    return path


def sample_label(sample: Sample) -> str:
    """The name of a sample in messages."""
    return str(sample.path or sample.key or f"sample {sample.index}")
