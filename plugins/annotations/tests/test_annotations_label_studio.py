"""Label Studio: per cent, frames at a rate of its own, tracks that pause, labels in results of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vid_annotations.convert import Converted
from vidcore.errors import AnnotationError, DataError

Read = Callable[..., Converted]


def key(frame: int, x: float, enabled: bool = True, **more: Any) -> dict[str, Any]:
    return {"frame": frame, "x": x, "y": 10, "width": 20, "height": 50, "rotation": 0, "enabled": enabled, **more}


def rectangle(*sequence: dict[str, Any], labels: list[str] | None = None, **value: Any) -> dict[str, Any]:
    inner = {"sequence": list(sequence), **({"labels": labels} if labels else {}), **value}
    return {"id": "r1", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": inner}


def timeline(start: int, end: int, label: str = "Moving") -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    return {"id": f"t{start}", "type": "timelinelabels", "from_name": "timeline", "to_name": "video", "value": value}


def tasks(*results: dict[str, Any], video: str = "a.mp4", **annotation: Any) -> str:
    return json.dumps(
        [{"id": 1, "data": {"video": video}, "annotations": [{"id": 1, "result": results, **annotation}]}]
    )


def test_boxes_between_key_frames_and_pauses(read: Read) -> None:
    keys = (key(1, 0, time=0.1), key(3, 20, False, time=0.3), key(6, 40, time=0.6), key(7, 50, False, time=0.7))
    found = read(tasks(rectangle(*keys, labels=["walk"], framesCount=20, duration=2.0)), ".json")
    assert found.relative
    rows = [(row.time, row.box) for row in found.boxes]
    assert [time for time, _ in rows] == [0.1, 0.2, 0.3, 0.6, 0.7]
    assert rows[1] == (0.2, (0.1, 0.1, 0.3, 0.6)), "halfway between two key frames"
    assert {(row.person, row.action) for row in found.boxes} == {("r1", "walk")}
    assert found.videos == {"a.mp4": {"duration_second": 2.0}}
    assert any("boxes along tracks that the file does not have: 1 (" in note for note in found.notes)


def test_a_box_stays_after_its_last_key_frame(read: Read) -> None:
    """So Label Studio shows it, and so its export with interpolated key frames has it."""
    found = read(tasks(rectangle(key(8, 50), labels=["walk"], framesCount=11, duration=1.1)), ".json", fps=None)
    assert [(row.time, row.box and row.box[0]) for row in found.boxes] == [
        (0.8, 0.5),
        (0.9, 0.5),
        (1.0, 0.5),
        (1.1, 0.5),
    ]
    found = read(tasks(rectangle(key(8, 50, time=0.8), labels=["walk"])), ".json")
    assert [row.time for row in found.boxes] == [0.8]
    assert "tracks without an end: 1 (no box after their last one)" in found.notes


def test_a_small_file_cannot_ask_for_any_number_of_boxes(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vid_annotations.table.MOST_ROWS", 1000)
    with pytest.raises(AnnotationError, match=r"sequence\[0\]: is box 1,001, at most 1,000 are allowed"):
        read(tasks(rectangle(key(1, 50), labels=["walk"], framesCount=3_000_000, duration=9.0)), ".json")


def test_times_of_frames(read: Read) -> None:
    """As written beside key frames, else their share of the duration, else by the rate that is given."""
    keys = (key(5, 0), key(7, 0, False))
    (half, *_) = read(tasks(rectangle(*keys, labels=["walk"], framesCount=100, duration=50.0)), ".json", fps=None).boxes
    assert half.time == 2.5
    assert [row.time for row in read(tasks(rectangle(*keys, labels=["walk"])), ".json", fps=10.0).boxes] == [
        0.5,
        0.6,
        0.7,
    ]
    with pytest.raises(
        DataError, match=r"\[0\].annotations\[0\].result\[0\].value.sequence\[0\]: .*no rate: give --fps"
    ):
        read(tasks(rectangle(*keys, labels=["walk"])), ".json", fps=None)


def test_segments_include_their_last_frame(read: Read) -> None:
    found = read(tasks(timeline(3, 5), timeline(7, 7, "Still")), ".json", fps=2.0)
    assert [tuple(row) for row in found.segments] == [("a.mp4", 1, 2.5, "Moving"), ("a.mp4", 3, 3.5, "Still")]
    old = {"id": "s", "type": "labels", "from_name": "l", "value": {"start": 1.5, "end": 4, "labels": ["Talk"]}}
    assert [tuple(row) for row in read(tasks(old), ".json", fps=None).segments] == [("a.mp4", 1.5, 4, "Talk")]


def test_labels_and_choices_in_results_of_their_own(read: Read) -> None:
    box = rectangle(key(1, 0))
    label = {**box, "type": "labels", "value": {**box["value"], "labels": ["person"]}}
    choice = {"id": "r1", "type": "choices", "from_name": "action", "value": {"choices": ["run", "wave"]}}
    found = read(tasks(box, label, choice), ".json")
    assert [(row.person, row.action) for row in found.boxes] == [("r1", "run"), ("r1", "wave")]
    assert [row.action for row in read(tasks(box), ".json").boxes] == [""], "a box without a label is a person, too"


def test_one_annotation_per_video_counts(read: Read) -> None:
    content = json.loads(tasks(timeline(1, 2)))
    content[0]["annotations"] += [
        {"result": [timeline(3, 4, "Later")], "updated_at": "2026-01-02"},
        {"result": [timeline(5, 6, "Cancelled")], "was_cancelled": True, "updated_at": "2026-01-03"},
    ]
    found = read(json.dumps(content), ".json")
    assert found.actions == ["Later"]
    (note,) = (note for note in found.notes if "left out" in note)
    assert "skipped annotations (1)" in note and "annotations of the same video by others (1)" in note


def test_json_min(read: Read) -> None:
    value = rectangle(key(1, 0), key(2, 0, False), labels=["walk"], framesCount=10, duration=10.0)["value"]
    found = read(json.dumps([{"id": 4, "video": "/data/upload/1/0a1b2c3d-a.mp4", "box": [value]}]), ".json")
    assert [(row.video, row.time, row.action) for row in found.boxes] == [("a.mp4", 1, "walk"), ("a.mp4", 2, "walk")]


def test_names_of_videos(read: Read) -> None:
    assert (
        read(tasks(timeline(1, 2), video="/data/local-files/?d=day%201/a.mp4"), ".json").segments[0].video
        == "day 1/a.mp4"
    )
    two = json.loads(tasks(timeline(1, 2), video="s3://x/a.mp4")) + json.loads(
        tasks(timeline(1, 2), video="s3://y/a.mp4")
    )
    with pytest.raises(DataError, match=r"a.mp4 is the name of two videos: s3://x/a.mp4 and s3://y/a.mp4"):
        read(json.dumps(two), ".json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tasks(rectangle(key(1, 0), key(1, 5))), r"sequence\[1\]: frame 1 has another box: .*sequence\[0\]"),
        (tasks(rectangle({"frame": 1})), r"sequence\[0\]\.x: None is not a number"),
        (tasks(rectangle(key(1, 0, rotation=30))), r"sequence\[0\]: the box is turned; .*give --videos"),
        (tasks(rectangle(key(10**9, 0))), r"frame must be a whole number from 0 to 3000000"),
        (tasks(timeline(5, 3)), r"ranges\[0\]: ends before it starts: frames 5 to 3"),
        (json.dumps([{"data": {"text": "a", "other": "b"}, "annotations": []}]), r"\[0\]\.data: must have one video"),
        (json.dumps([{"data": {"video": "a.mp4"}, "annotations": {}}]), r"annotations: must be a list, got \{\}"),
        ("[3]", r"\[0\]: must be an object, got 3"),
        ("[" * 100_000, r"is not JSON: is nested too deeply"),
        ('[{"a": 1, "a": 2}]', r"a: is listed twice"),
    ],
)  # fmt: skip
def test_bad_files(read: Read, content: str, message: str) -> None:
    with pytest.raises((AnnotationError, DataError), match=message):
        read(content, ".json")
