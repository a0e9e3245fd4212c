"""Policies of automatic augmentation. Each draws its changes once for a sample, so that all frames are changed equally.

RandAugment (Cubuk et al., RandAugment: Practical automated data augmentation with a reduced search space);
AutoAugment (Cubuk et al., AutoAugment: Learning augmentation policies from data);
TrivialAugment (Mueller and Hutter, TrivialAugment: Tuning-free yet state-of-the-art data augmentation);
AugMix (Hendrycks et al., AugMix: A simple data processing method to improve robustness and uncertainty).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.operations import apply
from vidcore.transforms.pixels import colour_frames
from vidcore.validators import at_least, in_range

__all__ = ["AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide"]

GREY = 128

Space = dict[str, tuple[Callable[[float], float], bool]]
"""Name of a change -> its value at a strength from 0 to 1, and whether the strength gets a random sign."""


def _nothing(s: float) -> float:
    return s


RANDAUGMENT: Space = {
    "brightness": (lambda s: 1 + 0.9 * s, True),
    "contrast": (lambda s: 1 + 0.9 * s, True),
    "colour": (lambda s: 1 + 0.9 * s, True),
    "sharpness": (lambda s: 1 + 0.9 * s, True),
    "rotate": (lambda s: 30 * s, True),
    "shear_x": (lambda s: 0.3 * s, True),
    "shear_y": (lambda s: 0.3 * s, True),
    "translate_x": (lambda s: 0.45 * s, True),
    "translate_y": (lambda s: 0.45 * s, True),
    "auto_contrast": (_nothing, False),
    "equalize": (_nothing, False),
    "invert": (_nothing, False),
    "posterize": (lambda s: 8 - int(4 * s), False),
    "solarize": (lambda s: 256 * (1 - s), False),
}

AUTOAUGMENT: Space = {
    **{name: (lambda s: 0.1 + 1.8 * s, False) for name in ("contrast", "colour", "sharpness")},
    "rotate": (lambda s: 30 * s, True),
    "shear_x": (lambda s: 0.3 * s, True),
    "auto_contrast": (_nothing, False),
    "equalize": (_nothing, False),
    "invert": (_nothing, False),
    "posterize": (lambda s: 4 + 4 * s, False),
    "solarize": (lambda s: 256 * s, False),
}

TRIVIAL_WIDE: Space = {
    "identity": (_nothing, False),
    "auto_contrast": (_nothing, False),
    "equalize": (_nothing, False),
    "rotate": (lambda s: 135 * s, True),
    "solarize": (lambda s: 256 * (1 - s), False),
    **{name: (lambda s: 0.01 + 1.99 * s, False) for name in ("colour", "contrast", "brightness", "sharpness")},
    "posterize": (lambda s: 8 - int(6 * s), False),
    "shear_x": (lambda s: 0.99 * s, True),
    "shear_y": (lambda s: 0.99 * s, True),
    "translate_x": (lambda s: 32 / 224 * s, True),
    "translate_y": (lambda s: 32 / 224 * s, True),
}

AUGMIX: Space = {
    "auto_contrast": (_nothing, False),
    "equalize": (_nothing, False),
    "posterize": (lambda s: 4 - int(4 * s), False),
    "rotate": (lambda s: 30 * s, True),
    "solarize": (lambda s: 256 * (1 - s), False),
    "shear_x": (lambda s: 0.3 * s, True),
    "shear_y": (lambda s: 0.3 * s, True),
    "translate_x": (lambda s: s / 3, True),
    "translate_y": (lambda s: s / 3, True),
}

Step = tuple[str, float, int]
"""A change, its probability, and its strength from 0 to 9."""

IMAGENET: tuple[tuple[Step, Step], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("colour", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
"""The policy for ImageNet (AutoAugment, table 9)."""


def _drawn(space: Space, name: str, strength: float, rng: np.random.Generator) -> float:
    """Return the value of a change at a strength, with a random sign if it has one."""
    value, signed = space[name]
    return value(strength if not signed or rng.random() < 0.5 else -strength)


@frozen
class RandAugment:
    """Apply ``num_layers`` random changes of colour or shape, each with probability ``prob``, equally to all frames.

    ``magnitude`` (0 to 10) is the strength, ``magnitude_std`` the standard deviation of a normal
    distribution around it. Changes with a direction have a random sign. Ranges at strength 10:
    rotation 30 degrees, shear 0.3, shift 0.45 of the side, 4 bits, colours and sharpness by a
    factor of 0.1 or 1.9. Boxes and joints follow.
    """

    magnitude: float = field(default=9, validator=in_range(0, 10))
    num_layers: int = field(default=2, validator=at_least(1))
    prob: float = field(default=0.5, validator=in_range(0, 1))
    magnitude_std: float = field(default=0.5, validator=at_least(0))
    fill: int = field(default=GREY, validator=in_range(0, 255))
    """Level of pixels from outside of the frame."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        (sample, _), names = colour_frames(sample, "RandAugment"), list(RANDAUGMENT)
        for _ in range(self.num_layers):
            name = names[rng.integers(len(names))]
            strength = float(np.clip(rng.normal(self.magnitude, self.magnitude_std), 0, 10)) / 10
            value = _drawn(RANDAUGMENT, name, strength, rng)
            if rng.random() < self.prob:
                sample = apply(sample, name, value, self.fill)
        return sample


