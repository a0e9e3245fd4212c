"""Synthetic videos of moving shapes, for demos.

A two-toned ellipse moves, turns or changes its size in front of a drifting background. Positions, angles and sizes
are cyclic (an ellipse that has grown to the largest size starts again with the smallest), so that a motion can
continue for any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vidcore.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from vidcore.typing import Array

__all__ = ["FPS", "MOTIONS", "SIZE", "render", "write_video"]

SIZE, FPS = 96, 16
"""Height and width of the frames in pixels, frames per second."""

MOTIONS = {
    "left": (-1, 0, 0, 0),
    "right": (1, 0, 0, 0),
    "up": (0, -1, 0, 0),
    "down": (0, 1, 0, 0),
    "clockwise": (0, 0, 1, 0),
    "anticlockwise": (0, 0, -1, 0),
    "growing": (0, 0, 0, 1),
    "shrinking": (0, 0, 0, -1),
}
"""Steps per frame: right, down, clockwise, and in size."""


def render(rng: np.random.Generator, steps: Array) -> Iterator[Array]:
    """Yield the frames of a video: (SIZE, SIZE, 3) uint8 RGB.

    Args:
        rng: draws the background, and position, angle, size and speed of the ellipse.
        steps: (frames, 4) displacement at each frame, in steps as in ``MOTIONS``.
    """
    import cv2
    import numpy as np

    blob, background = _blob(), _background(rng)
    x, y, drift_x, drift_y = rng.uniform([0, 0, -0.3, -0.3], [SIZE, SIZE, 0.3, 0.3])
    angle, size = rng.uniform([0, 0], [360, 1])  # size: 0 smallest to 1 largest, cyclic
    speed = rng.uniform(0.8, 1.2)
    for time, (right, down, turn, grow) in enumerate(speed * steps, -(len(steps) // 2)):
        scale = 0.9 * 2.2 ** ((size + grow / 20) % 1)
        turned = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), angle - turn * 10, scale)
        layer = cv2.warpAffine(blob, turned, (SIZE, SIZE))
        layer = _shifted(layer, x + right * 2.5, y + down * 2.5)
        behind = _shifted(background, drift_x * time, drift_y * time)
        opacity = layer[..., 3:]
        yield (behind * (1 - opacity) + layer[..., :3] * opacity).round().astype(np.uint8)


def _blob() -> Array:
    """Return an ellipse, half of it darker, in the middle of a frame.

    (SIZE, SIZE, 4) float32: colour 0..255 and opacity 0..1. At its largest it still fits the frame.
    """
    import numpy as np

    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    opacity = np.clip((1 - np.hypot(columns / 20, rows / 7)) * 5, 0, 1)
    brightness = np.where(columns > 0, 1.0, 0.5)
    return np.dstack([brightness * level for level in (255, 200, 80)] + [opacity]).astype(np.float32)


def _background(rng: np.random.Generator) -> Array:
    """Return a dim, grey, cyclic texture: (SIZE, SIZE, 1) float32."""
    import cv2
    import numpy as np

    wrapped = np.pad(rng.standard_normal((SIZE, SIZE), np.float32), SIZE // 2, mode="wrap")
    noise = cv2.GaussianBlur(wrapped, (0, 0), 3)[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2, None]
    grey: Array = 60 + 8 * (noise / noise.std())
    return grey


def _shifted(image: Array, right: float, down: float) -> Array:
    """Return an image shifted cyclically by whole pixels."""
    import numpy as np

    return np.roll(image, (round(down), round(right)), axis=(0, 1))


def write_video(path: Path, frames: Iterable[Array], size: tuple[int, int] = (SIZE, SIZE)) -> None:
    """Encode RGB frames of that height and width as MPEG-4; raise ``UserError`` if the file cannot be written."""
    import cv2

    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size[::-1])
    if not video.isOpened():
        raise UserError(f"{path}: cannot be written as a video")
    for frame in frames:
        video.write(frame[..., ::-1].copy())
    video.release()
