"""Overhead of the engine: steps, checkpoints, and merging of evaluations.

Steps: ``fit`` with its log, compared with a plain PyTorch loop that reads its loss as often, on the same batch in
memory; CPU time per step without start and end of the run, the minimum of several alternating rounds. The limit is
10 % or 100 µs.
Checkpoints: a network of 25 million parameters with momentum, compared with a plain ``torch.save`` of the same
content, which does not survive being killed or a power failure while writing, and with one that waits for the disk.
Evaluation: top-k and mean class accuracy of a million samples from two processes (run one after the other here),
compared with keeping, sending and concatenating all scores; time after the last batch, and memory.

    python benchmarks/engine.py [--steps 1000] [--rounds 9] [--samples 1000000] [--classes 400]
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vid_recognition.metrics.accuracy import AccMetric
from vidcore.batch import Batch, collate
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.training import TrainingData
from vidcore.engine.checkpoint import load, save
from vidcore.engine.fit import fit
from vidcore.engine.observers import JsonLines
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.step import Step
from vidcore.protocols import Observer
from vidcore.sample import Sample
from vidcore.task.run_folder import RunFolder

CLASSES = 10


class Tiny(nn.Module):
    """A network with a step of less than a millisecond, or of a few with ``channels``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = [nn.Conv3d(3, channels, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1)] if channels else []
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels or 8, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    def preprocess(self, batch: Batch) -> Batch:
        return batch

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.net(inputs)
        return out

    def loss(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss_cls": nn.functional.cross_entropy(outputs, batch.labels)}


class RepeatedBatch:
    """Yields the same batch repeatedly, in place of a loader."""

    options = LoaderOptions(batch_size=8)

    def __init__(self, batch: Batch, batches: int) -> None:
        self.batch, self.batches = batch, batches
        self.dataset = range(batches * len(batch))

    def __len__(self) -> int:
        return self.batches

    def batches_between(self, first: int, last: int) -> Iterator[Batch]:
        for _ in range(first, last):
            yield self.batch


class Stopwatch(Observer):
    """Records the CPU time at two steps."""

    def __init__(self, first: int, last: int) -> None:
        self.times: dict[int, float] = dict.fromkeys((first, last), 0.0)

    def on_step(self, epoch: int, step: int, values: Any) -> None:
        if step in self.times:
            self.times[step] = time.process_time()


def steps(channels: int, steps: int, rounds: int) -> tuple[float, float]:
    """Return CPU seconds per step: plain loop, ``fit``."""
    shape = (3, 4, 16, 16) if channels else (8,)
    numbers = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    batch = collate([Sample(index=i, label=i, inputs={"x": x}) for i, x in enumerate(numbers)])
    warm_up = steps // 4

    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = Tiny(channels)
        return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def plain() -> float:
        model, optimizer = build()
        losses, log_interval = [], TrainOptions(steps=steps).log_interval
        for step in range(steps):
            if step == warm_up:
                start = time.process_time()
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(model(batch.inputs), batch.labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            if len(losses) == log_interval:
                assert math.isfinite(torch.stack(losses).mean())
                losses = []
        return (time.process_time() - start) / (steps - warm_up)

    def ours() -> float:
        model, optimizer = build()
        watch = Stopwatch(warm_up, steps)
        options, runtime = TrainOptions(steps=steps, checkpoint_interval=steps), RuntimeOptions()
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder.prepare(folder, "")
            observers = [JsonLines(), watch]
            data = TrainingData(RepeatedBatch(batch, steps + 1))
            fit(Step(model, optimizer, options, runtime), data, run.path, observers=observers)
        return (watch.times[steps] - watch.times[warm_up]) / (steps - warm_up)

    found = [(plain(), ours()) for _ in range(rounds)]
    return min(b for b, _ in found), min(o for _, o in found)


def checkpoints(rounds: int) -> dict[str, float]:
    """Return median seconds to write and read a checkpoint by method, and ``size`` in bytes."""
    model = nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(25)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 1000)).sum().backward()
    optimizer.step()
    content = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}

    def synced(path: Path) -> None:
        with path.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        ways: dict[str, Callable[[], Any]] = {
            "torch.save": lambda: torch.save(content, path),
            "and fsync": lambda: synced(path),
            "save": lambda: save(path, content),
            "torch.load": lambda: torch.load(path, weights_only=True),
            "load": lambda: load(path),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                seconds[name].append(timed(way)[1])
        return {name: statistics.median(s) for name, s in seconds.items()} | {"size": path.stat().st_size}


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the time in seconds."""
    begin = time.perf_counter()
    return function(), time.perf_counter() - begin


def evaluations(samples: int, classes: int) -> Iterator[list[Sample]]:
    """Yield batches of samples with labels and scores."""
    rng = np.random.default_rng(0)
    scores, labels = rng.random((997, classes), np.float32), rng.integers(0, classes, samples)
    for start in range(0, samples, 32):
        stop = min(samples, start + 32)
        yield [Sample(index=i, label=int(labels[i]), scores=scores[i % len(scores)]) for i in range(start, stop)]


def merged(samples: int, classes: int) -> tuple[dict[str, float], float, float]:
    """Return scores, seconds after the last batch, and peak bytes, of ``AccMetric``."""
    metrics = AccMetric(), AccMetric()
    for number, batch in enumerate(evaluations(samples, classes)):
        metrics[number % 2].update(batch, batch)

    def merge() -> dict[str, float]:
        metrics[0].merge([pickle.loads(pickle.dumps(metrics[1]))])
        return metrics[0].compute()

    return *timed(merge), tracemalloc.get_traced_memory()[1]


def all_scores(samples: int, classes: int) -> tuple[dict[str, float], float, float]:
    """Return the same for keeping, sending and concatenating all scores."""
    kept: tuple[list[Any], list[Any]] = [], []
    for number, batch in enumerate(evaluations(samples, classes)):
        kept[number % 2].extend((s.index, s.label, s.scores.copy()) for s in batch)

    def merge() -> dict[str, float]:
        rows = kept[0] + pickle.loads(pickle.dumps(kept[1]))
        index, labels = (np.array([row[i] for row in rows]) for i in (0, 1))
        scores = np.stack([row[2] for row in rows])
        order = np.unique(index, return_index=True)[1]
        labels, scores = labels[order], scores[order]
        top = np.argsort(scores, axis=1, kind="stable")[:, -5:]
        right = top[:, -1] == labels
        occurring = np.unique(np.concatenate([labels, top[:, -1]]))
        recalls = [right[labels == c].mean() if (labels == c).any() else 0.0 for c in occurring]
        return {
            "acc/top1": float(right.mean()),
            "acc/top5": float((top == labels[:, None]).any(1).mean()),
            "acc/mean1": float(np.mean(recalls)),
        }

    return *timed(merge), tracemalloc.get_traced_memory()[1]


def traced(way: Callable[[int, int], tuple[dict[str, float], float, float]], *size: int) -> tuple[Any, float, float]:
    """Return scores and seconds of a run, and the peak memory of a second one, because tracing takes time."""
    scores, seconds, _ = way(*size)
    tracemalloc.start()
    _, _, peak = way(*size)
    tracemalloc.stop()
    return scores, seconds, peak


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, channels, share in (("two linear layers", 0, 1.0), ("a 3D convolution", 8, 0.2)):
        plain, ours = steps(channels, max(40, round(options.steps * share)), options.rounds)
        fine = ours - plain < max(1e-4, 0.1 * plain)
        print(
            f"{name:17} plain {plain * 1e6:8.0f} µs   fit {ours * 1e6:8.0f} µs   {(ours - plain) * 1e6:+6.0f} µs"
            f"   ratio {ours / plain:5.2f}   {'within' if fine else 'ABOVE'} 10 % or 100 µs"
        )
    found = checkpoints(options.rounds)
    print(f"checkpoint of {found['size'] / 2**20:.0f} MiB:")
    for name, base in (("torch.save", "torch.save"), ("and fsync", "torch.save"), ("save", "torch.save")):
        print(f"  {name:12} {found[name] * 1e3:8.0f} ms   ratio {found[name] / found[base]:5.2f}")
    for name in ("torch.load", "load"):
        print(f"  {name:12} {found[name] * 1e3:8.0f} ms   ratio {found[name] / found['torch.load']:5.2f}")
    size = options.samples, options.classes
    ours_, theirs = traced(merged, *size), traced(all_scores, *size)
    assert all(math.isclose(ours_[0][key], theirs[0][key], rel_tol=1e-9) for key in theirs[0]), (ours_[0], theirs[0])
    print(f"evaluation of {size[0]} samples, {size[1]} classes, two processes:")
    for name, (_, seconds, peak) in (("all scores", theirs), ("AccMetric", ours_)):
        print(
            f"  {name:12} {seconds:8.2f} s {peak / 2**20:8.0f} MiB"
            f"   ratio {theirs[1] / seconds:5.1f} in time, {theirs[2] / peak:5.1f} in memory"
        )


if __name__ == "__main__":
    main()
