"""Time of a training sample for a graph network, compared with a plain loop over joints, in one process and thread.

A sample has two people, 25 joints and 150 frames, of which 100 are sampled. Both make the four streams of the published
recipes (joints and bones, and the motion of either) of upright 3-D skeletons; values are compared. The two alternate;
times are medians.

    python benchmarks/skeleton_samples.py [--repeats 9] [--at-least 5]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from vid_skeleton.transforms.decoding import PoseDecode
from vid_skeleton.transforms.features import PARENTS, GenSkeFeat
from vid_skeleton.transforms.formatting import FormatGCNInput
from vid_skeleton.transforms.normalising import PreNormalize3D
from vid_skeleton.transforms.sampling import UniformSampleFrames
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.typing import Array

PEOPLE, FRAMES, JOINTS, CLIP = 2, 150, 25, 100
FEATS = ("j", "b", "jm", "bm")
PIPELINE = Pipeline(
    [PreNormalize3D(), GenSkeFeat("nturgb+d", FEATS), UniformSampleFrames(CLIP), PoseDecode(), FormatGCNInput(PEOPLE)]
)

Vector = list[float]


def by_vidcore(points: Array) -> Array:
    """Return the input of a network: (1, people, frames, joints, channels) float32."""
    sample = Sample(joints=Joints(points), total_frames=len(points[0]))
    made = PIPELINE(sample, np.random.default_rng(0)).inputs["joints"]
    assert isinstance(made, np.ndarray)
    return made


def by_loop(points: Array) -> Array:
    """Return the same, computed joint by joint."""
    people: list[list[list[Vector]]] = points.tolist()
    middle = people[0][0][1]
    people = [[[_minus(joint, middle) for joint in frame] for frame in person] for person in people]
    people = _upright(people, 1, 0, [0.0, 0.0, 1.0])
    people = _upright(people, 8, 4, [1.0, 0.0, 0.0])
    bones = [[_bones(frame) for frame in person] for person in people]
    streams = [people, bones, [_motion(p) for p in people], [_motion(p) for p in bones]]
    chosen = UniformSampleFrames(CLIP)(Sample(total_frames=FRAMES), np.random.default_rng(0)).clip
    assert chosen is not None
    made = np.zeros((1, PEOPLE, CLIP, JOINTS, 3 * len(FEATS)), np.float32)
    for person in range(PEOPLE):
        for frame, source in enumerate(chosen.indices):
            for joint in range(JOINTS):
                values = [value for stream in streams for value in stream[person][source][joint]]
                made[0, person, frame, joint] = values
    return made


def _minus(first: Vector, second: Vector) -> Vector:
    return [a - b for a, b in zip(first, second, strict=True)]


def _bones(frame: list[Vector]) -> list[Vector]:
    return [_minus(frame[joint], frame[parent]) for joint, parent in enumerate(PARENTS["nturgb+d"])]


def _motion(person: list[list[Vector]]) -> list[list[Vector]]:
    moves = [[_minus(after, before) for before, after in zip(now, then, strict=True)] for now, then in pairwise(person)]
    return [*moves, [[0.0, 0.0, 0.0]] * JOINTS]


def _upright(people: list[list[list[Vector]]], end: int, start: int, target: Vector) -> list[list[list[Vector]]]:
    """Turn the line between two joints of the first frame to a direction, by Rodrigues' formula for each joint."""
    line = _minus(people[0][0][end], people[0][0][start])
    axis = _cross(line, target)
    size, length = math.hypot(*axis), math.hypot(*line)
    axis = [value / size for value in axis]
    sine, cosine = size / length, sum(a * b for a, b in zip(line, target, strict=True)) / length

    def turned(joint: Vector) -> Vector:
        along = sum(a * b for a, b in zip(axis, joint, strict=True)) * (1 - cosine)
        across = _cross(axis, joint)
        return [value * cosine + c * sine + a * along for value, c, a in zip(joint, across, axis, strict=True)]

    return [[[turned(joint) for joint in frame] for frame in person] for person in people]


def _cross(a: Vector, b: Vector) -> Vector:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return CPU and wall time of a call in milliseconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return 1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)


def main() -> int:
    """Print times and ratios; return 1 if either ratio is lower than asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--at-least", type=float, default=5.0)
    given = parser.parse_args()
    points = np.random.default_rng(0).normal(0, 1, (PEOPLE, FRAMES, JOINTS, 3)).astype(np.float32)
    np.testing.assert_allclose(by_vidcore(points), by_loop(points), rtol=1e-5, atol=1e-5)
    pairs = [(timed(lambda: by_vidcore(points)), timed(lambda: by_loop(points))) for _ in range(given.repeats)]
    ratios = []
    for position, name in enumerate(("CPU", "wall")):
        ours, loop = (statistics.median(pair[who][position] for pair in pairs) for who in (0, 1))
        ratios.append(loop / ours)
        print(f"{name}: vidcore {ours:.2f} ms, loop over joints {loop:.1f} ms, {loop / ours:.1f} times as fast")
    return 0 if min(ratios) >= given.at_least else 1


if __name__ == "__main__":
    raise SystemExit(main())
