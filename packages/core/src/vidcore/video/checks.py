"""Shared parts of readers: checks, and a base class for context managers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Self

import numpy as np

from vidcore.errors import UserError, VideoError

__all__ = ["MAX_PIXELS", "ReaderBase", "existing_file", "frame_numbers", "reading"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]

MAX_PIXELS = 1 << 26
"""Largest number of pixels of a frame: a header of a few bytes can state gigabytes."""

URL = re.compile(r"(?:^|/)(?:[a-z][a-z0-9+.-]+:/|(?:concat|data|subfile|fd|pipe|crypto|async|cache):)", re.IGNORECASE)
"""Matches URLs, also at the end of a path."""


class ReaderBase:
    """Base class of readers, which makes them context managers."""

    def times(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return the seconds at which frames appear, (frames,) float64 ascending from 0; None if they are regular."""
        return None

    def close(self) -> None:
        """Release resources."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Raise ``VideoError`` in place of any error of a library that reads a file.

    Damaged files cause errors of every type: ``MemoryError`` for a size that the header states, ``IndexError``, ...
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise VideoError(path, f"cannot be read ({type(error).__name__}: {error})") from error


def existing_file(path: str | Path) -> str:
    """Return the absolute path of a file; raise ``VideoError`` if it does not exist or is empty.

    Absolute, because FFmpeg parses ``12:30.mp4`` as a URL, and the working directory may change.
    """
    try:
        status = Path(path).stat()
    except (FileNotFoundError, ValueError) as error:  # ValueError: a null character in the name
        url = "; URLs are not read: download the file" if URL.search(str(path)) else ""
        raise VideoError(path, f"does not exist{url}") from error
    except OSError as error:
        raise VideoError(path, f"cannot be opened ({error.strerror})") from error
    if not S_ISREG(status.st_mode):
        kind = "a folder" if S_ISDIR(status.st_mode) else "a device or pipe"
        raise VideoError(path, f"is {kind}, not a video file")
    if not status.st_size:
        raise VideoError(path, "is empty (0 bytes)")
    return os.path.abspath(path)


def frame_numbers(
    path: str, indices: Sequence[int] | np.ndarray[Any, Any], length: int, advertised: int = 0
) -> Numbers:
    """Return the indices as (n,) int64; raise ``VideoError`` if one is not among the ``length`` frames of the video."""
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError(f"frame indices must be a 1-D sequence of integers, got {numbers.dtype}{numbers.shape}")
    wrong = numbers[(numbers < 0) | (numbers >= length)]
    if wrong.size:
        promised = f" (only {length} of {advertised} in its header can be decoded)" if advertised > length else ""
        raise VideoError(path, f"frame {wrong[0]} does not exist: the video has frames 0 to {length - 1}{promised}")
    return numbers.astype(np.int64)
