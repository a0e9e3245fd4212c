"""Opening videos with the right reader."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from vidcore.errors import UserError, nearest
from vidcore.video.reader import Decoder, VideoReader

__all__ = ["AUDIO_SUFFIXES", "DECODERS", "VIDEO_SUFFIXES", "open_video"]

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
"""Suffixes of videos in a folder."""
AUDIO_SUFFIXES = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma")
"""Suffixes of files with audio only."""
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

DECODERS = {
    "decord": "vidcore.video.decord:DecordReader",
    "frames": "vidcore.video.frames:FrameFolderReader",
    "image": "vidcore.video.frames:ImageReader",
    "pyav": "vidcore.video.exact:PyAVReader",
}
"""Decoders of the core: name -> ``module:class``, imported when a file is opened."""


def open_video(path: str | Path, decoder: Decoder | str = "auto", threads: int = 1) -> VideoReader:
    """Open a video file or an image.

    ``auto`` reads images as images, and everything else with PyAV, which returns exact frames of every file that it
    opens. The reader's ``decoder`` is the name of the decoder used.

    Args:
        path: the file.
        decoder: ``auto``, the name of a decoder of the core (``DECODERS``), or a reader class or function: for the
            decoder of a plugin, ``load_plugins().get("mine", "decoders").load()``.
        threads: threads that decode; 1 is best with several worker processes.

    Raises:
        VideoError: the file cannot be read; the message names it.
        UserError: there is no decoder of that name.
    """
    if isinstance(decoder, str):
        decoder = _named(_automatic(path) if decoder == "auto" else decoder)
    return decoder(path, threads=threads)


def _automatic(path: str | Path) -> str:
    return "image" if Path(path).suffix.lower() in IMAGE_SUFFIXES else "pyav"


def _named(name: str) -> Decoder:
    if name == "opencv":
        raise UserError("decoder 'opencv' was removed: OpenCV returns wrong frames of some files; use 'pyav' or 'auto'")
    if name not in DECODERS:
        known = ", ".join(repr(n) for n in ("auto", *DECODERS))
        raise UserError(f"there is no decoder {name!r}{nearest(name, DECODERS) or f'; vidcore has {known}'}")
    module, _, attribute = DECODERS[name].partition(":")
    reader: Decoder = getattr(import_module(module), attribute)
    return reader
