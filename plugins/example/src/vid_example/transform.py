"""A transform: reverse a clip in time, and change its label accordingly."""

from __future__ import annotations

import numpy as np
from attrs import evolve, field, frozen

from vidcore.sample import Sample


@frozen
class ReverseTime:
    """Reverses the order of frames; goes between ``SampleFrames`` and ``Decode``.

    A transform is a callable ``(sample, rng) -> sample``. All random numbers come from ``rng``, so that results do not
    depend on the number of workers.
    """

    prob: float = 0.5
    """Probability of reversing a sample."""
    opposite: dict[str, str] = field(factory=dict)
    """Class name to the name of the reversed class; other classes keep their label."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.prob:
            return sample
        clip = sample.clip
        assert clip is not None, "ReverseTime must come after SampleFrames"
        indices = clip.indices.reshape(clip.count, -1)[:, ::-1].ravel()
        return sample.replace(clip=evolve(clip, indices=indices), label=self._label(sample))

    def _label(self, sample: Sample) -> int | None:
        if sample.label is None or sample.class_names is None:
            return sample.label
        name = sample.class_names[sample.label]
        return sample.class_names.index(self.opposite.get(name, name))
