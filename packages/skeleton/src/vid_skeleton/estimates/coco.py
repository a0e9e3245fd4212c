"""COCO keypoints: results and annotations (cocodataset.org: format-results, format-data)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vid_skeleton.estimates.images import Images, as_key
from vid_skeleton.estimates.openpose import items_of
from vid_skeleton.estimates.persons import Estimates, Options, Rows, Source
from vid_skeleton.estimates.values import MOST_FRAMES, as_list, as_numbers, as_object, identity_of, short
from vid_skeleton.graphs import COCO, Layout
from vidcore.data.fields import whole_number
from vidcore.errors import AnnotationError

__all__ = ["read_coco"]


def read_coco(source: Source, content: Any, options: Options) -> list[Estimates]:
    """Return the videos in a file of results or annotations."""
    file = source.path
    if isinstance(content, dict):
        images = Images.of(file, content, source.name)
        people, own = as_list(str(file), content, "annotations"), _own_layout(file, content)
        return _by_image(source, people, "annotations.", images, options, own, truth=True)
    people = list(items_of(file, content))
    if options.images is not None:
        return _by_image(source, people, "", options.images, options)
    rows = Rows(file, ("coco", "coco_wholebody", "halpe_26", "halpe_136"))
    for i, item in enumerate(people):
        frame = _frame_of_id(f"{file}: {i}: image_id", item["image_id"])
        _add_item(rows, str(i), frame, item)
    return [rows.finish(source.name, options, scored=_scored(rows))]


def _frame_of_id(where: str, value: Any) -> int:
    try:
        return whole_number(where, value, most=MOST_FRAMES)
    except AnnotationError as error:
        raise AnnotationError(
            f"{error}; if it is not the number of a frame, name the file of images with --images"
        ) from None


def _add_item(rows: Rows, where: str, frame: int, item: Mapping[str, Any]) -> None:
    joints = as_numbers(f"{rows.file}: {where}: keypoints", item["keypoints"])
    attributes = item.get("attributes")
    inner = attributes.get("track_id") if isinstance(attributes, dict) else None
    rows.add(where, frame, joints, item.get("score"), item.get("bbox"), identity_of(item.get("track_id", inner)))


def _scored(rows: Rows) -> bool:
    """Return whether results of COCO, which does not use the scores of joints, have some."""
    return any(row[2::3].any() for row in rows.rows)


def _by_image(
    source: Source,
    people: Sequence[Any],
    prefix: str,
    images: Images,
    options: Options,
    own: Layout | None = None,
    truth: bool = False,
) -> list[Estimates]:
    file = source.path
    known = ("coco", "coco_wholebody", "halpe_26", "halpe_136")
    videos = {video: Rows(file, known, own) for video in images.totals}
    for i, item in enumerate(people):
        where = f"{prefix}{i}"
        if "keypoints" not in as_object(f"{file}: {where}", item):
            continue  # a box of something that has no joints
        number = as_key(f"{file}: {where}: image_id", item.get("image_id"))
        if number not in images.by_id:
            raise AnnotationError(f"{file}: {where}: image_id {number} is not among the images")
        image = images.by_id[number]
        _add_item(videos[image.video], where, image.frame, item)
    sizes: dict[str, set[tuple[int, int]]] = {}
    for image in images.by_id.values():
        if image.size:
            sizes.setdefault(image.video, set()).add(image.size)
    made = []
    for video, rows in videos.items():
        found = sorted(sizes.get(video, ()))
        if len(found) > 1:
            shown = " and ".join(f"{w} x {h}" for h, w in found[:2])
            raise AnnotationError(f"{file}: the images of {video} have different sizes: {shown}")
        size = found[0] if found else None
        made.append(
            rows.finish(video, options, images.totals[video], size, scored=truth or _scored(rows), scale=1 + truth)
        )
    return made


def _own_layout(file: Path, content: Mapping[str, Any]) -> Layout | None:
    """Return the layout of the categories; None if they do not name joints, or name those of COCO."""
    found: Layout | None = None
    for i, category in enumerate(as_list(str(file), content, "categories", optional=True)):
        where = f"{file}: categories.{i}"
        if "keypoints" not in as_object(where, category):
            continue
        names = as_list(where, category, "keypoints")
        if not names or not all(isinstance(name, str) for name in names):
            raise AnnotationError(f"{where}.keypoints: expected names of joints, found {short(names)}")
        edges = as_numbers(f"{where}.skeleton", as_list(where, category, "skeleton", optional=True)).reshape(-1)
        if len(edges) % 2 or ((edges < 1) | (edges > len(names)) | (edges != np.floor(edges))).any():
            raise AnnotationError(f"{where}.skeleton: expected pairs of joints from 1 to {len(names)}")
        pairs = tuple((int(a) - 1, int(b) - 1) for a, b in edges.reshape(-1, 2))
        if found and found.names != tuple(names):
            raise AnnotationError(f"{where}: has other keypoints than the category before it: convert them one by one")
        found = Layout(len(names), pairs, names=tuple(names))
    return None if found is None or found.names == COCO.names else found
