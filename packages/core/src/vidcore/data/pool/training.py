"""What a model is trained on: one dataset that says what an epoch is, and others beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import Factory, frozen

from vidcore.batch import Batch
from vidcore.data.pool.loader import Loader

__all__ = ["TrainingData"]


@frozen
class TrainingData:
    """Loaders of a run, seen as one: each of its batches has one of every extra loader in ``Batch.extra``."""

    main: Loader
    """Says what an epoch is. Like the others made with ``training=True``."""
    extra: Mapping[str, Loader] = Factory(dict)
    """Further datasets for the same steps, by name; each goes through its data at its own pace."""
    statistics: Loader | None = None
    """The data of ``main`` once more, for exact batch-norm statistics (``train.precise_bn``)."""

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        return len(self.main)

    @property
    def loaders(self) -> dict[str, Loader]:
        """The loaders that steps take batches from, by their keys in a Task, ``data.train`` first."""
        return {"data.train": self.main} | {f"data.train_extra.{name}": loader for name, loader in self.extra.items()}

    def batches_between(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches from number ``first`` up to, not including, number ``last``, through all epochs."""
        others = {name: loader.batches_between(first, last) for name, loader in self.extra.items()}
        for batch in self.main.batches_between(first, last):
            yield batch.replace(extra={name: next(batches) for name, batches in others.items()}) if others else batch

    def close(self) -> None:
        """End the worker processes."""
        for loader in self.loaders.values():
            loader.close()
