"""Truth of tube data sets as ACT (Kalogeiton et al. 2017) writes it: JHMDB, UCF101-24 and MultiSports.

A pickle of a dictionary: ``labels``, ``gttubes`` (video -> class -> arrays of frame from 1, x1, y1, x2, y2 in pixels),
``nframes``, ``resolution`` (video -> height, width), ``train_videos`` and ``test_videos`` (a list of videos per split).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from attrs import frozen

from vid_detection.tubes import Tubes
from vidcore.data.classes import check_file
from vidcore.errors import AnnotationError, DataError, nearest
from vidcore.files import atomic_write, check_archive
from vidcore.pickles import UnsafeError, read_pickle
from vidcore.typing import Array

__all__ = ["TubeTruth", "read_pickled", "read_tubes", "write_tubes"]

KEYS = ("labels", "gttubes", "nframes", "resolution", "train_videos", "test_videos")
SPARE = 1 << 24
"""Bytes that a small file may hold beyond a hundred times its size."""


@frozen(eq=False)
class TubeTruth:
    """The annotated tubes of the videos of a split."""

    class_names: tuple[str, ...]
    videos: tuple[str, ...]
    """Names, as ``Class/name``."""
    tubes: Tubes
    """Boxes in pixels; videos are indices in ``videos``, frames count from 1."""
    sizes: Array
    """(videos, 2) int64 height and width."""
    counts: Array
    """(videos,) int64 number of frames."""

    def problems(self) -> list[str]:
        """Return a sentence about each kind of box that official files should not have."""
        of = np.repeat(self.tubes.videos, self.tubes.lengths)
        limit = self.sizes[of][:, [1, 0, 1, 0]]
        boxes = self.tubes.boxes
        found = []
        masks: tuple[tuple[Any, str], ...] = (
            (self.tubes.frames > self.counts[of], "lie behind the last frame of the video"),
            (((boxes < -1) | (boxes > limit + 1)).any(1), "reach out of the picture"),
            ((boxes[:, 2:] <= boxes[:, :2]).any(1), "are empty, or have swapped corners"),
        )
        for mask, problem in masks:
            if mask.any():
                i = int(np.argmax(mask))
                place = f"{self.videos[int(of[i])]}, frame {self.tubes.frames[i]}"
                found.append(f"{np.count_nonzero(mask)} of {len(mask)} true boxes {problem}, for example in {place}")
        return found


def write_tubes(file: Path, content: Mapping[str, Any]) -> None:
    """Write the content of a pickle as an ``.npz`` of plain arrays, which ``read_tubes`` reads.

    Args:
        file: to write; ends in ``.npz``.
        content: as described at the top of this module; checked by ``read_tubes``.
    """
    videos = [str(video) for video in content["gttubes"]]
    rows = [
        (v, label, tube)
        for v, video in enumerate(videos)
        for label, tubes in content["gttubes"][video].items()
        for tube in (np.asarray(one, np.float64).reshape(-1, 5) for one in tubes)
    ]
    number = {video: i for i, video in enumerate(videos)}
    splits = {
        f"{part}_{split}": np.array([number[video] for video in listed], np.int64)
        for part in ("train", "test")
        for split, listed in enumerate(content[f"{part}_videos"], 1)
    }
    with atomic_write(file) as stream:
        np.savez_compressed(
            stream,
            allow_pickle=False,
            labels=np.array([str(label) for label in content["labels"]], np.str_),
            videos=np.array(videos, np.str_),
            sizes=np.array([content["resolution"][video] for video in videos], np.int64).reshape(-1, 2),
            counts=np.array([content["nframes"][video] for video in videos], np.int64),
            tube_videos=np.array([v for v, _, _ in rows], np.int64),
            tube_labels=np.array([label for _, label, _ in rows], np.int64),
            offsets=np.cumsum([0, *(len(tube) for _, _, tube in rows)]),
            rows=np.concatenate([np.zeros((0, 5)), *(tube for _, _, tube in rows)]).astype(np.float32),
            **splits,
        )


def _unpacked(file: Path) -> dict[str, Any]:
    """Return the content of an ``.npz`` in the form of a pickle."""
    check_file(file, "annotation file")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            check_archive(arrays.zip, 100 * file.stat().st_size + SPARE)
            found = {name: arrays[name] for name in arrays.files}
        videos = found["videos"].tolist()
        tubes: dict[str, dict[int, list[Array]]] = {video: {} for video in videos}
        parts = np.split(found["rows"], found["offsets"][1:-1]) if len(found["tube_videos"]) else []
        for v, label, part in zip(found["tube_videos"].tolist(), found["tube_labels"].tolist(), parts, strict=True):
            tubes[videos[v]].setdefault(label, []).append(part)
        splits = {
            f"{part}_videos": [
                [videos[i] for i in found[name].tolist()]
                for name in sorted(found, key=lambda name: (len(name), name))
                if name.startswith(f"{part}_")
            ]
            for part in ("train", "test")
        }
        return {
            "labels": found["labels"].tolist(),
            "gttubes": tubes,
            "nframes": dict(zip(videos, found["counts"].tolist(), strict=True)),
            "resolution": dict(zip(videos, map(tuple, found["sizes"].tolist()), strict=True)),
            **splits,
        }
    except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
        raise AnnotationError(f"{file}: is damaged, or not a file of tubes: {error}") from None


def read_tubes(file: Path, subset: str | None = "test", split: int = 1) -> TubeTruth:
    """Read the tubes of one split.

    Args:
        file: the pickle, or what ``vidcore data prepare`` made of it. No code in it is run.
        subset: ``train`` or ``test``; None: all videos.
        split: from 1.

    Raises ``AnnotationError`` with the video and the class if an entry is not as described.
    """
    content = _unpacked(file) if file.suffix == ".npz" else read_pickled(file)
    names = tuple(str(name) for name in content["labels"])
    listed = _listed(file, content, subset, split)
    parts: list[Array] = []
    videos, labels = [], []
    for number, video in enumerate(listed):
        of_video = content["gttubes"].get(video)
        if not isinstance(of_video, Mapping):
            raise AnnotationError(f"{file}: gttubes has no tubes of {video!r}{nearest(video, content['gttubes'])}")
        for label, tubes in of_video.items():
            if not isinstance(label, int | np.integer) or not 0 <= label < len(names):
                raise AnnotationError(
                    f"{file}: gttubes[{video!r}] has class {label!r}, but there are {len(names)} labels"
                )
            for i, tube in enumerate(tubes):
                parts.append(_tube(f"{file}: gttubes[{video!r}][{label}][{i}]", tube))
                videos.append(number)
                labels.append(int(label))
    rows = np.concatenate(parts) if parts else np.zeros((0, 5))
    tubes = Tubes(
        np.array(videos, np.int64),
        np.array(labels, np.int64),
        np.ones(len(parts)),
        np.concatenate(([0], np.cumsum([len(p) for p in parts]))).astype(np.int64),
        rows[:, 0].astype(np.int64),
        rows[:, 1:],
        np.ones(len(rows)),
    )
    sizes = np.array([_size(file, content, video) for video in listed], np.int64).reshape(-1, 2)
    counts = np.array([_count(file, content, video) for video in listed], np.int64)
    return TubeTruth(names, tuple(listed), tubes, sizes, counts)


def read_pickled(file: Path, keys: Sequence[str] = KEYS) -> dict[str, Any]:
    """Return the dictionary in a pickle, of which no code is run.

    Args:
        file: the pickle.
        keys: that it must have.

    Raises ``AnnotationError`` if it is damaged, or has not these keys.
    """
    check_file(file, "annotation file")
    try:
        content = read_pickle(file, "latin1")
    except UnsafeError as error:
        raise AnnotationError(f"{file}: holds {error}, which is not read from pickles") from None
    except Exception as error:
        raise AnnotationError(f"{file}: is damaged, or not a pickle: {error}") from None
    if not isinstance(content, Mapping):
        raise AnnotationError(f"{file}: must hold a dictionary, got {type(content).__name__}")
    for key in keys:
        kind = list | tuple if key in ("labels", "train_videos", "test_videos") else Mapping
        if not isinstance(content.get(key), kind):
            raise AnnotationError(f"{file}: needs {key!r}, and has {', '.join(map(repr, content))[:200]}")
    return dict(content)


def _listed(file: Path, content: Mapping[str, Any], subset: str | None, split: int) -> list[str]:
    if subset is None:
        return [str(video) for video in content["gttubes"]]
    if subset not in ("train", "test"):
        raise DataError(f"subset must be train or test, got {subset!r}")
    splits = content[f"{subset}_videos"]
    if not 1 <= split <= len(splits):
        raise DataError(f"{file} has {len(splits)} splits, got split {split}")
    return [str(video) for video in splits[split - 1]]


def _tube(where: str, tube: Any) -> Array:
    try:
        rows = np.asarray(tube, np.float64)
    except (TypeError, ValueError):
        rows = np.zeros(0)
    if rows.ndim != 2 or rows.shape[1] != 5 or not len(rows):
        raise AnnotationError(f"{where}: must have rows of frame, x1, y1, x2, y2, got shape {np.shape(tube)}")
    if not np.isfinite(rows).all():
        raise AnnotationError(f"{where}: has a number that is not finite")
    frames = rows[:, 0]
    if (frames < 1).any() or (frames != np.floor(frames)).any() or (np.diff(frames) <= 0).any():
        raise AnnotationError(f"{where}: frames must count from 1 and ascend")
    return rows


def _size(file: Path, content: Mapping[str, Any], video: str) -> tuple[int, int]:
    size = content["resolution"].get(video)
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise AnnotationError(f"{file}: resolution[{video!r}] must be height and width, got {size!r}")
    return height, width


def _count(file: Path, content: Mapping[str, Any], video: str) -> int:
    count = content["nframes"].get(video)
    if not isinstance(count, int | np.integer) or not 1 <= count < 1 << 31:
        raise AnnotationError(f"{file}: nframes[{video!r}] must be a number of frames, got {count!r}")
    return int(count)
