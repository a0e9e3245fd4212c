"""Boxes and actions of your own videos, in a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vid_detection.ava import Key, frame_key
from vid_detection.datasets.checks import BoxPolicy, check_boxes, check_policy
from vid_detection.datasets.keyframes import KeyFrameDataset, KeyFrames, MissingProposals, group_rows
from vid_detection.datasets.places import find_videos
from vid_detection.datasets.proposals import choose, read_proposals
from vidcore.data.classes import read_classes
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError, nearest, some
from vidcore.typing import Array
from vidcore.video.frames import FrameFolderReader
from vidcore.video.open import open_video

__all__ = ["BoxTable", "VideoBoxDataset", "read_boxes"]

NEEDED = ("video", "time", "x1", "y1", "x2", "y2", "action")
KNOWN = (*NEEDED, "person", "width", "height")


@frozen(eq=False)
class BoxTable:
    """The rows of a table of boxes."""

    keys: list[Key]
    """Video and time of each key frame, in order of their first row."""
    frames: Array
    """(n,) int64 index of the key frame of each box."""
    boxes: Array
    """(n, 4) float64, as in the file."""
    sizes: Array
    """(n, 2) float64 width and height of the picture; nan if the file does not have them."""
    persons: Array
    """(n,) int64 number of the person in the video; -1 if the file does not tell."""
    actions: list[str]
    """Name of the action of each; empty for a person without action."""
    lines: Array
    """(n,) int64 line of each in the file."""

    def relative(self, file: Path) -> bool:
        """Return whether boxes are fractions of the picture.

        Raises ``AnnotationError`` if some are fractions and others pixels.
        """
        with np.errstate(invalid="ignore"):
            highest = np.nanmax(np.abs(np.where(np.isfinite(self.boxes), self.boxes, 0)), axis=1, initial=0)
        pixels = highest > 1.5  # fractions may reach a little out of the picture
        if pixels.all() or not pixels.any():
            return not pixels.any()
        one, other = int(np.argmax(pixels)), int(np.argmin(pixels))
        boxes = [", ".join(f"{v:g}" for v in self.boxes[i]) for i in (one, other)]
        raise AnnotationError(
            f"{file}: line {self.lines[one]} has pixels ({boxes[0]}) and line {self.lines[other]} fractions "
            f"({boxes[1]}): all boxes of a file must be in one unit"
        )


def read_boxes(file: Path) -> BoxTable:
    """Read a table of boxes with the header ``video,time,x1,y1,x2,y2,person,action``.

    ``person`` may be missing. Rows without a box are key frames in which nobody is, rows without an action persons who
    do nothing. ``width`` and ``height`` may give the size of the picture that pixels refer to.

    Raises ``AnnotationError`` with the line if a row is not as described, or if actions are numbers.
    """
    rows = _rows(file)
    keys: dict[Key, int] = {}
    persons: dict[tuple[str, str], int] = {}
    found: dict[str, list[Any]] = {name: [] for name in ("frames", "boxes", "sizes", "persons", "actions", "lines")}
    for line, row in rows:
        key = row["video"], _time(file, line, row["time"])
        if not row["video"]:
            raise AnnotationError(f"{file}:{line}: has no video")
        frame = keys.setdefault(key, len(keys))
        corners = [row[name] for name in ("x1", "y1", "x2", "y2")]
        if not any(corners):
            if row["action"] or row.get("person"):
                raise AnnotationError(f"{file}:{line}: has a person or an action, but no box")
            continue
        found["frames"].append(frame)
        found["boxes"].append([_number(file, line, name, row[name]) for name in ("x1", "y1", "x2", "y2")])
        size = [row.get("width"), row.get("height")]
        found["sizes"].append([_number(file, line, "size", cell) if cell else math.nan for cell in size])
        name = row.get("person", "")
        found["persons"].append(persons.setdefault((row["video"], name), len(persons)) if name else -1)
        found["actions"].append(row["action"])
        found["lines"].append(line)
    if not keys:
        raise DataError(f"annotation file {file} has no rows")
    names = {name for name in found["actions"] if name}
    if names and all(name.isdigit() for name in names):
        raise AnnotationError(f"{file}: actions must be names, got numbers: {some(sorted(names), 5)}")
    return BoxTable(
        list(keys),
        np.array(found["frames"], np.int64),
        np.array(found["boxes"], np.float64).reshape(-1, 4),
        np.array(found["sizes"], np.float64).reshape(-1, 2),
        np.array(found["persons"], np.int64),
        found["actions"],
        np.array(found["lines"], np.int64),
    )


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(read_text(file).splitlines())
    header = [cell.strip().lower() for cell in next(reader, [])]
    if missing := [name for name in NEEDED if name not in header]:
        hint = "; AVA's tables without header are read by AVADataset" if len(header) in (2, 7, 8) else ""
        raise AnnotationError(f"{file}:1: the header needs {', '.join(missing)}, got {','.join(header)[:80]}{hint}")
    if odd := [name for name in header if name not in KNOWN]:
        raise AnnotationError(f"{file}:1: unknown column {odd[0]!r}{nearest(odd[0], KNOWN)}; known: {', '.join(KNOWN)}")
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise AnnotationError(f"{file}:{reader.line_num}: has {len(row)} columns, the header {len(header)}")
        yield reader.line_num, {name: cell.strip() for name, cell in zip(header, row, strict=True)}


def _time(file: Path, line: int, text: str) -> float:
    seconds = _number(file, line, "time", text)
    if not 0 <= seconds < 1e7:
        raise AnnotationError(f"{file}:{line}: time must be seconds from the beginning of the video, got {text!r}")
    return round(seconds, 6)


def _number(file: Path, line: int, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AnnotationError(f"{file}:{line}: {name} must be a number, got {text!r}") from None


class VideoBoxDataset(KeyFrameDataset):
    """Key frames of your own videos: a table with a row for each person and action.

    ::

        video,time,x1,y1,x2,y2,person,action
        kitchen/monday.mp4,12.5,104,52,188,240,anna,open door

    ``video`` is a path below ``data_root``, with or without suffix, of a file or a folder of frames; ``time`` is in
    seconds from its beginning. Boxes are all pixels, or all fractions of the picture, which is told from their values;
    the size of pictures is read from the videos, or is in the columns ``width`` and ``height``. ``person`` tells
    persons apart and may be empty or missing. A person may have several rows. A row without box is a key frame in which
    nobody is. ``vidcore data convert-annotations`` writes such tables.

    Args:
        ann_file: the table.
        data_root: folder of the videos.
        classes: names of the actions by number, or a file with one per line; default: all that occur, sorted.
            Validation needs those of training.
        proposal_file: boxes of a detector (pickle, JSON or CSV); default: none.
        person_det_score_thr: least score of a proposal; if no proposal of a key frame has it, its best one remains.
        num_max_proposals: proposals of a key frame, the first.
        missing_proposals: what key frames without proposals get: ``none``, one box around the ``whole`` picture, or the
            ``truth``; without ``proposal_file`` this is all of them.
        multilabel: persons may do several things at once; otherwise several actions of a box are refused.
        filename_tmpl: names of frame files.
        start_index: number of the first frame file.
        fps: frames per second of folders of frames.
        bad_boxes: ``repair`` clips boxes and drops those that cannot be clipped, ``raise`` refuses the file; the notes
            count them.
        indices: use the first n key frames (n >= 0), the last -n (n < 0), or those listed.

    Raises:
        AnnotationError: a row is not valid; the message starts with ``file:line``.
        DataError: a file does not exist, or proposals belong to other videos.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        classes: Path | list[str] | None = None,
        proposal_file: Path | None = None,
        person_det_score_thr: float = 0.9,
        num_max_proposals: int = 1000,
        missing_proposals: MissingProposals = "truth",
        multilabel: bool = True,
        filename_tmpl: str = "img_{:05}.jpg",
        start_index: int = 1,
        fps: float = 30,
        bad_boxes: BoxPolicy = "repair",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        check_policy(bad_boxes)
        self.filename_tmpl, self.start_index, self.fps = filename_tmpl, start_index, fps
        table = read_boxes(ann_file)
        given = read_classes(classes)
        names = given or tuple(sorted({name for name in table.actions if name}))
        if not names:
            raise DataError(f"{ann_file}: no box has an action")
        place = {name: number for number, name in enumerate(names)}
        for name, line in zip(table.actions, table.lines.tolist(), strict=True):
            if name and name not in place:
                raise AnnotationError(f"{ann_file}:{line}: {name!r} is not one of the classes{nearest(name, names)}")
        videos = list(dict.fromkeys(video for video, _ in table.keys))
        paths = dict(zip(videos, find_videos(data_root, videos), strict=True))
        relative = table.relative(ann_file)
        boxes = table.boxes
        if not relative:
            boxes = boxes / np.tile(_sizes(ann_file, table, paths, filename_tmpl, start_index), 2)
        boxes, kept, notes = check_boxes(ann_file, table.lines, boxes, bad_boxes)
        labels = np.array([place.get(name, -1) for name in table.actions], np.int64)
        frames, boxes, persons, actions, repeated = group_rows(
            table.frames[kept], boxes[kept], table.persons[kept], labels[kept]
        )
        if repeated:
            notes.append(f"{ann_file}: {repeated} rows repeat another one")
        counts = np.diff(actions.offsets)
        if not multilabel and (counts > 1).any():
            i = int(np.argmax(counts > 1))
            raise AnnotationError(
                f"{ann_file}: {frame_key(*table.keys[int(frames[i])])}: a person has {counts[i]} actions, which "
                "multilabel = false refuses"
            )
        known = KeyFrames(table.keys, frames, boxes, persons, actions, notes)
        proposals = None
        if proposal_file is not None:
            proposals, note = choose(
                proposal_file, read_proposals(proposal_file), table.keys, person_det_score_thr, num_max_proposals
            )
            notes.append(note)
        super().__init__(known, names, paths, proposals, missing_proposals, indices)

    def facts(self, video: str, time: float) -> dict[str, Any]:
        """Return what ``SampleAVAFrames`` needs."""
        folder = video in self._folders
        return {
            "fps": self.fps if folder else None,
            "start_index": self.start_index if folder else 0,
            "filename_tmpl": self.filename_tmpl,
            "meta": {"timestamp": time, "timestamp_start": 0.0},
        }


def _sizes(file: Path, table: BoxTable, paths: dict[str, str | None], template: str, start_index: int) -> Array:
    """Return width and height of the picture of each box: from the file, else from the videos."""
    sizes = table.sizes.copy()
    unknown = ~(sizes > 0).all(1)
    of = np.array([table.keys[frame][0] for frame in table.frames], object)
    for video in dict.fromkeys(of[unknown].tolist()):
        rows = unknown & (of == video)
        path = paths[video]
        if path is None:
            sizes[rows] = 1e9  # its key frames are left out
        elif Path(path).is_file():
            with open_video(path) as reader:
                sizes[rows] = reader.size[::-1]
        else:
            sizes[rows] = _size_of_frame(file, video, Path(path), template, start_index)
    return sizes


def _size_of_frame(file: Path, video: str, folder: Path, template: str, start_index: int) -> tuple[int, int]:
    if not folder.is_dir():
        raise DataError(
            f"{file}: boxes are pixels, and the size of the pictures of {video} is not known: there is no video or "
            f"folder of frames at {folder}, and the table has no columns width and height"
        )
    with FrameFolderReader(folder, template=template, start_index=start_index) as reader:
        height, width = reader.size
    return width, height
