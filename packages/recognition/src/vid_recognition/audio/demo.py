"""``vidcore demo audio DIR``: video files whose classes differ only in their sound, which a model learns in a minute.

The pictures have the same distribution for every class. Pitch, loudness and noise are random, so that a class cannot be
heard in a single moment either: it is the course of the sound in time.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.tools.demo import count_option, demo_options, write_labelled

if TYPE_CHECKING:
    import numpy as np

    from vidcore.typing import Array

SECONDS, FPS, RATE = 2, 8, 22050
SOUNDS = ("beeping", "clicking", "falling", "fading", "rising", "steady", "swelling", "trembling")


@click.command()
@count_option("--videos-per-class", 40, "Videos per class; a fifth is for validation.")
@demo_options
def audio(folder: Path, videos_per_class: int, seed: int) -> None:
    """Render videos with sounds and a Task that trains on them.

    DIR gets the videos, the annotation files and the Task.
    """
    import numpy as np

    def write(videos: Path, label: str, number: int, index: int) -> Path:
        file, rng = videos / f"{number:03}_{index:04}.mp4", np.random.default_rng([seed, index])
        write_clip(file, pictures(rng), sound(label, rng))
        return file

    write_labelled(folder, Path(__file__).with_name("demo.toml"), SOUNDS, videos_per_class, write)


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
