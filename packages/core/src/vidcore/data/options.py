"""Options of loading in a Task. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import optional

from vidcore.validators import at_least, in_range

__all__ = ["LoaderOptions"]


@frozen(kw_only=True)
class LoaderOptions:
    """Options of loading and batching one dataset."""

    batch_size: int = field(default=1, validator=at_least(1))
    """Samples in a batch, per process."""
    workers: int = field(default=0, validator=at_least(0))
    """Worker processes that load samples; 0 loads in the main process. Results do not depend on it."""
    prefetch: int = field(default=2, validator=at_least(1))
    """Batches that each worker prefetches."""
    shuffle: bool | None = None
    """Use a new random order in every epoch; default: training data only."""
    balanced: bool = False
    """Load every class equally often in an epoch of unchanged length. With several labels, samples without any count as
    a class."""
    balance_power: float = field(default=0.0, validator=in_range(0, 1))
    """With ``balanced``: classes occur in proportion to their size to this power, from 0 (equally often) to 1 (as
    often as they are in the data)."""
    drop_last: bool = False
    """Leave out the last batch of an epoch if it is not full (training data only)."""
    num_repeats: int = field(default=1, validator=at_least(1))
    """Samples made from each video, augmented separately (repeated augmentation, Hoffer et al., 2020; training only).

    A batch then has ``batch_size`` videos and ``num_repeats`` times as many samples; samples of a
    video follow each other.
    """
    sample_once: bool = False
    """Sample and decode frames once for all samples of a video, instead of once for each."""
    on_error: Literal["raise", "skip", "resample"] | None = None
    """What to do with a bad video or annotation: end the run, skip it, or replace it by another sample.

    Default: ``resample`` in training, ``skip`` in evaluation (the report then states how much of the
    data the scores cover).
    """
    bad_budget: float | None = field(default=None, validator=optional(at_least(0.0)))
    """Fraction of the samples that may be bad; one always may. More end the run, and in training all of a class do.

    Default: 0.01 in training. 0.1 in evaluation, which cannot replace samples: its scores cover the others, and say so.
    """
    time_limit: float = field(default=300.0, validator=at_least(0.0, above=True))
    """Seconds that a sample may take; after that it is bad, and its worker is replaced. Needs ``workers``."""
