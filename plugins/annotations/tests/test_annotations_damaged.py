"""Damaged files end in an error that names the file, or in boxes: never in a traceback."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vid_annotations.convert import read_annotations
from vid_annotations.source import Options
from vidcore.errors import UserError

ROUNDS = 150

CVAT = """<annotations><meta><task><id>1</id><size>9</size><start_frame>0</start_frame><stop_frame>8</stop_frame>
<frame_filter>step=2</frame_filter><labels><label><name>person</name><attributes><attribute><name>action</name>
<input_type>checkbox</input_type></attribute></attributes></label></labels><original_size><width>99</width>
<height>50</height></original_size><source>a.mp4</source></task></meta>
<track id="0" label="person"><box frame="0" outside="0" keyframe="1" rotation="10" xtl="1" ytl="2" xbr="30" ybr="40">
<attribute name="action">true</attribute></box><box frame="6" outside="1" xtl="1" ytl="2" xbr="3" ybr="4">
<attribute name="action">false</attribute></box><polygon frame="2" outside="0" points="1,2"/></track></annotations>"""
VOC = """<annotation><folder>VOC2012</folder><filename>a/000003.jpg</filename><size><width>200</width>
<height>100</height></size><object><name>person</name><actions><jumping>1</jumping></actions><attributes><attribute>
<name>track_id</name><value>2</value></attribute></attributes><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax>
<ymax>60</ymax></bndbox></object></annotation>"""
COCO = {
    "videos": [{"id": 1, "name": "a.mp4", "file_names": ["a/1.jpg", "a/2.jpg"], "width": 9, "height": 9}],
    "images": [{"id": 7, "file_name": "b/3.jpg", "width": 9, "height": 9}, {"id": 8, "video_id": 1, "frame_id": 3}],
    "categories": [{"id": 4, "name": "walk"}],
    "annotations": [
        {"image_id": 7, "category_id": 4, "bbox": [1, 2, 3, 4], "attributes": {"track_id": 1, "keyframe": True}},
        {"image_id": 8, "category_id": 4, "bbox": [1, 2, 3, 4], "instance_id": 2, "iscrowd": 0},
        {"id": 1, "video_id": 1, "category_id": 4, "bboxes": [None, [1, 2, 3, 4]]},
    ],
}
VIA = {
    "project": {"vid_list": ["1"]},
    "attribute": {"1": {"aname": "action", "type": 2, "options": {"0": "walk", "1": "run"}}},
    "file": {"1": {"fname": "a.mp4", "type": 4, "loc": 1, "src": ""}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {
        "a": {"vid": "1", "z": [1.5], "xy": [2, 1, 2, 3, 4], "av": {"1": "0,1"}},
        "b": {"vid": "1", "z": [1.5, 2.5], "xy": [], "av": {"1": "0"}},
    },
}
SEQUENCE = [{"frame": f, "x": 1, "y": 1, "width": 2, "height": 3, "rotation": 0, "time": f / 2} for f in (1, 5)]
LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"video": "/data/upload/1/0a1b2c3d-a.mp4"},
        "annotations": [
            {
                "updated_at": "2026",
                "result": [
                    {
                        "id": "r",
                        "type": "videorectangle",
                        "from_name": "box",
                        "value": {"sequence": SEQUENCE, "framesCount": 9, "duration": 4.5, "labels": ["person"]},
                    },
                    {"id": "r", "type": "choices", "from_name": "action", "value": {"choices": ["run"]}},
                    {"id": "t", "type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 2}]}},
                ],
            }
        ],
    }
]
TABLE = """# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
# ATTRIBUTE = {"1": {"aname": "action", "type": 2, "options": {"0": "walk"}}}
"1_x","[""a.mp4""]",0,"[1.5]","[2,10,20,30,40]","{""1"":""0""}"
"""
ODD = (None, True, -1, 0, 10**30, 1e400, "", "x", [], {}, [[]], {"": 0}, "\ud800", 2.5)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def damaged_json(content: Any, rng: random.Random) -> bytes:
    content = copy.deepcopy(content)
    container, key = rng.choice(list(places(content)))
    if rng.random() < 0.3:
        del container[key]
    else:
        container[key] = rng.choice(ODD)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def damaged_text(content: str, rng: random.Random) -> bytes:
    words = list(re.finditer(r'(?<=>)[^<>]+(?=<)|(?<=")[^"<>]*(?=")|\w+', content))
    word = rng.choice(words)
    other = rng.choice(["", "-1", "1e999", "nan", "x", "999999999999", "&amp;", "<a/>", "\x00", "ü", '"', "1"])
    text = content[: word.start()] + other + content[word.end() :]
    return text.encode()[: rng.randrange(len(text)) if rng.random() < 0.1 else None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cvat.xml", CVAT),
        ("voc.xml", VOC),
        ("coco.json", COCO),
        ("via.json", VIA),
        ("via.csv", TABLE),
        ("label-studio.json", LABEL_STUDIO),
    ],
)
def test_damaged_files(name: str, content: Any, tmp_path: Path) -> None:
    rng = random.Random(0)
    file = tmp_path / name
    good, refused = 0, 0
    for number in range(ROUNDS):
        bad = damaged_text(content, rng) if isinstance(content, str) else damaged_json(content, rng)
        whole = content if isinstance(content, str) else json.dumps(content)
        file.write_bytes(bad if number else whole.encode())
        try:
            found = read_annotations(file, Options(fps=2.0))
        except UserError:
            assert number, "the undamaged file is read"
            refused += 1
        else:
            good += bool(found.boxes)
    assert good > 5 and refused > 5, "both happen"
