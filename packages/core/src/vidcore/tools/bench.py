"""Measure the speed of loader and model, separately and together: ``vidcore bench``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import Any

import torch

from vidcore.batch import Batch
from vidcore.config.bind import Call, build
from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.meters import Clock
from vidcore.engine.optim import build_optimizer
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.prepare import prepare
from vidcore.engine.step import Step
from vidcore.randomness import reseed
from vidcore.task.schema import DataPart
from vidcore.task.task import Task
from vidcore.tools.advice import Loading

__all__ = ["bench"]

ENDLESS = 2**62


def bench(task: Task, seconds: float = 10.0) -> dict[str, Any]:
    """Measure the training of a Task, in one process, without writing files.

    Args:
        task: has ``data.train`` and ``optimizer``.
        seconds: length of each of the three measurements, after a warm-up.

    Returns:
        ``loader``, ``model`` and ``together``, each with ``samples_per_second``; ``loader`` also with
        ``milliseconds_per_sample`` by step (in one worker), ``together`` with ``shares`` of the time by phase;
        ``advice``, None if the model does not wait for data; and the settings.

    Raises:
        UserError: the Task or its data is not valid.
    """
    task.require("data.train", "optimizer")
    runtime: RuntimeOptions = task.build("runtime")
    options: TrainOptions = task.build("train")
    device = dist.pick_device(runtime.device)
    part: DataPart = task.build("data.train")
    pin = device.type == "cuda"
    reseed(runtime.seed)
    model = prepare(task.build("model"), runtime, device).train()
    steps = model.pipeline(part.pipeline)
    loader = Loader(part.dataset, steps, part, training=True, seed=runtime.seed, pin_memory=pin)
    call: Call = task.get("optimizer")
    optimizer = build_optimizer(call.component.load(), build(call.arguments), model, task.build("param_groups"))
    step = Step(model, optimizer, options, runtime)
    clock = step.clock
    kept: deque[Batch] = deque(maxlen=1)

    def train(batch: Batch) -> None:
        clock.lap("data")
        step([batch])

    batches = loader.batches_between(0, ENDLESS)
    warm_up = max(2, 2 * part.workers)
    try:
        loaded, _ = _rate(batches, kept.append, seconds, warm_up, clock)
        alone, _ = _rate(repeat(kept[0]), train, seconds, 2, clock)
        together, spent = _rate(batches, train, seconds, warm_up, clock)
    finally:
        loader.close()
    total = sum(spent.values())
    loading = Loading.of(loader, spent["data"] / total)
    return {
        "task": task.name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": loading.cores,
        "workers": part.workers,
        "batch_size": part.batch_size,
        "loader": {"samples_per_second": loaded, "milliseconds_per_sample": loading.milliseconds},
        "model": {"samples_per_second": alone},
        "together": {
            "samples_per_second": together,
            "shares": {phase: value / total for phase, value in spent.items()},
        },
        "advice": loading.advice(),
    }


def _rate(
    batches: Iterator[Batch], use: Callable[[Batch], None], seconds: float, warm_up: int, clock: Clock
) -> tuple[float, dict[str, float]]:
    """Return samples per second, and the seconds of each phase."""
    for batch in islice(batches, warm_up):
        use(batch)
    clock.take()  # waits for a GPU
    samples, start = 0, time.perf_counter()
    for batch in batches:
        use(batch)
        samples += len(batch)
        if time.perf_counter() - start >= seconds:
            break
    spent = clock.take()
    return samples / (time.perf_counter() - start), spent
