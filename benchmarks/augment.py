"""CPU time of RandAugment, compared with a loop over frames with Pillow, in one process and one thread.

The loop is what the published implementations do: ``Image.fromarray``, one operation of Pillow, ``np.asarray``. Both
apply the same change with the same value to the same clip of 16 frames of 224 x 224. They alternate; times are medians.

    python benchmarks/augment.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from vidcore.sample import Sample
from vidcore.transforms.augment import RANDAUGMENT, RandAugment
from vidcore.transforms.operations import MOVES, apply
from vidcore.typing import Array

SIZE = (16, 224, 224, 3)
LIMIT = 0.6
"""Most CPU time of a policy, as a share of that of Pillow."""

Change = Callable[[Image.Image, float], Image.Image]


def moved(name: str) -> Change:
    """Return one of ``MOVES`` as an affine transform of Pillow."""

    def change(image: Image.Image, value: float) -> Image.Image:
        matrix = cv2.invertAffineTransform(MOVES[name]((image.height, image.width), value))
        bilinear, fill = Image.Resampling.BILINEAR, (128, 128, 128)
        return image.transform(image.size, Image.Transform.AFFINE, matrix.ravel().tolist(), bilinear, fillcolor=fill)

    return change


PILLOW: dict[str, Change] = {
    "brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "colour": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
    "auto_contrast": lambda image, value: ImageOps.autocontrast(image),
    "equalize": lambda image, value: ImageOps.equalize(image),
    "invert": lambda image, value: ImageOps.invert(image),
    "posterize": lambda image, value: ImageOps.posterize(image, int(value)),
    "solarize": lambda image, value: ImageOps.solarize(image, value),
    **{name: moved(name) for name in MOVES},
}


def by_pillow(frames: Array, name: str, value: float) -> Array:
    """Change a clip frame by frame."""
    return np.stack([np.asarray(PILLOW[name](Image.fromarray(frame), value)) for frame in frames])


def by_vidcore(frames: Array, name: str, value: float) -> Array:
    """Change a clip as the policies do."""
    changed = apply(Sample(frames=frames), name, value, 128).frames
    assert changed is not None
    return changed


def milliseconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def main() -> int:
    """Print a table; return 1 if the changes together take more than ``LIMIT``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in noise])
    print(f"{'':14} {'Pillow':>9} {'vidcore':>9} {'ratio':>6}   CPU time of 16 frames of 224 x 224")
    sums = [0.0, 0.0]
    for name, (value_at, _) in RANDAUGMENT.items():
        value = value_at(0.7)
        times: list[list[float]] = [[], []]
        for _ in range(repeats):
            for found, change in zip(times, (by_pillow, by_vidcore), strict=True):
                found.append(milliseconds(lambda change=change, name=name, value=value: change(frames, name, value)))
        one, other = (statistics.median(found) for found in times)
        sums = [sums[0] + one, sums[1] + other]
        print(f"{name:14} {one:6.1f} ms {other:6.1f} ms {other / one:6.2f}")
    ratio = sums[1] / sums[0]
    print(f"{'all alike':14} {sums[0] / len(RANDAUGMENT):6.1f} ms {sums[1] / len(RANDAUGMENT):6.1f} ms {ratio:6.2f}")
    step, sample = RandAugment(7, 4), Sample(frames=frames)
    whole = [milliseconds(lambda seed=s: step(sample, np.random.default_rng(seed))) for s in range(20 * repeats)]
    print(f"RandAugment(7, 4): {statistics.mean(whole):.1f} ms per clip")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
