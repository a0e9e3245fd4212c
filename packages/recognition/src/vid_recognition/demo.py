"""``vidcore demo recognition DIR``: a small dataset of video files that a model learns in a minute or two.

The eight classes differ only in motion: a two-toned ellipse moves, rotates or changes its size before a
drifting background. Its position, angle and size have the same distribution for every class and
in every frame: position and angle are cyclic, and an ellipse that reaches the largest size restarts at
the smallest. So the class cannot be seen in a single frame, only in the kind and direction of change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.tools.demo import count_option, demo_options, write_labelled
from vidcore.video.synthetic import MOTIONS, render, write_video

if TYPE_CHECKING:
    from vidcore.typing import Array

LENGTH = 32
"""Frames per video."""


@click.command()
@count_option("--videos-per-class", 50, "Videos per class; a fifth is for validation.")
@demo_options
def recognition(folder: Path, videos_per_class: int, seed: int) -> None:
    """Render labelled videos and a Task that trains on them.

    DIR gets the videos, the annotation files and the Task.
    """

    def write(videos: Path, label: str, number: int, index: int) -> Path:
        space = " " if number == 0 else "_"  # shows that names may contain spaces
        file = videos / f"{label}{space}{number:03}.mp4"
        write_video(file, render_video(label, seed, index))
        return file

    write_labelled(folder, Path(__file__).with_name("demo.toml"), MOTIONS, videos_per_class, write)


def render_video(label: str, seed: int, number: int) -> Iterator[Array]:
    """Yield the frames of one video: (SIZE, SIZE, 3) uint8 RGB.

    Random values depend on ``seed`` and ``number`` only and describe the middle frame, which is therefore
    the same for every label.
    """
    import numpy as np

    times = np.arange(LENGTH) - LENGTH // 2
    return render(np.random.default_rng([seed, number]), np.outer(times, MOTIONS[label]))
