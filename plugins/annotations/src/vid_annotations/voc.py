"""PASCAL VOC (XML, a file per picture). Coordinates are taken as they are.

Actions of VOC 2012 (``<actions>``: 1 or 0 by name) become the attribute ``actions``.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

from __future__ import annotations

from vid_annotations.places import frames_of_names
from vid_annotations.source import Document, Options
from vid_annotations.table import Annotations, Description, checked_box
from vid_annotations.values import as_words
from vid_annotations.xml import Element
from vidcore.data.fields import finite_number, positive_number
from vidcore.errors import AnnotationError

__all__ = ["read_voc"]

INTERNAL = ("keyframe", "occluded", "outside", "rotation", "track_id")
"""Attributes that tools write of themselves."""


def read_voc(documents: list[Document], options: Options) -> Annotations:
    """Read XML files of VOC. Raises ``AnnotationError``, with file and line."""
    result = Annotations("VOC", in_frames=True)
    pictures: dict[str, Element] = {}
    for document in documents:
        root = document.xml
        if root.tag != "annotation":
            raise AnnotationError(f"{root.where}: the outermost element must be <annotation>, found <{root.tag}>")
        name, folder = root.needed("filename"), root.value("folder")
        if "/" not in name and folder:
            name = f"{folder}/{name}"
        if name in pictures:
            raise AnnotationError(f"{root.where}: the picture {name!r} has another file: {pictures[name].where}")
        pictures[name] = root
    places = frames_of_names({n: r.where for n, r in pictures.items()}, options.video, first=options.first_frame)
    for name, root in pictures.items():
        video, frame = places[name]
        result.look(video, [frame])
        size = root.first("size")
        shape = None
        if size is not None:
            width, height = (positive_number(f"{size.where}: {n}", size.needed(n)) for n in ("width", "height"))
            shape = (width, height)
        for entry in root.all("object"):
            _add(result, entry, video, frame, shape)
    return result


def _add(result: Annotations, entry: Element, video: str, frame: int, size: tuple[float, float] | None) -> None:
    bounds = entry.first("bndbox")
    if bounds is None:
        result.lost["objects without <bndbox>"] += 1
        return
    result.lost["parts of objects"] += sum(1 for _ in entry.all("part"))
    where = f"{bounds.where}: box"
    box = checked_box(where, [bounds.needed(side) for side in ("xmin", "ymin", "xmax", "ymax")])
    found: dict[str, str] = {}
    for attribute in (entry.first("attributes") or Element("", "", {})).all("attribute"):
        found[attribute.needed("name")] = attribute.value("value")
    if found.get("outside", "").lower() in ("1", "true"):
        return
    about = {name: as_words(value) for name, value in found.items() if name not in INTERNAL}
    if (actions := entry.first("actions")) is not None:
        about["actions"] = tuple(a.tag for a in actions.children if finite_number(f"{a.where}: {a.tag}", a.text))
    description = Description((entry.needed("name"),), about)
    result.add(where, video, frame, box, description, found.get("track_id") or None, size)
