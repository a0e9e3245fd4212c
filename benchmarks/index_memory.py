"""Memory and loading time of the index of a large dataset, compared with a list of dictionaries.

Prints, for an annotation file of 650,000 videos: the loading time, the memory of the index, and the total memory
with eight forked workers that read all entries. Memory is the proportional set size: a page shared by N processes
counts 1/N for each, so the sum is the memory that the machine needs.

    python benchmarks/index_memory.py [--lines 650000] [--workers 8]
"""

from __future__ import annotations

import argparse
import copy
import gc
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def write_list(path: Path, lines: int) -> None:
    """Write an annotation file like that of Kinetics-700: class folders, file names with two times, class numbers."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    with path.open("w") as file:
        for _ in range(lines):
            label, start = rng.randrange(700), rng.randrange(300)
            name = "".join(rng.choices(letters, k=11))
            file.write(f"class number {label:03}/{name}_{start:06}_{start + 10:06}.mp4 {label}\n")


def as_dictionaries(path: Path) -> list[dict[str, Any]]:
    """Load one dictionary per line."""
    entries = []
    with path.open() as file:
        for line in file:
            name, label = line.strip().rsplit(" ", 1)
            entries.append({"filename": os.path.join("videos", name), "label": int(label), "modality": "RGB"})
    return entries


def as_dataset(path: Path) -> Any:
    """Load with vidcore."""
    from vid_recognition.datasets.video import VideoDataset

    return VideoDataset(path, Path("videos"))


def memory(process: int | str = "self") -> float:
    """Return the proportional set size in MiB."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def _read_all(entries: Sequence[Any], ready: Connection) -> None:
    for i in range(len(entries)):
        copy.copy(entries[i])  # a dataset must not return its own dictionary
    ready.send(None)
    ready.recv()


def measure(load: Callable[[Path], Any], path: Path, workers: int) -> tuple[float, float, float]:
    """Return seconds to load, MiB of the index, and MiB of the index with its workers.

    Runs in a new process, so that freed memory does not affect the result.
    """
    load(path.with_suffix(".warm"))  # imports
    context = multiprocessing.get_context("fork")
    gc.collect()
    before, start = memory(), time.perf_counter()
    entries = load(path)
    seconds = time.perf_counter() - start
    gc.collect()
    alone = memory() - before
    pipes, processes = [], []
    for _ in range(workers):
        here, there = context.Pipe()
        processes.append(context.Process(target=_read_all, args=(entries, there), daemon=True))
        pipes.append(here)
        processes[-1].start()
    for pipe in pipes:
        pipe.recv()
    together = memory() + sum(memory(process.pid) for process in processes) - before
    for pipe in pipes:
        pipe.send(None)
    for process in processes:
        process.join()
    return seconds, alone, together


def run(lines: int = 650_000, workers: int = 8) -> dict[str, tuple[float, float, float]]:
    """Measure both, each in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.txt"
        write_list(path, lines)
        write_list(path.with_suffix(".warm"), 10)
        out = {}
        for name, load in (("dictionaries", as_dictionaries), ("vidcore", as_dataset)):
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe()
            process = context.Process(target=_send, args=(there, load, path, workers))
            process.start()
            out[name] = here.recv()
            process.join()
    return out


def _send(there: Connection, load: Callable[[Path], Any], path: Path, workers: int) -> None:
    there.send(measure(load, path, workers))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=650_000)
    parser.add_argument("--workers", type=int, default=8)
    args = parser.parse_args()
    found = run(args.lines, args.workers)
    print(f"{args.lines} lines, {args.workers} workers")
    print(f"{'':14}{'load':>10}{'index':>12}{'with workers':>16}")
    for name, (seconds, alone, together) in found.items():
        print(f"{name:14}{seconds:>8.2f} s{alone:>8.0f} MiB{together:>12.0f} MiB")
    ours, theirs = found["vidcore"], found["dictionaries"]
    print(f"memory: {theirs[1] / ours[1]:.1f} times less, {theirs[2] / ours[2]:.1f} times less with workers")


if __name__ == "__main__":
    main()
