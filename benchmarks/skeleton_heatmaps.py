"""Time of GeneratePoseTarget, compared with a loop over people, frames and joints, in one process and one thread.

Both draw the same 48 x 17 maps of 56 x 56 pixels; the values are compared first. They alternate; times are medians.

    python benchmarks/skeleton_heatmaps.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from vid_skeleton.transforms.heatmaps import GeneratePoseTarget
from vidcore.geometry import Geometry
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

LIMIT = 0.2
"""Most time of a sample, as a share of that of the loop."""


def by_loop(points: Array, scores: Array, size: tuple[int, int], sigma: float) -> Array:
    """Draw joint by joint: (frames, joints, height, width)."""
    people, frames, joints = scores.shape
    height, width = size
    maps = np.zeros((frames, joints, height, width), np.float32)
    for frame in range(frames):
        for joint in range(joints):
            for person in range(people):
                (x, y), score = points[person, frame, joint], scores[person, frame, joint]
                left, right = max(int(x - 3 * sigma), 0), min(int(x + 3 * sigma) + 1, width)
                top, bottom = max(int(y - 3 * sigma), 0), min(int(y + 3 * sigma) + 1, height)
                if score < 1e-3 or left >= right or top >= bottom:
                    continue
                across = np.arange(left, right, dtype=np.float32) - x
                down = np.arange(top, bottom, dtype=np.float32) - y
                values = np.exp(-(across**2 + down[:, None] ** 2) / (2 * sigma**2)) * score
                window = maps[frame, joint, top:bottom, left:right]
                np.maximum(window, values, out=window)
    return maps


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU time and the wall time of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3


def main() -> None:
    """Measure samples of one and of two people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    slow = False
    for people in (1, 2):
        points = rng.uniform(0, 56, (people, 48, 17, 2)).astype(np.float32)
        scores = rng.uniform(0.1, 1, (people, 48, 17)).astype(np.float32)
        sample = Sample(joints=Joints(points, scores), geometry=Geometry.whole((56, 56)))
        step = GeneratePoseTarget()
        drawn = step(sample, rng).heatmaps
        assert drawn is not None
        np.testing.assert_allclose(drawn.maps, by_loop(points, scores, (56, 56), 0.6), rtol=1e-5, atol=1e-6)
        ours_call, loop_call = partial(step, sample, rng), partial(by_loop, points, scores, (56, 56), 0.6)
        times = [(milliseconds(ours_call), milliseconds(loop_call)) for _ in range(repeats)]
        for kind, name in enumerate(("CPU", "wall")):
            ours, loop = (statistics.median(pair[which][kind] for pair in times) for which in (0, 1))
            slow |= ours > LIMIT * loop
            print(f"{people} people, {name}: {ours:.2f} ms, loop {loop:.2f} ms, {loop / ours:.1f} times faster")
    if slow:
        raise SystemExit(f"slower than {LIMIT:.0%} of the loop")


if __name__ == "__main__":
    main()
