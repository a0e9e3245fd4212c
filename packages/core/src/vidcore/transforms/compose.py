"""Pipeline: a sequence of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.protocols import Transform
from vidcore.sample import Sample

__all__ = ["Pipeline"]


def _named(steps: Mapping[str, Transform] | Sequence[Transform]) -> dict[str, Transform]:
    if isinstance(steps, Mapping):
        return dict(steps)
    return {str(k): step for k, step in enumerate(steps)}


@frozen
class Pipeline:
    """Apply steps, in order, to a sample. Errors name the step.

    ``steps`` are a mapping by name or a sequence.
    """

    steps: dict[str, Transform] = field(converter=_named)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for name, step in self.steps.items():
            try:
                sample = step(sample, rng)
            except VideoError:
                raise  # names the file, and its class decides how the dataset handles it
            except UserError as error:
                raise UserError(f"pipeline step {name!r} ({type(step).__name__}): {error}") from error
            except Exception as error:
                error.add_note(f"in pipeline step {name!r} ({type(step).__name__}), sample {sample!r}")
                raise
        return sample
