"""Time per sample of the data pipeline, compared with the steps that MMAction2 documents, in one process.

Its steps, written plainly: ``get_batch`` of decord (``DecordDecode``), a list of images that are resized, cropped and
flipped one by one, ``np.stack`` and a transposed view (``FormatShape``), which ``torch.stack`` copies. Both use one
thread, the same frames and the same crops. They alternate; results are medians over all videos and repeats, in wall
and in CPU time. The time of decoding alone (the same frames with the same reader) is printed as well, and that of one
geometric step on a sample with boxes.

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
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import CenterCrop, MultiScaleCrop, RandomResizedCrop, ThreeCrop
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


def mmaction2(path: str, sampled: Sample, moves: Sequence[tuple[str, Any]], layout: str) -> torch.Tensor:
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
        inputs = frames.transpose(0, 3, 1, 2)
    else:
        clips = frames.reshape(-1, sampled.clip.length, *frames.shape[1:])
        inputs = clips.transpose(0, 4, 1, 2, 3)
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


Times = dict[str, tuple[float, float]]
"""Median wall and CPU seconds per sample, by way."""


def measure(name: str, videos: Sequence[str], repeats: int) -> Times:
    """Measure ``mmaction2``, ``vidcore`` and ``decoding`` alone."""
    sampling, geometry, formatting, _ = SCENARIOS[name]
    pipeline = Pipeline([OpenVideo(), sampling, Decode(), *geometry, formatting])
    decoding = Pipeline([OpenVideo(), sampling, Decode()])
    seconds: dict[str, list[tuple[float, float]]] = {"mmaction2": [], "vidcore": [], "decoding": []}
    for seed in range(repeats):
        for path in videos:
            rng = np.random.default_rng(seed)
            opened = OpenVideo()(Sample(path=path), rng)
            sampled = sampling(opened, rng)
            moves = drawn(opened.video.size, geometry, rng)
            opened.video.close()
            ways: dict[str, Callable[[], Any]] = {
                "mmaction2": lambda path=path, s=sampled, m=moves: mmaction2(path, s, m, formatting.input_format),
                "vidcore": lambda path=path, seed=seed: (
                    collate([pipeline(Sample(path=path), np.random.default_rng(seed))]).inputs
                ),
                "decoding": lambda path=path, seed=seed: decoding(Sample(path=path), np.random.default_rng(seed)),
            }
            results = {}
            for way in ways if seed % 2 else reversed(ways):
                start = time.perf_counter(), time.process_time()
                results[way] = ways[way]()
                seconds[way].append((time.perf_counter() - start[0], time.process_time() - start[1]))
            assert results["mmaction2"].shape == results["vidcore"].shape
            if sampling.test_mode:  # training interpolates once instead of twice
                assert (results["mmaction2"].int() - results["vidcore"].int()).abs().max() <= 3
    return {
        way: (statistics.median(wall for wall, _ in found), statistics.median(cpu for _, cpu in found))
        for way, found in seconds.items()
    }


def run(repeats: int = 7, given: Sequence[str] = ()) -> dict[str, Times]:
    """Measure all scenarios."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = given or videos(Path(folder))
        return {name: measure(name, paths, repeats) for name in SCENARIOS}


def geometric_step(calls: int = 5000) -> float:
    """Return the CPU seconds of a crop of a sample with boxes, the minimum of several rounds."""
    boxes = Boxes(np.array([[10, 10, 50, 60], [0, 0, 30, 30]], np.float32), labels=np.array([1, 2]))
    sample = Sample(path="a.mp4", frames=np.zeros((8, 240, 320, 3), np.uint8), boxes=boxes)
    step, rng, found = CenterCrop(224), np.random.default_rng(0), []
    for _ in range(5):
        start = time.process_time()
        for _ in range(calls):
            step(sample, rng)
        found.append((time.process_time() - start) / calls)
    return min(found)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--videos", nargs="*", default=[])
    args = parser.parse_args()
    print(f"{'ms per sample':28}{'':6}{'MMAction2':>10}{'vidcore':>10}{'decoding':>10}{'ratio':>8}{'target':>8}")
    for name, times in run(args.repeats, args.videos).items():
        for row, what in enumerate(("wall", "CPU")):
            found = {way: seconds[row] for way, seconds in times.items()}
            columns = "".join(f"{value * 1e3:>10.1f}" for value in found.values())
            ratio = found["mmaction2"] / found["vidcore"]
            target = "" if row else f"{SCENARIOS[name][3]:>8.1f}"
            print(f"{'' if row else name:28}{what:6}{columns}{ratio:>8.2f}{target}")
    print(f"crop of a sample with boxes: {geometric_step() * 1e6:.0f} µs CPU")


if __name__ == "__main__":
    main()
