"""CVAT for video 1.1 and CVAT for images 1.1 (XML).

Tracks of a video have boxes at frames of the file, counted from 0 also where a task shows every fifth frame only. A box
that is ``outside`` ends its track until the next one that is not. Frames between two boxes of a track are interpolated;
exports normally have them already.

Images have no tracks. Their ``group_id`` tells who it is if all boxes of a group in one picture are equal, as where a
tool writes a box per action.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format
"""

from __future__ import annotations

import re
from itertools import zip_longest

from attrs import evolve, frozen

from vid_annotations.boxes import between, turned
from vid_annotations.places import frames_of_names, name_of
from vid_annotations.source import Document, Options
from vid_annotations.table import MOST_FRAMES, Annotations, Box, Description, checked_box
from vid_annotations.xml import Element
from vidcore.data.fields import finite_number, positive_number, whole_number
from vidcore.errors import AnnotationError, DataError, some

__all__ = ["read_cvat"]

SHAPES = ("box", "polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton", "tag")
"""What a track or an image may hold."""
CHECKBOX = "checkbox"


@frozen
class TrackTask:
    """What ``meta`` says of a task."""

    where: str
    source: str
    """The video; empty: not known."""
    frames: range
    """Those that the task shows; empty: not known."""
    size: tuple[float, float] | None


@frozen
class KeyBox:
    """A box of a track."""

    where: str
    frame: int
    outside: bool
    box: Box
    about: Description


def read_cvat(documents: list[Document], options: Options) -> Annotations:
    """Read XML files of CVAT. Raises ``AnnotationError``, with file and line."""
    result = Annotations("CVAT", in_frames=True)
    for document in documents:
        root = document.xml
        if root.tag != "annotations":
            raise AnnotationError(f"{root.where}: the outermost element must be <annotations>, found <{root.tag}>")
    roots = [document.xml for document in documents]
    names: dict[str, str] = {}
    for root in roots:
        for image in root.all("image"):
            name = image.attribute("name")
            if names.setdefault(name, image.where) != image.where:
                raise AnnotationError(f"{image.where}: image {name!r} is there already, {names[name]}")
    sources = {task.source for root in roots for task in _tasks(root).values()}
    places = frames_of_names(names, options.video, sources.pop() if len(sources) == 1 else "", options.first_frame)
    for root in roots:
        checkboxes = _checkboxes(root)
        for image in root.all("image"):
            _add_image(result, image, *places[image.attribute("name")], checkboxes)
        if not root.first("image") or root.first("track"):
            _add_tracks(result, root, options, checkboxes)
    _drop_loose_groups(result)
    return result


def _add_tracks(result: Annotations, root: Element, options: Options, checkboxes: set[str]) -> None:
    tasks = _tasks(root)
    if options.video and len(tasks) > 1:
        raise DataError(f"{root.where}: the file has {len(tasks)} tasks; --video NAME is for one video")
    videos = {number: options.video or name_of(task.source) for number, task in tasks.items()}
    for number, task in tasks.items():
        if not videos[number]:
            raise AnnotationError(f"{task.where}: does not name its video in <source>: give --video NAME")
        result.look(videos[number], task.frames)
    for track in root.all("track"):
        number = next(iter(tasks)) if len(tasks) == 1 else track.attribute("task_id")
        if number not in tasks:
            raise AnnotationError(f"{track.where}: task_id is {number!r}; the file has the tasks {some(list(tasks))}")
        _add_track(result, track, videos[number], tasks[number], checkboxes)


def _tasks(root: Element) -> dict[str, TrackTask]:
    """Tasks by their ``id``; a job is a task, too."""
    meta = root.first("meta")
    found = (e for e in (meta.below() if meta else ()) if e.tag in ("task", "job") and e.children)
    return {e.value("id"): _task(e) for e in found} or {"": TrackTask(root.where, "", range(0), None)}


def _task(element: Element) -> TrackTask:
    def number(name: str, default: int) -> int:
        text = element.value(name)
        return whole_number(f"{element.where}: <{element.tag}>: {name}", text, 0, MOST_FRAMES) if text else default

    shown = element.value("frame_filter")
    match = re.fullmatch(r"(?:step\s*=\s*([1-9][0-9]{0,6}))?", shown)
    if not match:
        raise AnnotationError(f"{element.where}: frame_filter must be empty or such as step=5, got {shown!r}")
    step, start = int(match[1] or 1), number("start_frame", 0)
    frames = range(start, min(number("stop_frame", MOST_FRAMES) + 1, start + number("size", 0) * step), step)
    size = element.first("original_size")
    sides = size and tuple(positive_number(f"{size.where}: {n}", size.needed(n)) for n in ("width", "height"))
    return TrackTask(element.where, element.value("source"), frames, (sides[0], sides[1]) if sides else None)


