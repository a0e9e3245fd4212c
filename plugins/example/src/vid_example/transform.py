"""A transform: play a clip backwards, and change the label to what it then shows."""

from __future__ import annotations

import numpy as np
from attrs import evolve, field, frozen

from vidcore.sample import Sample


@frozen
class ReverseTime:
    """Reverse the order of frames; stands between ``SampleFrames`` and ``Decode``.

    A transform is a callable ``(sample, rng) -> sample``. All chance comes from ``rng``, so that
    results depend neither on the number of workers nor on what ran before.
    """

    prob: float = 0.5
    """Probability to reverse a sample."""
    opposite: dict[str, str] = field(factory=dict)
    """Class name -> class name when seen backwards; other classes keep their label."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.prob:
            return sample
        clip = sample.clip
        assert clip is not None, "ReverseTime needs the frames that SampleFrames chooses"
        indices = clip.indices.reshape(clip.count, -1)[:, ::-1].ravel()
        return sample.replace(clip=evolve(clip, indices=indices), label=self._label(sample))

    def _label(self, sample: Sample) -> int | None:
        if sample.label is None or sample.class_names is None:
            return sample.label
        name = sample.class_names[sample.label]
        return sample.class_names.index(self.opposite.get(name, name))
