"""Motion vectors of the codec."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vidcore.video.checks import reading
from vidcore.video.exact.finder import FrameFinder

__all__ = ["read_motion_vectors"]


def read_motion_vectors(
    path: str | Path, indices: Sequence[int] | np.ndarray[Any, Any], threads: int = 1
) -> np.ndarray[Any, Any]:
    """Return the motion vectors of frames: how far each block has moved from its reference.

    Args:
        path: video file whose codec predicts blocks (H.264, MPEG-4, ...).
        indices: frames, counted from 0.
        threads: threads of the decoder.

    Returns:
        (n, height, width, 2) int8: x and y in pixels of the frames as coded (not rotated); 0 for blocks
        without prediction. Blocks with two references have the last vector.

    Raises ``VideoError`` if the file or a frame cannot be read.
    """
    with reading(path), closing(FrameFinder(path, threads, motion=True)) as finder:
        out = np.zeros((len(indices), *finder.coded_size, 2), np.int8)
        for slots, frame in finder.frames(indices):
            vectors = frame.side_data.get("MOTION_VECTORS")
            if vectors is not None:
                _paint(vectors.to_ndarray(), out[slots[0]])
                out[slots[1:]] = out[slots[0]]
    return out


def _paint(vectors: np.ndarray[Any, Any], image: np.ndarray[Any, Any]) -> None:
    """Fill each block, given by its centre, with its displacement.

    Blocks that reach the last row or column stay 0, as in the maps that published models were trained on.
    """
    height, width, _ = image.shape
    field = {name: vectors[name].astype(np.int64) for name in ("w", "h", "src_x", "src_y", "dst_x", "dst_y")}
    left, top = field["dst_x"] - field["w"] // 2, field["dst_y"] - field["h"] // 2
    right, bottom = left + field["w"], top + field["h"]
    moved = np.stack([field["dst_x"] - field["src_x"], field["dst_y"] - field["src_y"]], axis=-1).clip(-128, 127)
    within = (left >= 0) & (top >= 0) & (right < width) & (bottom < height)
    for k in np.flatnonzero(within).tolist():
        image[top[k] : bottom[k], left[k] : right[k]] = moved[k]
