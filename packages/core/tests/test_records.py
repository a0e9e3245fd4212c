"""Records check their shapes, follow the frames and select their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pytest
from attrs import evolve, field, frozen

from vidcore.errors import UserError
from vidcore.geometry import Geometry
from vidcore.records import Boxes, Clip, Joints, Record, Segments, Text, shape
from vidcore.sample import Sample
from vidcore.transforms.crops import CenterCrop
from vidcore.transforms.flipping import Flip
from vidcore.transforms.geometry import crop, current
from vidcore.transforms.resizing import Resize
from vidcore.typing import Array


@frozen(eq=False)
class Points(Record):
    """A kind of annotation that the core does not have."""

    xy: Array = field(validator=shape(None, 2))

    def resized(self, factors: tuple[float, float]) -> Self:
        return evolve(self, xy=self.xy * factors)

    def flipped(self, size: tuple[int, int], direction: str, swaps: Sequence[tuple[int, int]] = ()) -> Self:
        return evolve(self, xy=np.stack((size[1] - self.xy[:, 0], self.xy[:, 1]), 1))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Boxes(np.zeros((3, 5))), r"Boxes\.xyxy must have shape \(\*, 4\), got \(3, 5\)"),
        (lambda: Segments(np.zeros((2, 2)), np.zeros(3)), "one row for each entry; spans has 2, labels has 3"),
        (lambda: Joints(np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 4))), r"one number for each joint, shape \(1, 2, 3\)"),
        (lambda: Clip(np.arange(5), 2, 3), "3 clips of 2 frames need 6 indices, got 5"),
        (lambda: Sample(extra={"boxes": Points(np.zeros((1, 2)))}), r"Sample\.extra\['boxes'\]: a field has this name"),
    ],
)
def test_arrays_of_wrong_shape_are_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_rows_are_selected_in_every_array() -> None:
    boxes = Boxes(np.arange(12.0).reshape(3, 4), labels=np.array([5, 6, 7]), track=np.array([1, 2, 3]))
    some = boxes.select([2, 0])
    assert (some.xyxy[:, 0].tolist(), some.track.tolist()) == ([8, 0], [3, 1])
    assert some.scores is None
    assert len(boxes.select(np.array([False, True, False]))) == 1


def test_a_record_of_a_package_moves_with_the_frames() -> None:
    sample = Sample(geometry=Geometry.whole((60, 80)), extra={"points": Points(np.array([[10.0, 30.0]]))})
    for step in (Resize((160, 120), keep_ratio=False), Flip(1)):
        sample = step(sample, rng())
    points = sample.extra["points"]
    assert isinstance(points, Points)
    assert points.xy.tolist() == [[140, 60]]
    assert [name for name, _ in sample.replace(text=Text(("a",))).records()] == ["text", "points"]


def test_boxes_can_be_mapped_back_to_the_decoded_frames() -> None:
    box = np.array([[20, 30, 60, 50]], np.float32)
    sample = Sample(geometry=Geometry.whole((120, 160)), boxes=Boxes(box))
    sample = crop(Flip(1)(Resize((-1, 90))(sample, rng()), rng()), [(10, 5, 115, 85)])
    for between in (lambda s: s, lambda s: s.replace(geometry=current(s).done())):  # geometry pending, or applied
        moved = CenterCrop(60)(Flip(1)(Resize((70, 64), keep_ratio=False)(between(sample), rng()), rng()), rng())
        assert moved.boxes is not None
        assert current(moved).to_source(moved.boxes.xyxy) == pytest.approx(box, abs=0.01)
        assert current(moved).done().to_source(moved.boxes.xyxy) == pytest.approx(box, abs=0.01)
    with pytest.raises(UserError, match="2 crops of a clip"):
        current(crop(Sample(geometry=Geometry.whole((8, 8))), [(0, 0, 4, 4)] * 2)).to_source(box)


def test_rows_for_people_come_best_first() -> None:
    boxes = Boxes(np.zeros((2, 4)), scores=np.array([[0.1, 0.0], [0.4, 0.2]]), track=np.array([8, 9]))
    rows = boxes.rows(("run", "sit"))
    assert [(r["track"], r["class"], r["score"]) for r in rows] == [(9, "run", 0.4), (9, "sit", 0.2), (8, "run", 0.1)]
