"""Labels of HVU: Large Scale Holistic Video Understanding (Diba et al. 2020, arXiv:1904.11451)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from vidcore.errors import UserError
from vidcore.sample import Sample

__all__ = ["LoadHVULabel"]


@frozen
class LoadHVULabel:
    """Makes labels from ``meta["categories"]``: category to list of class numbers (HVU).

    Sets ``labels`` (classes,) float32, multi-hot over the classes of all categories in order, and the float32
    targets ``mask`` (classes,), 1 for the classes of annotated categories, and ``category_mask`` (categories,).
    """

    hvu_categories: Sequence[str]
    """Names of the categories, in order."""
    hvu_category_nums: Sequence[int]
    """Number of classes in each category."""

    def __attrs_post_init__(self) -> None:
        if len(self.hvu_categories) != len(self.hvu_category_nums):
            raise UserError(
                f"LoadHVULabel: {len(self.hvu_categories)} hvu_categories but {len(self.hvu_category_nums)} numbers"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        annotated = sample.meta.get("categories")
        if annotated is None:
            raise UserError("LoadHVULabel: the sample has no meta['categories']")
        total = sum(self.hvu_category_nums)
        labels, mask = np.zeros(total, np.float32), np.zeros(total, np.float32)
        present = np.array([name in annotated for name in self.hvu_categories], np.float32)
        start = 0
        for name, count in zip(self.hvu_categories, self.hvu_category_nums, strict=True):
            for number in annotated.get(name, ()):
                if not 0 <= number < count:
                    raise UserError(f"LoadHVULabel: {name!r} has class {number}; allowed: 0 to {count - 1}")
                labels[start + number] = 1
            mask[start : start + count] = name in annotated
            start += count
        return sample.replace(labels=labels).with_targets(mask=mask, category_mask=present)
