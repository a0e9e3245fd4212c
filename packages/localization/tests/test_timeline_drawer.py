"""Segments as a timeline below the frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vid_localization.drawer import TimelineDrawer, _rows
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.tools.drawers import Canvas
from vidcore.typing import Array

SIZE = (240, 320)


def sample(
    *spans: tuple[float, float], labels: list[int] | None = None, scores: list[float] | None = None, classes: int = 3
) -> Sample:
    rows = np.array(spans, np.float64).reshape(-1, 2)
    segments = Segments(
        rows,
        None if labels is None else np.array(labels),
        np.linspace(1, 0.5, len(rows)) if scores is None else np.array(scores),
    )
    return Sample(path="a.mp4", segments=segments, class_names=tuple(f"class {i}" for i in range(classes)))


def drawer(found: Sample, truth: Sample | None = None, size: tuple[int, int] = SIZE) -> TimelineDrawer:
    return TimelineDrawer(found, Canvas(size, found.class_names or (), duration=10.0), truth)


def strip(made: TimelineDrawer, time: float, size: tuple[int, int] = SIZE) -> Array:
    image = np.full((*size, 3), 50, np.uint8)
    framed = made.draw(image, time)
    assert (framed[: size[0]] == image).all() and framed.shape[1] == size[1]
    return framed[size[0] :]


def cursor(image: Array) -> float:
    """Return the column of the line."""
    return float(np.flatnonzero((image[: len(image) // 3] == 255).all((0, 2))).mean())


def colourful(image: Array) -> Array:
    return (image.max(2).astype(int) - image.min(2)) > 40


def test_samples_without_segments_are_not_drawn() -> None:
    assert TimelineDrawer.can_draw(sample())
    assert not TimelineDrawer.can_draw(Sample(scores=np.ones(3)))


def test_bars_and_cursor_are_at_their_times() -> None:
    made = drawer(sample((2.0, 4.0), (6.0, 10.0), labels=[0, 1]))
    marked = strip(made, 0.0)
    at = {time: cursor(strip(made, time)) for time in (0.0, 2.0, 4.0, 10.0, 99.0)}
    assert at[10.0] == at[99.0] and at[10.0] <= SIZE[1] - 1
    scale = (at[10.0] - at[0.0]) / 10
    assert at[2.0] - at[0.0] == pytest.approx(2 * scale, abs=1)
    bars = [np.flatnonzero(line) for line in colourful(marked) if line.sum() > 10]
    ends = {(int(bar[0]), int(bar[-1])) for bar in bars}
    assert len(ends) <= 4
    assert min(e[0] for e in ends) == pytest.approx(at[2.0], abs=2)
    assert max(e[1] for e in ends) == pytest.approx(at[10.0], abs=2)


def test_names_light_up_while_a_segment_lasts() -> None:
    made = drawer(sample((2.0, 4.0), labels=[0]))
    names = [strip(made, time)[:18, :60].max() for time in (1.9, 2.0, 3.9, 4.0)]
    assert names[0] == names[3] < 200 < names[1] == names[2]


@pytest.mark.parametrize("count", [0, 1, 40, 500])
def test_any_number_of_segments(count: int) -> None:
    rng = np.random.default_rng(count)
    starts = rng.uniform(0, 8, count)
    spans = [(float(s), float(s + length)) for s, length in zip(starts, rng.uniform(0, 3, count), strict=True)]
    for labels in (None, rng.integers(0, 12, count).tolist()):
        for size in (SIZE, (320, 240), (1080, 1920)):
            found = sample(*spans, labels=labels, scores=rng.random(count).tolist(), classes=12)
            made = drawer(found, size=size)
            image = strip(made, 5.0, size)
            assert len(image) <= size[0] + 2
            assert colourful(image).any() == (count > 0)
            assert made._rows[0].name != "no segments" or not count
            assert all(made._face.width(n) <= made._left for n in made._names(found, None, size[1]))


def test_segments_in_a_lane_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    spans = [(float(s), float(s) + 2) for s in rng.uniform(0, 8, 60)]
    (row,) = _rows(sample(*spans), None, 12)
    assert len(row.lanes) == 12 and row.hidden + sum(map(len, row.lanes)) == 60
    for lane in row.lanes:
        ordered = sorted(lane, key=lambda bar: bar.start)
        assert all(one.end <= following.start for one, following in pairwise(ordered))
    assert row.lanes[0][0].text == "1.00", "the best is drawn first"


def test_lanes_are_as_many_as_there_is_space() -> None:
    spans = [(float(i % 5), float(i % 5) + 5) for i in range(36)]
    labels = [i % 12 for i in range(36)]
    shown = {side: drawer(sample(*spans, labels=labels, classes=12), size=(side, 640)) for side in (480, 720, 240)}
    lanes = {side: max(len(row.lanes) for row in made._rows) for side, made in shown.items()}
    assert lanes[720] == 3 and lanes[240] == 2
    assert not any(row.hidden for row in shown[720]._rows)
    assert sum(row.hidden for row in shown[240]._rows) > 0


def test_classes_that_do_not_fit_are_counted() -> None:
    many = sample(*[(0.0, 1.0)] * 80, labels=[*range(80)], classes=80)
    made = drawer(many)
    assert made._rows[-1].name == f"+ {80 - len(made._rows) + 1} more classes"
    assert made._rows[0].name == "class 0"


def test_the_truth_is_grey_and_above() -> None:
    truth = sample((1.0, 9.0), labels=[2])
    both = _rows(sample((1.0, 3.0), labels=[0]), truth, 2)
    assert [(row.name, len(row.lanes), len(row.true)) for row in both] == [("class 0", 1, 0), ("class 2", 0, 1)]
    made = drawer(sample((1.0, 9.0), labels=[2]), truth)
    image = strip(made, 0.0)
    grey = (image > 180).all(2).sum(1) > 80
    bars = colourful(image).sum(1) > 80
    assert grey.any() and bars.any() and np.flatnonzero(grey)[-1] < np.flatnonzero(bars)[0]


def test_times_that_are_not_finite_are_left_out() -> None:
    assert _rows(sample((np.nan, 2.0), (1.0, np.inf)), None, 2) == []
    made = drawer(sample((1.0, 2.0), (3.0, 4.0), scores=[np.nan, 0.4]))
    assert colourful(strip(made, 0.0)).any()


def test_a_wider_frame_is_filled() -> None:
    made = drawer(sample((1.0, 2.0)))
    assert made.draw(np.zeros((240, 400, 3), np.uint8), 0.0).shape[1] == 400
