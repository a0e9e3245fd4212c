"""Frames of annotated tubes: MultiSports (arXiv:2105.07404), JHMDB and UCF101-24 in ACT's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vid_detection.act import TubeTruth, read_tubes
from vid_detection.datasets.keyframes import KeyFrameDataset, KeyFrames, MissingProposals, group_rows
from vid_detection.datasets.places import find_videos
from vid_detection.datasets.proposals import Proposals, choose, read_proposals
from vidcore.errors import DataError

__all__ = ["TubeDataset"]


class TubeDataset(KeyFrameDataset):
    """Frames of videos with tubes of actions: MultiSports, JHMDB, UCF101-24.

    Each frame with a true box is a key frame, and with ``background`` all others, too. Keys are ``video,frame``; frames
    count from 1. Videos are files or folders of frames below ``data_root``, under their names in the file
    (``Class/name``).

    Args:
        ann_file: ``multisports_GT.pkl``, ``JHMDB-GT.pkl``, ``UCF101v2-GT.pkl``. No code in it is run.
        data_root: folder of the videos or folders of frames.
        subset: ``train`` or ``test`` (for MultiSports, validation).
        split: from 1.
        background: frames without true boxes are key frames, too.
        every: use every Nth frame, from the first.
        proposal_file: boxes of a detector in each frame (pickle, JSON or CSV), by ``video,frame``; names of videos may
            lack the folder; default: none.
        person_det_score_thr: least score of a proposal; if no proposal of a frame has it, its best one remains.
        num_max_proposals: proposals of a frame, the first.
        missing_proposals: what frames without proposals get: ``none``, one box around the ``whole`` picture, or the
            ``truth``; without ``proposal_file`` this is all of them.
        filename_tmpl: names of frame files; JHMDB has ``{:05}.png``.
        start_index: number of the first frame file.
        fps: frames per second of folders of frames.
        indices: use the first n frames (n >= 0), the last -n (n < 0), or those listed.

    Raises:
        AnnotationError: an entry of the file is not valid.
        DataError: a file does not exist, or proposals belong to other videos.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        subset: Literal["train", "test"] = "train",
        split: int = 1,
        background: bool = False,
        every: int = 1,
        proposal_file: Path | None = None,
        person_det_score_thr: float = 0.05,
        num_max_proposals: int = 1000,
        missing_proposals: MissingProposals = "none",
        filename_tmpl: str = "{:05}.jpg",
        start_index: int = 1,
        fps: float = 25,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if every < 1:
            raise DataError(f"every must be at least 1, got {every}")
        self.filename_tmpl, self.start_index, self.fps = filename_tmpl, start_index, fps
        truth = read_tubes(ann_file, subset, split)
        known = _key_frames(truth, background, every)
        if not known.keys:
            raise DataError(f"{ann_file}: no video of {subset} split {split} has a frame with a box")
        self._sizes = dict(zip(truth.videos, map(tuple, truth.sizes.tolist()), strict=True))
        self._counts = dict(zip(truth.videos, truth.counts.tolist(), strict=True))
        proposals = None
        if proposal_file is not None:
            proposals, note = choose(
                proposal_file,
                _with_folders(read_proposals(proposal_file), truth.videos),
                known.keys,
                person_det_score_thr,
                num_max_proposals,
            )
            known.notes.append(note)
        paths = dict(zip(truth.videos, find_videos(data_root, truth.videos), strict=True))
        super().__init__(known, truth.class_names, paths, proposals, missing_proposals, indices)

    def facts(self, video: str, time: float) -> dict[str, Any]:
        """Return what ``SampleAVAFrames`` and metrics of tubes need."""
        folder = video in self._folders
        frame, size = int(time) - 1, self._sizes[video]
        return {
            "fps": self.fps if folder else None,
            "start_index": self.start_index if folder else 0,
            "filename_tmpl": self.filename_tmpl,
            "meta": {"frame": frame, "size": size, "shot_info": (0, self._counts[video])},
        }


def _key_frames(truth: TubeTruth, background: bool, every: int) -> KeyFrames:
    """Return the key frames; boxes behind the last frame, and those that are empty, are left out."""
    tubes = truth.tubes
    of = np.repeat(np.arange(len(tubes)), tubes.lengths)
    video = tubes.videos[of]
    boxes = np.clip(tubes.boxes / truth.sizes[video][:, [1, 0, 1, 0]], 0, 1)
    used = (tubes.frames <= truth.counts[video]) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    used &= (tubes.frames - 1) % every == 0
    stride = int(truth.counts.max(initial=0)) + 1
    places = video * stride + tubes.frames
    if background:
        all_frames = [v * stride + np.arange(1, n + 1, every) for v, n in enumerate(truth.counts.tolist())]
        listed = np.concatenate(all_frames or [np.zeros(0, np.int64)])
    else:
        listed = np.unique(places[used])
    frames, boxes, persons, actions, repeated = group_rows(
        np.searchsorted(listed, places[used]), boxes[used], of[used], tubes.labels[of[used]]
    )
    notes = truth.problems()
    if repeated:
        notes.append(f"{repeated} boxes repeat another one")
    keys = [(truth.videos[place // stride], float(place % stride)) for place in listed.tolist()]
    return KeyFrames(keys, frames, boxes, persons, actions, notes)


def _with_folders(proposals: Proposals, videos: Sequence[str]) -> Proposals:
    """Return proposals by the full names of videos, which files of proposals shorten to their last part."""
    full: dict[str, str] = {}
    for video in videos:
        full.setdefault(video.rpartition("/")[2], video)
    known = set(videos)
    return {(v if v in known else full.get(v, v), time): rows for (v, time), rows in proposals.items()}
