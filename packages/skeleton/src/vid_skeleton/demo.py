"""``vidcore demo skeleton DIR``: a small dataset of moving figures, in the documented file of skeletons.

A figure has the 17 joints of COCO, stands in space, and is seen by a camera. The three classes have the same figures,
sizes, places and cameras, and differ only in how the joints move: walking in place, waving an arm, jumping. Figures for
training and for testing are drawn from different ranges: those for testing are also smaller and larger, faster and
slower, seen from further to the side, noisier, and lack more joints.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from vidcore.tools.demo import count_option, demo_options, say_next

if TYPE_CHECKING:
    import numpy as np

    from vidcore.typing import Array

CLASSES = ("walking", "waving", "jumping")
HEIGHT, WIDTH, FPS = 480, 640, 30.0


@frozen
class Ranges:
    """What figures are drawn from: the lowest and the highest value of each."""

    height: tuple[float, float]
    """Of a figure, in pixels."""
    cycles: tuple[float, float]
    """Repetitions of a motion in a second."""
    turn: tuple[float, float]
    """Degrees by which the camera stands to the side."""
    tilt: float
    """Degrees by which the camera looks down at most."""
    noise: float
    """Standard deviation of a joint, as a part of the height."""
    missing: float
    """Probability that a joint is not found in a frame."""


TRAINING = Ranges((160, 320), (0.8, 1.4), (-35, 35), 8, 0.008, 0.03)
TESTING = Ranges((120, 380), (0.7, 1.6), (-45, 45), 12, 0.012, 0.06)


@click.command()
@count_option("--videos-per-class", 100, "Figures of each class; a fifth is for testing.")
@demo_options
def skeleton(folder: Path, videos_per_class: int, seed: int) -> None:
    """Generate moving figures and a Task that trains on them.

    DIR gets the skeletons, a picture of a figure of each class, the names of the classes, and the Task.
    """
    import numpy as np

    from vid_skeleton.files import Track, skeleton_writer
    from vid_skeleton.graphs import COCO
    from vid_skeleton.picture import draw_figures

    folder.mkdir(parents=True, exist_ok=True)
    held_out = max(1, videos_per_class // 5)
    shown: dict[str, Array] = {}
    with skeleton_writer(folder / "skeletons.npz", COCO.names, COCO.inward, class_names=CLASSES) as writer:
        splits: dict[str, list[int]] = {"train": [], "val": []}
        for number in range(videos_per_class):
            for label, name in enumerate(CLASSES):
                part, ranges = ("val", TESTING) if number < held_out else ("train", TRAINING)
                rng = np.random.default_rng([seed, number, label])
                points, scores = figure(name, ranges, rng)
                splits[part].append(len(writer))
                shown.setdefault(name, points)
                tracks = [Track(0, points, scores)]
                writer.add(f"{name}_{number:03}", len(points), tracks, (HEIGHT, WIDTH), FPS, label)
        writer.splits.update(splits)
    draw_figures(shown, COCO, folder / "samples.png")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("demo.toml"), folder / "task.toml")
    click.echo(f"{len(splits['train'])} figures for training and {len(splits['val'])} for testing in {folder}")
    say_next("vidcore", "run", folder / "task.toml")


def figure(label: str, ranges: Ranges, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return a figure that moves.

    Args:
        label: one of ``CLASSES``.
        ranges: of size, speed, camera and damage.
        rng: source of randomness.

    Returns:
        points: (frames, 17, 2) float32: pixels; NaN: not found.
        scores: (frames, 17) float32: 0: not found.
    """
    import numpy as np

    frames = int(rng.integers(48, 90))
    phase = 2 * np.pi * (rng.uniform(*ranges.cycles) * np.arange(frames) / FPS + rng.uniform())
    body = _body(label, phase, rng)  # (frames, 17, 3): x to the right, y down, z away, in heights of a figure
    turn, tilt = np.deg2rad(rng.uniform(*ranges.turn)), np.deg2rad(rng.uniform(0, ranges.tilt))
    x = body[..., 0] * np.cos(turn) + body[..., 2] * np.sin(turn)
    z = body[..., 2] * np.cos(turn) - body[..., 0] * np.sin(turn)
    y = body[..., 1] * np.cos(tilt) + z * np.sin(tilt)
    height = rng.uniform(*ranges.height)
    foot = rng.uniform((0.3 * WIDTH, 0.85 * HEIGHT), (0.7 * WIDTH, 0.95 * HEIGHT))
    points = np.stack((x, y), -1) * height + foot
    points += rng.normal(0, ranges.noise * height, points.shape)
    scores = rng.uniform(0.6, 1.0, points.shape[:2])
    lost = rng.random(points.shape[:2]) < ranges.missing
    points[lost], scores[lost] = np.nan, 0
    return points.astype(np.float32), scores.astype(np.float32)


