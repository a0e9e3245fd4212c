"""Flip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.geometry import flip
from vidcore.validators import in_range, one_of

__all__ = ["Flip"]

Direction = Literal["horizontal", "vertical"]


def _string_keys(label_map: dict[str, int]) -> dict[str, int]:
    return {str(old): new for old, new in label_map.items()}  # keys of TOML tables are strings


@frozen
class Flip:
    """Mirror a sample with probability ``flip_ratio``: frames, boxes, joints and labels.

    The horizontal channel of mirrored flow is negated (255 - value). (Published code inverted both
    channels of every second frame instead.)
    """

    flip_ratio: float = field(default=0.5, validator=in_range(0, 1))
    direction: Direction = field(default="horizontal", validator=one_of("horizontal", "vertical"))
    """``horizontal`` exchanges left and right, ``vertical`` top and bottom."""
    flip_label_map: dict[str, int] = field(factory=dict, converter=_string_keys)
    """Classes that change when mirrored (left and right): ``{86 = 87, 87 = 86}``."""
    left_kp: Sequence[int] = ()
    """Joints that are exchanged with those of ``right_kp``."""
    right_kp: Sequence[int] = ()

    def __attrs_post_init__(self) -> None:
        if len(self.left_kp) != len(self.right_kp):
            raise UserError(f"Flip: left_kp has {len(self.left_kp)} joints, but right_kp {len(self.right_kp)}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.flip_ratio:
            return sample
        sample = flip(sample, self.direction, list(zip(self.left_kp, self.right_kp, strict=True)))
        label, labels = sample.label, sample.labels
        if label is not None:
            label = self.flip_label_map.get(str(label), label)
        if labels is not None and self.flip_label_map:
            target = np.arange(len(labels))
            target[[int(old) for old in self.flip_label_map]] = list(self.flip_label_map.values())
            mirrored = np.zeros_like(labels)
            np.maximum.at(mirrored, target, labels)
            labels = mirrored
        return sample.replace(label=label, labels=labels)
