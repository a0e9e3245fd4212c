"""The picture of classes along a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vidcore.tools.draw import save_figure
from vidcore.tools.timeline import COLUMNS, ROWS, ClassTimeline


def test_gaps_and_the_higher_of_overlapping_windows() -> None:
    timeline = ClassTimeline("a")
    for start, end, scores in ((0, 2, [0.6, 0.4]), (1, 3, [0.2, 0.8]), (4, 6, [0.9, 0.1])):
        timeline.add(start, end, np.array(scores))
    shown, image, end = timeline.raster()
    assert (shown.tolist(), image.shape, end) == ([0, 1], (2, COLUMNS), 6)
    at = [int(second / 6 * COLUMNS) for second in (0.5, 1.5, 2.5, 3.5, 5)]
    np.testing.assert_allclose(image[:, at], [[0.6, 0.6, 0.2, np.nan, 0.9], [0.4, 0.8, 0.8, np.nan, 0.1]], rtol=1e-6)


def test_of_many_classes_the_highest_are_drawn(tmp_path: Path) -> None:
    timeline = ClassTimeline("a $ name")
    rng = np.random.default_rng(0)
    for second in range(500):
        timeline.add(second, second + 1, rng.random(400) + 5 * np.eye(400)[399 - second % 20], top=3)
    assert len(timeline._classes[0]) == 3, "few numbers are kept of a window"
    shown, _, _ = timeline.raster()
    assert len(shown) == ROWS and set(shown.tolist()) <= set(range(380, 400))
    save_figure(timeline.draw([f"class number {k}" for k in range(400)]), tmp_path / "x.png")
    picture = cv2.imread(str(tmp_path / "x.png"))
    assert ((picture[..., 0].astype(int) - picture[..., 2]) > 100).any(), "blue"


def test_a_video_with_one_window() -> None:
    timeline = ClassTimeline("a", unit_is_seconds=False)
    timeline.add(0, 16, np.array([0.0, 0.0]))
    assert len(timeline.raster()[0]) == 0
    timeline.draw(None)
