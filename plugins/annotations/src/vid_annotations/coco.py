"""COCO (JSON), and its extensions for videos: CocoVID, TAO, YouTube-VIS.

An image belongs to its ``video_id`` at its ``frame_id`` (or ``frame_index``), else its file name says video and frame.
Who it is stands in ``track_id``, ``instance_id`` or the attribute ``track_id``. Ids of annotations are not used: some
tools give one to several boxes, of which a library that looks boxes up by id would keep the last.

Formats: https://cocodataset.org/#format-data, https://github.com/TAO-Dataset/tao,
https://youtube-vos.org/dataset/vis
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vid_annotations.places import frames_of_names, name_of
from vid_annotations.source import Document, Options
from vid_annotations.table import MOST_FRAMES, Annotations, Description, checked_box
from vid_annotations.values import as_list, as_table, as_words
from vid_annotations.voc import INTERNAL
from vidcore.data.fields import finite_number, positive_number, whole_number
from vidcore.errors import AnnotationError, some

__all__ = ["read_coco"]


@frozen
class Picture:
    """An image of the file."""

    video: str
    frame: int
    size: tuple[float, float] | None


def read_coco(documents: list[Document], options: Options) -> Annotations:
    """Read JSON files of COCO. Raises ``AnnotationError``, with file and path to the value."""
    result = Annotations("COCO", in_frames=True)
    contents = {document.name: as_table(document.name, document.json) for document in documents}
    names = {
        _text(f"{where}: file_name", image.get("file_name")): where
        for file, content in contents.items()
        for where, image in _entries(file, content, "images")
        if "video_id" not in image
    }
    places = frames_of_names(names, options.video, first=options.first_frame)
    for file, content in contents.items():
        _check_names(_entries(file, content, "images"))
        videos = _by_id(file, content, "videos")
        labels = {
            number: _text(f"{where}: name", category.get("name"))
            for number, (where, category) in _by_id(file, content, "categories").items()
        }
        pictures = {
            number: _picture(where, image, videos, places, options)
            for number, (where, image) in _by_id(file, content, "images").items()
        }
        for picture in pictures.values():
            result.look(picture.video, [picture.frame])
        for where, entry in _entries(file, content, "annotations"):
            if "category_id" not in entry:
                result.lost["annotations without a category"] += 1
                continue
            label = _known(f"{where}: category_id", entry["category_id"], labels)
            if "bboxes" in entry:
                _add_track(result, where, entry, label, videos, options)
            else:
                _add_box(result, where, entry, label, _known(f"{where}: image_id", entry.get("image_id"), pictures))
    if any(
        "keyframe" in (entry.get("attributes") or {}) for c in contents.values() for entry in c.get("annotations", [])
    ):
        result.notes.append(
            "COCO does not say where a track of CVAT ends, and boxes behind its end may be in the file: the "
            "export 'CVAT for video' has the ends"
        )
    return result


def _check_names(images: list[tuple[str, dict[str, Any]]]) -> None:
    """Raise ``AnnotationError`` if two images have one name, as those of several tasks without a folder have."""
    seen: dict[str, str] = {}
    for where, image in images:
        name = str(image.get("file_name"))
        if "video_id" not in image and seen.setdefault(name, where) != where:
            raise AnnotationError(f"{where}: file_name {name!r} is that of another image, {seen[name]}")


def _entries(file: str, content: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its place."""
    listed = as_list(f"{file}: {key}", content.get(key, []))
    return [(f"{file}: {key}[{i}]", as_table(f"{file}: {key}[{i}]", entry)) for i, entry in enumerate(listed)]


def _by_id(file: str, content: Mapping[str, Any], key: str) -> dict[int | str, tuple[str, dict[str, Any]]]:
    """The objects of a list by their id, each with its place."""
    found: dict[int | str, tuple[str, dict[str, Any]]] = {}
    for where, entry in _entries(file, content, key):
        number = entry.get("id")
        if not isinstance(number, int | str):
            raise AnnotationError(f"{where}: id must be a number or a text, got {number!r}")
        if number in found:
            raise AnnotationError(f"{where}: has the id {number!r} of {found[number][0]}")
        found[number] = where, entry
    return found


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise AnnotationError(f"{where}: must be a text, got {value!r}")
    return value.strip()