def _body(label: str, phase: Array, rng: np.random.Generator) -> Array:
    """Return the joints of a person whose feet stand at the origin: (frames, 17, 3)."""
    import numpy as np

    still = np.zeros_like(phase)
    sway = rng.uniform(3, 6) * np.sin(phase / 2)
    # angles in degrees, of the left and the right side: thighs and shins from the vertical, arms from hanging down
    thigh, shin, upper, lower = [sway, -sway], [sway / 2, -sway / 2], [sway, -sway], [sway + 8, 8 - sway]
    aside = [still + 8, still + 8]  # of the arms, away from the body
    lift = still
    if label == "walking":
        step = rng.uniform(22, 34)
        for side, turned in enumerate((phase, phase + np.pi)):
            thigh[side] = step * np.sin(turned)
            shin[side] = thigh[side] - 30 * np.clip(np.cos(turned), 0, None)
            upper[side] = -0.9 * step * np.sin(turned)
            lower[side] = upper[side] + 20
    elif label == "waving":
        side = int(rng.integers(2))
        aside[side] = 95 + 8 * np.sin(phase)
        upper[side], lower[side] = still, still
        waved = 150 + rng.uniform(25, 40) * np.sin(2 * phase)  # the forearm, from hanging down
    else:
        depth = rng.uniform(30, 45) * np.clip(-np.sin(phase), 0, None)
        thigh, shin = [depth, depth], [-depth, -depth]
        lift = rng.uniform(0.12, 0.22) * np.clip(np.sin(phase), 0, None)
        upper = [60 * np.sin(phase), 60 * np.sin(phase)]
        lower = [upper[0] + 15, upper[1] + 15]
    points = np.zeros((len(phase), 17, 3))
    width = rng.uniform(0.09, 0.12)
    for side, sign in enumerate((1, -1)):  # the left side of a person who faces the camera is at the right
        hip = np.stack((still + sign * width * 0.6, still, still), -1)
        knee = hip + _limb(thigh[side], still, 0.25, sign)
        points[:, 11 + side], points[:, 13 + side] = hip, knee
        points[:, 15 + side] = knee + _limb(shin[side], still, 0.25, sign)
        shoulder = np.stack((still + sign * width, still - 0.3, still), -1)
        elbow = shoulder + _limb(upper[side], aside[side], 0.17, sign)
        points[:, 5 + side], points[:, 7 + side] = shoulder, elbow
        raised = label == "waving" and aside[side].max() > 90
        bent = waved if raised else aside[side]
        points[:, 9 + side] = elbow + _limb(lower[side], bent, 0.16, sign)
        points[:, 1 + side] = (sign * 0.02, -0.43, -0.05)
        points[:, 3 + side] = (sign * 0.05, -0.42, 0.0)
    points[:, 0] = (0, -0.41, -0.07)
    ground = points[:, 15:17, 1].max(1) + lift  # the lower foot stands, unless the figure jumps
    points[..., 1] -= ground[:, None]
    return points


def _limb(forward: Array, aside: Array, length: float, sign: int) -> Array:
    """Return the vector along a limb that hangs down, turned forward and then aside by degrees: (frames, 3)."""
    import numpy as np

    swing, spread = np.deg2rad(forward), np.deg2rad(aside)
    down = length * np.cos(swing)
    return np.stack((sign * down * np.sin(spread), down * np.cos(spread), -length * np.sin(swing)), -1)
