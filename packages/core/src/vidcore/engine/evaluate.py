"""Scores of a model on a dataset."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import islice

import torch
from attrs import frozen

from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.meters import Reported
from vidcore.engine.prepare import autocast
from vidcore.engine.shard import unsharded
from vidcore.errors import ConfigError, DataError
from vidcore.nn import Model
from vidcore.protocols import Metric

__all__ = ["Evaluation", "evaluate"]


@frozen
class Evaluation:
    """The result of an evaluation, the same in every process."""

    scores: dict[str, float]
    samples: int
    """Samples that the scores are computed from."""
    total: int
    """Samples of the dataset."""
    skipped: int
    """Samples that could not be loaded."""
    seconds: float


def evaluate(
    model: Model,
    loader: Loader,
    metrics: Mapping[str, Metric],
    precision: str = "fp32",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    losses: bool = False,
    batches: int | None = None,
) -> Evaluation:
    """Run a model over a dataset and score its predictions.

    With several processes each takes a share of the samples (every sample once) and the metrics are
    merged, so that the scores are exactly those of one process.

    Args:
        model: on its device; in training mode again afterwards, if it was.
        loader: made with ``training=False``.
        metrics: by the names of the Task.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        on_progress: called with (batches done, batches in all) of this process.
        losses: scores have the means of the model's losses over the samples as well, ``val/loss`` their sum.
        batches: take no more than so many. Where a metric cannot be computed of so little (no video of them has a true
            segment), that is a warning, and there are no scores.

    Raises:
        DataError: no sample could be loaded.
        ConfigError: two metrics give a score of the same name.
    """
    start = time.perf_counter()
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    for metric in metrics.values():
        metric.reset()
    seen = 0
    sums: dict[str, float] = {}
    with torch.no_grad(), unsharded(model):
        for number, batch in enumerate(islice(loader, batches), 1):
            batch = model.preprocess(batch.to(device))
            with autocast(precision, device):
                outputs = model(batch.inputs)
                if losses:
                    for name, value in Reported().add(model.loss(outputs, batch)).losses.items():
                        sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
            predictions = model.predict(outputs, batch)
            for metric in metrics.values():
                metric.update(predictions, batch.samples)
            seen += len(batch)
            on_progress(number, len(loader))
    model.train(training)
    counts = dist.gather((seen, loader.skipped))
    samples, skipped = (sum(column) for column in zip(*counts, strict=True))
    if samples == 0:
        raise DataError(f"none of {len(loader.dataset)} samples could be loaded, for example {loader.bad.example}")
    scores = _scores(metrics, batches is not None)
    if losses and scores is not None:
        parts = dist.gather(sums)
        names = dict.fromkeys(name for part in parts for name in part)  # a process may have had no samples
        means = {f"val/{name}": math.fsum(part.get(name, 0.0) for part in parts) / samples for name in names}
        scores |= {"val/loss": math.fsum(means.values())} | means
    return Evaluation(scores or {}, samples, len(loader.dataset), skipped, time.perf_counter() - start)


def _scores(metrics: Mapping[str, Metric], few: bool) -> dict[str, float] | None:
    """Merge what all processes collected into the first, compute there, and tell everyone; None where too few."""
    collected = dist.gather_to_rank0(list(metrics.values()))
    scores: dict[str, float] = {}
    if collected is not None:
        for position, (name, metric) in enumerate(metrics.items()):
            metric.merge([theirs[position] for theirs in collected[1:]])
            try:
                found = metric.compute()
            except Exception as error:
                if not few:
                    raise
                warnings.warn(f"metrics.{name} cannot be computed of the first samples alone: {error}", stacklevel=3)
                return dist.broadcast(None)
            for key, value in found.items():
                if key in scores:
                    raise ConfigError(f"metrics.{name}: another metric already gives a score {key!r}")
                scores[key] = float(value)
    return dist.broadcast(scores)
