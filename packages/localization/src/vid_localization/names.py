"""What a video is called: in annotation files, in result files, in messages."""

from __future__ import annotations

from pathlib import Path

from vidcore.errors import DataError
from vidcore.sample import Sample

__all__ = ["result_name", "safe_path", "sample_label", "video_name"]


def video_name(sample: Sample) -> str:
    """The name of a video in annotation files: its key, or its file without suffix."""
    return str(sample.key or Path(sample.path or f"video_{sample.index}").stem)


def result_name(name: str) -> str:
    """The name of a video in result files: annotation files put ``v_`` before it.

    >>> result_name("v_QOlSCBRmfWY")
    'QOlSCBRmfWY'
    """
    return name.removeprefix("v_")


def safe_path(folder: Path, name: str, suffix: str) -> Path:
    """The file that is written for a video.

    Raises ``DataError`` for a name that would lead elsewhere: names come from files of strangers.
    """
    path = folder / f"{name}{suffix}"
    if path.parent != folder:
        raise DataError(f"{name!r} is the name of a video, and cannot be that of a file in {folder}")
    return path


def sample_label(sample: Sample) -> str:
    """What a message calls a sample."""
    return str(sample.path or sample.key or f"sample {sample.index}")
