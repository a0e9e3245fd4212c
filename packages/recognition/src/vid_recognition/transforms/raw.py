"""PickClip."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
from attrs import field, frozen

from vid_recognition.records import ClipFiles
from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.validators import one_of

__all__ = ["PickClip"]


@frozen
class PickClip:
    """Choose one clip of a long video of ``RawVideoDataset`` at random, before ``OpenVideo``.

    Other samples stay as they are.
    """

    sampling_strategy: Literal["positive", "random"] = field(default="positive", validator=one_of("positive", "random"))
    """``positive`` draws one of the clips that show the action, ``random`` one of all."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        clips = sample.extra.get("clip_files")
        if not isinstance(clips, ClipFiles):
            return sample
        if sample.path is None:
            raise UserError("PickClip needs the path of the folder of clips")
        numbers = clips.positive if self.sampling_strategy == "positive" else np.arange(clips.count)
        name = clips.template.format(numbers[rng.integers(len(numbers))])
        extra = {key: record for key, record in sample.extra.items() if key != "clip_files"}
        return sample.replace(path=os.path.join(sample.path, name), extra=extra)
