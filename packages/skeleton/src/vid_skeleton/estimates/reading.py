"""Files and folders of estimates, and what wrote them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from vid_skeleton.estimates.coco import read_coco
from vid_skeleton.estimates.kinetics import read_kinetics, read_mmskeleton
from vid_skeleton.estimates.openpose import read_alphapose, read_openpose
from vid_skeleton.estimates.persons import Estimates, Options, Source
from vid_skeleton.estimates.values import people_of, short
from vidcore.data.text import read_json_value
from vidcore.errors import AnnotationError, DataError

__all__ = ["FORMATS", "find_sources", "read_estimates"]

FORMATS = ("coco", "openpose", "alphapose", "kinetics-skeleton", "mmskeleton")


def find_sources(source: Path) -> list[Source]:
    """Return what a file or a folder holds: a folder is searched with the folders in it.

    A folder in which the files of single frames lie is one video; if they are named like those of OpenPose,
    ``NAME_000000000000_keypoints.json``, it is one for each NAME.

    Raises ``DataError`` if nothing is found.
    """
    if source.is_file():
        return [Source(_stem(source), source, None)]
    folders: dict[Path, list[Path]] = {}
    for file in sorted(source.rglob("*.json")):
        if file.is_file():
            folders.setdefault(file.parent, []).append(file)
    found: list[Source] = []
    for folder, files in folders.items():
        place = folder.resolve().name if folder == source else folder.name
        below = folder.relative_to(source).parts
        top = below[0] if below else None
        named: dict[str, list[Path]] = {}
        for file in files:
            if parts := FRAME.fullmatch(file.name):
                named.setdefault(parts[1].rstrip("_") or place, []).append(file)
        for name, frames in named.items():
            alone = len(named) == 1 and len(frames) == len(files)
            inner = top if len(below) > alone else None
            found.append(Source(name, folder, inner, tuple(frames)))
        others = [file for file in files if not FRAME.fullmatch(file.name)]
        if others and _is_frame(others):
            found.append(Source(place, folder, top if len(below) > 1 else None, tuple(others)))
        else:
            found.extend(Source(_stem(file), file, top) for file in others)
    if not found:
        raise DataError(f"{source}: has no .json file")
    counts = Counter(item.name for item in found)
    return [item if counts[item.name] == 1 else evolve(item, name=_relative(item, source)) for item in found]


FRAME = re.compile(r"(.*?)(\d+)_keypoints\.json", re.DOTALL)


def _stem(file: Path) -> str:
    return file.resolve().parent.name if file.stem == "alphapose-results" else file.stem


def _relative(item: Source, source: Path) -> str:
    path = item.path.relative_to(source)
    return (path / item.name if item.frames and item.path.name != item.name else path.with_suffix("")).as_posix()


def _is_frame(files: Sequence[Path]) -> bool:
    """Return whether the first file that can be read holds one frame."""
    for file in files[:10]:
        try:
            content = read_json_value(file, "file of joints")
        except (DataError, OSError):
            continue
        return isinstance(content, dict) and people_of(content) is not None
    return False


def read_estimates(source: Source, options: Options, form: str | None = None) -> list[Estimates]:
    """Read the persons of a source, linked over time.

    Args:
        source: from ``find_sources``.
        options: what the files do not say.
        form: one of ``FORMATS``; default: what the content looks like.

    Returns:
        One video, or several if a COCO file has images of several.

    Raises:
        AnnotationError: something is wrong; the message names file and key.
    """
    try:
        if source.frames:
            if form not in (None, "openpose", "alphapose"):
                raise AnnotationError(f"{source.path}: has files of single frames, as of OpenPose, not of {form}")
            return [evolve(read_openpose(source, options), form="openpose")]
        content = read_json_value(source.path, "file of joints")
        found = _detect(source.path, content) if form is None else form
        if found == "openpose":
            raise AnnotationError(f"{source.path}: OpenPose writes a file for each frame: name the folder of the video")
        return [evolve(video, form=found) for video in READERS[found](source, content, options)]
    except OSError as error:
        raise AnnotationError(f"{source.path}: cannot be read: {error.strerror}") from None


def _detect(file: Path, content: Any) -> str:
    if isinstance(content, list):
        first = next(iter(content), None)
        if first is None:
            raise AnnotationError(f"{file}: is an empty list: it has nobody, and does not say how many frames")
        if isinstance(first, dict) and "image_id" in first and "keypoints" in first:
            text = isinstance(first["image_id"], str)
            return "alphapose" if text else "coco"
    elif isinstance(content, dict):
        if isinstance(content.get("data"), list):
            return "kinetics-skeleton"
        if isinstance(content.get("annotations"), list):
            return "coco" if isinstance(content.get("images"), list) else "mmskeleton"
        if people_of(content) is not None:
            raise AnnotationError(f"{file}: holds one frame; name the folder of the frames of the video")
        if content and all(isinstance(v, dict) and people_of(v) is not None for v in content.values()):
            return "alphapose"
    known = ", ".join(FORMATS)
    raise AnnotationError(f"{file}: looks like none of {known}: {short(content)}")


READERS: Mapping[str, Callable[[Source, Any, Options], list[Estimates]]] = {
    "coco": read_coco,
    "alphapose": read_alphapose,
    "kinetics-skeleton": read_kinetics,
    "mmskeleton": read_mmskeleton,
}
