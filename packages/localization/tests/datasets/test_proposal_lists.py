"""Published lists of proposals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vid_localization.datasets.structured import SSNDataset
from vidcore.errors import AnnotationError

LIST = """# 0
video_a
100
{rate}
2
2 {a} {b}
1 {c} {d}
2
2 0.5 0.5 {a} {c}
1 0.9 0.9 {c} {d}
# 1
video_b
50
{rate}
0
1
1 0.0 0.0 {a} {b}
"""


def test_starts_and_ends_in_frames(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(LIST.format(rate=10, a=10, b=20, c=40, d=80))
    data = SSNDataset(tmp_path / "list.txt", tmp_path, classes=["run", "jump"])
    first, second = data[0], data[1]
    assert first.duration == 10
    assert first.total_frames == 100
    assert first.path == str(tmp_path / "video_a")
    assert first.segments.spans.tolist() == [[1, 2], [4, 8]]
    assert first.segments.labels.tolist() == [1, 0]
    np.testing.assert_allclose(first.proposals.spans, [[1, 4], [4, 8]])
    assert (first.start_index, first.filename_tmpl) == (1, "img_{:05}.jpg")
    assert second.segments.spans.shape == (0, 2)
    assert len(SSNDataset(tmp_path / "list.txt", filter_gt=True)) == 1


def test_starts_and_ends_as_fractions(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(LIST.format(rate=10, a=0.1, b=0.2, c=0.4, d=0.8))
    first = SSNDataset(tmp_path / "list.txt")[0]
    np.testing.assert_allclose(first.segments.spans, [[1, 2], [4, 8]])
    np.testing.assert_allclose(first.proposals.spans, [[1, 4], [4, 8]])


def test_names_may_have_spaces(tmp_path: Path) -> None:
    text = LIST.format(rate=10, a=10, b=20, c=40, d=80).replace("video_b", "video b.mp4")
    (tmp_path / "list.txt").write_text(text, "utf-8-sig")
    assert SSNDataset(tmp_path / "list.txt")[1].path == "video b.mp4"


def test_errors_name_the_line(tmp_path: Path) -> None:
    text = LIST.format(rate=10, a=10, b=20, c=40, d=80)
    for wrong, message in (
        (text.replace("2 0.5 0.5 10 40", "2 0.5 0.5 10"), r"list.txt:9: must be 5 numbers, got '2 0.5 0.5 10'"),
        (text.replace("# 1\n", ""), r"list.txt:11: a video must start with '# number', got 'video_b'"),
        (text.rsplit("\n", 2)[0], r"list.txt:17: must be 5 numbers, got 'the end'"),
        (text.replace("# 1\nvideo_b", "# 1"), r"list.txt:11: 50: number of frames and frame rate must be above 0"),
        (text.replace("video_b", "video_a"), r"list.txt: video_a: is listed twice"),
        (text + "# 2\n", r"list.txt:\d+: must be 1 numbers, got 'the end'"),
        ("\udcff", r"list.txt: is not UTF-8 text"),
        (text.replace("\n2 10 20", "\n1.5 10 20"), r"list.txt: video_a: label must be a whole number from 1 to 100000"),
        (text.replace("\n2 10 20", "\n1e9 10 20"), r"list.txt: video_a: label must be a whole number .*got 1000000000"),
        (text.replace("\n2 10 20", "\n0 10 20"), r"list.txt: video_a: label must be a whole number .*got 0"),
        (text.replace("\n10\n2\n", "\n10\n2.5\n"), r"list.txt: video_a: number of rows must be a whole number"),
        (text.replace("\n10\n2\n", "\n10\n-2\n"), r"list.txt: video_a: number of rows must be a whole number"),
        (text.replace("\n10\n2\n", "\n10\n2e9\n"), r"list.txt:\d+: must be 3 numbers"),
    ):
        (tmp_path / "list.txt").write_text(wrong, "utf-8", "surrogateescape")
        with pytest.raises(AnnotationError, match=message):
            SSNDataset(tmp_path / "list.txt")


def test_regression_constants_are_noted(tmp_path: Path) -> None:
    video = {
        "duration_second": 20.0,
        "annotations": [{"segment": [2, 6], "label": "run"}],
        "proposals": [[0.1, 0.275, 0.9], [0.45, 1.0, 0.5]],
    }
    (tmp_path / "a.json").write_text(json.dumps({"v_x": video}))
    data = SSNDataset(tmp_path / "a.json", suffix=".mp4", filter_gt=True)
    assert data[0].start_index == 0
    mean, deviation = data.regression_constants()
    np.testing.assert_allclose(mean, [0.25 / 3.5, np.log(4 / 3.5)])
    assert deviation == [0, 0]
    assert data.notes() == [
        "regression is normalised by model.reg_normalize_constants = [[0.0714, 0.1335], [0.0, 0.0]]"
    ]
