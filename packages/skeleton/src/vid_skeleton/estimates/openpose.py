"""OpenPose (doc/02_output.md) and AlphaPose (doc/output.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vid_skeleton.estimates.persons import Estimates, Options, Rows, Source
from vid_skeleton.estimates.values import as_numbers, as_object, frame_in_name, identity_of, people_of, short
from vidcore.data.text import read_json_value
from vidcore.errors import AnnotationError, nearest

__all__ = ["items_of", "read_alphapose", "read_openpose"]

KEYS = ("pose_keypoints_2d", "pose_keypoints", "joints")
"""Joints of a person: of OpenPose, of its first version, of AlphaPose's ``cmu``."""


def read_openpose(source: Source, options: Options) -> Estimates:
    """Return the video whose frames have a file each."""
    rows = Rows(source.path, ("body_25", "openpose", "coco"))
    numbers = [frame_in_name(str(file), file.name.removesuffix("_keypoints.json")) for file in source.frames]
    first = min(numbers)
    for file, number in zip(source.frames, numbers, strict=True):
        content = as_object(str(file), read_json_value(file, "file of joints"))
        _add_frame(rows, file.name, number - first, content)
    total = max(numbers) - first + 1
    if len(set(numbers)) < len(numbers):
        twice = next(n for n, count in Counter(numbers).items() if count > 1)
        raise AnnotationError(f"{source.path}: two files are of frame {twice}")
    notes = {"frames without a file, taken as without persons": total - len(numbers)}
    return rows.finish(source.name, options, total, notes=notes)


def _add_frame(rows: Rows, where: str, frame: int, content: Mapping[str, Any]) -> None:
    people = people_of(content)
    if people is None:
        raise AnnotationError(f"{rows.file}: {where}: has no list 'people' or 'bodies', found {short(content)}")
    for i, person in enumerate(people):
        place = f"{where}: person {i}"
        person = as_object(f"{rows.file}: {place}", person)
        key = next((key for key in KEYS if key in person), None)
        if key is None:
            raise AnnotationError(f"{rows.file}: {place}: has none of {', '.join(KEYS)}, found {short(person)}")
        joints = as_numbers(f"{rows.file}: {place}.{key}", person[key])
        identity = identity_of(person.get("person_id", person.get("idx")))
        rows.add(place, frame, joints, identity=identity)


def read_alphapose(source: Source, content: Any, options: Options) -> list[Estimates]:
    """Return the video in a file of all frames."""
    if isinstance(content, dict):
        rows = Rows(source.path, ("openpose", "body_25", "coco"))
        frames = {image: frame_in_name(f"{source.path}: {image[:40]}", image) for image in content}
        _check_distinct(source.path, frames)
        for image, number in frames.items():
            _add_frame(rows, image, number, as_object(f"{source.path}: {image}", content[image]))
        return [rows.finish(source.name, options, max(frames.values(), default=-1) + 1)]
    rows = Rows(source.path, ("coco", "halpe_26", "halpe_136", "coco_wholebody"))
    found: dict[str, int] = {}
    for i, item in enumerate(items_of(source.path, content)):
        image = str(item["image_id"])
        if image not in found:
            found[image] = frame_in_name(f"{source.path}: {i}: image_id", image)
        joints = as_numbers(f"{source.path}: {i}: keypoints", item["keypoints"])
        rows.add(str(i), found[image], joints, item.get("score"), item.get("box"), identity_of(item.get("idx")))
    _check_distinct(source.path, found)
    if len(set(map(str, rows.ids))) == 1:  # all are 0 without tracking
        rows.ids = [None] * len(rows.ids)
    return [rows.finish(source.name, options)]


def _check_distinct(file: Path, frames: Mapping[str, int]) -> None:
    first: dict[int, str] = {}
    for image, number in frames.items():
        if (other := first.setdefault(number, image)) != image:
            raise AnnotationError(f"{file}: {other!r} and {image!r} are both frame {number}")


def items_of(file: Path, content: Any) -> Iterator[dict[str, Any]]:
    """Yield the persons in a list of results."""
    if not isinstance(content, list):
        raise AnnotationError(f"{file}: expected a list of persons, found {short(content)}")
    if not content:
        raise AnnotationError(f"{file}: is an empty list: it has nobody, and does not say how many frames")
    for i, item in enumerate(content):
        for key in ("image_id", "keypoints"):
            if key not in as_object(f"{file}: {i}", item):
                raise AnnotationError(f"{file}: {i}: has no {key}{nearest(key, item)}")
        yield item
