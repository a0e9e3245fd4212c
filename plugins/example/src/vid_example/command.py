"""``vidcore sliding-square FOLDER``: videos of a square that slides left or right."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("sliding-square")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--videos", type=click.IntRange(min=2), default=24, show_default=True, help="Number of videos to render.")
def sliding_square(folder: Path, videos: int) -> None:
    """Render small videos into FOLDER, named by direction: left_00.mp4, right_01.mp4, ..."""
    import cv2  # here, because ``vidcore --help`` imports this module
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    size, side, length = 48, 12, 16
    for number in range(videos):
        name = ("left", "right")[number % 2]
        path = folder / f"{name}_{number:02}.mp4"
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 15, (size, size))
        top = int(rng.integers(size - side))
        steps = range(length) if name == "right" else reversed(range(length))
        for step in steps:
            frame = rng.integers(0, 40, (size, size, 3), dtype=np.uint8)
            left = step * (size - side) // (length - 1)
            frame[top : top + side, left : left + side] = 255
            video.write(frame)
        video.release()
    click.echo(f"{videos} videos in {folder}")
