"""Time to load a clip around a key frame of a long video, by seeking and by decoding from the start.

AVA annotates 15 minutes of a movie, one key frame per second; a clip of SlowFast covers 64 frames around it. Both ways
run in one process and return the same frames.

    python benchmarks/key_frames.py [--minutes 15]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vid_detection.transforms.sampling import SampleAVAFrames
from vidcore.sample import Sample
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.typing import Array

FPS, SIZE = 30, (128, 96)
TARGET = 20


def movie(path: Path, minutes: float) -> None:
    """Write a video of moving stripes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    stripes = (np.indices((SIZE[1], 2 * SIZE[0])).sum(0) * 3 % 256).astype(np.uint8)
    for i in range(int(minutes * 60 * FPS)):
        shift = i % SIZE[0]
        writer.write(np.repeat(stripes[:, shift : shift + SIZE[0], None], 3, 2))
    writer.release()


def by_seeking(sample: Sample) -> Array:
    """Read the frames of a clip as a pipeline does."""
    rng = np.random.default_rng(0)
    for step in (OpenVideo(), SampleAVAFrames(32, 2, test_mode=True), Decode()):
        sample = step(sample, rng)
    assert sample.frames is not None
    return sample.frames


def from_the_start(sample: Sample) -> Array:
    """Read the same frames after all frames before them."""
    rng = np.random.default_rng(0)
    sample = SampleAVAFrames(32, 2, test_mode=True)(OpenVideo()(sample, rng), rng)
    assert sample.clip is not None and sample.video is not None
    with sample.video as video:
        kept = []
        for first in range(0, int(sample.clip.indices[-1]) + 1, 256):
            wanted = np.arange(first, min(first + 256, int(sample.clip.indices[-1]) + 1))
            frames = video.read(wanted)
            kept.append(frames[np.isin(wanted, sample.clip.indices)])
    return np.concatenate(kept)


def measure(read: Callable[[Sample], Array], sample: Sample, repeats: int) -> tuple[float, float, Array]:
    """Return wall time and CPU time, the least of the repeats, and the frames."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        frames = read(sample)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus), frames


def main() -> int:
    """Compare both ways at the last minute of the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "movie.mp4")
        movie(path, args.minutes)
        meta = {"timestamp": 900 + args.minutes * 60 - 20, "timestamp_start": 900.0}
        sample = Sample(path=str(path), meta=meta)
        wall, cpu, frames = measure(by_seeking, sample, 5)
        plain_wall, plain_cpu, plain = measure(from_the_start, sample, 1)
    assert np.array_equal(frames, plain), "both ways must return the same frames"
    print(
        f"clip of {len(frames)} frames at minute {args.minutes:g}: {wall:.3f} s, CPU {cpu:.3f} s   "
        f"from the start {plain_wall:.3f} s, CPU {plain_cpu:.3f} s   "
        f"{plain_wall / wall:.1f} x, CPU {plain_cpu / cpu:.1f} x (target: {TARGET} x)"
    )
    return 0 if plain_cpu / cpu >= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
