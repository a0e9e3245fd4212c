"""Videos, or images, in one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vid_recognition.datasets.annotations import Annotations
from vid_recognition.datasets.base import ActionDataset
from vidcore.data.classes import read_classes
from vidcore.data.index import StringTable
from vidcore.errors import DataError, nearest
from vidcore.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["FolderDataset"]


class FolderDataset(ActionDataset):
    """Video files in one folder per class, at any depth: ``data_root/running/a.mp4`` has the class ``running``.

    An image is a video of one frame.

    Args:
        data_root: the folder that contains the class folders.
        classes: class names by number, or a file with one name per line, each the name of a folder;
            default: all folders, sorted. Folders of other names are ignored. A class may lack a folder, as in
            a small validation set.
        images: use images instead of videos.
        suffixes: suffixes of the files, in lower case; default: those of videos, or of images.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``DataError`` if a class has no folder but one of a similar name, or if no video is found.
    """

    def __init__(
        self,
        data_root: Path,
        classes: Path | list[str] | None = None,
        images: bool = False,
        suffixes: Sequence[str] | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if not data_root.is_dir():
            raise DataError(f"data_root {data_root} is not a folder")
        folders = sorted(e.name for e in os.scandir(data_root) if e.is_dir() and not e.name.startswith("."))
        class_names = read_classes(classes) or tuple(folders)
        others = [name for name in folders if name not in class_names]
        for name in class_names:
            if name not in folders and (hint := nearest(name, others)):
                raise DataError(f"class {name!r} has no folder in {data_root}{hint}")
        suffixes = suffixes or (IMAGE_SUFFIXES if images else VIDEO_SUFFIXES)
        labels: list[int] = []

        def names() -> Iterator[str]:
            for number, name in enumerate(class_names):
                for file in _files(os.path.join(data_root, name), tuple(suffixes)):
                    labels.append(number)
                    yield os.path.relpath(file, data_root)

        table = StringTable.from_strings(names())
        if not labels:
            kind = "images" if images else "videos"
            found = f"no {kind} ({', '.join(suffixes)}) in the {len(class_names)} class folders of {data_root}"
            others_there = any(_files(str(data_root), VIDEO_SUFFIXES if images else IMAGE_SUFFIXES))
            hint = f"; set images = {str(not images).lower()} to use the others" if others_there else ""
            raise DataError(found + hint)
        numbers = np.zeros((len(labels), 0), np.int32)
        annotations = Annotations(table, np.array(labels, np.int32), numbers, class_names, len(class_names))
        super().__init__(annotations, data_root, indices=indices)


def _files(folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the videos below a folder, in an order that does not depend on the file system."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        videos = (f for f in sorted(files) if f.lower().endswith(suffixes) and not f.startswith("."))
        yield from (os.path.join(parent, f) for f in videos)
