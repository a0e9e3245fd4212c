"""Loading batches in worker processes or in the main process, with the same result.

A sample depends only on (seed, epoch, sample index), and the samples of a batch depend only on its number.
So any batch can be loaded directly: a resumed run starts in the middle of an epoch without loading what
came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from attrs import frozen

from vidcore.batch import Batch, collate
from vidcore.data.index import Ragged
from vidcore.data.options import LoaderOptions
from vidcore.data.policy import BadSamples, Failure, Policy
from vidcore.data.pool.ledger import Ledger, Row
from vidcore.data.pool.workers import LoadedBatch, Workers
from vidcore.data.sampler import Batches, SampleKey
from vidcore.errors import DataError
from vidcore.protocols import Dataset, Transform
from vidcore.randomness import sample_rng
from vidcore.sample import Sample

__all__ = ["Loader"]

ATTEMPTS = 10
"""Replacements tried for one bad sample."""

TRAINING_BUDGET, EVALUATION_BUDGET = 0.01, 0.1
"""Fractions of bad samples that are allowed by default."""

T = TypeVar("T")


class Loader:
    """Batches of one dataset. Iterating yields the batches of the first epoch.

    Only one iteration at a time: a new one ends the previous.
    """

    def __init__(
        self,
        dataset: Dataset,
        pipeline: Mapping[str, Transform] | Sequence[Transform] = (),
        options: LoaderOptions | None = None,
        *,
        training: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        bad_list: Path | None = None,
        pin_memory: bool = False,
        name: str = "",
        collate: Callable[[Sequence[Sample]], Batch] = collate,
    ) -> None:
        """
        Args:
            dataset: returns samples without pixels.
            pipeline: steps that make ``inputs`` from such a sample, by name or as a list.
            options: batch size, number of workers, policy for bad samples.
            training: shuffle, give every process the same number of batches and replace bad samples (unless the
                options differ); otherwise load in order, each sample once over all processes.
            seed: of the run.
            rank, world: rank and number of processes.
            bad_list: file that lists the bad samples.
            pin_memory: use page-locked memory, for transfers to a GPU.
            name: key of the dataset, such as ``data.train``, for messages.
            collate: makes a batch from samples.

        Raises:
            DataError: the dataset is empty or too small, or the options do not fit.
        """
        options, where = options or LoaderOptions(), f"{name}: " if name else ""
        if len(dataset) == 0:
            raise DataError(f"{where}{type(dataset).__name__} is empty: there is nothing to load")
        if options.balance_power and not options.balanced:
            raise DataError(f"{where}balance_power: has no effect without balanced = true")
        for option, given in (("balanced", options.balanced), ("num_repeats", options.num_repeats > 1)):
            if given and not training:
                raise DataError(f"{where}{option}: is for training only; an evaluation loads every sample once")
        self.dataset = dataset
        self.options = options
        self.batches = Batches(
            size=len(dataset),
            batch_size=options.batch_size,
            seed=seed,
            shuffle=training if options.shuffle is None else options.shuffle,
            drop_last=training and options.drop_last,
            even=training,
            rank=rank,
            world=world,
            labels=_labels(dataset) if options.balanced else None,
            power=options.balance_power,
        )
        if len(self.batches) == 0 and training:
            raise DataError(
                f"{where}{len(dataset)} samples do not fill one batch of {options.batch_size} for {world} processes"
            )
        steps = tuple(pipeline.values()) if isinstance(pipeline, Mapping) else tuple(pipeline)
        self.policy: Policy = options.on_error or ("resample" if training else "skip")
        if self.policy == "resample" and not training:
            raise DataError(f'{where}on_error: "resample" would score another sample in place of a bad one; use "skip"')
        budget = (
            (TRAINING_BUDGET if training else EVALUATION_BUDGET) if options.bad_budget is None else options.bad_budget
        )
        self.bad = BadSamples(dataset, budget, bad_list, name=name, training=training)
        types = [type(step).__name__ for step in steps]
        names = list(pipeline) if isinstance(pipeline, Mapping) else types
        self.step_types = dict(zip(names, types, strict=True))
        phases = ["annotation", *names, "collate"]
        self.ledger = Ledger(max(1, options.workers), phases)
        in_task = (f"{name}.dataset", *(f"{name}.pipeline.{step}" for step in names), "collate")
        phase_names = in_task if name else tuple(f"step {phase}" for phase in phases)
        repeats = options.num_repeats, options.sample_once
        self._fetch = _Fetch(dataset, steps, phase_names, seed, self.policy, training, collate, *repeats)
        self._quarantined = {index: failure for index, failure in self.bad.failures.items() if failure.quarantined}
        self._pin_memory = pin_memory
        self._workers: Workers | None = None

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        return len(self.batches)

    @property
    def skipped(self) -> int:
        """Distinct bad samples so far."""
        return len(self.bad)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches_between(0, len(self))

    def batches_between(self, first: int, last: int) -> Iterator[Batch]:
        """Yield batches by number, over all epochs; batch ``len(self)`` is the first of epoch 1.

        Workers prefetch beyond the end of an epoch. A batch whose samples are all bad is left out in evaluation; in
        training, where all processes must take the same number of steps, it has one replacement.

        Raises:
            DataError: a sample is bad and the policy does not allow it, or too many are bad.
        """
        batches = self._load(first, last)
        try:
            for batch, failures in _prefetch_one(map(_pinned, batches)) if self._pin_memory else batches:
                for failure in failures:
                    self.reject(failure)
                if batch is not None:
                    yield batch
        except Exception:
            self.close()
            raise

    def reject(self, failure: Failure) -> None:
        """Record a bad sample. Raises ``DataError`` if the policy does not allow it, or if too many are bad."""
        if failure.fatal or self.policy == "raise":
            raise failure.as_error()
        self.bad.record(failure)

    def _load(self, first: int, last: int) -> Iterator[LoadedBatch]:
        requests = self.batches.batches_between(first, last)
        if not self.options.workers:
            row = self.ledger.row(0)
            return (self._fetch(keys, row, self._quarantined) for keys in requests)
        if self._workers is None:
            self._workers = Workers(
                self._fetch,
                self.ledger,
                self._quarantined,
                self.dataset,
                count=self.options.workers,
                prefetch=self.options.prefetch,
                time_limit=self.options.time_limit,
            )
        return self._workers.run(requests)

    def close(self) -> None:
        """End the workers; the next iteration starts new ones."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None


