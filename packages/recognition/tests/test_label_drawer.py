"""Class scores on frames."""

from __future__ import annotations

import numpy as np
import pytest

from vid_recognition.drawer import LabelDrawer
from vidcore.records import WindowScores
from vidcore.sample import Sample
from vidcore.tools.drawers import Canvas
from vidcore.typing import Array

NAMES = ("run", "jump over the very high fence on the left", "jump over the very high fence on the right", "sit", "eat")


def drawn(sample: Sample, size: tuple[int, int] = (240, 320), truth: Sample | None = None, top: int = 5) -> Array:
    """Return a grey frame with labels."""
    canvas = Canvas(size, sample.class_names or (), top=top)
    image = np.full((*size, 3), 128, np.uint8)
    return LabelDrawer(sample, canvas, truth).draw(image, 0.0)


def covered(image: Array) -> tuple[int, int]:
    """Return height and width of the area that is not grey any more; it begins in the upper left corner."""
    rows, columns = np.flatnonzero((image != 128).any((1, 2))), np.flatnonzero((image != 128).any((0, 2)))
    assert rows[0] == columns[0] == 0
    return int(rows[-1]) + 1, int(columns[-1]) + 1


def sample(*scores: float, names: tuple[str, ...] | None = NAMES) -> Sample:
    return Sample(scores=np.array(scores, np.float32), class_names=names)


def test_samples_without_scores_are_not_drawn() -> None:
    assert LabelDrawer.can_draw(sample(0.5))
    assert not LabelDrawer.can_draw(Sample())
    assert not LabelDrawer.can_draw(sample())


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (1080, 1920), (2160, 3840)])
def test_labels_cover_a_part_of_the_frame(size: tuple[int, int]) -> None:
    for top in (1, 5):
        height, width = covered(drawn(sample(0.5, 0.2, 0.15, 0.1, 0.05), size, top=top))
        assert height <= size[0] * 0.75 and width <= size[1] * 0.65
    many = sample(*np.linspace(0, 0.1, 60), names=tuple(f"class number {i} of the set" for i in range(60)))
    assert covered(drawn(many, size, top=60))[0] <= size[0] * 0.75


def test_bars_show_the_scores() -> None:
    image = drawn(sample(0.9, 0, 0, 0.1, 0), top=2)
    _, width = covered(image)
    blue = image[..., 2].astype(int) - image[..., 0] > 60
    top, *_, bottom = np.flatnonzero(blue.any(1)).tolist()
    assert blue[top].sum() == pytest.approx(0.9 * width, abs=2)
    assert blue[bottom].sum() == pytest.approx(0.1 * width, abs=2)
    for scores in ((7.0, -3.0), (np.nan, 0.5)):  # logits, and what a broken model returns
        assert covered(drawn(sample(*scores), top=2))


def test_long_names_that_are_alike_look_different() -> None:
    first, second = (drawn(sample(*np.eye(5)[i]), (240, 240), top=1) for i in (1, 2))
    assert covered(first)[0] > covered(drawn(sample(1, 0, 0, 0, 0), (240, 240), top=1))[0], "two lines"
    assert (first != second).any()


def test_classes_without_names_have_numbers() -> None:
    assert (drawn(sample(0.1, 0.9, names=None), top=1) != drawn(sample(0.9, 0.1, names=None), top=1)).any()


def test_labels_of_windows_change_with_the_time() -> None:
    spans = np.array([[0.0, 2.0], [1.0, 3.0], [5.0, 6.0]])
    windows = WindowScores(spans, np.array([[0, 3], [1, 3], [4, 0]]), np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.3]]))
    found = Sample(class_names=NAMES).with_extra(windows=windows)
    assert LabelDrawer.can_draw(found)
    drawer = LabelDrawer(found, Canvas((240, 320), top=2))
    frames = {t: drawer.draw(np.full((240, 320, 3), 128, np.uint8), t) for t in (0.0, 1.4, 1.6, 4.0, 5.5)}
    assert (frames[0.0] == frames[1.4]).all()
    assert (frames[4.0] == 128).all(), "no window there"
    looks = [frames[t].tobytes() for t in (0.0, 1.6, 4.0, 5.5)]
    assert len(set(looks)) == 4
    blue = [(frames[t][4, :, 2].astype(int) - frames[t][4, :, 0] > 60).sum() for t in (0.0, 1.6)]
    assert blue[1] / blue[0] == pytest.approx(0.6 / 0.9, abs=0.03), "the width stays"


def test_the_truth_is_written_below() -> None:
    found = sample(0.9, 0.05, 0.05, 0, 0)
    plain = covered(drawn(found, top=2))[0]
    for truth, green in ((Sample(label=0), True), (Sample(label=3), False), (Sample(labels=np.eye(5)[0]), True)):
        image = drawn(found, truth=truth, top=2)
        assert covered(image)[0] > plain
        below = image[plain:][:, :100].astype(int)
        assert ((below[..., 1] - below[..., 0]).max() > 40) == green
        assert ((below[..., 0] - below[..., 2]).max() > 40) != green
    assert (drawn(found, truth=Sample(label=-1), top=2) == drawn(found, top=2)).all(), "an unknown label"