@frozen
class AutoAugment:
    """Apply one of the 25 pairs of changes that were found for ImageNet, equally to all frames.

    Ranges are those of the paper: a factor of 0.1 to 1.9 for colours and sharpness, 4 to 8 bits, thresholds from 0 to
    256, rotation by up to 30 degrees, shear by up to 0.3. Boxes and joints follow.
    """

    fill: int = field(default=GREY, validator=in_range(0, 255))
    """Level of pixels from outside of the frame."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample, _ = colour_frames(sample, "AutoAugment")
        for name, prob, level in IMAGENET[rng.integers(len(IMAGENET))]:
            if rng.random() < prob:
                sample = apply(sample, name, _drawn(AUTOAUGMENT, name, level / 9, rng), self.fill)
        return sample


@frozen
class TrivialAugmentWide:
    """Apply one random change with a random strength, equally to all frames; nothing has to be tuned.

    Ranges: rotation 135 degrees, shear 0.99, shift 32 of 224 pixels, 2 to 8 bits, colours and sharpness by a factor of
    0.01 to 2. One change of 14 does nothing. Boxes and joints follow.
    """

    fill: int = field(default=GREY, validator=in_range(0, 255))
    """Level of pixels from outside of the frame."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        (sample, _), names = colour_frames(sample, "TrivialAugmentWide"), list(TRIVIAL_WIDE)
        name = names[rng.integers(len(names))]
        return apply(sample, name, _drawn(TRIVIAL_WIDE, name, int(rng.integers(31)) / 30, rng), self.fill)


@frozen
class AugMix:
    """Blend the frames with a mixture of ``width`` chains of ``depth`` random changes, equally in all frames.

    The weights of the chains are drawn from a Dirichlet distribution, and that of the mixture from a beta distribution,
    both with parameter ``alpha``. Strengths are drawn from 0.1 to ``magnitude`` (at most 10). Ranges at strength 10:
    rotation 30 degrees, shear 0.3, shift a third of the side; levels keep 4 bits or fewer.
    """

    magnitude: float = field(default=3, validator=in_range(0.1, 10))
    alpha: float = field(default=1.0, validator=at_least(0, above=True))
    width: int = field(default=3, validator=at_least(1))
    depth: int = field(default=-1, validator=at_least(-1))
    """Changes in a chain; -1 draws 1, 2 or 3 for each."""
    fill: int = field(default=GREY, validator=in_range(0, 255))
    """Level of pixels from outside of the frame."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for name, record in sample.records():
            if record.follows_crops:
                raise UserError(f"AugMix blends frames that are moved differently, which {name} cannot follow")
        (sample, frames), names = colour_frames(sample, "AugMix"), list(AUGMIX)
        weights, mixed = rng.dirichlet([self.alpha] * self.width), rng.beta(self.alpha, self.alpha)
        blend = frames * np.float32(1 - mixed)
        for weight in weights:
            chain = sample
            for _ in range(self.depth if self.depth > 0 else rng.integers(1, 4)):
                name = names[rng.integers(len(names))]
                strength = rng.uniform(0.1, self.magnitude) / 10
                chain = apply(chain, name, _drawn(AUGMIX, name, strength, rng), self.fill)
            assert chain.frames is not None
            blend += chain.frames * np.float32(mixed * weight)
        return sample.replace(frames=np.round(blend).astype(np.uint8))
