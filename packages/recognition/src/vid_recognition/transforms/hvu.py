"""Masks of HVU: Large Scale Holistic Video Understanding (Diba et al. 2020, arXiv:1904.11451)."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from vid_recognition.records import TagCategories
from vidcore.sample import Sample

__all__ = ["LoadHVULabel"]


@frozen
class LoadHVULabel:
    """Adds the targets that ``HVULoss`` needs with ``with_mask``, for samples of ``HVUDataset``.

    Float32 targets: ``mask`` (classes,), 1 for the classes of annotated categories, and ``category_mask``
    (categories,). A sample without annotations (a video to predict) stays as it is.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        tags = sample.extra.get("tags")
        if not isinstance(tags, TagCategories):
            return sample
        present = tags.annotated.astype(np.float32)
        return sample.with_targets(mask=np.repeat(present, tags.sizes), category_mask=present)
