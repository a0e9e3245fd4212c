"""From a data set to batches, in worker processes or without, with the same result.

What a sample looks like depends on (seed, epoch, sample index) alone, and which samples make a batch on
its number alone. So any batch can be asked for directly: a resumed run starts in the middle of an
epoch without touching what came before.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from attrs import evolve, frozen
from torch.utils.data import DataLoader

from vidcore.batch import Batch, collate
from vidcore.data.policy import BadSamples, Failure, Policy
from vidcore.data.sampler import Batches, Key
from vidcore.engine.options import LoaderOptions
from vidcore.engine.seeds import sample_rng
from vidcore.errors import DataError
from vidcore.interfaces import Dataset, Transform
from vidcore.sample import Sample

__all__ = ["Loader"]

ATTEMPTS = 10
"""Replacements tried for one bad sample."""

Loaded = tuple[Batch | None, tuple[Failure, ...]]


class Loader:
    """Batches of one data set. Iterating gives those of the first epoch.

    ``skipped`` counts the distinct bad samples so far. One iteration at a time: a new one ends the old.
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
        collate: Callable[[Sequence[Sample]], Batch] = collate,
    ) -> None:
        """
        Args:
            dataset: gives samples without pixels.
            pipeline: steps that turn such a sample into one with ``inputs``, by name or as a list.
            options: batch size, workers, what to do with bad samples.
            training: shuffled, equally many batches for every process, bad samples replaced (where the
                options do not say otherwise); otherwise in order, each sample once over all processes.
            seed: of the run.
            rank, world: which of how many processes this is.
            bad_list: file that names the bad samples.
            pin_memory: for transfers to a GPU.
            collate: makes a batch of samples.

        Raises:
            DataError: the data set is empty.
        """
        options = options or LoaderOptions()
        if len(dataset) == 0:
            raise DataError(f"{type(dataset).__name__} is empty: there is nothing to load")
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
        )
        if len(self.batches) == 0 and training:
            raise DataError(
                f"{len(dataset)} samples do not fill one batch of {options.batch_size} for {world} processes"
            )
        steps = tuple(pipeline.values()) if isinstance(pipeline, Mapping) else tuple(pipeline)
        self.policy: Policy = options.on_error or ("resample" if training else "skip")
        self.bad = BadSamples(len(dataset), options.bad_budget, bad_list)
        self._fetch = _Fetch(dataset, steps, seed, self.policy, collate, options.num_repeats, options.sample_once)
        self._window = _Window(self.batches)
        self._pin_memory = pin_memory
        self._loader: DataLoader[Loaded] | None = None

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        return len(self.batches)

    @property
    def skipped(self) -> int:
        return len(self.bad)

    def __iter__(self) -> Iterator[Batch]:
        return self.between(0, len(self))

    def between(self, first: int, last: int) -> Iterator[Batch]:
        """Yield batches by number through all epochs; batch ``len(self)`` is the first of epoch 1.

        Workers run ahead over the end of an epoch. In evaluation, no batch comes where all its samples are bad.

        Raises:
            DataError: a bad sample where the policy says so, or too many of them.
        """
        self._window.first, self._window.last = first, last
        batches = iter(self._torch_loader())
        try:
            for batch, failures in batches:
                for failure in failures:
                    if failure.fatal or self.policy == "raise":
                        raise failure.as_error()
                    self.bad.record(failure)
                if batch is not None:
                    yield batch
                elif self.batches.even:  # processes must take equally many steps
                    raise DataError(f"no sample of a training batch could be loaded; the last is {failures[-1]}")
        except Exception:
            del batches  # else the traceback keeps the workers alive, and ending them late takes seconds
            self.close()
            raise

    def close(self) -> None:
        """End the workers; the next iteration starts new ones."""
        self._loader = None

    def _torch_loader(self) -> DataLoader[Loaded]:
        if self._loader is None:
            workers = self.options.workers
            self._loader = DataLoader(
                self._fetch,  # type: ignore[arg-type]
                sampler=self._window,
                batch_size=None,  # a "sample" of torch's loader is a whole batch of ours
                num_workers=workers,
                prefetch_factor=self.options.prefetch if workers else None,
                persistent_workers=workers > 0,
                worker_init_fn=_prepare_worker,
                pin_memory=self._pin_memory,
                generator=torch.Generator(),  # else it would draw from the global one
            )
        return self._loader


class _Window:
    """The sampler of torch's loader: the batches that the next iteration is to give."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.first = self.last = 0

    def __iter__(self) -> Iterator[list[Key]]:
        return self.batches.between(self.first, self.last)

    def __len__(self) -> int:
        return self.last - self.first


@frozen
class _Fetch:
    """The data set of torch's loader: item ``[(epoch, index), ...]`` is a loaded batch, made in whatever process."""

    dataset: Dataset
    steps: tuple[Transform, ...]
    seed: int
    policy: Policy
    collate: Callable[[Sequence[Sample]], Batch]
    repeats: int = 1
    share_frames: bool = False

    def __getitem__(self, keys: Sequence[Key]) -> Loaded:
        samples: list[Sample] = []
        failures: list[Failure] = []
        for epoch, index in keys:
            loaded, tried = self._forgiving(epoch, index)
            failures += tried
            samples += loaded
        if not samples or any(f.fatal for f in failures):
            return None, tuple(failures)
        try:
            return self.collate(samples), tuple(failures)
        except Exception as error:
            return None, (*failures, evolve(Failure.of(error, keys[0][1], keys[0][0], samples[0]), fatal=True))

    def _forgiving(self, epoch: int, index: int) -> tuple[list[Sample], list[Failure]]:
        """Load a sample (and its repeats) or, by policy, one in its place; with what failed on the way."""
        failures: list[Failure] = []
        for attempt in range(ATTEMPTS + 1 if self.policy == "resample" else 1):
            other = sample_rng(self.seed, epoch, index, attempt).integers(len(self.dataset)) if attempt else index
            loaded = self._load(epoch, int(other), attempt)
            if not isinstance(loaded, Failure):
                return loaded, failures
            failures.append(loaded)
            if loaded.fatal:
                return [], failures
        if self.policy == "resample":
            reason = f"it and {ATTEMPTS} replacements are all bad; the last: {failures[-1].reason}"
            failures.append(Failure(index, epoch, failures[0].path, reason, fatal=True))
        return [], failures

    def _load(self, epoch: int, index: int, attempt: int) -> list[Sample] | Failure:
        rngs = [sample_rng(self.seed, epoch, index, attempt, repeat) for repeat in range(self.repeats)]
        loaded, sample, steps = [], None, self.steps
        try:
            start = sample = self.dataset[index].replace(index=index)
            while self.share_frames and steps and sample.frames is None:
                start = sample = steps[0](sample, rngs[0])
                steps = steps[1:]
            for rng in rngs:
                sample = start
                for step in steps:
                    sample = step(sample, rng)
                loaded.append(sample)
            return loaded
        except Exception as error:  # the name of the sample must not get lost on the way out of the worker
            if sample is not None and sample.video is not None:
                sample.video.close()
            return Failure.of(error, index, epoch, sample)


def _prepare_worker(worker: int) -> None:
    """One thread for each worker: the parallelism is in their number. Ctrl-C is for the main process."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
