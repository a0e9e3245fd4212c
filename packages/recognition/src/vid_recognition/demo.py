"""``vidcore demo recognition DIR``: a small dataset of video files that a model learns in a minute or two.

The eight classes differ only in motion: a two-toned ellipse moves, rotates or changes its size before a
drifting background. Its position, angle and size have the same distribution for every class and
in every frame: position and angle are cyclic, and an ellipse that reaches the largest size restarts at
the smallest. So the class cannot be seen in a single frame, only in the kind and direction of change.
"""

from __future__ import annotations

import csv
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.errors import UserError
from vidcore.tools.progress import progress_bar
from vidcore.video.synthetic import MOTIONS, render, write_video

if TYPE_CHECKING:
    from vidcore.typing import Array

LENGTH = 32
"""Frames per video."""
TASK_FILE = Path(__file__).with_name("demo.toml")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--videos-per-class",
    type=click.IntRange(min=2),
    metavar="N",
    default=50,
    show_default=True,
    help="Videos per class; a fifth is for validation.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Random seed of the videos."
)
@click.option("--force", is_flag=True, help="Write into DIR even if it is not empty.")
def recognition(folder: Path, videos_per_class: int, seed: int, force: bool) -> None:
    """Render labelled videos and a Task that trains on them.

    DIR gets the videos, the annotation files and the Task.
    """
    if folder.exists() and any(folder.iterdir()) and not force:
        raise UserError(f"{folder} is not empty; choose another folder, or use --force to write into this one")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    held_out = max(1, videos_per_class // 5)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": []}
    clips = [(number, label) for number in range(videos_per_class) for label in MOTIONS]
    for index, (number, label) in enumerate(progress_bar(clips, "rendering")):
        space = " " if number == 0 else "_"  # shows that names may contain spaces
        name = f"{label}{space}{number:03}.mp4"
        write_video(folder / "videos" / name, render_video(label, seed, index))
        rows["val" if number < held_out else "train"].append((name, label))
    for part, listed in rows.items():
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "label"), *listed])
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in MOTIONS), encoding="utf-8")
    shutil.copyfile(TASK_FILE, folder / "task.toml")
    click.echo(f"{len(rows['train'])} training and {len(rows['val'])} validation videos in {folder}")
    click.echo(f"Next: vidcore run {shlex.quote(str(folder / 'task.toml'))}")


def render_video(label: str, seed: int, number: int) -> Iterator[Array]:
    """Yield the frames of one video: (SIZE, SIZE, 3) uint8 RGB.

    Random values depend on ``seed`` and ``number`` only and describe the middle frame, which is therefore
    the same for every label.
    """
    import numpy as np

    times = np.arange(LENGTH) - LENGTH // 2
    return render(np.random.default_rng([seed, number]), np.outer(times, MOTIONS[label]))
