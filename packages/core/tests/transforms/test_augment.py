"""Automatic augmentation: each change against Pillow or a plain computation, and the policies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vidcore.errors import UserError
from vidcore.records import Boxes, Heatmaps, Joints, Segments
from vidcore.sample import Sample
from vidcore.transforms.augment import (
    AUGMIX,
    AUTOAUGMENT,
    IMAGENET,
    RANDAUGMENT,
    TRIVIAL_WIDE,
    AugMix,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
)
from vidcore.transforms.operations import COLOURS, MOVES, apply
from vidcore.transforms.resizing import Resize
from vidcore.typing import Array

POLICIES = [AugMix(), AutoAugment(), RandAugment(), TrivialAugmentWide()]
SPACES = {"AugMix": AUGMIX, "AutoAugment": AUTOAUGMENT, "RandAugment": RANDAUGMENT, "TrivialAugmentWide": TRIVIAL_WIDE}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def frames(n: int = 3, height: int = 24, width: int = 32) -> Array:
    return rng(2).integers(0, 256, (n, height, width, 3), np.uint8)


def change(name: str, clip: Array, value: float) -> Array:
    found = apply(Sample(frames=clip), name, value, 128).frames
    assert found is not None
    assert found.dtype == np.uint8
    return found


def distance(one: Array, other: Array) -> int:
    return int(np.abs(one.astype(int) - other).max())


ENHANCERS: dict[str, Any] = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "colour": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("name", ENHANCERS)
@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 1.9])
def test_colours_and_sharpness_are_those_of_pillow(name: str, factor: float) -> None:
    clip = frames()
    expected = np.stack([np.asarray(ENHANCERS[name](Image.fromarray(f)).enhance(factor)) for f in clip])
    inner = (slice(None), slice(1, -1), slice(1, -1))  # Pillow does not smooth the border
    assert distance(change(name, clip, factor)[inner], expected[inner]) <= 2, "Pillow truncates, vidcore rounds"


@pytest.mark.parametrize("bits", [1, 4, 6, 8])
def test_posterize_is_that_of_pillow(bits: int) -> None:
    expected = [np.asarray(ImageOps.posterize(Image.fromarray(f), bits)) for f in frames()]
    assert (change("posterize", frames(), bits) == expected).all()


@pytest.mark.parametrize("threshold", [0, 100, 256])
def test_solarize_and_invert_are_those_of_pillow(threshold: int) -> None:
    expected = [np.asarray(ImageOps.solarize(Image.fromarray(f), threshold)) for f in frames()]
    assert (change("solarize", frames(), threshold) == expected).all()
    assert (change("invert", frames(), 0) == [np.asarray(ImageOps.invert(Image.fromarray(f))) for f in frames()]).all()


def test_auto_contrast_is_that_of_pillow() -> None:
    clip = np.clip(frames(), 60, 200)
    clip[1, ..., 0] = 7  # a channel with one level stays
    expected = [np.asarray(ImageOps.autocontrast(Image.fromarray(f))) for f in clip]
    assert distance(change("auto_contrast", clip, 0), np.stack(expected)) <= 1
    assert (change("auto_contrast", clip, 0)[1, ..., 0] == 7).all()


def test_equalize_flattens_the_histogram_of_each_channel() -> None:
    clip = (frames(2, 64, 64) // 4 + 90).astype(np.uint8)
    out = change("equalize", clip, 0)
    for before, after in zip(clip.reshape(-1, 64 * 64, 3)[:, :, 1], out.reshape(-1, 64 * 64, 3)[:, :, 1], strict=True):
        counts = np.cumsum(np.bincount(before, minlength=256))
        first = counts[before.min()]
        expected = np.round((counts[before] - first) / (before.size - first) * 255)
        assert distance(after, expected) <= 1


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("value", [-0.4, 0.25])
def test_moves_are_affine_maps(name: str, value: float) -> None:
    """Each output pixel against bilinear interpolation at its place in the input."""
    clip = frames(2)
    height, width = clip.shape[1:3]
    degrees = value * 40 if name == "rotate" else value
    out = change(name, clip, degrees)
    angle = math.radians(degrees)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    cx, cy = (width - 1) / 2, (height - 1) / 2
    source = {
        "rotate": (
            cx + math.cos(angle) * (x - cx) - math.sin(angle) * (y - cy),
            cy + math.sin(angle) * (x - cx) + math.cos(angle) * (y - cy),
        ),
        "shear_x": (x - value * y, y),
        "shear_y": (x, y - value * x),
        "translate_x": (x - value * width, y),
        "translate_y": (x, y - value * height),
    }[name]
    padded = np.pad(clip[1].astype(float), ((40, 40), (40, 40), (0, 0)), constant_values=128)
    sx, sy = (np.asarray(s, float) + 40 for s in source)
    left, top = np.floor(sx).astype(int), np.floor(sy).astype(int)
    fx, fy = (sx - left)[..., None], (sy - top)[..., None]
    upper = (1 - fx) * padded[top, left] + fx * padded[top, left + 1]
    lower = (1 - fx) * padded[top + 1, left] + fx * padded[top + 1, left + 1]
    assert distance(out[1], (1 - fy) * upper + fy * lower) <= 8, "OpenCV places pixels to 1/32"


@pytest.mark.parametrize("policy", SPACES)
def test_a_policy_has_mild_and_strong_changes(policy: str) -> None:
    clip = frames()
    for name, (value, _) in SPACES[policy].items():
        assert name in COLOURS | MOVES
        assert change(name, clip, value(1.0)).shape == clip.shape
        if policy == "RandAugment" and name not in ("auto_contrast", "equalize", "invert"):
            assert (change(name, clip, value(0.0)) == clip).all(), "no strength, no change"
            assert (change(name, clip, value(1.0)) != clip).any()


def test_ranges_are_those_of_the_papers() -> None:
    def limits(space: Any, name: str) -> tuple[float, float]:
        value, signed = space[name]
        return value(-1.0 if signed else 0.0), value(1.0)

    assert limits(RANDAUGMENT, "colour") == pytest.approx((0.1, 1.9))
    assert limits(RANDAUGMENT, "translate_x") == (-0.45, 0.45)
    assert limits(RANDAUGMENT, "posterize") == (8, 4)
    assert limits(AUTOAUGMENT, "colour") == pytest.approx((0.1, 1.9))
    assert limits(AUTOAUGMENT, "posterize") == (4, 8)
    assert limits(AUTOAUGMENT, "solarize") == (0, 256)
    assert limits(TRIVIAL_WIDE, "brightness") == (0.01, 2.0)
    assert limits(TRIVIAL_WIDE, "rotate") == (-135, 135)
    assert limits(TRIVIAL_WIDE, "posterize") == (8, 2)
    assert limits(AUGMIX, "solarize") == (256, 0)
    assert limits(AUGMIX, "posterize") == (4, 0)
    assert len(RANDAUGMENT) == len(TRIVIAL_WIDE) == 14
    assert len(IMAGENET) == 25
    assert {name for pair in IMAGENET for name, _, _ in pair} == set(AUTOAUGMENT)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_all_frames_change_equally_and_by_seed(policy: Any) -> None:
    still = np.repeat(frames(1), 3, axis=0)
    before = still.copy()
    sample = Sample(frames=still)
    results = [policy(sample, rng(s)).frames for s in range(12)]
    assert all((r == r[:1]).all() for r in results)
    assert all((r == policy(sample, rng(s)).frames).all() for s, r in enumerate(results))
    assert sum((r != still).any() for r in results) >= 6
    assert (still == before).all()
    with pytest.raises(UserError, match="needs frames with 3 channels, got 2"):
        policy(Sample(frames=still[..., :2]), rng())


def test_pending_geometry_is_applied_first() -> None:
    sample = Resize((-1, 12))(Sample(frames=frames()), rng())
    for policy in POLICIES:
        assert policy(sample, rng(1)).frames.shape == (3, 12, 16, 3)


def test_randaugment_draws_layers() -> None:
    sample = Sample(frames=frames())
    assert (RandAugment(prob=0)(sample, rng()).frames == sample.frames).all()
    shares = [
        (RandAugment(9, layers)(sample, rng(s)).frames != sample.frames).any() for layers in (1, 4) for s in range(60)
    ]
    assert 0.3 < np.mean(shares[:60]) < 0.65
    assert np.mean(shares[60:]) > 0.85


def test_augmix_of_identical_chains_is_the_blend_of_two_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcore.transforms.augment.AUGMIX", {"invert": (lambda s: s, False)})
    drawn = rng(3)
    drawn.dirichlet([1.0, 1.0])
    share = drawn.beta(1.0, 1.0)
    clip = frames()
    expected = (1 - share) * clip + share * (255.0 - clip)
    out = AugMix(width=2, depth=1)(Sample(frames=clip), rng(3)).frames
    assert out is not None
    assert distance(out, np.round(expected)) <= 1


def test_boxes_and_joints_follow_pixels() -> None:
    """A bright block stays inside its box, and a bright pixel at its joint."""
    for name, value in [("rotate", 25.0), ("rotate", -90.0), ("shear_x", 0.3), ("shear_y", -0.2), ("translate_x", 0.2)]:
        clip = np.zeros((1, 64, 64, 3), np.uint8)
        clip[0, 20:30, 24:44] = 255
        sample = Sample(
            frames=clip,
            boxes=Boxes(np.array([[24, 20, 44, 30]], np.float32)),
            joints=Joints(np.array([[[[34.0, 25.0], [0.0, 0.0]]]], np.float32)),
            segments=Segments(np.array([[1.0, 2.0]])),
        )
        moved = apply(sample, name, value, 0)
        assert moved.frames is not None and moved.boxes is not None
        assert moved.joints is not None and moved.segments is not None
        rows, columns = np.nonzero(moved.frames[0, ..., 0] > 127)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(moved.boxes.xyxy[0] - found).max() < 1.1, name
        middle = moved.joints.points[0, 0, 0]
        assert np.abs(middle - [columns.mean() + 0.5, rows.mean() + 0.5]).max() < 0.6, name
        assert (moved.joints.points[0, 0, 1] == 0).all(), "a missing joint stays missing"
        assert moved.segments is sample.segments


def test_what_cannot_follow_is_refused() -> None:
    heatmaps = Sample(frames=frames(), heatmaps=Heatmaps(np.zeros((3, 2, 8, 8), np.float32)))
    with pytest.raises(UserError, match="heatmaps cannot follow"):
        apply(heatmaps, "rotate", 10, 128)
    boxes = Sample(frames=frames(), boxes=Boxes(np.zeros((1, 4), np.float32)))
    with pytest.raises(UserError, match="AugMix blends frames that are moved differently, which boxes cannot follow"):
        AugMix()(boxes, rng())
