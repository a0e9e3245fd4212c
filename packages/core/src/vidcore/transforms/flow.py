"""AdjustFlowMagnitude."""

from __future__ import annotations

import cv2
import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.pixels import realize
from vidcore.validators import in_range

__all__ = ["AdjustFlowMagnitude"]


@frozen
class AdjustFlowMagnitude:
    """Multiply flow by the factor of all resizes before, so that it counts pixels of the resized frames.

    Horizontal and vertical flow have their own factors. Put this step after the last ``Resize``.
    """

    zero: float = field(default=128, validator=in_range(0, 255))
    """Level that means no motion."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.modality != "Flow":
            raise UserError(f"AdjustFlowMagnitude needs flow, got {sample.modality} frames")
        sample = realize(sample)
        assert sample.frames is not None and sample.geometry is not None
        levels = (np.arange(256)[:, None] - self.zero) * np.asarray(sample.geometry.scale_factor) + self.zero
        table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
        return sample.replace(frames=np.stack([cv2.LUT(frame, table[None]) for frame in sample.frames]))
