"""Several pipelines in one: for each modality of a video, for each of several joined datasets."""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen

from vidcore.errors import UserError
from vidcore.protocols import SeveralViews, Transform
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.views import count_views, one_view
from vidcore.typing import Array

__all__ = ["Branches", "PerDataset"]


@frozen
class Branches(SeveralViews):
    """Run several pipelines on one sample, each starting with the result of the step before, and combine their inputs.

    Earlier steps, such as the sampling of frames, are shared. The input of a branch is named after the branch; if it
    has several, they keep their names. All other fields of the sample stay unchanged::

        [data.all.pipeline.both]
        type = "Branches"
        [data.all.pipeline.both.branches.imgs]
        decode = { type = "Decode" }
        format = { type = "FormatShape", input_format = "NCTHW" }
        [data.all.pipeline.both.branches.audios]
        decode = { type = "DecodeAudio" }
        format = { type = "FormatSound" }  # a step of your own: sample.audio to an input
    """

    branches: dict[str, dict[str, Transform]]

    @property
    def views(self) -> tuple[int, int]:
        """The largest numbers of clips and crops of a branch."""
        clips, crops = zip((1, 1), *map(count_views, self.branches.values()), strict=True)
        return max(clips), max(crops)

    def one_view(self, clips: bool) -> Branches:
        """Return this step with a single view in every branch."""
        return evolve(self, branches={name: one_view(steps, clips) for name, steps in self.branches.items()})

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.video is not None:  # each branch opens its own
            sample.video.close()
            sample = sample.replace(video=None)
        inputs: dict[str, Array | Varying] = dict(sample.inputs)
        targets: dict[str, Array | Varying] = dict(sample.targets)
        for name, steps in self.branches.items():
            done = Pipeline(steps)(sample.replace(inputs={}), rng)
            made = dict(done.inputs)
            if not made:
                raise UserError(f"Branches: {name!r} makes no inputs: end it with FormatShape or a similar step")
            inputs |= {name: next(iter(made.values()))} if len(made) == 1 else made
            targets |= done.targets
        return sample.replace(inputs=inputs, targets=targets)


@frozen
class PerDataset:
    """Run the pipeline of the dataset that a sample comes from: one for each dataset of a ``ConcatDataset``, in order.

    Steps before and after this one are shared::

        [data.train.pipeline.read]
        type = "PerDataset"
        [[data.train.pipeline.read.pipelines]]  # of the first dataset: videos
        sample = { type = "SampleFrames", clip_len = 8 }
        [[data.train.pipeline.read.pipelines]]  # of the second: images
        sample = { type = "BuildPseudoClip", clip_len = 8 }
    """

    pipelines: list[dict[str, Transform]]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.part >= len(self.pipelines):
            raise UserError(
                f"PerDataset: has {len(self.pipelines)} pipelines, but the sample is from dataset {sample.part + 1}"
            )
        return Pipeline(self.pipelines[sample.part])(sample, rng)