def _labels(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.int64]] | Ragged[Any]:
    """Return the class of every sample, -1 if it has none; or its classes, if it may have several."""
    labels = dataset.labels
    if isinstance(labels, Ragged):
        if not len(labels.values):
            raise DataError(f"balanced: no sample of {type(dataset).__name__} has a label, which balancing needs")
        return labels
    if not isinstance(labels, np.ndarray):
        found = (dataset[i].label for i in range(len(dataset)))
        labels = np.array([-1 if label is None else label for label in found])
    if (labels < 0).all():
        raise DataError(f"balanced: no sample of {type(dataset).__name__} has a label, which balancing needs")
    return labels.astype(np.int64)


def _pinned(loaded: LoadedBatch) -> LoadedBatch:
    batch, failures = loaded
    return batch and batch.pin_memory(), failures


def _prefetch_one(items: Iterator[T]) -> Iterator[T]:
    """Yield items; a thread gets the next one while the last is in use."""
    end = object()
    with ThreadPoolExecutor(1, "loader") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]


@frozen
class _Fetch:
    """Loads the batch of some sample keys, in a worker or in the main process."""

    dataset: Dataset
    steps: tuple[Transform, ...]
    phase_names: tuple[str, ...]
    """Names of the phases in messages: of the dataset, of every step, of collation."""
    seed: int
    policy: Policy
    training: bool
    collate: Callable[[Sequence[Sample]], Batch]
    repeats: int = 1
    share_frames: bool = False

    def __call__(self, keys: Sequence[SampleKey], row: Row, quarantined: Mapping[int, Failure]) -> LoadedBatch:
        samples: list[Sample] = []
        failures: list[Failure] = []
        attempts = ATTEMPTS + 1 if self.policy == "resample" else 1
        for key in keys:
            loaded, tried = self._load_or_replace(key, row, quarantined, range(attempts))
            failures += tried
            samples += loaded
        if not samples and self.training and self.policy == "skip" and not any(f.fatal for f in failures):
            samples, tried = self._load_or_replace(keys[0], row, quarantined, range(1, ATTEMPTS + 1))
            failures += tried
        if not samples or any(f.fatal for f in failures):
            return None, tuple(failures)
        epoch, index, _ = keys[0]
        row.begin_sample(epoch, index, len(self.steps) + 1)
        try:
            return self.collate(samples), tuple(failures)
        except Exception as error:
            failed = Failure.of(error, samples[0].index, epoch, samples[0], self.phase_names[row.phase])
            return None, (*failures, failed.as_fatal())
        finally:
            row.finish()

    def _load_or_replace(
        self, key: SampleKey, row: Row, quarantined: Mapping[int, Failure], attempts: range
    ) -> tuple[list[Sample], list[Failure]]:
        """Load a sample (and its repeats), or a replacement; return it with the failures on the way.

        Attempt 0 is the sample itself, later ones are replacements.
        """
        epoch, index, copy = key
        failures: list[Failure] = []
        for attempt in attempts:
            drawn = sample_rng(self.seed, epoch, index, attempt).integers(len(self.dataset)) if attempt else index
            loaded = quarantined.get(int(drawn)) or self._load((epoch, int(drawn), copy), attempt, row)
            if not isinstance(loaded, Failure):
                return loaded, failures
            failures.append(loaded)
            if loaded.fatal:
                return [], failures
        if attempts[-1] == ATTEMPTS:
            reason = f"it and {ATTEMPTS} replacements are all bad; the last: {failures[-1].reason}"
            failures.append(Failure(index, epoch, failures[0].path, reason, fatal=True))
        return [], failures

    def _load(self, key: SampleKey, attempt: int, row: Row) -> list[Sample] | Failure:
        epoch, index, copy = key
        repeats = range(copy * self.repeats, (copy + 1) * self.repeats)
        rngs = [sample_rng(self.seed, epoch, index, attempt, repeat) for repeat in repeats]
        loaded, sample, steps = [], None, list(enumerate(self.steps, 1))
        row.begin_sample(epoch, index)
        try:
            start = sample = self.dataset[index].replace(index=index)
            while self.share_frames and steps and sample.frames is None:
                number, step = steps.pop(0)
                row.enter_phase(number)
                start = sample = step(sample, rngs[0])
            for rng in rngs:
                sample = start
                for number, step in steps:
                    row.enter_phase(number)
                    sample = step(sample, rng)
                loaded.append(sample)
            return loaded
        except Exception as error:  # reports must name the sample
            if sample is not None and sample.video is not None:
                sample.video.close()
            return Failure.of(error, index, epoch, sample, self.phase_names[row.phase])
        finally:
            row.finish(len(loaded))
