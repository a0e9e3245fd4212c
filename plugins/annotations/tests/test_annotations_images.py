"""COCO with its extensions for videos, VOC, and AVA tables of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vid_annotations.convert import Converted
from vidcore.errors import AnnotationError, DataError

Read = Callable[..., Converted]

CATEGORIES = [{"id": 4, "name": "open / close"}, {"id": 9, "name": "走"}]


def coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], **more: Any) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES, **more})


def entry(image: int, category: int = 4, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "bbox": [10, 20, 30, 40], **more}


IMAGE = {"id": 7, "file_name": "a/000003.jpg", "width": 200, "height": 100}


def test_coco(read: Read) -> None:
    annotations = [
        entry(7, attributes={"track_id": 0, "occluded": False}),
        entry(7, 9, attributes={"track_id": 0, "occluded": False}),
        entry(7, iscrowd=1),
        entry(7, bbox=[], segmentation=[[1, 2, 3, 4]]),
        entry(7, attributes={"outside": True}),
    ]
    found = read(coco([IMAGE, {"id": 8, "file_name": "a/000004.jpg"}], annotations), ".json", fps=2.0)
    box = (10, 20, 40, 60)
    assert [tuple(row) for row in found.boxes] == [
        ("a", 1.5, box, "0", "open / close"), ("a", 1.5, box, "0", "走"), ("a", 2, None, "", "")
    ]  # fmt: skip
    (note,) = (note for note in found.notes if "left out" in note)
    assert "crowds (1)" in note and "annotations without a box (1)" in note


def test_tracks_of_cvat_in_coco_may_have_ended(read: Read) -> None:
    content = coco([IMAGE], [entry(7, attributes={"track_id": 3, "keyframe": True, "occluded": False})])
    assert any("COCO does not say where a track of CVAT ends" in note for note in read(content, ".json").notes)


def test_videos_of_coco(read: Read) -> None:
    videos = {"videos": [{"id": 1, "name": "a.mp4"}]}
    image = {"id": 7, "video_id": 1, "frame_id": 3, "file_name": "whatever.jpg"}
    found = read(coco([image], [entry(7, instance_id=5)], **videos), ".json")
    assert [(row.video, row.time, row.person) for row in found.boxes] == [("a.mp4", 3, "5")]
    image = {"id": 7, "video_id": 1, "frame_index": 4, "file_name": "whatever.jpg"}
    assert [row.time for row in read(coco([image], [entry(7, track_id=5)], **videos), ".json").boxes] == [4]
    files = {"videos": [{"id": 1, "file_names": ["a/00001.jpg", "a/00006.jpg"]}]}
    track = {"id": 2, "video_id": 1, "category_id": 9, "bboxes": [None, [1, 2, 3, 4]]}
    found = read(coco([], [track], **files), ".json")
    assert [tuple(row) for row in found.boxes] == [("a", 1, None, "", ""), ("a", 6, (1, 2, 4, 6), "2", "走")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco([IMAGE], [entry(8)]), r"annotations\[0\]: image_id is 8; the file has 7"),
        (coco([IMAGE], [entry(7, 5)]), r"annotations\[0\]: category_id is 5; the file has 4, 9"),
        (coco([IMAGE], [entry(7, bbox=[1, 2, 3])]), r"annotations\[0\]: bbox: must be a list of 4 values"),
        (coco([IMAGE], [entry(7, bbox=[1, 2, -3, 4])]), r"annotations\[0\]: bbox: the box ends before it begins"),
        (coco([IMAGE], [entry(7, bbox=[1, 2, "x", 4])]), r"annotations\[0\]: bbox: 'x' is not a number"),
        (coco([IMAGE], [entry(7, bbox=[0.1, 0.2, 0.5, 0.4])]), r"boxes must be pixels, and all of them lie between"),
        (coco([IMAGE, {**IMAGE, "id": 8}], []), r"images\[1\]: file_name 'a/000003.jpg' is that of another image"),
        (coco([IMAGE, {**IMAGE, "file_name": "a/1.jpg"}], []), r"images\[1\]: has the id 7 of .*images\[0\]"),
        (coco([{"id": 1}], []), r"images\[0\]: file_name: must be a text, got None"),
        (coco([{"id": 1, "video_id": 2}], []), r"images\[0\]: video_id is 2; the file has none"),
        ('{"images": 3}', r"images: must be a list, got 3"),
        ('{"boxes": 3}', r"its keys are boxes; formats are"),
    ],
)  # fmt: skip
def test_bad_coco(read: Read, content: str, message: str) -> None:
    with pytest.raises((AnnotationError, DataError), match=message):
        read(content, ".json")


def test_two_boxes_of_a_person_at_once(read: Read) -> None:
    content = coco([IMAGE], [entry(7, track_id=1), entry(7, track_id=1, bbox=[0, 0, 5, 5])])
    with pytest.raises(DataError, match=r"person '1' has two boxes at 3 s; .*--person-from none"):
        read(content, ".json")
    assert len(read(content, ".json", person_from="none").boxes) == 2


OBJECT = """<object><name>person</name>{extra}
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>"""


def voc(objects: str, name: str = "a/000003.jpg", folder: str = "VOC2012") -> str:
    size = "<size><width>200</width><height>100</height></size>"
    return f"<annotation><folder>{folder}</folder><filename>{name}</filename>{size}{objects}</annotation>"


def test_voc(read: Read) -> None:
    track = "<attributes><attribute><name>track_id</name><value>2</value></attribute></attributes>"
    found = read(voc(OBJECT.format(extra=track)))
    assert [tuple(row) for row in found.boxes] == [("a", 3, (10, 20, 40, 60), "2", "person")]
    actions = "<actions><jumping>1</jumping><walking>0</walking><waving>1</waving></actions>"
    assert [row.action for row in read(voc(OBJECT.format(extra=actions))).boxes] == ["jumping", "waving"]
    found = read(voc("<object><name>x</name></object>" + OBJECT.format(extra=""), "b_12.jpg"))
    assert [(row.video, row.time) for row in found.boxes] == [("b", 12)]
    assert any("objects without <bndbox> (1)" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation/>", r"xml:1: <annotation> needs <filename>"),
        (
            voc(OBJECT.format(extra="").replace("40", "4")),
            r"xml:2: box: the box ends before it begins: left 10, ",
        ),
        (voc(OBJECT.format(extra="").replace("<ymax>60</ymax>", "")), r"xml:2: <bndbox> needs <ymax>"),
        (voc(OBJECT.format(extra="").replace("<name>person</name>", "")), r"xml:1: <object> needs <name>"),
    ],
)
def test_bad_voc(read: Read, content: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(content)


def test_ava_tables(read: Read, tmp_path: Path) -> None:
    pixels = "a,000003,10,20,40,60,1,0\na,000003,10,20,40,60,0,0\na,000004\n"
    names = tmp_path / "names.txt"
    names.write_text("walk\nrun\n")
    found = read(pixels, ".csv", classes=names, counts="frames", fps=2.0)
    assert [(row.time, row.person, row.action) for row in found.boxes] == [
        (1.5, "0", "run"),
        (1.5, "0", "walk"),
        (2, "", ""),
    ]
    with pytest.raises(DataError, match=r"csv:1: the box reaches to 60, so boxes are pixels.*--times frames"):
        read(pixels, ".csv", classes=names)
    with pytest.raises(DataError, match="actions are numbers: give --classes FILE"):
        read(pixels, ".csv", counts="frames")
    fractions = "b,0902,0.1,0.2,0.3,0.4,12,7\n"
    names.write_text('label {\n  name: "listen to (e.g., music)"\n  label_id: 12\n  label_type: X\n}\n')
    found = read(fractions, ".csv", classes=names)
    assert [tuple(row) for row in found.boxes] == [("b", 902, (0.1, 0.2, 0.3, 0.4), "7", "listen to (e.g., music)")]
    assert found.relative


@pytest.mark.parametrize(
    ("row", "names", "message"),
    [
        ("a,1,0,0,1,1,3,0", "walk\nrun\n", "its first name may be action 0 or 1"),
        ("a,1,0,0,1,1,3,0", 'item { name: "run" id: 1 }', r"csv:1: action 3 has no name; .* has 1 'run'"),
        ("a,1,0,0,1,1,1,0.7", "walk\n", r"csv:1: person must be a whole number"),
        ("a,1,0,0,1,1,0,0\n,1,0,0,1,1,0,0", "walk\n", "csv:2: the video has no name"),
        ("a,1,0,0,1,1,0,0\na,1,0,0,1", "walk\n", "csv:2: has 5 values; a row has video, time"),
        ("a,x,0,0,1,1,0,0", "walk\n", "csv:1: time: 'x' is not a number"),
        ("a;1;0;0;1;1;0;0", "walk\n", "neither XML, JSON, nor a table of VIA or AVA"),
    ],
)
def test_bad_ava_tables(read: Read, tmp_path: Path, row: str, names: str, message: str) -> None:
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises((AnnotationError, DataError), match=message):
        read(row, ".csv", classes=tmp_path / "names.txt")
