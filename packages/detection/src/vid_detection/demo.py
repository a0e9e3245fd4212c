"""``vidcore demo detection DIR``: videos of several figures at once, each with an action of its own.

A figure is a ball with a face that stays near its place. A single frame does not tell what it does: it swings from left
to right, bounces up and down, or circles clockwise or anticlockwise. In the middle of a video, every figure takes up
another action.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from vidcore.cli import Context
from vidcore.tools.demo import count_option, demo_options, say_next, write_rows
from vidcore.tools.progress import progress_bar
from vidcore.video.synthetic import FPS, write_video

if TYPE_CHECKING:
    import numpy as np

    from vidcore.plugins.catalog import Catalog
    from vidcore.typing import Array

ACTIONS = ("swinging", "bouncing", "circling clockwise", "circling anticlockwise")
HEIGHT, WIDTH, FIGURES = 144, 216, 3
SECONDS, CHANGE = 8, 4.5
"""Length of a video, and the time from which figures perform their second action."""
KEY_TIMES = tuple(range(1, SECONDS))
"""Annotated seconds. A clip of a second around each shows one action."""
HEADER = ("video", "time", "x1", "y1", "x2", "y2", "person", "action")
DETECTOR = "MovingRegions"
"""Of vid-persons; without it, there are no found boxes."""
DRAWS = 20
"""Random guesses whose scores are averaged."""
FOUND = """\
# The Task with boxes that a detector found instead of true ones: vidcore test found.toml -c CHECKPOINT

extends = "task.toml"

