"""AVA v2.1 and v2.2 (Gu et al. 2018, arXiv:1705.08421) and AVA-Kinetics (Li et al. 2020, arXiv:2005.00214)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from vid_detection.ava import AVATable, Key, read_excluded, read_table
from vid_detection.classes import AVA_CLASSES, names_by_id, read_label_map
from vid_detection.datasets.checks import BoxPolicy, check_boxes, check_policy
from vid_detection.datasets.keyframes import KeyFrameDataset, KeyFrames, MissingProposals, group_rows
from vid_detection.datasets.places import find_videos
from vid_detection.datasets.proposals import Proposals, choose, read_proposals
from vidcore.errors import AnnotationError, DataError, UserError, some
from vidcore.typing import Array

__all__ = ["AVADataset", "AVAKineticsDataset"]

CLIP = re.compile(r"(?P<id>.+)_(?P<start>[0-9]{6})_(?P<end>[0-9]{6})")
"""Name of a clip of Kinetics: the video, and its first and last second."""


class AVADataset(KeyFrameDataset):
    """Key frames of AVA: what each person does, once per second of a movie.

    Videos are files, found by their names below ``data_root``, or folders of frames in it. AVA annotates the minutes 15
    to 30. Files may be uncut movies (``timestamp_start = 0``) or the cut parts (900, the default); folders of frames
    have the cut parts. Every file has its own frame rate, folders have ``fps``.

    Args:
        ann_file: table without header: video, second, box as fractions, action, person.
        data_root: folder of the videos or folders of frames.
        exclude_file: key frames to leave out: a video and a second per line.
        label_file: ``.pbtxt`` with names and numbers of the classes; default: the 80 of AVA.
        proposal_file: boxes of a detector (pickle, JSON or CSV); default: none.
        person_det_score_thr: least score of a proposal; if no proposal of a key frame has it, its best one remains.
        num_max_proposals: proposals of a key frame, the first.
        missing_proposals: what key frames without proposals get: ``none``, one box around the ``whole`` picture, or the
            ``truth``; without ``proposal_file`` this is all of them.
        custom_classes: numbers of the classes to use, from 1 and ascending, as ``label_file`` has them; boxes without
            them are left out.
        multilabel: persons may do several things at once; otherwise several actions of a box are refused.
        filename_tmpl: names of frame files.
        start_index: number of the first frame file.
        fps: frames per second of folders of frames; a number, or a table with the header ``video,fps``.
        timestamp_start: second of the movie at which the files begin.
        timestamp_end: second at which the annotated part ends.
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
        exclude_file: Path | None = None,
        label_file: Path | None = None,
        proposal_file: Path | None = None,
        person_det_score_thr: float = 0.9,
        num_max_proposals: int = 1000,
        missing_proposals: MissingProposals = "none",
        custom_classes: Sequence[int] | None = None,
        multilabel: bool = True,
        filename_tmpl: str = "img_{:05}.jpg",
        start_index: int = 1,
        fps: float | Path = 30,
        timestamp_start: float = 900,
        timestamp_end: float = 1800,
        bad_boxes: BoxPolicy = "repair",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        check_policy(bad_boxes)
        if timestamp_end <= timestamp_start:
            raise DataError(f"timestamp_end must be above timestamp_start ({timestamp_start:g}), got {timestamp_end:g}")
        self.filename_tmpl, self.start_index = filename_tmpl, start_index
        self.span = timestamp_start, timestamp_end
        self.rates = read_rates(fps) if isinstance(fps, Path) else float(fps)
        table = read_table(ann_file)
        table = evolve(table, keys=tuple(self.located(table.keys, data_root)))
        names, columns = _columns(label_file, custom_classes)
        excluded = frozenset() if exclude_file is None else read_excluded(exclude_file)
        known = _key_frames(ann_file, table, names, columns, excluded, bad_boxes, multilabel)
        videos = list(dict.fromkeys(video for video, _ in known.keys))
        proposals = None
        if proposal_file is not None:
            proposals, note = choose(
                proposal_file,
                self.proposals_of(read_proposals(proposal_file)),
                [self.proposal_key(key) for key in known.keys],
                person_det_score_thr,
                num_max_proposals,
            )
            known.notes.append(note)
        paths = dict(zip(videos, find_videos(data_root, videos), strict=True))
        super().__init__(known, names, paths, proposals, missing_proposals, indices)

    @staticmethod
    def located(keys: Sequence[Key], data_root: Path | None) -> Sequence[Key]:
        """Return the key frames with the names of their videos below ``data_root``."""
        return keys

    def proposals_of(self, proposals: Proposals) -> Proposals:
        """Return proposals by ``proposal_key``."""
        return proposals

    def proposal_key(self, key: Key) -> Key:
        """Return the name of a key frame in files of proposals."""
        return key

    def part(self, video: str) -> tuple[float, float]:
        """Return the seconds at which the file of a video begins, and at which its annotated part ends."""
        return self.span

    def facts(self, video: str, time: float) -> dict[str, Any]:
        """Return what ``SampleAVAFrames`` needs."""
        start, end = self.part(video)
        rate = self.rates if isinstance(self.rates, float) else self.rates.get(video)
        if rate is None:
            raise UserError(f"the table of frame rates does not list the video {video}")
        meta = {"timestamp": time, "timestamp_start": start, "timestamp_end": end}
        return {
            "fps": rate,
            "start_index": self.start_index if video in self._folders else 0,
            "filename_tmpl": self.filename_tmpl,
            "meta": {**meta, "shot_info": (0, int((end - start) * rate))},
        }


