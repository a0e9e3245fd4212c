"""``vidcore demo audio DIR``: video files whose classes differ only in their sound, which a model learns in a minute.

The pictures have the same distribution for every class. Pitch, loudness and noise are random, so that a class cannot be
heard in a single moment either: it is the course of the sound in time.
"""

from __future__ import annotations

import csv
import shlex
import shutil
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.errors import UserError
from vidcore.tools.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from vidcore.typing import Array

SECONDS, FPS, RATE = 2, 8, 22050
SOUNDS = ("beeping", "clicking", "falling", "fading", "rising", "steady", "swelling", "trembling")
TASK_FILE = Path(__file__).with_name("demo.toml")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--videos-per-class",
    type=click.IntRange(min=2),
    metavar="N",
    default=40,
    show_default=True,
    help="Videos per class; a fifth is for validation.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Random seed of the videos."
)
@click.option("--force", is_flag=True, help="Write into DIR even if it is not empty.")
def audio(folder: Path, videos_per_class: int, seed: int, force: bool) -> None:
    """Render videos with sounds and a Task that trains on them.

    DIR gets the videos, the annotation files and the Task.
    """
    import numpy as np

    if folder.exists() and any(folder.iterdir()) and not force:
        raise UserError(f"{folder} is not empty; choose another folder, or use --force to write into this one")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    held_out = max(1, videos_per_class // 5)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": []}
    clips = [(number, label) for number in range(videos_per_class) for label in SOUNDS]
    for index, (number, label) in enumerate(progress_bar(clips, "rendering")):
        name, rng = f"{number:03}_{index:04}.mp4", np.random.default_rng([seed, index])
        write_clip(folder / "videos" / name, pictures(rng), sound(label, rng))
        rows["val" if number < held_out else "train"].append((name, label))
    for part, listed in rows.items():
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "label"), *listed])
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in SOUNDS), encoding="utf-8")
    shutil.copyfile(TASK_FILE, folder / "task.toml")
    click.echo(f"{len(rows['train'])} training and {len(rows['val'])} validation videos in {folder}")
    click.echo(f"Next: vidcore run {shlex.quote(str(folder / 'task.toml'))}")


def pictures(rng: np.random.Generator) -> Iterator[Array]:
    """Yield the frames of a video with any motion: (SIZE, SIZE, 3) uint8 RGB."""
    import numpy as np

    from vidcore.video.synthetic import MOTIONS, render

    steps = list(MOTIONS.values())[int(rng.integers(len(MOTIONS)))]
    yield from render(rng, np.outer(np.arange(SECONDS * FPS) - SECONDS * FPS // 2, steps))


def sound(label: str, rng: np.random.Generator) -> Array:
    """Return the sound of a class: (SECONDS * RATE,) float64 from -1 to 1.

    Args:
        label: one of ``SOUNDS``.
        rng: draws pitch, tempo, overtones, loudness and noise.
    """
    import numpy as np

    time = np.arange(SECONDS * RATE) / RATE
    pitch, tempo = rng.uniform(300, 900), rng.uniform(1.7, 2.3)
    beat = (time * tempo + rng.random()) % 1  # from 0 to 1, about twice a second
    course = {"rising": 2**beat, "falling": 2 ** (1 - beat), "trembling": 2 ** (0.3 * np.sin(6 * np.pi * beat))}
    loudness = {
        "beeping": (beat < 0.5) * 1.0,
        "clicking": 1.4 * np.exp(-60 * beat),
        "fading": np.exp(-4 * beat),
        "swelling": np.exp(-4 * (1 - beat)),
    }
    phase = 2 * np.pi * np.cumsum(pitch * course.get(label, np.ones_like(time))) / RATE
    strength = rng.uniform(0.2, 1, 4) / np.arange(1, 5)
    tone = sum(part * np.sin(k * phase) for k, part in enumerate(strength, 1)) / strength.sum()
    noise = rng.uniform(0.005, 0.05) * rng.standard_normal(len(time))
    mixed: Array = rng.uniform(0.3, 0.9) * loudness.get(label, 0.6) * tone + noise
    return np.clip(mixed, -1, 1)


def write_clip(path: Path, frames: Iterator[Array], samples: Array) -> None:
    """Write an MP4 file with a picture every 1 / FPS seconds and one channel of sound at RATE."""
    import numpy as np

    from vidcore.video.container import open_container
    from vidcore.video.movie import write_movie

    source = path.with_suffix(".wav")
    with wave.open(str(source), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    try:
        with open_container(str(source), source) as container:
            stream = container.streams.audio[0]
            with write_movie(path, Fraction(1, FPS), Fraction(FPS), stream) as movie:
                for number, frame in enumerate(frames):
                    movie.write(frame, Fraction(number, FPS))
                for packet in container.demux(stream):
                    movie.write_sound(packet)
    finally:
        source.unlink()
