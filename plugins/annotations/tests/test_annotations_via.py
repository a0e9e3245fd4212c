"""VIA 3: projects, their CSV and the CSV of segments; option ids become names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vid_annotations.convert import Converted
from vidcore.errors import AnnotationError, DataError

Read = Callable[..., Converted]

ATTRIBUTE = {
    "1": {"aname": "action", "anchor_id": "FILE1_Z1_XY1", "type": 2, "options": {"0": "walk", "1": "Tür, öffnen"}},
    "2": {"aname": "who", "anchor_id": "FILE1_Z1_XY1", "type": 1, "options": {}},
}
BOX = {"vid": "1", "flg": 0, "z": [1.5], "xy": [2, 10, 20, 30, 40], "av": {"1": "0,1", "2": "Ada"}}
SEGMENT = {"vid": "1", "flg": 0, "z": [2.0, 4.25], "xy": [], "av": {"1": "1"}}


def project(*metadata: dict[str, Any], **file: Any) -> str:
    entry = {"fid": "1", "fname": "a.mp4", "type": 4, "loc": 1, "src": ""} | file
    return json.dumps(
        {
            "project": {"pid": "__VIA_PROJECT_ID__", "vid_list": ["1"]},
            "attribute": ATTRIBUTE,
            "file": {"1": entry},
            "view": {"1": {"fid_list": ["1"]}},
            "metadata": {f"1_{i}": value for i, value in enumerate(metadata)},
        }
    )


def table(
    *rows: str, header: str = "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
) -> str:
    lines = [
        "# Exported using VGG Image Annotator",
        f"# ATTRIBUTE = {json.dumps(ATTRIBUTE)}",
        f"# CSV_HEADER = {header}",
    ]
    return "\n".join([*lines, *rows])


def test_a_project(read: Read) -> None:
    found = read(project(BOX, SEGMENT), ".json", person_from="attribute:who")
    assert [tuple(row) for row in found.boxes] == [
        ("a.mp4", 1.5, (10, 20, 40, 60), "Ada", "Tür, öffnen"),
        ("a.mp4", 1.5, (10, 20, 40, 60), "Ada", "walk"),
    ]
    assert [tuple(row) for row in found.segments] == [("a.mp4", 2, 4.25, "Tür, öffnen")]
    alone = read(project(BOX), ".json")
    assert {row.person for row in alone.boxes} == {""}, "VIA does not tell who it is"
    assert any("boxes without a person: 1 (each is alone;" in note for note in alone.notes)


def test_the_same_as_csv(read: Read) -> None:
    quoted = '"{""1"":""0,1"",""2"":""Ada""}"'
    rows = (
        f'"1_x","[""a.mp4""]",0,"[1.5]","[2,10,20,30,40]",{quoted}',
        '"1_y","[""a.mp4""]",0,"[2,4.25]","[]","{""1"":""1""}"',
    )
    found, other = read(table(*rows), ".csv"), read(project(BOX, SEGMENT), ".json")
    assert (found.boxes, found.segments) == (other.boxes, other.segments)
    header = "metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata"
    segments = read(table('"1_y","[""a.mp4""]",2,4.25,"{""action"":""1""}"', header=header), ".csv")
    assert segments.segments == other.segments


def test_the_only_attribute_is_the_action_and_of_several_one_must_be_named(read: Read) -> None:
    content = project(BOX).replace('"aname": "action"', '"aname": "does"')
    with pytest.raises(DataError, match=r"nothing has a label.*'attribute:does', 'attribute:who'"):
        read(content, ".json")
    assert len(read(content, ".json", person_from="attribute:who").boxes) == 2
    assert {row.action for row in read(content, ".json", action_from=["attribute:who"]).boxes} == {"Ada"}


def test_what_is_neither_a_box_nor_a_segment_is_counted(read: Read) -> None:
    circle, moment = {**BOX, "xy": [3, 1, 2, 3]}, {**SEGMENT, "z": [3.0]}
    timeless = {**BOX, "z": []}
    found = read(project(BOX, circle, moment, timeless), ".json")
    (note,) = (note for note in found.notes if "left out" in note)
    assert "circles (1)" in note and "boxes without a moment (1)" in note and "moments without a box (1)" in note
    assert [row.time for row in found.boxes if not row.box] == [3], "somebody looked there"


def test_names_of_files(read: Read) -> None:
    assert read(project(BOX, loc=2, src="https://host/x/my%20clip.mp4"), ".json").boxes[0].video == "my clip.mp4"
    assert read(project(BOX, loc=3, src="file:///home/me/c.mp4"), ".json").boxes[0].video == "c.mp4"
    picture = project({**BOX, "z": []}, fname="clip/000004.jpg", type=2)
    (row, _) = read(picture, ".json", fps=2.0).boxes
    assert (row.video, row.time) == ("clip", 2)
    with pytest.raises(DataError, match="is a picture: give --fps"):
        read(picture, ".json", fps=None)


@pytest.mark.parametrize(
    ("content", "suffix", "message"),
    [
        (project({**BOX, "av": {"1": "7"}}), ".json", r"1_0: 'action' has no option '7'; options are 0 \(walk\)"),
        (project({**BOX, "av": {"9": "7"}}), ".json", r"metadata\.1_0: attribute '9' is unknown; the file has 1, 2"),
        (project({**BOX, "xy": [2, 1, 2, 3]}), ".json", r"metadata\.1_0: rectangle: must be a list of 5 values"),
        (project({**BOX, "z": [3, 1]}), ".json", r"metadata\.1_0: times must be none, a moment, or start and end"),
        (project({**BOX, "z": [-1]}), ".json", r"metadata\.1_0: time: a time must be seconds from 0, got -1"),
        (project({**BOX, "vid": "4"}), ".json", r"metadata\.1_0\.vid: must be an object, got None"),
        (project({**BOX, "xy": [2, 1, 2, -3, 4]}), ".json", r"metadata\.1_0: rectangle: the box ends before it begins"),
        (table('"1_x","[""a.mp4""]",0,"[1.5]"'), ".csv", r"csv:4: has 4 values, the header names 6"),
        (table('"1_x","[""a.mp4""]",0,"[1.5]","[]",{'), ".csv", r"csv:4: metadata: is not JSON"),
        (table('"1_x","[""a.mp4""]",0,"[1.5]","[2,1,1,5,5]","{""1"":""9""}"'), ".csv", r"csv:4: 'action' has no"),
        ("# nothing\n1,2", ".csv", r"csv: needs a line '# CSV_HEADER = "),
        ('{"_via_img_metadata": {}}', ".json", "VIA 2 describes images; export COCO there"),
        ('{"metadata": 1, "file": {}, "attribute": {}, "view": {}}', ".json", r"metadata: must be an object, got 1"),
    ],
)  # fmt: skip
def test_bad_files(read: Read, content: str, suffix: str, message: str) -> None:
    with pytest.raises((AnnotationError, DataError), match=message):
        read(content, suffix)
