"""A contact sheet: a picture of each window that was found. Imports matplotlib; import it where pictures are drawn."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

from vid_retrieval.search.index import Match, Nearest
from vid_retrieval.search.times import span_text
from vidcore.errors import VideoError
from vidcore.predict.inputs import as_sample
from vidcore.randomness import sample_rng
from vidcore.tools.draw import add_axes, drawing, new_figure, save_figure
from vidcore.transforms.loading import OpenVideo
from vidcore.typing import Array

__all__ = ["write_sheet"]

COLUMNS, WIDTH, HEIGHT, GAP = 4, 2.4, 1.8, 0.55
"""Pictures in a row, and their size and the space for text in inches."""


def write_sheet(path: Path, text: str, found: Nearest) -> None:
    """Write a PNG: the middle frame of each window, with its rank, time, cosine and file.

    A video that can no longer be read has an empty picture that says so.
    """
    names = [Path(match.video).name for match in found.matches]
    rows, columns = math.ceil(len(names) / COLUMNS), min(len(names), COLUMNS)
    with drawing([text, *names]) as letters:
        figure = new_figure(columns * WIDTH, rows * (HEIGHT + GAP) + GAP)
        title = add_axes(figure, 0, 0, columns * WIDTH, GAP)
        title.axis("off")
        title.text(0, 0.6, letters.text(textwrap.shorten(text, 30 * columns)), fontsize=12, fontweight="bold")
        for i, (match, name) in enumerate(zip(found.matches, names, strict=True)):
            left, top = i % COLUMNS * WIDTH, GAP + i // COLUMNS * (HEIGHT + GAP)
            axes = add_axes(figure, left, top + GAP, WIDTH - 0.1, HEIGHT - 0.1)
            axes.axis("off")
            shown = letters.text(name) if len(name) <= 30 else f"{letters.text(name)[:14]}…{letters.text(name)[-14:]}"
            axes.set_title(f"{i + 1}   {span_text(match)}   {match.cosine:.2f}\n{shown}", loc="left", fontsize=8)
            try:
                axes.imshow(middle_frame(match))
            except VideoError:
                axes.text(0.5, 0.5, "cannot be read", ha="center", va="center")
        save_figure(figure, path)


def middle_frame(match: Match) -> Array:
    """Return the frame in the middle of a window: (H, W, 3) uint8. Raises ``VideoError`` if it cannot be read."""
    if not Path(match.video).exists():
        raise VideoError(match.video, "does not exist")
    sample = OpenVideo()(as_sample(match.video), sample_rng(0, 0, 0))
    assert sample.video is not None
    with sample.video as video:
        middle = (match.start + match.end) / 2
        frame = int(middle if match.in_frames else middle * (sample.fps or 0))
        picture: Array = video.read([min(max(frame, 0), len(video) - 1) + sample.start_index])[0]
    return picture