def _known(where: str, value: Any, known: Mapping[Any, Any]) -> Any:
    if not isinstance(value, int | str) or value not in known:
        listed = some([str(key) for key in known]) or "none"
        raise AnnotationError(f"{where} is {value!r}; the file has {listed}")
    return known[value]


def _size(where: str, entry: Mapping[str, Any]) -> tuple[float, float] | None:
    if not entry.get("width") or not entry.get("height"):
        return None
    return positive_number(f"{where}: width", entry["width"]), positive_number(f"{where}: height", entry["height"])


def _picture(
    where: str,
    image: Mapping[str, Any],
    videos: Mapping[int | str, tuple[str, dict[str, Any]]],
    places: Mapping[str, tuple[str, int]],
    options: Options,
) -> Picture:
    if "video_id" not in image:
        return Picture(*places[image["file_name"].strip()], _size(where, image))
    place, video = _known(f"{where}: video_id", image["video_id"], videos)
    key = next((key for key in ("frame_id", "frame_index") if key in image), None)
    if key is None:
        raise AnnotationError(f"{where}: needs 'frame_id' or 'frame_index', the frame within its video")
    return Picture(
        options.video or name_of(_text(f"{place}: name", video.get("name"))),
        whole_number(f"{where}: {key}", image[key], 0, MOST_FRAMES),
        _size(where, image),
    )


def _about(entry: Mapping[str, Any], where: str, label: str) -> tuple[dict[str, Any], Description]:
    """Attributes as they are, and those that people set."""
    found = as_table(f"{where}: attributes", entry.get("attributes") or {})
    attributes = {}
    for name, value in found.items():
        if name not in INTERNAL:
            attributes[name] = ((name,) if value else ()) if isinstance(value, bool) else as_words(value)
    return found, Description((label,), attributes)


def _add_box(result: Annotations, where: str, entry: Mapping[str, Any], label: str, picture: Picture) -> None:
    attributes, about = _about(entry, where, label)
    if not entry.get("bbox"):
        result.lost["annotations without a box"] += 1
    elif entry.get("iscrowd"):
        result.lost["crowds"] += 1
    elif attributes.get("outside") is not True:
        left, top, width, height = (
            finite_number(f"{where}: bbox", value) for value in as_list(f"{where}: bbox", entry["bbox"], 4)
        )
        box = checked_box(f"{where}: bbox", [left, top, left + width, top + height])
        numbers = (entry.get("track_id"), entry.get("instance_id"), attributes.get("track_id"))
        track = next((as_words(number)[0] for number in numbers if as_words(number)), None)
        result.add(where, picture.video, picture.frame, box, about, track, picture.size)


def _add_track(
    result: Annotations,
    where: str,
    entry: Mapping[str, Any],
    label: str,
    videos: Mapping[int | str, tuple[str, dict[str, Any]]],
    options: Options,
) -> None:
    """Add an annotation of YouTube-VIS: a box, or null, per frame of its video."""
    place, video = _known(f"{where}: video_id", entry.get("video_id"), videos)
    files = as_list(f"{place}: file_names", video.get("file_names"))
    boxes = as_list(f"{where}: bboxes", entry["bboxes"], len(files))
    names = {_text(f"{place}: file_names", file): place for file in files}
    named = options.video or ("name" in video and name_of(_text(f"{place}: name", video["name"]))) or None
    places = frames_of_names(names, named, first=options.first_frame)
    picked = [places[file.strip()] for file in files]
    track = as_words(entry.get("id"))
    for (name, frame), box in zip(picked, boxes, strict=True):
        result.look(name, [frame])
        if box:
            _add_box(
                result,
                where,
                {**entry, "bbox": box, "track_id": track[0] if track else None},
                label,
                Picture(name, frame, _size(place, video)),
            )
