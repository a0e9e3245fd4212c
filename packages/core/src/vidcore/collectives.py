"""Collective operations for losses, which work in one process and in several."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "Collectives"]


class Collectives:
    """Collective operations for ``Model.loss`` (``batch.collectives``); this class is for a single process.

    With several processes, the training step puts a subclass into every batch. All processes must then call the same
    operations in the same order, so calls must not depend on the content of a batch. Evaluation uses this class in
    every process, because processes may have different numbers of batches.
    """

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor (a normaliser, for example) over all processes, without gradients."""
        return value.detach()

    def all_gather(self, rows: Tensor) -> Tensor:
        """Return the rows (dimension 0; embeddings, for example) of all processes in order of rank, with gradients.

        Numbers of rows may differ. The gradient of a row is the sum over the losses of all processes. Training averages
        gradients over processes, so a loss that is the mean over its own rows, or the same in every process, has the
        gradient of one process with all rows.
        """
        return rows


ALONE = Collectives()
