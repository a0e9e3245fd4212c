"""Segments of a video on a time axis."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from vid_localization.picture import draw_timeline, write_timelines
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.tools.draw import Figure, save_figure


def bars(figure: Figure) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return the text of every row, and start and end of its bars."""
    (axes,) = figure.axes
    texts = [label.get_text() for label in axes.get_yticklabels()]
    rows = [[p.vertices[:, 0] for p in collection.get_paths()] for collection in axes.collections]
    return [(t, [(float(x.min()), float(x.max())) for x in row]) for t, row in zip(texts, rows, strict=True)]


def test_nan_is_not_drawn() -> None:
    nan, inf = np.nan, np.inf
    segments, scores = np.array([[1.0, 3.0], [nan, 2.0], [4.0, inf]]), np.array([nan, 0.9, 0.8])
    good = Sample(path="a.mp4", duration=9.0, segments=Segments(segments[:1], scores=np.zeros(1)))
    found = bars(draw_timeline(good.replace(segments=Segments(segments, scores=scores))))
    assert found == bars(draw_timeline(good)) == [("0.00", [(1.0, 3.0)])]
    truth = good.replace(segments=Segments(segments))
    assert bars(draw_timeline(good, truth)) == [("(true)", [(1.0, 3.0)]), ("0.00", [(1.0, 3.0)])]


def test_segments_are_drawn_by_class_and_by_score(tmp_path: Path) -> None:
    names = ("$x_1$", "a name that is much too long to be written on one line of a picture")
    spans = np.array([[50.0, 60.0], [20.0, 30.0], [-5.0, 20.0]])
    truth = Sample(path="a_$1$.mp4", duration=100.0, class_names=names, segments=Segments(spans, np.array([1, 0, 1])))
    found = truth.replace(segments=Segments(spans, np.array([0, 9, 1]), np.array([0.1, 0.9, 0.5])))
    figure = draw_timeline(found, truth, top_k=2)
    wrapped = "a name that is much too long to be\nwritten on one line of a picture"
    assert bars(figure) == [
        (f"{wrapped}\n(true)", [(0.0, 20.0), (50.0, 60.0)]),
        ("$x_1$ (true)", [(20.0, 30.0)]),
        ("class 9 0.90", [(20.0, 30.0)]),
        (f"{wrapped}\n0.50", [(0.0, 20.0)]),
    ]
    (axes,) = figure.axes
    assert axes.get_title("left") == "a_$1$"
    assert [label.get_text() for label in axes.get_xticklabels()][:3] == ["0 s", "10 s", "20 s"]
    best, second = (c.get_facecolor()[0, 0] for c in axes.collections[2:])
    assert best < second, "the better one is darker"
    save_figure(figure, tmp_path / "a.png")
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(boxes)), "no label on another"


@pytest.mark.parametrize(
    ("seconds", "last"),
    [(0.0, "0 s"), (0.05, "0 s"), (3.0, "3 s"), (120.0, "2:00"), (5000.0, "1:20:00"), (1e6, "264:00:00")],
)
def test_tick_labels(seconds: float, last: str, tmp_path: Path) -> None:
    figure = draw_timeline(Sample(path="a.mp4", duration=seconds))
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown[-1] == last and len(shown) <= 13
    save_figure(figure, tmp_path / "a.png")


def test_the_shortest_segment_is_visible() -> None:
    sample = Sample(duration=7000.0, segments=Segments(np.array([[10.0, 10.001]]), scores=np.ones(1)))
    ((_, ((start, end),)),) = bars(draw_timeline(sample))
    assert start == 10 and end == 20


def test_pictures_are_named_after_videos(tmp_path: Path) -> None:
    segments = Segments(np.array([[1.0, 3.0]]), scores=np.array([0.5]))
    found = Sample(path="x/a b.mp4", duration=9.0, segments=segments)
    write_timelines(tmp_path / "deep" / "er", [found, found.replace(path="c.mp4")])
    assert sorted(p.name for p in (tmp_path / "deep" / "er").iterdir()) == ["a b.png", "c.png"]
    assert cv2.imread(str(tmp_path / "deep" / "er" / "c.png")) is not None


def test_a_timeline_is_a_picture(tmp_path: Path) -> None:
    true = Segments(np.array([[30.0, 60.0]]), np.array([0]))
    predicted = Segments(np.array([[0.0, 30.0], [30.0, 60.0]]), np.array([0, 0]), np.array([0.2, 0.9]))
    truth = Sample(path="x/vidéo.mp4", duration=60.0, segments=true, class_names=("jump",))
    save_figure(draw_timeline(truth.replace(segments=predicted), truth), tmp_path / "ü.png")
    image = cv2.imdecode(np.fromfile(tmp_path / "ü.png", np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    drawn = (image != 255).any(2)
    rows = [r for r in range(image.shape[0]) if drawn[r, -400:-60].all()]
    assert len(rows) >= 2 * 16  # the true one and the better prediction fill the second half
