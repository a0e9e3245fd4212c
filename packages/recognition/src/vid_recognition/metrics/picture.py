"""Drawing a confusion matrix."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from vid_recognition.metrics.collect import Array

__all__ = ["draw_confusion_matrix"]

FONT = cv2.FONT_HERSHEY_SIMPLEX
RIGHT = np.array((46, 98, 168))  # RGB
WRONG = np.array((200, 62, 48))
INK, LINE = (32, 32, 32), (222, 222, 222)
LONGEST = 32
"""Characters of a class name that are shown."""


def draw_confusion_matrix(matrix: Array, names: Sequence[str]) -> Array:
    """Draw counts as a picture: rows are true classes, blue on the diagonal, red elsewhere.

    A cell is the darker, the larger its share of the row. Counts are written where they fit.

    Args:
        matrix: (C, C) counts.
        names: of the classes.

    Returns:
        (height, width, 3) uint8 RGB; the cells shrink from 64 pixels down to 12 for many classes.
    """
    classes = len(matrix)
    cell = int(np.clip(960 // classes, 12, 64))
    scale = float(np.clip(cell / 45, 0.36, 0.5))
    rows = [f"{_ascii(name, i)} ({count})" for i, (name, count) in enumerate(zip(names, matrix.sum(1), strict=True))]
    columns = [_ascii(name, i) for i, name in enumerate(names)]
    pad, line = 12, _size("Ag", scale)[1] + 10
    left = pad + line + max(_size(t, scale)[0] for t in rows) + 8
    top = pad + line + max(_size(t, scale)[0] for t in columns) + 8
    side = classes * cell + 1
    # narrow matrices still need room for the captions
    width = max(left + side, left + _size("predicted class", scale)[0]) + pad
    height = max(top + side, top + _size("true class (samples)", scale)[0]) + pad
    image = np.full((height, width, 3), 255, np.uint8)
    image[top : top + side, left : left + side] = _cells(matrix, cell)
    for i in range(classes):
        middle = i * cell + cell // 2
        _write(image, rows[i], (left - 6, top + middle), scale, align=1.0)
        _write(image, columns[i], (left + middle, top - 6), scale, align=0.0, upright=True)
    _write(image, "predicted class", (left, pad + line // 2), scale)
    _write(image, "true class (samples)", (pad + line // 2, top + side), scale, upright=True)
    _write_counts(image, matrix, cell, (left, top))
    return image


def _shares(matrix: Array) -> Array:
    return np.asarray(matrix / np.maximum(matrix.sum(1, keepdims=True), 1))


def _cells(matrix: Array, cell: int) -> Array:
    """The coloured grid, (C * cell + 1) square."""
    strength = np.sqrt(_shares(matrix))[..., None]  # the root makes rare mistakes visible
    hue = np.where(np.eye(len(matrix), dtype=bool)[..., None], RIGHT, WRONG)
    small = (255 + (hue - 255) * strength).round().astype(np.uint8)
    grid = np.empty((len(matrix) * cell + 1,) * 2 + (3,), np.uint8)
    grid[:-1, :-1] = small.repeat(cell, 0).repeat(cell, 1)
    grid[::cell], grid[:, ::cell] = LINE, LINE
    return grid


def _write_counts(image: Array, matrix: Array, cell: int, corner: tuple[int, int]) -> None:
    longest = max(matrix.max(), 10)
    scale = 0.5
    while scale >= 0.3 and _size(str(longest), scale)[0] > cell - 6:
        scale -= 0.02
    if scale < 0.3:
        return
    shares = _shares(matrix)
    for i, j in np.argwhere(matrix):
        at = (corner[0] + j * cell + cell // 2, corner[1] + i * cell + cell // 2)
        _write(image, str(matrix[i, j]), at, scale, align=0.5, ink=(255, 255, 255) if shares[i, j] > 0.3 else INK)


def _write(
    image: Array,
    text: str,
    at: tuple[int, int],
    scale: float,
    align: float = 0.0,
    upright: bool = False,
    ink: tuple[int, int, int] = INK,
) -> None:
    """Write text that starts (align 0), is centred (0.5) or ends (1) at a point, along x or, upright, upwards."""
    width, height = _size(text, scale)
    patch = np.full((height + 8, width + 2, 3), 255, np.uint8)
    cv2.putText(patch, text, (1, height + 3), FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    if upright:
        patch = np.rot90(patch)
        left, top = at[0] - patch.shape[1] // 2, at[1] - round(patch.shape[0] * (1 - align))
    else:
        left, top = at[0] - round(patch.shape[1] * align), at[1] - patch.shape[0] // 2
    top, left = max(top, 0), max(left, 0)
    target = image[top : top + patch.shape[0], left : left + patch.shape[1]]
    cover = 1 - patch[: target.shape[0], : target.shape[1]] / 255.0
    target[:] = (target * (1 - cover) + np.array(ink) * cover).round()


def _size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    return int(width), int(height)


def _ascii(name: str, number: int) -> str:
    """A name the font can show: accents dropped, cut where too long, the class number where nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip()
    plain = plain or f"class {number}"
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 2] + ".."
