"""Rotation of frames according to the display matrix of the file."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from attrs import frozen
from av.video.frame import VideoFrame

__all__ = ["Orientation"]

Image = np.ndarray[Any, Any]

SKEWED = 0.02
"""Largest part of the other axis in a quarter turn, since writers round."""


@frozen
class Orientation:
    """A display matrix in quarter turns: rows and columns are transposed first, and then reversed."""

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """Read the frame's display matrix: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, 6.2.2).

        Raises ``ValueError`` if it is damaged.
        """
        try:
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV before 19: side data that it does not know (Exif, ...) hides the rest
            turns = round(frame.rotation / 90) % 4
            return (cls(), cls(True, True, False), cls(False, True, True), cls(True, False, True))[turns]
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        straight, turned = sorted((abs(a), abs(d))), sorted((abs(b), abs(c)))
        if straight[1] > SKEWED * turned[0] and turned[1] > SKEWED * straight[0]:
            raise ValueError("its display matrix is not a rotation by quarter turns")
        return cls(True, b < 0, c < 0) if abs(b) > abs(a) else cls(False, d < 0, a < 0)

    def size(self, coded: tuple[int, int]) -> tuple[int, int]:
        """Return height and width as shown, from height and width as coded."""
        return (coded[1], coded[0]) if self.transposed else coded

    def turn(self, image: Image, out: Image) -> None:
        """Write the (height, width, 3) image into ``out`` as shown."""
        if self.transposed:
            image = cv2.transpose(image)
        if self.flip_rows or self.flip_columns:
            cv2.flip(image, -1 if self.flip_rows and self.flip_columns else int(self.flip_columns), dst=out)
        else:
            out[:] = image
