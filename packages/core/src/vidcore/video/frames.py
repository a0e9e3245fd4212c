"""Readers of images: folders of frames, arrays, a single image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from vidcore.errors import VideoError
from vidcore.typing import Array
from vidcore.video.checks import MAX_PIXELS, ReaderBase, existing_file, frame_numbers, reading
from vidcore.video.image_header import read_header

__all__ = ["ArrayReader", "FrameFolderReader", "ImageReader"]


class ArrayReader(ReaderBase):
    """Frames in memory.

    Args:
        frames: (n, height, width, channels) uint8.
        fps: frames per second, if known.
    """

    decoder = "array"

    def __init__(self, frames: Array, fps: float | None = None, path: str = "<array>") -> None:
        if frames.ndim != 4 or frames.dtype != np.uint8:
            raise VideoError(
                path, f"frames must be (n, height, width, channels) uint8, got {frames.dtype}{frames.shape}"
            )
        self.path = path
        self.fps = fps
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self._frames.shape[1], self._frames.shape[2])

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return a copy of the requested frames."""
        return np.ascontiguousarray(self._frames[frame_numbers(self.path, indices, len(self))])

    def close(self) -> None:
        """Release the array."""
        self._frames = self._frames[:0]


class ImageReader(ArrayReader):
    """An image as a video of one frame.

    Args:
        path: image file.
        threads: unused; every reader of files has it.

    Raises ``VideoError`` if the file is missing or is not an image.
    """

    decoder = "image"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        super().__init__(_read_image(Path(path), grey=False)[None], path=str(path))


class FrameFolderReader(ReaderBase):
    """A folder of images: one per frame, or two for flow.

    Args:
        path: folder.
        template: file name with a field for the number, ``img_{:05}.jpg``; for flow also a first field for
            ``x`` or ``y``: ``{}_{:05}.jpg``.
        modality: ``RGB`` (three channels) or ``Flow`` (two: horizontal, vertical).
        start_index: number in the name of the first frame.
        offset: added to every number (several videos in one folder).
        total_frames: number of frames; default: the files are counted.
        fps: frames per second, if known.
        threads: unused; every reader of files has it.

    Raises ``VideoError`` if the folder is missing.
    """

    decoder = "frames"

    def __init__(
        self,
        path: str | Path,
        template: str = "img_{:05}.jpg",
        modality: Literal["RGB", "Flow"] = "RGB",
        start_index: int = 1,
        offset: int = 0,
        total_frames: int | None = None,
        fps: float | None = None,
        threads: int = 1,
    ) -> None:
        self.path = str(path)
        self.fps = fps
        self._folder = Path(path)
        if not self._folder.is_dir():
            raise VideoError(path, "is not a folder" if self._folder.exists() else "does not exist")
        self._template = template
        self._flow = modality == "Flow"
        self._first = start_index + offset
        self._length = total_frames
        self._size: tuple[int, int] | None = None

    def __len__(self) -> int:
        if self._length is None:
            self._length = 0
            names = {f.name for f in self._folder.iterdir()}
            while self._files(self._length)[-1].name in names:
                self._length += 1
        return self._length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        if self._size is None:
            self.read([0])
        assert self._size is not None
        return self._size

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return the requested frames: (n, height, width, 3) RGB, or (n, height, width, 2) flow, uint8.

        Indices count from 0, independent of file names.
        """
        wanted, places = np.unique(frame_numbers(self.path, indices, len(self)), return_inverse=True)
        images = [self._read_frame(i) for i in wanted.tolist()]
        if not images:
            return np.empty((0, *self.size, 2 if self._flow else 3), np.uint8)
        self._size = images[0].shape[0], images[0].shape[1]
        for number, image in zip(wanted.tolist(), images, strict=True):
            if image.shape != images[0].shape:
                name = self._files(number)[0].name
                raise VideoError(self.path, f"{name} is {image.shape[:2]}, other frames are {images[0].shape[:2]}")
        return np.stack([images[p] for p in places.tolist()])

    def close(self) -> None:
        """Do nothing: no file is kept open."""

    def _files(self, index: int) -> list[Path]:
        number = self._first + index
        names = (
            [self._template.format(axis, number) for axis in "xy"] if self._flow else [self._template.format(number)]
        )
        return [self._folder / name for name in names]

    def _read_frame(self, index: int) -> Array:
        images = [_read_image(file, grey=self._flow) for file in self._files(index)]
        return np.stack(images, axis=-1) if self._flow else images[0]


def _read_image(file: Path, grey: bool) -> Array:
    existing_file(file)
    with reading(file):
        data = np.fromfile(file, np.uint8)
        header = read_header(data.tobytes())
        if header.animated:
            raise VideoError(file, "contains several images: convert it to a video or a folder of frames")
        if header.pixels > MAX_PIXELS:
            raise VideoError(file, f"has {header.pixels} pixels in its header; at most {MAX_PIXELS} are allowed")
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
        if image is None:
            raise VideoError(file, "is not an image that can be decoded")
        return image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