class AVAKineticsDataset(AVADataset):
    """Key frames of AVA-Kinetics: those of AVA, and one of each of many clips of Kinetics.

    A clip is named ``id_start_end`` after its seconds in the original video, in which key frames are counted. Rows may
    have this name, or the id alone: the clip that holds the key frame is found among the files. Arguments are those of
    ``AVADataset``.
    """

    @staticmethod
    def located(keys: Sequence[Key], data_root: Path | None) -> Sequence[Key]:
        """Return the key frames with the names of the clips that hold them."""
        wanted = {video for video, _ in keys}
        clips: dict[str, list[str]] = {}
        for _, folders, files in os.walk(data_root) if data_root is not None else ():
            for name in (*(os.path.splitext(file)[0] for file in files), *folders):
                clip = CLIP.fullmatch(name)
                if clip is not None and clip["id"] in wanted:
                    clips.setdefault(clip["id"], []).append(name)
            folders[:] = [name for name in folders if not CLIP.fullmatch(name) and name not in wanted]
        return [(_holding(clips.get(video, []), time) or video, time) for video, time in keys]

    def part(self, video: str) -> tuple[float, float]:
        """Return the seconds of a clip, or those of AVA's movies."""
        clip = CLIP.fullmatch(video)
        return self.span if clip is None else (float(clip["start"]), float(clip["end"]))

    def proposal_key(self, key: Key) -> Key:
        """Return the key frame with the name of the video alone, as files of proposals have it."""
        clip = CLIP.fullmatch(key[0])
        return key if clip is None else (clip["id"], key[1])

    def proposals_of(self, proposals: Proposals) -> Proposals:
        """Return proposals by the name of the video alone."""
        return {self.proposal_key(key): rows for key, rows in proposals.items()}


def _holding(clips: Sequence[str], time: float) -> str | None:
    """Return the clip with this second of its video."""
    for name in sorted(clips):
        clip = CLIP.fullmatch(name)
        if clip is not None and float(clip["start"]) <= time <= float(clip["end"]):
            return name
    return None


def _columns(label_file: Path | None, custom_classes: Sequence[int] | None) -> tuple[tuple[str, ...], Array]:
    """Return the names of the classes, and the class of each number of the table: -1 for one that is not used."""
    listed = dict(enumerate(AVA_CLASSES, 1)) if label_file is None else read_label_map(label_file)
    by_id = names_by_id(listed)
    if custom_classes is None:
        return by_id, np.concatenate(([-2], np.arange(len(by_id))))
    chosen = [int(n) for n in custom_classes]
    if unknown := [n for n in chosen if n not in listed]:
        where = "AVA" if label_file is None else str(label_file)
        raise DataError(f"custom_classes: {where} has no class {some([str(n) for n in unknown])}")
    if not chosen or chosen != sorted(set(chosen)):
        raise DataError(f"custom_classes must be ascending numbers, got {list(custom_classes)}")
    columns = np.full(len(by_id) + 1, -1)
    columns[chosen] = np.arange(len(chosen))
    return tuple(listed[n] for n in chosen), columns


def _key_frames(
    file: Path,
    table: AVATable,
    names: Sequence[str],
    columns: Array,
    excluded: frozenset[Key],
    policy: BoxPolicy,
    multilabel: bool,
) -> KeyFrames:
    if not table.keys:
        raise DataError(f"annotation file {file} has no key frames")
    high = table.actions >= len(columns)
    if high.any():
        i = int(np.argmax(high))
        raise AnnotationError(
            f"{file}:{table.lines[i]}: action {table.actions[i]} has no name: the classes are 1 to {len(columns) - 1}"
        )
    notes = []
    boxes, kept, problems = check_boxes(file, table.lines, table.boxes, policy)
    notes += problems
    labels = columns[table.actions]
    if not (labels >= 0).any() and len(labels):
        raise DataError(f"{file}: no box has one of the classes {some(list(names), 5)}")
    kept &= labels >= 0
    included = np.array([key not in excluded for key in table.keys])
    if excluded and included.all():
        notes.append(f"none of the {len(excluded)} excluded key frames is in {file}")
    number = np.where(included, np.cumsum(included) - 1, -1)
    frames = number[table.frames]
    kept &= frames >= 0
    frames, boxes, persons, actions, repeated = group_rows(
        frames[kept], boxes[kept], table.last[kept].astype(np.int64), labels[kept]
    )
    if repeated:
        notes.append(f"{file}: {repeated} rows repeat another one")
    counts = np.diff(actions.offsets)
    if not multilabel and (counts > 1).any():
        i = int(np.argmax(counts > 1))
        video, time = [key for key in table.keys if key not in excluded][int(frames[i])]
        raise AnnotationError(
            f"{file}: {video}, second {time:g}: a person has {counts[i]} actions, which multilabel = false refuses"
        )
    keys = [key for key, use in zip(table.keys, included.tolist(), strict=True) if use]
    return KeyFrames(keys, frames, boxes, persons, actions, notes)


def read_rates(file: Path) -> dict[str, float]:
    """Return frames per second by video, from a table with the header ``video,fps``."""
    import csv

    from vidcore.data.fields import positive_number
    from vidcore.data.text import read_text

    rows = list(csv.reader(read_text(file, "table of frame rates").splitlines()))
    if not rows or [cell.strip() for cell in rows[0]] != ["video", "fps"]:
        raise AnnotationError(f"{file}:1: the header must be video,fps")
    found = {}
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 2:
            raise AnnotationError(f"{file}:{line}: needs a video and its frame rate, got {row}")
        try:
            found[row[0].strip()] = positive_number(f"{file}:{line}", float(row[1]))
        except ValueError as error:
            raise AnnotationError(f"{file}:{line}: {error}") from None
    return found
