"""From a labelling tool to what the packages train with: boxes and segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vid_annotations.convert import read_annotations, segments_of_boxes, write_boxes, write_segments
from vid_annotations.places import Videos
from vid_annotations.source import Options
from vid_detection.datasets.boxes import VideoBoxDataset
from vid_localization.datasets.activitynet import ActivityNetDataset
from vidcore.video.synthetic import FPS, SIZE, write_video

TRACKS = """<annotations><meta><task><id>1</id><size>24</size><source>a.mp4</source></task></meta>
<track id="0" label="walk"><box frame="8" outside="0" xtl="24" ytl="12" xbr="48" ybr="72"/>
<box frame="16" outside="1" xtl="24" ytl="12" xbr="48" ybr="72"/></track>
<track id="1" label="wave, both hands"><box frame="12" outside="0" xtl="0" ytl="12" xbr="48" ybr="96"/>
<box frame="13" outside="1" xtl="0" ytl="12" xbr="48" ybr="96"/></track></annotations>"""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "a.xml").write_text(TRACKS)
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", np.zeros((24, SIZE, SIZE, 3), np.uint8))
    return tmp_path / "videos"


def test_boxes_of_a_tool_are_the_truth_of_a_dataset(tmp_path: Path, videos: Path) -> None:
    found = read_annotations(tmp_path / "a.xml", Options(Videos(videos)))
    write_boxes(tmp_path / "boxes.csv", found.boxes)
    dataset = VideoBoxDataset(tmp_path / "boxes.csv", videos)
    assert dataset.class_names == ("walk", "wave, both hands")
    assert len(dataset) == 24, "a key frame in which nobody is counts"
    both = dataset[12]
    assert both.meta["timestamp"] == 12 / FPS and both.path == str(videos / "a.mp4")
    assert both.boxes is not None and dataset[0].boxes is not None
    assert sorted(map(tuple, both.boxes.xyxy.tolist())) == [(0, 0.125, 0.5, 1), (0.25, 0.125, 0.5, 0.75)]
    assert len(dataset[0].boxes.xyxy) == 0


def test_segments_of_a_tool_are_the_truth_of_a_dataset(tmp_path: Path, videos: Path) -> None:
    found = read_annotations(tmp_path / "a.xml", Options(Videos(videos)))
    write_segments(tmp_path / "segments.json", segments_of_boxes(found.boxes), found.videos)
    dataset = ActivityNetDataset(tmp_path / "segments.json", videos, suffix="")
    sample = dataset[0]
    assert dataset.class_names == ("walk", "wave, both hands")
    assert (sample.duration, sample.fps, sample.path) == (1.5, FPS, str(videos / "a.mp4"))
    assert sample.segments is not None
    assert sample.segments.spans.tolist() == [[0.5, 1.0], [0.75, 0.8125]]
    assert sample.segments.labels is not None and sample.segments.labels.tolist() == [0, 1]
