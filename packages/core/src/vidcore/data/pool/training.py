"""Training data of a run: one dataset that defines the epochs, and additional ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import Factory, frozen

from vidcore.batch import Batch
from vidcore.data.pool.loader import Loader

__all__ = ["TrainingData"]


@frozen
class TrainingData:
    """All loaders of a run as one: ``Batch.extra`` of each batch has one batch of every extra loader."""

    main: Loader
    """Defines the epochs. Like the others, made with ``training=True``."""
    extra: Mapping[str, Loader] = Factory(dict)
    """Additional datasets for the same steps, by name; each has epochs of its own length."""
    statistics: Loader | None = None
    """The data of ``main`` again, for exact batch-norm statistics (``train.precise_bn``)."""

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        return len(self.main)

    @property
    def loaders(self) -> dict[str, Loader]:
        """Loaders of the batches of a step, by their keys in a Task, ``data.train`` first."""
        return {"data.train": self.main} | {f"data.train_extra.{name}": loader for name, loader in self.extra.items()}

    def batches_between(self, first: int, last: int) -> Iterator[Batch]:
        """Yield batches number ``first`` up to, but not including, ``last``, counted over all epochs."""
        others = {name: loader.batches_between(first, last) for name, loader in self.extra.items()}
        for batch in self.main.batches_between(first, last):
            yield batch.replace(extra={name: next(batches) for name, batches in others.items()}) if others else batch

    def close(self) -> None:
        """End the worker processes."""
        for loader in self.loaders.values():
            loader.close()
