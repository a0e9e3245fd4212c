"""Memory of many skeleton samples: a mapped file, shared by worker processes.

Prints the size of a file of skeletons, the time to open it, the bytes that a spawned worker receives, and the memory of
the dataset with forked workers that read all samples. Memory is the proportional set size, as in ``index_memory.py``.
Pages of the file can be dropped at any time, so the last number is an upper bound.

    python benchmarks/skeleton_memory.py [--samples 600000] [--workers 4]
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from pathlib import Path

import numpy as np
from index_memory import measure

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.files import Track, skeleton_writer

JOINTS, FRAMES = 17, 4


def write(path: Path, samples: int) -> None:
    """Write skeletons of a few frames, of ten classes."""
    track = Track(0, np.random.default_rng(0).uniform(0, 100, (FRAMES, JOINTS, 2)).astype(np.float16))
    names = [f"joint{k}" for k in range(JOINTS)]
    with skeleton_writer(path, names, class_names=[f"class{k}" for k in range(10)]) as writer:
        for k in range(samples):
            writer.add(f"S{k:07}", FRAMES, [track], (1080, 1920), 30.0, k % 10)


def load(path: Path) -> PoseDataset:
    """Open the file, or a small one to import everything."""
    if path.suffix == ".warm":
        path = path.with_name("warm.npz")
        write(path, 3)
    return PoseDataset(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=600_000)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "skeletons.npz")
        write(path, args.samples)
        sent = len(pickle.dumps(PoseDataset(path)))
        seconds, alone, together = measure(load, path, args.workers)
        size = path.stat().st_size / 2**20
    print(f"{args.samples} samples: file {size:.0f} MiB, opened in {seconds:.2f} s, {sent} bytes for a spawned worker")
    print(f"dataset {alone:.0f} MiB, with {args.workers} workers that have read all samples {together:.0f} MiB")


if __name__ == "__main__":
    main()
