"""Several data sets in the same steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vidcore.batch import Batch
from vidcore.data.pool.loader import Loader

__all__ = ["together"]


def together(loader: Loader, also: Mapping[str, Loader], first: int, last: int) -> Iterator[Batch]:
    """Yield the loader's batches from number ``first`` up to ``last``, each with one of every other loader.

    The others go through their data at their own pace: batch n comes with batch n, through all their epochs.
    """
    others = {name: other.between(first, last) for name, other in also.items()}
    for batch in loader.between(first, last):
        yield batch.replace(extra={name: next(batches) for name, batches in others.items()}) if others else batch
