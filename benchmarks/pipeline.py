"""Time per sample of the data pipeline, compared with a naive pipeline, in one process.

The naive pipeline: decord's ``get_batch`` of the sampled indices, then a list of images that are resized,
cropped and flipped one by one, stacked and transposed. Both use one thread, the same frames and the same
crops. They alternate; the result is the median over all videos and repeats. The time of decoding alone (the same
frames with the same reader) is printed as well.

    python benchmarks/pipeline.py [--repeats 7] [--videos FILE...]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import decord
import numpy as np
import torch
from decode import videos

from vidcore.batch import collate
from vidcore.geometry import Geometry
from vidcore.protocols import Transform
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import MultiScaleCrop, RandomResizedCrop, ThreeCrop
from vidcore.transforms.flipping import Flip
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.transforms.resizing import Resize
from vidcore.transforms.sampling import SampleFrames

SQUARE = Resize((224, 224), keep_ratio=False)

SCENARIOS: dict[str, tuple[SampleFrames, list[Transform], FormatShape, float]] = {
    "training, 32x2x1": (
        SampleFrames(32, 2, 1),
        [Resize((-1, 256)), RandomResizedCrop(), SQUARE, Flip(0.5)],
        FormatShape("NCTHW"),
        1.3,
    ),
    "training, 8 segments": (
        SampleFrames(1, 1, 8),
        [Resize((-1, 256)), MultiScaleCrop(224, (1, 0.875, 0.75, 0.66)), SQUARE, Flip(0.5)],
        FormatShape("NCHW"),
        1.3,
    ),
    "testing, 32x2x10, 3 crops": (
        SampleFrames(32, 2, 10, test_mode=True),
        [Resize((-1, 256)), ThreeCrop(256)],
        FormatShape("NCTHW"),
        2.0,
    ),
    "testing, 8x8x10, 3 crops": (
        SampleFrames(8, 8, 10, test_mode=True),
        [Resize((-1, 256)), ThreeCrop(256)],
        FormatShape("NCTHW"),
        2.0,
    ),
}
"""Name to frame sampling, geometry, format, and target ratio."""


def naive(path: str, sampled: Sample, moves: Sequence[tuple[str, Any]], layout: str) -> torch.Tensor:
    """Process a list of images; ``moves`` are the drawn parameters of each step."""
    reader = decord.VideoReader(path, num_threads=1)
    images = list(reader.get_batch(sampled.clip.indices.tolist()).asnumpy())
    for kind, value in moves:
        if kind == "resize":
            images = [cv2.resize(image, value) for image in images]
        elif kind == "crop":
            images = [image[top : top + h, left : left + w] for left, top, w, h in value for image in images]
        else:
            images = [cv2.flip(image, 1) for image in images]
    frames = np.stack(images)
    if layout == "NCHW":
        inputs = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    else:
        clips = frames.reshape(-1, sampled.clip.length, *frames.shape[1:])
        inputs = np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))
    return torch.stack([torch.from_numpy(inputs)])


def drawn(size: tuple[int, int], steps: Sequence[Transform], rng: np.random.Generator) -> list[tuple[str, Any]]:
    """Return the parameters drawn by the steps, one list entry per operation on each image."""
    sample, moves = Sample(geometry=Geometry.whole(size)), []
    for step in steps:
        before, sample = sample.geometry, step(sample, rng)
        after = sample.geometry
        height, width = after.size
        if isinstance(step, Resize):
            moves.append(("resize", (width, height)))
        elif isinstance(step, Flip):
            moves += [("flip", None)] if after.windows[0][2] else []
        else:
            assert before.windows == ((0, 0, False),)
            moves.append(("crop", [(x, y, width, height) for x, y, _ in after.windows]))
    return moves


def measure(name: str, videos: Sequence[str], repeats: int) -> tuple[float, float, float]:
    """Return median seconds per sample: naive, vidcore, decoding alone."""
    sampling, geometry, formatting, _ = SCENARIOS[name]
    pipeline = Pipeline([OpenVideo(), sampling, Decode(), *geometry, formatting])
    decoding = Pipeline([OpenVideo(), sampling, Decode()])
    seconds: dict[str, list[float]] = {"naive": [], "ours": [], "floor": []}
    for seed in range(repeats):
        for path in videos:
            rng = np.random.default_rng(seed)
            opened = OpenVideo()(Sample(path=path), rng)
            sampled = sampling(opened, rng)
            moves = drawn(opened.video.size, geometry, rng)
            opened.video.close()
            ways: dict[str, Callable[[], Any]] = {
                "naive": lambda path=path, s=sampled, m=moves: naive(path, s, m, formatting.input_format),
                "ours": lambda path=path, seed=seed: (
                    collate([pipeline(Sample(path=path), np.random.default_rng(seed))]).inputs
                ),
                "floor": lambda path=path, seed=seed: decoding(Sample(path=path), np.random.default_rng(seed)),
            }
            results = {}
            for way in ways if seed % 2 else reversed(ways):
                start = time.perf_counter()
                results[way] = ways[way]()
                seconds[way].append(time.perf_counter() - start)
            assert results["naive"].shape == results["ours"].shape
            if sampling.test_mode:  # training interpolates once instead of twice
                assert (results["naive"].int() - results["ours"].int()).abs().max() <= 3
    naive_, ours, floor = (statistics.median(s) for s in seconds.values())
    return naive_, ours, floor


def run(repeats: int = 7, given: Sequence[str] = ()) -> dict[str, tuple[float, float, float]]:
    """Measure all scenarios."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = given or videos(Path(folder))
        return {name: measure(name, paths, repeats) for name in SCENARIOS}


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--videos", nargs="*", default=[])
    args = parser.parse_args()
    print(f"{'':28}{'naive':>16}{'vidcore':>12}{'decoding':>12}{'ratio':>8}{'target':>10}")
    for name, (naive_, ours, floor) in run(args.repeats, args.videos).items():
        times = f"{naive_ * 1e3:>13.1f} ms{ours * 1e3:>9.1f} ms{floor * 1e3:>9.1f} ms"
        print(f"{name:28}{times}{naive_ / ours:>8.2f}{SCENARIOS[name][3]:>10.1f}")


if __name__ == "__main__":
    main()
