"""Kinetics-Skeleton (arXiv:1801.07455) and MMSkeleton (doc/CUSTOM_DATASET.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vid_skeleton.estimates.persons import Estimates, Options, Rows, Source
from vid_skeleton.estimates.values import MOST_FRAMES, as_list, as_numbers, as_object, identity_of, short
from vidcore.data.classes import MOST_CLASSES
from vidcore.data.fields import positive_number, whole_number
from vidcore.errors import AnnotationError

__all__ = ["read_kinetics", "read_mmskeleton"]


def read_kinetics(source: Source, content: Any, options: Options) -> list[Estimates]:
    """Return the video in a file of Kinetics-Skeleton."""
    file = source.path
    rows, last = Rows(file, ("openpose",)), 0
    for i, frame in enumerate(as_list(str(file), as_object(str(file), content), "data")):
        where = f"data.{i}"
        number = whole_number(
            f"{file}: {where}.frame_index", as_object(f"{file}: {where}", frame).get("frame_index"), 1, MOST_FRAMES
        )
        last = max(last, number)
        for j, person in enumerate(as_list(f"{file}: {where}", frame, "skeleton")):
            place = f"{where}.skeleton.{j}"
            person = as_object(f"{file}: {place}", person)
            pose = as_numbers(f"{file}: {place}.pose", person.get("pose"), 36).reshape(-1, 2)
            score = as_numbers(f"{file}: {place}.score", person.get("score"), 18)
            rows.add(place, number - 1, np.concatenate([pose, score[:, None]], 1).ravel())
    label = content.get("label")
    if label is not None and not isinstance(label, str):
        raise AnnotationError(f"{file}: label must be the name of a class, found {short(label)}")
    return [rows.finish(source.name, options, last, options.size or (256, 340), "0..1", 30.0, label)]


def read_mmskeleton(source: Source, content: Any, options: Options) -> list[Estimates]:
    """Return the video in a file of MMSkeleton."""
    file = source.path
    info = as_object(f"{file}: info", as_object(str(file), content).get("info", {}))
    rows, size = Rows(file, ("coco", "openpose", "body_25")), None
    if info.get("resolution") is not None:
        width, height = as_numbers(f"{file}: info.resolution", info["resolution"], 2)
        size = (
            whole_number(f"{file}: info.resolution.1", height, 1, 1 << 20),
            whole_number(f"{file}: info.resolution.0", width, 1, 1 << 20),
        )
    total = info.get("num_frame")
    total = None if total is None else whole_number(f"{file}: info.num_frame", total, most=MOST_FRAMES)
    for i, person in enumerate(as_list(str(file), content, "annotations")):
        where = f"annotations.{i}"
        person = as_object(f"{file}: {where}", person)
        frame = whole_number(f"{file}: {where}.frame_index", person.get("frame_index"), most=MOST_FRAMES)
        joints = as_numbers(f"{file}: {where}.keypoints", person.get("keypoints"))
        rows.add(where, frame, joints, identity=identity_of(person.get("person_id")))
    fps = info.get("fps")
    rate = None if fps is None else positive_number(f"{file}: info.fps", fps)
    label = content.get("category_id")
    named = None if label in (None, -1) else whole_number(f"{file}: category_id", label, most=MOST_CLASSES)
    return [rows.finish(source.name, options, total, size, fps=rate, label=named)]
