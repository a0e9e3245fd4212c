"""What a Task can say about loading. Plain records; nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from vidcore.validators import at_least

__all__ = ["LoaderOptions"]


@frozen(kw_only=True)
class LoaderOptions:
    """How samples become batches."""

    batch_size: int = field(default=1, validator=at_least(1))
    """Samples in a batch, per process."""
    workers: int = field(default=0, validator=at_least(0))
    """Processes that load samples; 0 loads in the training process. Results do not depend on it."""
    prefetch: int = field(default=2, validator=at_least(1))
    """Batches that each worker prepares ahead."""
    shuffle: bool | None = None
    """New order in every epoch; where not given: training data only."""
    balanced: bool = False
    """Every class comes equally often in an epoch, which stays as long as it is; needs one label for each sample."""
    drop_last: bool = False
    """Leave out the last batch of an epoch where it is not full (training data only)."""
    num_repeats: int = field(default=1, validator=at_least(1))
    """Samples made of every video, each augmented anew (repeated augmentation, Hoffer et al., 2020; training only).

    A batch then holds ``batch_size`` videos and ``num_repeats`` times as many samples, those of a
    video one after the other.
    """
    sample_once: bool = False
    """The samples of a video share its frames, chosen and decoded once; else each has its own."""
    on_error: Literal["raise", "skip", "resample"] | None = None
    """What a bad video or annotation does: end the run, be left out, or be replaced by another sample.

    Where not given: ``resample`` while training, ``skip`` while evaluating (the report then says
    how much of the data the scores cover).
    """
    bad_budget: float = field(default=0.01, validator=at_least(0.0))
    """Bad samples beyond this share of the data set, and beyond ten, end the run."""
    time_limit: float = field(default=300.0, validator=at_least(0.0, above=True))
    """Seconds that a sample may take; one that takes longer is bad, and its worker is replaced. Needs ``workers``."""
