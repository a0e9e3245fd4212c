"""The images of a COCO file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from vid_skeleton.estimates.values import MOST_FRAMES, as_list, as_object
from vidcore.data.fields import whole_number
from vidcore.data.text import read_json_value
from vidcore.errors import AnnotationError

__all__ = ["Image", "Images", "as_key"]


@frozen
class Image:
    """Which frame of which video an image is."""

    video: str
    frame: int
    size: tuple[int, int] | None


@frozen(eq=False)
class Images:
    """The images of a COCO file: which frame of which video each is.

    Videos are those of ``video_id``, or else the folders in ``file_name``; frames are ``frame_id``, from 0 or, if
    that is the lowest, from 1, or else the order of the names.
    """

    by_id: Mapping[int, Image]
    totals: Mapping[str, int]
    """Video -> number of frames."""

    @classmethod
    def read(cls, file: Path) -> Images:
        """Read the images of a file of COCO's ground truth."""
        content = as_object(str(file), read_json_value(file, "file of images"))
        return cls.of(file, content, file.stem)

    @classmethod
    def of(cls, file: Path, content: Mapping[str, Any], name: str) -> Images:
        """Return the images of a file's content; ``name`` is that of a video without a folder."""
        names = {}
        for i, video in enumerate(as_list(str(file), content, "videos", optional=True)):
            video = as_object(f"{file}: videos.{i}", video)
            names[as_key(f"{file}: videos.{i}.id", video.get("id"))] = str(video.get("name", video.get("id")))
        rows: dict[str, list[tuple[Any, str, int, tuple[int, int] | None]]] = {}
        by_id: dict[int, Image] = {}
        for i, image in enumerate(as_list(str(file), content, "images")):
            where = f"{file}: images.{i}"
            image = as_object(where, image)
            number, path = as_key(f"{where}.id", image.get("id")), str(image.get("file_name", i)).replace("\\", "/")
            folder, _, leaf = path.rpartition("/")
            video = folder or name
            if image.get("video_id") is not None:
                key = as_key(f"{where}.video_id", image["video_id"])
                video = names.get(key, str(key))
            sides = [image.get(side) for side in ("height", "width")]
            size = None
            if sides != [None, None]:
                height, width = (
                    whole_number(f"{where}.{side}", value, 1, 1 << 20)
                    for side, value in zip(("height", "width"), sides, strict=True)
                )
                size = height, width
            frame = image.get("frame_id")
            order = _natural(leaf) if frame is None else whole_number(f"{where}.frame_id", frame, most=MOST_FRAMES)
            rows.setdefault(video, []).append((order, where, number, size))
        totals = {}
        for video, members in rows.items():
            numbered = [isinstance(order, int) for order, *_ in members]
            if any(numbered) and not all(numbered):
                raise AnnotationError(
                    f"{members[numbered.index(False)][1]}: has no frame_id, but others of {video} have"
                )
            members.sort(key=lambda member: member[0])
            first = members[0][0] if numbered[0] else 0
            for rank, (order, where, number, size) in enumerate(members):
                if number in by_id:
                    raise AnnotationError(f"{where}: its id {number} is listed twice")
                if rank and order == members[rank - 1][0]:
                    raise AnnotationError(f"{where}: is the same frame of {video} as {members[rank - 1][1]}")
                by_id[number] = Image(video, order - (first == 1) if numbered[0] else rank, size)
            totals[video] = by_id[members[-1][2]].frame + 1
        if not by_id:
            raise AnnotationError(f"{file}: images is empty")
        return cls(by_id, totals)


def as_key(where: str, value: Any) -> int:
    """Return a number by which a COCO file refers to something."""
    return whole_number(where, value, most=2**53)


def _natural(text: str) -> tuple[Any, ...]:
    """Return a key by which ``img10`` comes after ``img9``."""
    return tuple((int(p[-18:]), p) if p.isdecimal() else (-1, p) for p in re.findall(r"\d+|\D+", text))
