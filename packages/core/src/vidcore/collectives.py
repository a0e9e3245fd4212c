"""What a loss may ask of the other processes of a run, without knowing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "Collectives"]


class Collectives:
    """Collective operations for ``Model.loss`` (``batch.collectives``); here those of a process that is alone.

    With several processes, a training step puts its own into every batch. Every process must then ask for the same in
    the same order: never depend on what is in the batch. In an evaluation each process is alone, since the processes
    may have different numbers of batches.
    """

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes, without gradients: of a normaliser, for example."""
        return value.detach()

    def all_gather(self, rows: Tensor) -> Tensor:
        """Return the rows (dimension 0) of all processes in order of rank, with gradients: of embeddings, for example.

        Numbers of rows may differ. The gradient of a row is the sum over the losses of all processes; those average
        gradients, so that a loss that is the mean over its own rows, or the same in every process, has the gradient of
        one process with all rows.
        """
        return rows


ALONE = Collectives()
