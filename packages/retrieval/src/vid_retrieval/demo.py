"""``vidcore demo retrieval DIR``: search in videos by sentences never seen in training, in three minutes.

A shape of one of five colours moves or changes its size in one of six ways. Two small towers learn from videos and
captions of three quarters of all combinations, from nothing. Of the others, there are single videos for evaluation, and
films of several scenes, which are searched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.cli import Context
from vidcore.tools.demo import count_option, demo_options, say_next, write_rows
from vidcore.tools.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from vidcore.typing import Array

COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (235, 215, 50),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "cross")
MOTIONS = {
    "moves left": (-1, 0, 0),
    "moves right": (1, 0, 0),
    "moves up": (0, -1, 0),
    "moves down": (0, 1, 0),
    "grows": (0, 0, 1),
    "shrinks": (0, 0, -1),
}
"""Direction right, down, and in size."""
HELD_OUT = 4
"""One of this many combinations is never trained on."""
FRAMES, SCENES = 16, 5
"""Frames of a scene, one second; and scenes of a film."""
TASK = Path(__file__).with_name("demo.toml")

Scene = tuple[str, str, str]


def combinations() -> tuple[list[Scene], list[Scene]]:
    """Return the combinations of colour, shape and motion to train on, and those held out, all parts of which occur."""
    every = list(product(COLOURS, SHAPES, MOTIONS))
    # of every colour and shape, another one or two motions
    held = {scene for i, scene in enumerate(every) if (i % 6 + 2 * (i // 6) + i // 24) % HELD_OUT == 0}
    return [scene for scene in every if scene not in held], [scene for scene in every if scene in held]


def caption(scene: Scene) -> str:
    """Return the sentence that describes a scene."""
    return "a {} {} {}".format(*scene)


@click.command()
@count_option("--videos-per-scene", 10, "Videos of each combination that is trained on.", least=1)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Epochs of training; default: what it needs.")
@demo_options
@click.pass_obj
def retrieval(context: Context, folder: Path, videos_per_scene: int, epochs: int | None, seed: int) -> None:
    """Render videos with captions, train two towers, and search.

    DIR gets the videos, the Task, the run and an index of films.
    """
    write_data(folder, videos_per_scene, seed)
    shutil.copyfile(TASK, folder / "task.toml")
    from vid_retrieval.search.command import search
    from vid_retrieval.search.embedding import index_settings, write_index
    from vidcore.task.task import Task
    from vidcore.task.train import train
    from vidcore.video.synthetic import FPS
    from vidcore.video.window import Span

    task = Task.load(folder / "task.toml", context.catalog, [] if epochs is None else [f"train.epochs={epochs}"])
    train(task, run_dir=folder / "run")
    window = Span(FRAMES / FPS, in_seconds=True)
    settings = index_settings(folder / "index", task, folder / "run" / "checkpoints" / "best.pt", window)
    write_index(folder / "index", settings, [folder / "films"], catalog=context.catalog)
    sentence = caption(combinations()[1][0])
    words = ("search", folder / "index", sentence, "--output", folder / "found.png")
    click.echo(f"\nvidcore search {folder / 'index'} {sentence!r} --output {folder / 'found.png'}")
    search.main([str(word) for word in words[1:]], standalone_mode=False, obj=context)
    say_next("vidcore", "search", folder / "index", caption(combinations()[1][-1]))


def write_data(folder: Path, per_scene: int, seed: int) -> None:
    """Render videos, films and their captions, and write the vocabulary."""
    import numpy as np

    from vid_retrieval.clip_tokens import train_vocabulary
    from vidcore.video.synthetic import FPS, write_video

    trained, held = combinations()
    for name in ("videos", "films"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for part, scenes, count in (("train", trained, per_scene), ("val", held, 1)):
        rows = []
        for number, scene in enumerate(progress_bar(scenes * count, f"rendering {part}")):
            file = f"{part}_{number:04}.mp4"
            rng = np.random.default_rng([seed, part == "val", number])
            write_video(folder / "videos" / file, render(rng, [scene]))
            rows.append((file, caption(scene)))
        write_rows(folder / f"{part}.csv", ("video", "text"), rows)
    order = np.random.default_rng([seed, 2]).permutation(len(held))
    parts = []
    for number, first in enumerate(range(0, len(held), SCENES)):
        scenes = [held[i] for i in order[first : first + SCENES]]
        file = f"film_{number}.mp4"
        write_video(folder / "films" / file, render(np.random.default_rng([seed, 3, number]), scenes))
        parts += [(file, i * FRAMES / FPS, (i + 1) * FRAMES / FPS, caption(scene)) for i, scene in enumerate(scenes)]
    write_rows(folder / "films.csv", ("video", "start", "end", "text"), parts)
    train_vocabulary(map(caption, [*trained, *held]), folder / "merges.txt")


def render(rng: np.random.Generator, scenes: Sequence[Scene]) -> Iterator[Array]:
    """Yield the frames of a video: (SIZE, SIZE, 3) uint8 RGB; each scene has ``FRAMES``."""
    import cv2
    import numpy as np

    from vidcore.video.synthetic import SIZE

    for colour, shape, motion in scenes:
        right, down, grow = MOTIONS[motion]
        middle, size = rng.uniform(0.42 * SIZE, 0.58 * SIZE, 2), rng.uniform(0.17, 0.2) * SIZE
        noise = rng.normal(rng.uniform(40, 90), 6, (SIZE, SIZE, 1)) * np.ones(3)
        background = cv2.GaussianBlur(np.clip(noise, 0, 255).astype(np.uint8), (0, 0), 1)
        tint = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 8, 3), 0, 255)
        for time in np.linspace(-1, 1, FRAMES):
            radius = size * 1.5 ** (grow * time)
            centre = middle + 0.24 * SIZE * time * np.array([right, down])
            outline = np.round((centre + radius * OUTLINES[shape]()) * 16).astype(np.int32)
            frame = background.copy()
            cv2.fillPoly(frame, [outline], tint.tolist(), cv2.LINE_AA, shift=4)
            yield frame


def _ring(corners: int, turn: float = 0.0) -> Array:
    import numpy as np

    angle = 2 * np.pi * (np.arange(corners) / corners + turn)
    return np.stack((np.sin(angle), -np.cos(angle)), 1)


def _cross() -> Array:
    import numpy as np

    a, b = 0.33, 1.0
    arm, turn = np.array([(-a, -b), (a, -b), (a, -a)]), np.array([(0, 1), (-1, 0)])
    return np.concatenate([arm @ np.linalg.matrix_power(turn, i) for i in range(4)])


OUTLINES = {
    "circle": lambda: _ring(40),
    "square": lambda: _ring(4, 0.125) * 1.15,
    "triangle": lambda: _ring(3) * 1.2,
    "cross": _cross,
}
"""Corners of each shape, around the origin, about 1 from it."""
