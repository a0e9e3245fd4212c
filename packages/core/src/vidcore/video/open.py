"""Opening a video with the right reader."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidcore.plugins.catalog import load_plugins
from vidcore.video.reader import VideoReader

__all__ = ["VIDEO_SUFFIXES", "open_video"]

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
"""Ends of names by which videos are found in a folder."""
IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def open_video(path: str | Path, decoder: str = "auto", threads: int = 1) -> VideoReader:
    """Open a video file, a single picture, or (by name of a decoder) whatever a plugin reads.

    ``auto`` takes PyAV where it is installed: exact for everything it opens, and the fastest. Without it,
    OpenCV reads strictly in order and decord has to agree. The reader's ``decoder`` says what was taken.

    Args:
        path: the file.
        decoder: ``auto``, or a name that ``vidcore list decoders`` shows.
        threads: threads of the decoder; with several loader processes 1 is best.

    Raises ``VideoError``, naming the file, where it cannot be read.
    """
    if decoder == "auto":
        decoder = _choose(path)
    reader: VideoReader = _reader(decoder)(path, threads=threads)
    return reader


def _choose(path: str | Path) -> str:
    if Path(path).suffix.lower() in IMAGES:
        return "image"
    return "pyav" if _has_pyav() else "opencv"


@functools.cache
def _has_pyav() -> bool:
    return bool(importlib.util.find_spec("av")) and int(importlib.metadata.version("av").split(".")[0]) >= 17


@functools.cache
def _reader(name: str) -> Callable[..., Any]:
    component = load_plugins().get(name, "decoders")
    reader: Callable[..., Any] = component.load()
    return reader