def _checkboxes(root: Element) -> set[str]:
    """Names of the attributes that are checkboxes: ``true`` means the name of the attribute."""
    meta = root.first("meta")
    found = (e for e in (meta.below() if meta else ()) if e.tag == "attribute")
    return {e.value("name") for e in found if e.value("input_type") == CHECKBOX}


def _description(shape: Element, label: str, checkboxes: set[str]) -> Description:
    attributes = {}
    for attribute in shape.all("attribute"):
        name, value = attribute.attribute("name"), attribute.text.strip()
        if name in checkboxes:
            if value not in ("true", "false", ""):
                raise AnnotationError(f"{attribute.where}: checkbox {name!r} must be true or false, got {value!r}")
            value = name if value == "true" else ""
        attributes[name] = (value,) if value else ()
    return Description((label,) if label else (), attributes)


def _flag(shape: Element, name: str) -> bool:
    value = shape.attributes.get(name, "0")
    if value not in ("0", "1"):
        raise AnnotationError(f"{shape.where}: {name} must be 0 or 1, got {value!r}")
    return value == "1"


def _corners(result: Annotations, shape: Element) -> Box:
    corners = [shape.attribute(name) for name in ("xtl", "ytl", "xbr", "ybr")]
    box = checked_box(f"{shape.where}: box", corners)
    if "rotation" in shape.attributes and (
        angle := finite_number(f"{shape.where}: rotation", shape.attributes["rotation"])
    ):
        result.lost["angles of boxes, which become the boxes around them"] += 1
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        return turned(box, angle, center)
    return box


def _add_track(result: Annotations, track: Element, video: str, task: TrackTask, checkboxes: set[str]) -> None:
    label, number = track.attribute("label"), track.attribute("id")
    boxes: dict[int, KeyBox] = {}
    for shape in track.all(*SHAPES):
        frame = whole_number(f"{shape.where}: frame", shape.attribute("frame"), 0, MOST_FRAMES)
        outside = _flag(shape, "outside")
        if shape.tag != "box":
            result.lost[shape.tag] += not outside
        elif frame in boxes:
            other = boxes[frame].where
            raise AnnotationError(f"{shape.where}: track {number} has two boxes at frame {frame}, the other is {other}")
        else:
            about = _description(shape, label, checkboxes)
            boxes[frame] = KeyBox(f"{shape.where}: box", frame, outside, _corners(result, shape), about)
    keys = [boxes[frame] for frame in sorted(boxes)]
    for key, following in zip_longest(keys, keys[1:]):
        if key.outside:
            continue
        result.add(key.where, video, key.frame, key.box, key.about, number, task.size)
        if following is None:
            result.open_tracks += key.frame + task.frames.step in task.frames
            continue
        end = key if following.outside else following  # a box that is outside is nowhere: the last place holds
        for frame in range(key.frame + task.frames.step, following.frame, task.frames.step):
            box = between(key.box, end.box, (frame - key.frame) / (following.frame - key.frame))
            result.add(key.where, video, frame, box, key.about, number, task.size)
            result.interpolated += 1


def _add_image(result: Annotations, image: Element, video: str, frame: int, checkboxes: set[str]) -> None:
    result.look(video, [frame])
    width, height = (positive_number(f"{image.where}: {n}", image.attribute(n)) for n in ("width", "height"))
    for shape in image.all(*SHAPES):
        if shape.tag != "box":
            result.lost[shape.tag] += 1
        elif not _flag(shape, "outside"):
            about = _description(shape, shape.attribute("label"), checkboxes)
            group = shape.attributes.get("group_id", "0")
            who = None if group == "0" else group
            result.add(f"{shape.where}: box", video, frame, _corners(result, shape), about, who, (width, height))


def _drop_loose_groups(result: Annotations) -> None:
    """Forget who is who if a group is not one person: it has different boxes in one picture."""
    seen: dict[tuple[str, float, str], Box] = {}
    for shape in result.shapes:
        if (
            shape.track is not None
            and seen.setdefault((shape.video, shape.moment, shape.track), shape.box) != shape.box
        ):
            result.shapes = [evolve(shape, track=None) for shape in result.shapes]
            result.notes.append("groups of images are not persons: they hold different boxes; each box is alone")
            return