[data.val.dataset]
proposal_file = "found.csv"
person_det_score_thr = 0.5
missing_proposals = "none"
"""


@frozen
class Figure:
    """A figure in a video."""

    radius: float
    """Pixels."""
    middle: tuple[float, float]
    """Pixels from the left and from the top."""
    reach: float
    """Pixels to either side of the middle."""
    pace: float
    """Repetitions of an action in a second."""
    phase: float
    """Where the action begins, in radians."""
    colour: tuple[int, int, int]
    """Red, green, blue."""
    actions: tuple[str, str]
    """Before and after the change."""

    def action(self, time: float) -> str:
        """Return the action at this second."""
        return self.actions[int(time >= CHANGE)]

    def place(self, time: float) -> tuple[float, float]:
        """Return where the figure is at this second."""
        angle = self.phase + 2 * math.pi * self.pace * time
        right, down = self.reach * math.cos(angle), self.reach * math.sin(angle)
        action = self.action(time)
        if action == "swinging":
            down = 0.0
        elif action == "bouncing":
            right, down = 0.0, right
        elif action == "circling anticlockwise":
            down = -down
        return self.middle[0] + right, self.middle[1] + down

    def box(self, time: float) -> tuple[float, float, float, float]:
        """Return ``x1, y1, x2, y2`` in pixels."""
        x, y = self.place(time)
        return x - self.radius, y - self.radius, x + self.radius, y + self.radius


@click.command()
@count_option("--videos", 30, "Videos; a fifth is for validation.")
@demo_options
@click.pass_obj
def detection(context: Context, folder: Path, videos: int, seed: int) -> None:
    """Render figures that act, and a Task that finds them.

    DIR gets the videos, the annotation files, the names of the actions, the Task, and a video with its annotations.
    """
    import numpy as np

    (folder / "videos").mkdir(parents=True, exist_ok=True)
    held_out = max(1, videos // 5)
    rows: dict[str, list[Sequence[object]]] = {"val": [], "train": []}
    shown: list[tuple[Path, list[Figure]]] = []
    for number in progress_bar(range(videos), "rendering"):
        rng = np.random.default_rng([seed, number])
        figures = draw_figures(rng)
        file = folder / "videos" / f"figures_{number:03}.mp4"
        write_video(file, render(figures, rng), (HEIGHT, WIDTH))
        rows["val" if number < held_out else "train"] += annotation_rows(file.name, figures)
        if number < held_out:
            shown.append((file, figures))
    for part, listed in rows.items():
        write_rows(folder / f"{part}.csv", HEADER, listed)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in ACTIONS), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("demo.toml"), folder / "task.toml")
    draw_annotations(*shown[0], folder / "annotated.mp4")
    click.echo(f"{videos - held_out} training and {held_out} validation videos in {folder}")
    click.echo(f"Guessing the actions in true boxes scores mAP {guessed_score(folder / 'val.csv'):.2f}.")
    if DETECTOR in context.catalog.components:
        count = find_boxes(context.catalog, [file for file, _ in shown], folder / "found.csv")
        (folder / "found.toml").write_text(FOUND, encoding="utf-8")
        click.echo(f"{DETECTOR} found {count} boxes where there are {len(rows['val'])}: see found.toml")
    say_next("vidcore", "run", folder / "task.toml")


def guessed_score(file: Path) -> float:
    """Return the frame mAP of true boxes with random scores, the mean of many draws."""
    import numpy as np

    from vid_detection.datasets.boxes import read_boxes
    from vid_detection.metrics.ava import ava_average_precision
    from vid_detection.metrics.collect import FlatBoxes, FlatTruth

    table = read_boxes(file)
    labels = np.array([ACTIONS.index(action) for action in table.actions])
    true = FlatTruth(table.boxes, table.frames, labels)
    excluded, rng = np.zeros(len(table.keys), bool), np.random.default_rng(0)
    drawn = (rng.random((len(labels), len(ACTIONS))) for _ in range(DRAWS))
    found = (FlatBoxes(table.boxes, table.frames, scores) for scores in drawn)
    return float(np.mean([ava_average_precision(one, true, excluded, len(ACTIONS)).ap for one in found]))


def find_boxes(catalog: Catalog, videos: Sequence[Path], file: Path) -> int:
    """Write what a detector without weights finds at the annotated seconds, as proposals; return how many boxes."""
    from vidcore.predict.persons import PersonFinder

    finder = PersonFinder.named(catalog, None, DETECTOR, "IoUTracker")
    rows: list[Sequence[object]] = []
    for video in progress_bar(videos, "detecting"):
        found = finder(video)
        for time in KEY_TIMES:
            persons = found.persons.at(time, 1.5 / FPS)
            for box, score in zip(persons.boxes.tolist(), persons.scores.tolist(), strict=True):
                edges = (f"{edge / side:.4f}" for edge, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True))
                rows.append((video.name, time, *edges, f"{score:.4f}"))
    write_rows(file, (*HEADER[:6], "score"), rows)
    return len(rows)


def draw_annotations(video: Path, figures: Sequence[Figure], output: Path) -> None:
    """Write a video with the boxes and actions of its figures."""
    import numpy as np

    from vid_detection.drawer import PersonDrawer
    from vidcore.persons import Persons, PersonScores
    from vidcore.predict.drawing import Drawing
    from vidcore.sample import Sample

    frames = np.repeat(np.arange(SECONDS * FPS), len(figures))
    tracks = np.tile(np.arange(1, len(figures) + 1), SECONDS * FPS)
    boxes = [figures[t - 1].box(frame / FPS) for frame, t in zip(frames.tolist(), tracks.tolist(), strict=True)]
    persons = Persons(
        np.array(boxes, np.float32),
        np.ones(len(boxes), np.float32),
        tracks=tracks,
        frames=frames,
        times=frames / FPS,
    )
    labels = [ACTIONS.index(action) for figure in figures for action in figure.actions]
    scores = PersonScores(
        np.tile([[0, CHANGE], [CHANGE, SECONDS]], (len(figures), 1)),
        np.array(labels)[:, None],
        np.ones((len(labels), 1)),
        tracks=np.repeat(np.arange(1, len(figures) + 1), 2),
    )
    sample = Sample(path=str(video), fps=FPS, class_names=ACTIONS).with_extra(persons=persons, person_scores=scores)
    Drawing(output.parent, {"PersonDrawer": PersonDrawer}).draw(sample, output)


def draw_figures(rng: np.random.Generator) -> list[Figure]:
    """Return the figures of a video, each in its part of the width."""
    figures = []
    for number in range(FIGURES):
        radius, reach = rng.uniform(10, 12), rng.uniform(20, 23)
        edge = radius + reach + 1
        left, right = number * WIDTH / FIGURES + edge, (number + 1) * WIDTH / FIGURES - edge
        middle = rng.uniform(min(left, right), max(left, right)), rng.uniform(edge, HEIGHT - edge)
        first, second = rng.choice(len(ACTIONS), 2, replace=False).tolist()
        colour = rng.permutation([230, 150, 60]).tolist()
        figures.append(
            Figure(
                radius, middle, reach, rng.uniform(0.9, 1.2), rng.uniform(0, 2 * math.pi), tuple(colour),
                (ACTIONS[first], ACTIONS[second]),
            )
        )  # fmt: skip
    return figures


def render(figures: list[Figure], rng: np.random.Generator) -> Iterator[Array]:
    """Yield the frames of a video: (HEIGHT, WIDTH, 3) uint8 RGB."""
    import cv2
    import numpy as np

    noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH, 1)), (0, 0), 3)
    behind = np.repeat(60 + 8 * noise[..., None] / noise.std(), 3, 2)
    for frame in range(SECONDS * FPS):
        image = np.clip(behind + rng.normal(0, 2, behind.shape), 0, 255).astype(np.uint8)
        for figure in figures:
            x, y = figure.place(frame / FPS)
            _ball(image, x, y, figure)
        yield image


def _ball(image: Array, x: float, y: float, figure: Figure) -> None:
    import cv2

    def dot(right: float, down: float, radius: float, colour: tuple[int, int, int]) -> None:
        centre = round(16 * (x + right * figure.radius)), round(16 * (y + down * figure.radius))
        cv2.circle(image, centre, round(16 * radius * figure.radius), colour, -1, cv2.LINE_AA, 4)

    dot(0, 0, 0.97, figure.colour)
    for side in (-0.35, 0.35):
        dot(side, -0.2, 0.2, (245, 245, 245))
        dot(side, -0.2, 0.09, (20, 20, 20))
    dot(0, 0.45, 0.15, (20, 20, 20))


def annotation_rows(video: str, figures: list[Figure]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each figure and annotated second."""
    for time in KEY_TIMES:
        for person, figure in enumerate(figures, 1):
            edges = (f"{edge:.1f}" for edge in figure.box(time))
            yield video, time, *edges, person, figure.action(time)
