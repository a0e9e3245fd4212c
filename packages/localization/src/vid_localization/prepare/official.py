"""Conversion of official downloads to annotation files of ``ActivityNetDataset`` and ``CharadesSTADataset``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from vid_localization.datasets.annotations import AMBIGUOUS, Video, read_videos
from vid_localization.datasets.charades import CharadesSTADataset
from vid_localization.datasets.words import split_words
from vidcore.data.fields import finite_number, positive_number
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError, VideoError
from vidcore.files import write_json, write_text
from vidcore.tools.progress import progress_bar
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = [
    "Prepared",
    "activitynet_videos",
    "facts_of_file",
    "find_files",
    "hacs_videos",
    "prepare_charades",
    "thumos_videos",
    "write_parts",
]

PARTS = {
    "train": {"training"},
    "val": {"validation"},
    "test": {"testing"},
    "trainval": {"training", "validation"},
}
"""Files, and the subsets that each one contains."""
CHARADES_TABLES = ("Charades_duration.json", "Charades_fps_dict.json", "Charades_frames_info.json")


@frozen
class Prepared:
    """Files that were written, and notes for the user."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def activitynet_videos(folder: Path) -> list[Video]:
    """ActivityNet 1.3: ``activity_net.v1-3.min.json``, or ``anet_anno_action.json`` with ``video_info_new.csv``.

    The second pair comes with rescaled features, and has the number of frames that these cover.
    """
    table, actions = folder / "video_info_new.csv", folder / "anet_anno_action.json"
    if table.is_file() and actions.is_file():
        known = {video.name: video for video in read_videos(actions)}
        return [_with_facts(known, row, table) for row in _rows(table, ("video", "numFrame", "seconds", "subset"))]
    official = sorted(folder.glob("activity_net.v1-*.json"))
    if not official:
        raise DataError(f"{folder}: needs activity_net.v1-3.min.json, or anet_anno_action.json and video_info_new.csv")
    return [evolve(video, name=f"v_{video.name}") for video in read_videos(official[-1])]


def hacs_videos(folder: Path) -> list[Video]:
    """HACS Segments: ``HACS_segments_v1.1.1.json``, at any depth."""
    found = sorted(folder.rglob("HACS_segments_v*.json"))
    if not found:
        raise DataError(f"{folder}: has no HACS_segments_v1.1.1.json")
    return [evolve(video, name=f"v_{video.name}") for video in read_videos(found[-1])]


def thumos_videos(folder: Path) -> list[Video]:
    """THUMOS'14: a table per class, ``BaseballPitch_val.txt``, at any depth.

    Lines are ``video_validation_0000266 72.8 76.4``. Ambiguous segments keep their label, which is not a class.
    """
    videos: dict[str, Video] = {}
    tables = [p for p in sorted(folder.rglob("*_*.txt")) if p.stem.endswith(("_val", "_test"))]
    for file in tables:
        label, _, part = file.stem.rpartition("_")
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if not line.strip():
                continue
            if len(words := line.split()) != 3:
                raise AnnotationError(f"{file}:{number}: must be 'video start end', got {line!r}")
            name, *times = words
            start, end = (finite_number(f"{file}:{number}", time) for time in times)
            subset = {"val": "validation", "test": "testing"}[part]
            video = videos.setdefault(name, Video(name, subset=subset))
            video.segments.append((start, end))
            video.labels.append(label)
    if not videos:
        raise DataError(f"{folder}: has no tables like BaseballPitch_val.txt and BaseballPitch_test.txt")
    return [videos[name] for name in sorted(videos)]


def write_parts(
    prefix: str, videos: Iterable[Video], output: Path, files: Mapping[str, Path] | None = None
) -> Prepared:
    """Write ``<prefix>_train.json``, ``_val``, ``_test``, ``_trainval`` and ``_full``, and ``classes.txt``.

    Args:
        prefix: prefix of the file names.
        videos: videos with ``subset``.
        output: folder to write to.
        files: files by the name of the video; videos without one are left out. Default: keep all.

    Raises:
        DataError: no video is left.
    """
    kept, missing = [], 0
    for video in videos:
        if files is not None and video.name not in files and video.name.removeprefix("v_") not in files:
            missing += 1
        else:
            kept.append(video)
    if not kept:
        none = f"none of the {missing} annotated videos has a file; files must be named after their video"
        raise DataError(none if missing else "the annotations have no videos")
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for part, subsets in (*PARTS.items(), ("full", None)):
        entries = {v.name: _entry(v) for v in kept if subsets is None or v.subset in subsets}
        if entries:
            written.append(output / f"{prefix}_{part}.json")
            write_json(written[-1], entries)
    classes = sorted({label for video in kept for label in video.labels} - {AMBIGUOUS})
    written.append(output / "classes.txt")
    write_text(written[-1], "".join(f"{name}\n" for name in classes))
    notes = [f"{missing} of {missing + len(kept)} videos have no file and are left out"] if missing else []
    return Prepared(tuple(written), tuple(notes))


