"""Videos with tags of several categories: HVU (Diba et al. 2020, arXiv:1904.11451)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from vid_recognition.datasets.annotations import Annotations
from vid_recognition.datasets.base import ActionDataset, Modality
from vid_recognition.records import HVU_CATEGORIES, HVU_CATEGORY_NUMS, TagCategories
from vidcore.data.classes import check_file
from vidcore.data.fields import whole_number
from vidcore.data.index import Ragged, StringTable, fingerprint, select_rows
from vidcore.errors import AnnotationError, DataError
from vidcore.files import parse_json
from vidcore.sample import Sample

__all__ = ["HVUDataset"]


class HVUDataset(ActionDataset):
    """Videos, or folders of frames, with tags of several categories, from a JSON file as of HVU.

    The file is a list of objects. Categories that an object does not name are not annotated in that video::

        [{"filename": "a.mp4", "label": {"action": [180], "object": [1570, 508]}},
         {"frame_dir": "b", "total_frames": 61, "label": {"scene": [206]}}]

    A sample has ``labels``, multi-hot over the tags of all categories in order, and ``extra["tags"]``.

    Args:
        ann_file: the file.
        data_root: folder that relative names are relative to; default: the working directory.
        tag_categories: names of the categories to use, in order.
        tag_category_nums: number of tags in each.
        tags: JSON file with the names of the tags, ``{"action": ["abseiling", ...], ...}``, in the order of their
            numbers; it replaces ``tag_category_nums``.
        filename_tmpl: name of a frame file in a folder of frames.
        start_index: number of the first frame; default: 0 for videos, 1 for folders.
        modality: ``RGB`` or ``Flow``.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    An entry without an annotated category among ``tag_categories`` is left out, with a note.

    Raises ``AnnotationError`` for an entry that is not valid, ``DataError`` for a missing or empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        tag_categories: Sequence[str] = HVU_CATEGORIES,
        tag_category_nums: Sequence[int] = HVU_CATEGORY_NUMS,
        tags: Path | None = None,
        filename_tmpl: str = "img_{:05}.jpg",
        start_index: int | None = None,
        modality: Modality = "RGB",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        names = None if tags is None else _read_tags(tags, tag_categories)
        sizes = [len(part) for part in names] if names else list(tag_category_nums)
        if len(sizes) != len(tag_categories):
            raise DataError(f"tag_category_nums has {len(sizes)} numbers for {len(tag_categories)} tag_categories")
        annotations, annotated = _read(ann_file, dict(zip(tag_categories, sizes, strict=True)))
        if names:
            pairs = zip(tag_categories, names, strict=True)
            class_names = tuple(f"{category}: {tag}" for category, part in pairs for tag in part)
            annotations = evolve(annotations, class_names=class_names)
        self.categories, self.sizes = tuple(tag_categories), np.array(sizes, np.int64)
        self.annotated = annotated if indices is None else annotated[select_rows(indices, len(annotated))]
        """(N, categories) bool."""
        self.filename_tmpl = filename_tmpl
        folders = bool((annotations.numbers >= 0).any())
        start = int(folders) if start_index is None else start_index
        super().__init__(annotations, data_root, start, modality, indices)

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index`` with path, ``labels`` and ``extra["tags"]``; of a folder, with its frames."""
        sample = super().__getitem__(index)
        tags = TagCategories(self.sizes, self.annotated[sample.index], self.categories)
        frames = int(self.annotations.numbers[sample.index, 0])
        known = {} if frames < 0 else {"total_frames": frames, "filename_tmpl": self.filename_tmpl}
        return sample.with_extra(tags=tags).replace(**known)

    def fingerprint(self) -> str:
        """Return a hash of names, tags and categories."""
        return fingerprint(f"{super().fingerprint()} {self.categories}", self.sizes, self.annotated)


def _read(file: Path, sizes: Mapping[str, int]) -> tuple[Annotations, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the entries of an annotation file, and (N, categories) bool: which categories are annotated."""
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    paths: list[str] = []
    frames: list[int] = []
    rows: list[list[int]] = []
    annotated: list[list[bool]] = []
    content = _load(file)
    if not isinstance(content, list) or not content:
        raise DataError(f"annotation file {file} must be a list of objects, and has no entries")
    for number, entry in enumerate(content):
        where = f"{file}: entry {number}"
        if not isinstance(entry, dict):
            raise AnnotationError(f"{where}: must be an object, got {str(entry)[:60]}")
        path = entry.get("filename", entry.get("frame_dir"))
        if not isinstance(path, str) or not path:
            raise AnnotationError(f"{where}: filename or frame_dir must be a string, got {path!r}")
        label = entry.get("label")
        if not isinstance(label, dict):
            raise AnnotationError(f"{where}: label must be an object of categories, got {str(label)[:60]}")
        found: list[int] = []
        for category, size in sizes.items():
            tags = label.get(category, [])
            if not isinstance(tags, list):
                raise AnnotationError(f"{where}: label.{category} must be a list of numbers, got {str(tags)[:60]}")
            at = f"{where}: label.{category}"
            found += sorted({starts[category] + whole_number(at, tag, 0, size - 1) for tag in tags})
        present = [category in label for category in sizes]
        if not any(present):
            continue
        paths.append(path)
        frames.append(whole_number(f"{where}: total_frames", entry.get("total_frames")) if "frame_dir" in entry else -1)
        rows.append(found)
        annotated.append(present)
    if not paths:
        raise DataError(f"annotation file {file} has no entry with tags of {', '.join(sizes)}")
    left_out = len(content) - len(paths)
    some = f"{left_out} of {len(content)} entries" if left_out > 1 else f"1 of {len(content)} entries"
    notes = (f"{some} without tags of {', '.join(sizes)} are left out: {file}",) if left_out else ()
    columns = np.array(frames, np.int32)[:, None]
    labels = Ragged.from_rows(rows, np.int32)
    total = sum(sizes.values())
    return Annotations(StringTable.from_strings(paths), labels, columns, None, total, notes), np.array(annotated)


def _read_tags(file: Path, categories: Sequence[str]) -> list[list[str]]:
    """Return the names of the tags of each category."""
    content = _load(file)
    names: list[list[str]] = []
    for category in categories:
        tags = content.get(category) if isinstance(content, dict) else None
        if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
            raise AnnotationError(f"{file}: {category}: must be a list of names of tags, got {str(tags)[:60]}")
        names.append(tags)
    return names


def _load(file: Path) -> Any:
    check_file(file, "annotation file")
    try:
        return parse_json(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{file}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise AnnotationError(f"{file}: not JSON that can be read: {error}") from error
