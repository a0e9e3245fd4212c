"""Scores of a model on a dataset."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import torch
from attrs import Factory, frozen

from vidcore.data.policy import Failure
from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.finite import unusable
from vidcore.engine.meters import Reported
from vidcore.engine.prepare import autocast
from vidcore.engine.shard import unsharded
from vidcore.errors import ConfigError, DataError
from vidcore.nn import Model
from vidcore.protocols import Metric

__all__ = ["Evaluation", "evaluate"]


@frozen
class Evaluation:
    """The result of an evaluation, the same on every rank."""

    scores: dict[str, float]
    samples: int
    """Samples that the scores are computed from."""
    total: int
    """Samples in the dataset."""
    skipped: int
    """Samples that could not be loaded."""
    seconds: float
    kept: dict[str, Any] = Factory(dict)
    """What the metrics keep beside the weights."""


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

    A prediction that contains NaN or Inf makes its sample bad, and the losses of its batch do not count.

    Several processes share the samples (each is used once) and the metrics are merged, so that the scores equal those
    of one process exactly.

    Args:
        model: on its device. Its training mode is restored afterwards.
        loader: made with ``training=False``.
        metrics: by their names in the Task.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        on_progress: called with (batches done, number of batches) of this process.
        losses: add the means of the model's losses over the samples to the scores, with their sum as ``val/loss``.
        batches: number of batches to use; default: all. If they are too few for a metric (no true segment among them,
            say), this warns and returns no scores.

    Raises:
        DataError: no sample could be loaded, or too many are bad.
        ConfigError: two metrics return a score with the same name.
    """
    start = time.perf_counter()
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    for metric in metrics.values():
        metric.reset()
    seen = averaged = 0
    sums: dict[str, float] = {}
    with torch.no_grad(), unsharded(model):
        for number, batch in enumerate(islice(loader, batches), 1):
            batch = model.preprocess(batch.to(device))
            with autocast(precision, device):
                outputs = model(batch.inputs)
                reported = Reported().add(model.loss(outputs, batch)).losses if losses else {}
            predictions = model.predict(outputs, batch)
            wrong = unusable(outputs, predictions)
            for i, reason in wrong.items():
                loader.reject(Failure(batch.samples[i].index, 0, batch.samples[i].path, reason, "model"))
            good = [i for i in range(len(batch)) if i not in wrong]
            for metric in metrics.values() if good else ():
                metric.update([predictions[i] for i in good], [batch.samples[i] for i in good])
            seen += len(good)
            if not wrong:
                averaged += len(batch)
                for name, value in reported.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
            on_progress(number, len(loader))
        with autocast(precision, device):
            for metric in metrics.values():
                metric.conclude(model, dist.world().rank, dist.gather)
    model.train(training)
    counts = dist.gather((seen, averaged, loader.skipped))
    samples, averaged, skipped = (sum(column) for column in zip(*counts, strict=True))
    if samples == 0:
        raise DataError(f"none of {len(loader.dataset)} samples could be loaded, for example {loader.bad.example}")
    scores, kept = _scores(metrics, batches is not None)
    if losses and scores is not None:
        parts = dist.gather(sums)
        names = dict.fromkeys(name for part in parts for name in part)  # a rank may have had no samples
        means = {f"val/{name}": math.fsum(part.get(name, 0.0) for part in parts) / averaged for name in names}
        scores |= {"val/loss": math.fsum(means.values())} | means
    return Evaluation(scores or {}, samples, len(loader.dataset), skipped, time.perf_counter() - start, kept)


def _scores(metrics: Mapping[str, Metric], few: bool) -> tuple[dict[str, float] | None, dict[str, Any]]:
    """Merge the metrics of all processes on rank 0, and broadcast the scores and what the metrics keep.

    The scores are None if the samples are too few.
    """
    collected = dist.gather_to_rank0(list(metrics.values()))
    scores: dict[str, float] = {}
    kept: dict[str, Any] = {}
    if collected is not None:
        for position, (name, metric) in enumerate(metrics.items()):
            metric.merge([theirs[position] for theirs in collected[1:]])
            try:
                found = metric.compute()
            except Exception as error:
                if not few:
                    raise
                warnings.warn(f"metrics.{name} cannot be computed from the first samples alone: {error}", stacklevel=3)
                return dist.broadcast((None, {}))
            for key, value in found.items():
                if key in scores:
                    raise ConfigError(f"metrics.{name}: another metric already returns a score {key!r}")
                scores[key] = float(value)
            kept |= metric.keep()
    return dist.broadcast((scores, kept))