def find_files(folder: Path, suffixes: Sequence[str] = ()) -> dict[str, Path]:
    """Files below a folder by name without suffix.

    Args:
        suffixes: only files with one of these; default: all files.

    Raises:
        DataError: there are no files.
    """
    files = (p for p in sorted(folder.rglob("[!.]*")) if p.is_file())
    found = {p.stem: p for p in files if not suffixes or p.suffix.lower() in suffixes}
    if not found:
        raise DataError(f"{folder}: has no {'videos' if suffixes else 'files'}")
    return found


def facts_of_file(video: Video, path: Path) -> Video:
    """The video with duration, number of frames and frame rate of its file. Raises ``VideoError``, naming the file."""
    from vidcore.video.open import open_video

    with open_video(path) as reader:
        frames, fps = len(reader), reader.fps
    if not fps or not frames:
        raise VideoError(path, "has no frame rate or no frames")
    return evolve(video, duration_second=frames / fps, duration_frame=frames, fps=fps)


def prepare_charades(folder: Path, output: Path, videos: Path | None) -> Prepared:
    """Write the lists and tables of Charades-STA; make the tables that are missing.

    Args:
        folder: has ``charades_sta_train.txt`` and ``charades_sta_test.txt`` (or ``Charades_sta_...``), and some or
            all of the tables.
        output: folder to write to.
        videos: folder of the videos, from which missing tables of durations, frame rates and frames are made.

    Raises:
        DataError: a list is missing, or tables are missing and ``videos`` is None.
    """
    lists = {part: _first(folder, f"*harades_sta_{part}.txt") for part in ("train", "test")}
    lines = {part: [x for x in read_text(path).splitlines() if x.strip()] for part, path in lists.items()}
    tables = {name: folder / name for name in CHARADES_TABLES}
    output.mkdir(parents=True, exist_ok=True)
    written = []

    def write(name: str, content: str) -> None:
        written.append(output / name)
        write_text(written[-1], content)

    for part, listed in lines.items():
        write(f"Charades_sta_{part}.txt", "\n".join(listed) + "\n")
    if all(path.is_file() for path in tables.values()):
        for name, path in tables.items():
            write(name, read_text(path))
    elif videos is None:
        missing = [name for name, path in tables.items() if not path.is_file()]
        raise DataError(f"{folder}: {', '.join(missing)} missing; add --videos to make them from the videos")
    else:
        for name, table in zip(CHARADES_TABLES, _measured(lines, find_files(videos, VIDEO_SUFFIXES)), strict=True):
            write(name, json.dumps(table))
    words = folder / "Charades_word2id.json"
    if words.is_file():
        write(words.name, read_text(words))
    else:
        occurring = {word for part in lines.values() for line in part for word in split_words(line.partition("##")[2])}
        write(words.name, json.dumps({word: i for i, word in enumerate(sorted(occurring), 1)}, ensure_ascii=False))
    duration, fps, frames = (output / name for name in CHARADES_TABLES)
    for part in lines:  # report errors now, not when training starts
        CharadesSTADataset(output / f"Charades_sta_{part}.txt", output / words.name, fps, duration, frames, 16, 0.5)
    return Prepared(tuple(written))


def _measured(lines: Mapping[str, list[str]], files: Mapping[str, Path]) -> list[dict[str, float]]:
    """The tables of durations, frame rates and numbers of frames, from the files of the videos."""
    names = sorted({line.split()[0] for part in lines.values() for line in part})
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(f"{len(missing)} of {len(names)} videos have no file, for example {missing[0]}")
    found = [facts_of_file(Video(name), files[name]) for name in progress_bar(names, "reading videos")]
    return [{v.name: getattr(v, key) for v in found} for key in ("duration_second", "fps", "duration_frame")]


def _first(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(f"{folder}: has no file like {pattern.replace('*h', 'Ch')}")
    return found[0]


def _rows(file: Path, needed: tuple[str, ...]) -> Iterable[dict[str, str]]:
    table = csv.DictReader(read_text(file).splitlines())
    missing = [name for name in needed if name not in (table.fieldnames or ())]
    if missing:
        raise AnnotationError(f"{file}:1: the column {missing[0]} is missing")
    yield from table


def _with_facts(known: Mapping[str, Video], row: Mapping[str, str], file: Path) -> Video:
    name = row["video"]
    columns = {"duration_second": "seconds", "duration_frame": "numFrame"}
    columns |= {fact: column for fact, column in (("feature_frame", "featureFrame"), ("fps", "fps")) if row.get(column)}
    facts: dict[str, Any] = {fact: positive_number(f"{file}: {name}: {c}", row[c]) for fact, c in columns.items()}
    return evolve(known.get(name, Video(name)), subset=row["subset"], **facts)


def _entry(video: Video) -> dict[str, Any]:
    numbers = {name: getattr(video, name) for name in ("duration_second", "duration_frame", "feature_frame", "fps")}
    whole = {name: int(v) if v == int(v) and name.endswith("frame") else v for name, v in numbers.items() if v == v}
    return {
        **whole,
        **({"subset": video.subset} if video.subset else {}),
        "annotations": [
            {"segment": list(segment), "label": label}
            for segment, label in zip(video.segments, video.labels, strict=True)
        ],
    }
