"""CVAT: tracks with gaps, ends and changing attributes; images with groups; files that are damaged or hostile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from vid_annotations.convert import Converted, read_annotations
from vid_annotations.source import Options
from vidcore.errors import AnnotationError, DataError

Read = Callable[..., Converted]

META = """<meta><task><id>7</id><size>{size}</size><mode>interpolation</mode><start_frame>{start}</start_frame>
<stop_frame>{stop}</stop_frame><frame_filter>{filter}</frame_filter><labels><label><name>person</name><attributes>
<attribute><name>action</name><mutable>True</mutable><input_type>select</input_type><values>walk
run</values></attribute><attribute><name>waves</name><input_type>checkbox</input_type></attribute></attributes></label>
</labels><original_size><width>100</width><height>50</height></original_size><source>{source}</source></task></meta>"""


def video(tracks: str, source: str = "a.mp4", size: int = 6, start: int = 0, stop: int = 5, step: str = "") -> str:
    meta = META.format(source=source, size=size, start=start, stop=stop, filter=step)
    return f"<annotations><version>1.1</version>{meta}{tracks}</annotations>"


def box(frame: int, left: float, outside: int = 0, key: int = 1, inner: str = "") -> str:
    corners = f'xtl="{left}" ytl="0" xbr="{left + 10}" ybr="20"'
    return f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="{key}" {corners}>{inner}</box>'


def image(name: str, boxes: str) -> str:
    return f'<image id="0" name="{name}" width="100" height="50">{boxes}</image>'


def shape(label: str, left: float, group: str = "") -> str:
    corners = f'xtl="{left}" ytl="0" xbr="{left + 10}" ybr="20"'
    return f'<box label="{label}" occluded="0" {corners} group_id="{group or 0}"/>'


def said(**attributes: str) -> str:
    return "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in attributes.items())


def lefts(found: Converted) -> dict[float, float]:
    return {row.time: row.box[0] for row in found.boxes if row.box}


def test_frames_between_boxes_are_interpolated_and_an_end_is_an_end(read: Read) -> None:
    track = f'<track id="3" label="walk">{box(0, 0)}{box(2, 20)}{box(3, 90, 1)}{box(5, 40)}{box(6, 40, 1)}</track>'
    found = read(video(track))
    assert lefts(found) == {0: 0, 1: 10, 2: 20, 5: 40}
    assert {row.person for row in found.boxes if row.box} == {"3"}
    assert [row.time for row in found.boxes if not row.box] == [3, 4], "nobody is there: data, too"
    assert any("boxes along tracks that the file does not have: 1 (" in note for note in found.notes)
    assert found.actions == ["walk"]


def test_a_box_keeps_its_place_until_its_end(read: Read) -> None:
    """An outside box is nowhere, so nothing moves towards it."""
    assert lefts(read(video(f'<track id="0" label="walk">{box(0, 0)}{box(3, 90, 1)}</track>'))) == {0: 0, 1: 0, 2: 0}


def test_single_shapes_end_at_once_also_behind_the_last_frame(read: Read) -> None:
    """CVAT writes them as two boxes."""
    found = read(video(f'<track id="0" label="walk">{box(5, 0)}{box(6, 0, 1)}</track>'))
    assert lefts(found) == {5: 0}
    assert len(found.notes) == 2, "which attribute or label, and empty key frames"


def test_steps_of_a_task_are_frames_of_the_file(read: Read) -> None:
    track = f'<track id="0" label="walk">{box(5, 0)}{box(15, 20)}</track>'
    found = read(video(track, start=5, stop=20, size=4, step="step=5"), fps=5.0)
    assert lefts(found) == {1: 0, 2: 10, 3: 20}
    assert [row.time for row in found.boxes] == [1, 2, 3, 4]
    assert "tracks without an end: 1 (no box after their last one)" in found.notes


def test_the_attribute_action_is_the_action_and_may_change(read: Read) -> None:
    track = f'<track id="0" label="person">{box(0, 0, inner=said(action="walk", waves="true"))}'
    track += (
        f"{box(1, 0, inner=said(action='run', waves='false'))}{box(2, 0, inner=said(action='', waves='false'))}</track>"
    )
    found = read(video(track, size=3))
    assert [(row.time, row.action) for row in found.boxes] == [(0, "walk"), (1, "run"), (2, "")]
    found = read(video(track, size=3), action_from=["attribute:action", "attribute:waves"])
    assert [(row.time, row.action) for row in found.boxes] == [(0, "walk"), (0, "waves"), (1, "run"), (2, "")]
    assert {row.action for row in read(video(track), action_from=["label"]).boxes} == {"person", ""}


def test_an_unclear_action_is_refused(read: Read) -> None:
    track = f'<track id="0" label="person">{box(0, 0, inner=said(mood="calm"))}</track>'
    with pytest.raises(DataError, match=r"every label is 'person'.*--action-from.*'label', 'attribute:mood'"):
        read(video(track))
    with pytest.raises(DataError, match=r"did you mean 'mood'"):
        read(video(track), action_from=["attribute:mod"])


def test_objects_without_the_attribute_are_left_out(read: Read) -> None:
    tracks = f'<track id="0" label="person">{box(0, 0, inner=said(action="walk"))}</track>'
    tracks += f'<track id="1" label="ball">{box(0, 30)}</track>'
    found = read(video(tracks, size=1))
    assert len(found.boxes) == 1
    assert any("boxes of 'ball' without attribute 'action' (1)" in note for note in found.notes)


def test_other_shapes_are_counted(read: Read) -> None:
    tracks = f'<track id="0" label="walk">{box(0, 0)}</track><track id="1" label="run">'
    tracks += (
        '<polygon frame="0" outside="0" points="1,2;3,4;5,6"/><polygon frame="1" outside="1" points="1,2;3,4"/></track>'
    )
    assert any("polygon (1)" in note for note in read(video(tracks)).notes)


def test_a_turned_box_becomes_the_one_around_it(read: Read) -> None:
    turned = box(0, 20).replace("occluded", 'rotation="90" occluded')
    (row,) = read(video(f'<track id="0" label="walk">{turned}</track>', size=1)).boxes
    assert row.box == (15, 5, 35, 15)


def test_boxes_are_clipped_to_the_picture(read: Read) -> None:
    tracks = f'<track id="0" label="walk">{box(0, -5)}</track><track id="1" label="run">{box(0, 120)}</track>'
    found = read(video(tracks, size=1))
    assert [row.box for row in found.boxes] == [(0, 0, 5, 20)]
    assert any("boxes without area in the picture (1)" in note for note in found.notes)


def test_a_file_without_the_name_of_its_video_needs_one(read: Read) -> None:
    content = video(f'<track id="0" label="walk">{box(0, 0)}</track>', source="")
    with pytest.raises(AnnotationError, match=r"annotations.xml:1: does not name its video.*--video NAME"):
        read(content)
    assert {row.video for row in read(content, video="b.mp4").boxes} == {"b.mp4"}


def test_a_project_has_several_videos(read: Read) -> None:
    tasks = "".join(
        f"<task><id>{n}</id><size>1</size><source>{name}</source></task>" for n, name in ((1, "a.mp4"), (2, "b/c.mp4"))
    )
    tracks = f'<track id="0" task_id="2" label="walk">{box(0, 3)}</track>'
    found = read(f"<annotations><meta><project><tasks>{tasks}</tasks></project></meta>{tracks}</annotations>")
    assert [(row.video, row.box and row.box[0]) for row in found.boxes] == [("a.mp4", None), ("b/c.mp4", 3)]
    with pytest.raises(AnnotationError, match=r"task_id is '3'; the file has the tasks 1, 2"):
        read(f"<annotations><meta><project>{tasks}</project></meta>{tracks.replace('2', '3', 1)}</annotations>")


def test_images_of_several_videos(read: Read) -> None:
    images = image("a/000000.jpg", shape("walk", 0) + "<tag label='day'/>") + image("a/000002.jpg", "")
    images += image("b_07.png", shape("run", 5)) + image("images/c_1.png", shape("run", 6))
    found = read(f"<annotations>{images}</annotations>")
    rows = [(row.video, row.time, row.action) for row in found.boxes]
    assert rows == [("a", 0, "walk"), ("a", 2, ""), ("b", 7, "run"), ("c", 1, "run")]
    assert any("tag (1)" in note for note in found.notes)
    found = read(f"<annotations>{image('a/000001.jpg', shape('walk', 0))}</annotations>", first_frame=1)
    assert [row.time for row in found.boxes] == [0]
    with pytest.raises(AnnotationError, match=r"frame 1 of 'a/000001.jpg' comes before the first, which is 2"):
        read(f"<annotations>{image('a/000001.jpg', '')}</annotations>", first_frame=2)


@pytest.mark.parametrize(("name", "message"), [("portrait.jpg", "end in the number"), ("frame_3.jpg", "--video NAME")])
def test_names_of_images_that_tell_too_little(read: Read, name: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"annotations.xml:1: .*{message}"):
        read(f"<annotations>{image(name, shape('walk', 0))}</annotations>")


def test_groups_are_persons_if_their_boxes_are_equal(read: Read) -> None:
    same = image("a/0.jpg", shape("walk", 0, "4") + shape("wave", 0, "4"))
    assert {row.person for row in read(f"<annotations>{same}</annotations>").boxes} == {"4"}
    other = same + image("a/1.jpg", shape("walk", 0, "4") + shape("ball", 50, "4"))
    found = read(f"<annotations>{other}</annotations>")
    assert {row.person for row in found.boxes} == {""}
    assert any("groups of images are not persons" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations><track>", r"annotations\.xml:1: is not XML: no element found"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>\n<annotations>&b;</annotations>", r"xml:1: has a document type"),
        ("<a>" * 200 + "</a>" * 200, r"xml:1: is nested too deeply"),
        (f"<annotations>{'x' * 70_000}</annotations>", r"xml:1: <annotations> has more than 65,536 characters of text"),
        (f"<annotations>{image('a/1.jpg', '')}\n{image('a/1.jpg', '')}</annotations>", r"xml:2: image 'a/1.jpg' is"),
        ("<?xml version='1.0' encoding='klingon'?><annotations/>", r"xml:1: "),
        ("<kml/>", r"its outermost element is <kml>; formats are ava, coco, cvat"),
        (video('\n<track id="0" label="walk"><box frame="0"/></track>'), r":6: <box> needs the attribute 'xtl', found"),
        (video(f'<track id="0" label="walk">{box(0, 0)}\n{box(0, 1)}</track>'), r":6: track 0 has two boxes at"),
        (video(f'<track id="0" label="walk">{box(0, 0, 7)}</track>'), r":5: outside must be 0 or 1, got '7'"),
        (video(f'<track id="0" label="walk">{box(0, float("nan"))}</track>'), r":5: box: 'nan' is not a number"),
        (video(f'<track id="0" label="walk">{box(0, 0).replace("10", "-10")}</track>'), r":5: box.*before it"),
        (video("", step="every 5"), r"frame_filter must be empty or such as step=5, got 'every 5'"),
        (video("", stop=10**12), r"stop_frame must be a whole number from 0 to 3000000"),
        (video(f'<track id="0" label="walk">{box(10**9, 0)}</track>'), r":5: frame must be a whole number"),
    ],
)  # fmt: skip
def test_bad_files(read: Read, content: str, message: str) -> None:
    with pytest.raises((AnnotationError, DataError), match=message):
        read(content)


def test_an_export_is_read_as_it_comes(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", video(f'<track id="0" label="Laufen, schnell">{box(0, 0)}</track>'))
        archive.writestr("images/frame_000000.PNG", b"")
        archive.writestr("__MACOSX/._annotations.xml", b"\x00")
    found = read_annotations(tmp_path / "task.zip", Options(fps=1.0))
    assert found.actions == ["Laufen, schnell"]
    assert not any("skipped" in note for note in found.notes), "files that macOS hides are none of the tool"
    (tmp_path / "half.zip").write_bytes((tmp_path / "task.zip").read_bytes()[:300])
    with pytest.raises(DataError, match=r"half\.zip: cannot be unpacked"):
        read_annotations(tmp_path / "half.zip", Options())
