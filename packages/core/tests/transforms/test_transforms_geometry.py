"""Steps that resize, crop and flip frames, and records that follow them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from vidcore.errors import UserError
from vidcore.records import Boxes, Joints
from vidcore.sample import Sample
from vidcore.transforms.crops import (
    CenterCrop,
    MultiGroupCrop,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    TenCrop,
    ThreeCrop,
)
from vidcore.transforms.flipping import Flip
from vidcore.transforms.geometry import crop, current
from vidcore.transforms.pixels import realize, render
from vidcore.transforms.resizing import Fuse, RandomRescale, RandomScale, Resize
from vidcore.typing import Array


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pictures(n: int = 3, height: int = 60, width: int = 90, channels: int = 3) -> Array:
    smooth = rng(1).integers(0, 256, (n, height // 6, width // 6, channels), np.uint8)
    return np.stack([cv2.resize(f, (width, height)).reshape(height, width, channels) for f in smooth])


def made(sample: Sample) -> Array:
    frames = realize(sample).frames
    assert frames is not None
    assert frames.flags.c_contiguous
    return frames


def scaled(frames: Array, width: int, height: int) -> Array:
    return np.stack([cv2.resize(f, (width, height)) for f in frames])


def test_crops_after_a_resize_are_exactly_those_of_the_resized_frames() -> None:
    frames = pictures()
    small = scaled(frames, 48, 32)
    sample = Resize((-1, 32))(Sample(frames=frames), rng())
    assert (made(CenterCrop(20)(sample, rng())) == small[:, 6:26, 14:34]).all()
    three = ThreeCrop(32)(sample, rng())
    assert three.num_crops == 3
    assert (made(three) == np.concatenate([small[:, :, :32], small[:, :, 16:], small[:, :, 8:40]])).all()
    ten = made(TenCrop(16)(sample, rng()))
    assert len(ten) == 30
    assert (ten[3:6] == small[:, :16, :16][:, :, ::-1]).all()
    assert (ten[-6:-3] == small[:, 8:24, 16:32]).all()


def test_a_resize_after_a_crop_interpolates_the_original_once() -> None:
    frames = pictures()
    chain = [Resize((-1, 30)), RandomResizedCrop(), Resize((24, 24), keep_ratio=False)]
    sample = Sample(frames=frames)
    for step in chain:
        sample = step(sample, rng(5))
    left, top, right, bottom = (round(v) for v in current(sample).region)
    assert (made(sample) == scaled(frames[:, top:bottom, left:right], 24, 24)).all()
    assert right - left > 24  # cut from the large frames, not from the small


def test_fuse_interpolates_at_every_step() -> None:
    frames = pictures()
    sample = Sample(frames=frames)
    for step in [Resize((-1, 30)), Fuse(), CenterCrop(20), Fuse(), Resize((24, 24), keep_ratio=False)]:
        sample = step(sample, rng())
    assert (made(sample) == scaled(scaled(frames, 45, 30)[:, 5:25, 12:32], 24, 24)).all()


def test_flips_and_crops_in_any_order() -> None:
    frames = pictures()
    for direction, mirrored in (("horizontal", frames[:, :, ::-1]), ("vertical", frames[:, ::-1])):
        sample = crop(Flip(1, direction)(Sample(frames=frames), rng()), [(5, 10, 40, 30)])
        assert (made(sample) == mirrored[:, 10:30, 5:40]).all()
        again = Flip(1, direction)(sample, rng())
        axis = 2 if direction == "horizontal" else 1
        assert (made(again) == np.flip(made(sample), axis)).all()
        small = Resize((12, 10), keep_ratio=False)(sample, rng())
        assert np.abs(made(small).astype(int) - scaled(made(sample), 12, 10)).max() <= 1
    both = Flip(1, "vertical")(Flip(1)(Sample(frames=frames), rng()), rng())
    assert (made(both) == frames[:, ::-1, ::-1]).all()


def test_crops_of_crops_and_a_resize_of_several_crops() -> None:
    frames = pictures()
    sample = Resize((-1, 32))(Sample(frames=frames), rng())
    three = ThreeCrop(32)(sample, rng())
    assert (made(CenterCrop(16)(three, rng())) == made(three)[:, 8:24, 8:24]).all()
    assert (made(Resize((16, 16), keep_ratio=False)(three, rng())) == scaled(made(three), 16, 16)).all()


def test_a_frame_in_several_clips_is_resized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidcore.geometry import Geometry
    from vidcore.transforms import pixels

    frames = pictures(2)
    order = np.array([0, 1, 1, 0, 0])
    sample = Sample(frames=frames, geometry=Geometry.whole((60, 90), order))
    sample = ThreeCrop(30)(Resize((-1, 30))(sample, rng()), rng())
    calls = []
    resize = cv2.resize
    monkeypatch.setattr(pixels.cv2, "resize", lambda *a, **k: calls.append(a) or resize(*a, **k))
    positions = sorted(position for position, _ in render(sample))
    assert positions == list(range(15))
    assert len(calls) == 2
    small = scaled(frames, 45, 30)[order]
    assert (made(sample)[5:10] == small[:, :, 14:44]).all()


def test_realize_applies_all_geometry_and_keeps_its_history() -> None:
    sample = CenterCrop((30, 20))(Resize(0.5)(Sample(frames=pictures()), rng()), rng())
    done = realize(sample)
    assert done.frames is not None
    assert done.frames.shape == (3, 20, 30, 3)
    assert not current(done).pending
    assert current(done).scale_factor == current(sample).scale_factor == (0.5, 0.5)
    assert current(done).crop_quadruple == pytest.approx((7 / 45, 5 / 30, 30 / 45, 20 / 30))
    assert made(done) is done.frames


def test_boxes_and_joints_move_with_the_frames() -> None:
    """A bright dot, its box and its joint stay together through every step."""
    frames = np.zeros((1, 60, 90, 3), np.uint8)
    frames[0, 24:30, 60:66] = 255
    box = np.array([[60, 24, 66, 30]], np.float32)
    joints = Joints(np.array([[[[63, 27], [0, 0]]]], np.float32), np.array([[[0.9, 0.0]]], np.float32))
    sample = Sample(frames=frames, boxes=Boxes(box), proposals=Boxes(box, track=np.array([7])), joints=joints)
    for step in [Resize((-1, 120)), CenterCrop((140, 100)), Flip(1, left_kp=(0,), right_kp=(1,))]:
        sample = step(sample, rng())
    assert sample.boxes is not None
    assert sample.joints is not None
    assert isinstance(sample.proposals, Boxes)
    rows, columns = np.nonzero(made(sample)[0, ..., 0] > 128)
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx(sample.boxes.xyxy[0], abs=1)
    assert sample.proposals.xyxy == pytest.approx(sample.boxes.xyxy)
    assert sample.proposals.track == [7]
    x, y = sample.joints.points[0, 0, 1]  # exchanged with the joint of the other side
    assert (x, y) == pytest.approx(((columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2), abs=1)
    assert sample.joints.scores is not None
    assert sample.joints.scores.tolist() == [[[0.0, np.float32(0.9)]]]
    assert box[0].tolist() == [60, 24, 66, 30]  # the original is untouched


def test_mirrored_flow_points_the_other_way() -> None:
    flow = pictures(4, channels=2)
    mirrored = made(Flip(1)(Sample(frames=flow, modality="Flow"), rng()))
    assert (mirrored[..., 0] == 255 - flow[:, :, ::-1, 0]).all()
    assert (mirrored[..., 1] == flow[:, :, ::-1, 1]).all()
    ten = TenCrop(20)(Sample(frames=flow, modality="Flow"), rng())
    published = TenCrop(20, compat=True)(Sample(frames=flow, modality="Flow"), rng())
    assert (made(ten)[4:8, ..., 0] == 255 - made(published)[4:8, ..., 0]).all()
    assert (made(ten)[:4] == made(published)[:4]).all()
    with pytest.raises(UserError, match="vertical"):
        Flip(1, "vertical")(Sample(frames=flow, modality="Flow"), rng())


def test_labels_follow_a_flip() -> None:
    step = Flip(1, flip_label_map={"1": 2, "2": 1, "0": 3})
    sample = step(Sample(frames=pictures(), label=2, labels=np.array([1, 1, 0, 0], np.float32)), rng())
    assert sample.label == 1
    assert sample.labels is not None
    assert sample.labels.tolist() == [0, 0, 1, 1]
    assert Flip(0, flip_label_map={"2": 1})(Sample(frames=pictures(), label=2), rng()).label == 2


def test_random_crops_reach_every_position_and_published_ones_do_not() -> None:
    frames = pictures(1, 30, 36)
    sample = Sample(frames=frames)
    places = [current(RandomCrop(30)(sample, rng(s))).windows[0][0] for s in range(200)]
    assert set(places) == set(range(7))
    places = [current(RandomCrop(30, compat=True)(sample, rng(s))).windows[0][0] for s in range(200)]
    assert set(places) == set(range(6))


def test_random_steps_depend_only_on_the_generator() -> None:
    sample = Sample(frames=pictures())
    for step in [RandomRescale((20, 50)), RandomCrop(24), RandomResizedCrop(), MultiScaleCrop(30, (1, 0.8), 1)]:
        assert (made(step(sample, rng(3))) == made(step(sample, rng(3)))).all()
        different = {(current(s).size, current(s).windows) for s in (step(sample, rng(i)) for i in range(20))}
        assert len(different) > 5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Resize(0), "scale must be a positive factor"),
        (lambda: Resize((-1, -1)), "one of which may be -1"),
        (lambda: Resize((-1, 5), keep_ratio=False), "width, height"),
        (lambda: Resize(2, interpolation="bilinea"), "did you mean 'bilinear'"),
        (lambda: RandomRescale((8, 4)), "smallest, largest"),
        (lambda: CenterCrop((0, 4)), "positive number"),
        (lambda: Flip(1.5), "between 0 and 1"),
        (lambda: MultiScaleCrop(4, num_fixed_crops=6), "one of 5, 13"),
        (lambda: MultiScaleCrop(4, scales=(1.5,)), "scales must be"),
        (lambda: RandomResizedCrop((0.5, 1.5)), "area_range"),
    ],
)
def test_wrong_arguments_of_geometry_are_named(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_crops_that_do_not_fit_are_refused_with_both_sizes() -> None:
    sample = Sample(frames=pictures())
    with pytest.raises(UserError, match="100 x 100 pixels does not fit into frames of 90 x 60"):
        CenterCrop(100)(sample, rng())
    with pytest.raises(UserError, match="does not fit"):
        RandomCrop(61)(sample, rng())
    with pytest.raises(UserError, match="a 32 x 32 crop must have one side of the frames, 90 x 60"):
        ThreeCrop(32)(sample, rng())
    with pytest.raises(UserError, match="cannot share its boxes"):
        TenCrop(32)(sample.replace(boxes=Boxes(np.zeros((1, 4), np.float32))), rng())
    with pytest.raises(UserError, match="put Decode before"):
        CenterCrop(8)(Sample(path="a.mp4"), rng())


def test_a_step_that_changes_frames_must_realize_them_first() -> None:
    sample = Sample(frames=pictures())
    padded = sample.replace(frames=np.zeros((3, 70, 90, 3), np.uint8), geometry=current(sample))
    assert current(padded).size == (70, 90)
    pending = Resize(0.5)(sample, rng()).replace(frames=np.zeros((3, 70, 90, 3), np.uint8))
    with pytest.raises(UserError, match="realize first"):
        CenterCrop(8)(pending, rng())


def test_frames_never_vanish() -> None:
    sample = Resize((-1, 4))(Sample(frames=pictures(1, 60, 600)), rng())
    sample = Resize((10, 10))(sample, rng())
    assert made(sample).shape == (1, 1, 10, 3)
    assert made(Resize(0.001)(Sample(frames=pictures(1)), rng())).shape == (1, 1, 1, 3)


def test_random_boxes_are_never_empty() -> None:
    step = RandomResizedCrop((0.001, 0.05))
    for seed in range(50):
        height, width = current(step(Sample(frames=pictures(1, 12, 12)[:, :3, :5]), rng(seed))).size
        assert height > 0
        assert width > 0


def test_groups_of_crops_are_views_at_random_positions() -> None:
    sample = Sample(frames=pictures())
    step = MultiGroupCrop((24, 16), 3)
    out = step(sample, rng())
    assert (step.views, out.num_crops, current(out).size) == ((1, 3), 3, (16, 24))
    places = {window[:2] for s in range(300) for window in current(step(sample, rng(s))).windows}
    height, width = current(sample).size
    assert {x for x, _ in places} == set(range(width - 24 + 1))
    assert {y for _, y in places} == set(range(height - 16 + 1))
    with pytest.raises(UserError, match="does not fit"):
        MultiGroupCrop(1000, 2)(sample, rng())


def test_a_random_scale_limits_both_sides() -> None:
    sample = Sample(frames=np.zeros((1, 100, 200, 3), np.uint8))
    drawn = {current(RandomScale([(60, 20), (40, 80)])(sample, rng(s))).size for s in range(600)}
    assert {short for short, _ in drawn} == set(range(20, 41)), "the long side is limited to 60 to 80 at least"
    assert all(abs(long - 2 * short) <= 1 for short, long in drawn)
    values = {current(RandomScale([(60, 20), (40, 80)], "value")(sample, rng(s))).size for s in range(50)}
    assert values == {(20, 40), (40, 80)}
    with pytest.raises(UserError, match="scales must be a list of pairs"):
        RandomScale([(3,)])
