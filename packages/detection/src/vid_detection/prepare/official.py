"""Conversion of official downloads to what ``AVADataset``, ``AVAKineticsDataset`` and ``TubeDataset`` read."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from vid_detection.act import TubeTruth, read_pickled, read_tubes, write_tubes
from vid_detection.ava import Key, read_excluded, read_table
from vid_detection.datasets.ava import AVAKineticsDataset
from vid_detection.datasets.places import find_videos
from vid_detection.tubes import Tubes
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError, VideoError, some
from vidcore.files import write_csv, write_text
from vidcore.tools.progress import progress_bar
from vidcore.video.open import open_video

__all__ = ["Prepared", "prepare_ava", "prepare_ava_kinetics", "prepare_tubes", "prepare_ucf24"]

AVA_VIDEOS = {"train": 235, "val": 64}
UCF24_CLASSES = (
    "Basketball",
    "BasketballDunk",
    "Biking",
    "CliffDiving",
    "CricketBowling",
    "Diving",
    "Fencing",
    "FloorGymnastics",
    "GolfSwing",
    "HorseRiding",
    "IceDancing",
    "LongJump",
    "PoleVault",
    "RopeClimbing",
    "SalsaSpin",
    "SkateBoarding",
    "Skiing",
    "Skijet",
    "SoccerJuggling",
    "Surfing",
    "TennisSwing",
    "TrampolineJumping",
    "VolleyballSpiking",
    "WalkingWithDog",
)
"""Classes of UCF101-24 by number: their names, sorted."""
FACTS = ("video", "path", "frames", "fps", "seconds", "timestamp_start")


@frozen
class Prepared:
    """Files that were written, and notes for the user."""

    files: list[Path] = field(factory=list)
    notes: list[str] = field(factory=list)


def _needed(folder: Path, pattern: str, what: str) -> Path:
    """Return the last file that matches, at any depth."""
    found = sorted(folder.rglob(pattern))
    if not found:
        raise DataError(f"{folder}: has no {what}")
    return found[-1]


def prepare_ava(folder: Path, output: Path, videos: Path | None = None) -> Prepared:
    """AVA: ``ava_{train,val}_v2.x.csv``, of the newest version, with excluded key frames and lists of classes.

    Writes ``ava_train.csv`` and ``ava_val.csv`` without excluded key frames and repeated rows; with ``videos``, without
    videos that have no file, too, and ``videos.csv`` with what the files say.
    """
    made = Prepared()
    output.mkdir(parents=True, exist_ok=True)
    newest = _needed(folder, "ava_train_v2.?.csv", "ava_train_v2.2.csv").stem.rpartition("_")[2]
    made.notes.append(f"AVA {newest}")
    starts: set[int] = set()
    facts: list[Sequence[object]] = []
    for split, expected in AVA_VIDEOS.items():
        table = _needed(folder, f"ava_{split}_{newest}.csv", f"ava_{split}_{newest}.csv")
        excluded = sorted(folder.rglob(f"ava_{split}_excluded_timestamps_{newest}.csv"))
        rows = _rows(table)
        names = list(dict.fromkeys(video for (video, _), _ in rows))
        if len(names) != expected:
            made.notes.append(f"{split}: {len(names)} of the {expected} videos of AVA are annotated")
        present = None if videos is None else _present(videos, names, output / f"missing_{split}.txt", split, made)
        if present is not None:
            latest = {video: time for (video, time), _ in sorted(rows)}
            found = _facts(present, latest, made)
            starts |= {int(str(row[-1])) for row in found}
            facts += found
            present = {str(row[0]): str(row[1]) for row in found}
        left_out = read_excluded(excluded[-1]) if excluded else frozenset()
        _write_rows(output / f"ava_{split}.csv", rows, left_out, present, split, made)
    if facts:
        write_csv(output / "videos.csv", [FACTS, *facts])
        made.files.append(output / "videos.csv")
        told = " and ".join(str(start) for start in sorted(starts))
        made.notes.append(f"files begin at second {told} of the movies: timestamp_start of AVADataset")
        if len(starts) > 1:
            made.notes.append("some files are uncut movies and others their cut parts: use one kind")
    _copy_lists(folder, output, made)
    return made


def prepare_ava_kinetics(folder: Path, output: Path, videos: Path | None = None) -> Prepared:
    """AVA-Kinetics: ``ava_{train,val}_v2.2.csv`` and ``kinetics_{train,val}_v1.0.csv`` become one table each.

    Rows keep their seconds; with ``videos``, rows of Kinetics get the name of the clip that holds them. Repeated rows
    are written once.
    """
    made = Prepared()
    output.mkdir(parents=True, exist_ok=True)
    for split in AVA_VIDEOS:
        ava = _needed(folder, f"ava_{split}_v2.2.csv", f"ava_{split}_v2.2.csv")
        kinetics = _needed(folder, f"kinetics_{split}_v1.0.csv", f"kinetics_{split}_v1.0.csv")
        excluded = sorted(folder.rglob(f"ava_{split}_excluded_timestamps_v2.2.csv"))
        rows = [*_rows(ava), *_rows(kinetics)]
        present = None
        if videos is not None:
            keys = AVAKineticsDataset.located([key for key, _ in rows], videos)
            rows = [(key, [key[0], *cells[1:]]) for key, (_, cells) in zip(keys, rows, strict=True)]
            names = list(dict.fromkeys(video for video, _ in keys))
            present = _present(videos, names, output / f"missing_{split}.txt", split, made)
        left_out = read_excluded(excluded[-1]) if excluded else frozenset()
        _write_rows(output / f"ava_kinetics_{split}.csv", rows, left_out, present, split, made)
    _copy_lists(folder, output, made)
    return made


Row = tuple[Key, list[str]]


def _rows(table: Path) -> list[Row]:
    """Return key frame and cells of each row, after checking all of them."""
    read_table(table)
    cells = [[c.strip() for c in row] for row in csv.reader(read_text(table).splitlines()) if row]
    return [((row[0], round(float(row[1]), 6)), row) for row in cells]


def _present(videos: Path, names: Sequence[str], missing: Path, split: str, made: Prepared) -> dict[str, str]:
    """Return the paths of the videos that are there, and write the names of the others."""
    if not videos.is_dir():
        raise DataError(f"--videos {videos}: does not exist")
    found = dict(zip(names, find_videos(videos, names), strict=True))
    present = {name: path for name, path in found.items() if path is not None and Path(path).exists()}
    if not present:
        raise DataError(f"--videos {videos}: has none of the {len(names)} videos, for example {names[0]}")
    lost = [name for name in names if name not in present]
    made.notes.append(f"{split}: {len(present)} of {len(names)} videos are there")
    if lost:
        write_text(missing, "".join(f"{name}\n" for name in lost))
        made.files.append(missing)
    return present


def _facts(present: Mapping[str, str], latest: Mapping[str, float], made: Prepared) -> list[Sequence[object]]:
    """Return what each file says: (video, path, frames, fps, seconds, second at which it begins)."""
    out: list[Sequence[object]] = []
    for name, path in progress_bar(list(present.items()), "reading videos"):
        if Path(path).is_dir():
            out.append((name, path, "", "", "", 900))
            continue
        try:
            with open_video(path) as reader:
                frames, fps = len(reader), reader.fps or 0.0
        except VideoError as error:
            made.notes.append(f"left out: {error}")
            continue
        seconds = frames / fps if fps else 0.0
        start = 0 if seconds > 1000 else 900  # the cut part lasts 900 s
        if start + seconds < latest[name]:
            made.notes.append(
                f"{path}: ends at second {start + seconds:.0f}, before its last key frame {latest[name]:g}"
            )
        out.append((name, path, frames, round(fps, 6), round(seconds, 3), start))
    return out


def _write_rows(
    file: Path,
    rows: Iterable[Row],
    excluded: frozenset[Key],
    present: Mapping[str, str] | None,
    split: str,
    made: Prepared,
) -> None:
    listed = list(rows)
    kept = [(k, r) for k, r in listed if k not in excluded and (present is None or k[0] in present)]
    unique = list(dict.fromkeys(tuple(row) for _, row in kept))
    if not unique:
        raise DataError(f"{file.name}: no row of {split} remains")
    write_csv(file, unique)
    made.files.append(file)
    frames = {key for key, _ in kept}
    lost = {key for key, _ in listed} - frames - excluded
    told = f"{split}: {len(unique):,} rows, {len(frames):,} key frames"
    if lost:
        told += f"; {len(lost):,} key frames are left out, as their videos are missing"
    if repeated := len(kept) - len(unique):
        told += f"; {repeated:,} repeated rows are written once"
    made.notes.append(told)


def _copy_lists(folder: Path, output: Path, made: Prepared) -> None:
    """Copy the lists of classes, without the version in their names."""
    for pattern, name in (
        ("ava_action_list_v2.?.pbtxt", "classes_80.pbtxt"),
        ("ava_action_list_v2.?_for_activitynet*.pbtxt", "classes_60.pbtxt"),
    ):
        if found := sorted(folder.rglob(pattern)):
            shutil.copyfile(found[-1], output / name)
            made.files.append(output / name)


def prepare_tubes(name: str, pickle: Path, output: Path, classes: Mapping[int, str], videos: Path | None) -> Prepared:
    """Check a pickle of tubes, and write it as ``NAME.npz``, which loads faster and holds no code.

    Args:
        name: of the dataset.
        pickle: in ACT's format.
        output: folder to write to.
        classes: dataset by its number of classes.
        videos: folder of the videos or folders of frames; missing ones are listed.
    """
    return _write_truth(name, read_pickled(pickle), output, classes, videos)


def prepare_ucf24(folder: Path, output: Path, videos: Path | None) -> Prepared:
    """UCF101-24: ``UCF101v2-GT.pkl`` in ACT's format, or the corrected ``pyannot.pkl`` with ``trainlist01.txt``."""
    if ready := sorted(folder.rglob("UCF101v2-GT.pkl")):
        return prepare_tubes("ucf101-24", ready[-1], output, {24: "UCF101-24"}, videos)
    pickle = _needed(folder, "pyannot.pkl", "UCF101v2-GT.pkl or pyannot.pkl")
    content = read_pickled(pickle, keys=())
    splits = {}
    for part in ("train", "test"):
        file = _needed(folder, f"{part}list*01.txt", f"{part}list01.txt")
        lines = [line.split()[0] for line in read_text(file).splitlines() if line.strip()]
        splits[f"{part}_videos"] = [[line.removesuffix(".avi") for line in lines]]
    if any("/" not in video for video in content):
        raise AnnotationError(f"{pickle}: names of videos must be Class/name, got {some(list(content)[:3])}")
    tubes: dict[str, dict[int, list[Any]]] = {}
    for video, entry in content.items():
        tubes[video] = {}
        for i, one in enumerate(entry["annotations"]):
            where = f"{pickle}: {video}: annotation {i}"
            boxes = np.asarray(one["boxes"]).astype(np.float64)  # stored in 8 bits: x + w must not overflow
            if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) != one["ef"] - one["sf"]:
                raise AnnotationError(f"{where}: needs {one['ef'] - one['sf']} rows of x, y, w, h, got {boxes.shape}")
            corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)
            frames = np.arange(one["sf"], one["ef"]) + 1
            tubes[video].setdefault(int(one["label"]), []).append(np.column_stack((frames, corners)))
    known = {
        "labels": list(UCF24_CLASSES),
        "gttubes": tubes,
        "nframes": {video: int(entry["numf"]) for video, entry in content.items()},
        "resolution": dict.fromkeys(content, (240, 320)),
        **{part: [[v for v in listed[0] if v in content]] for part, listed in splits.items()},
    }
    made = _write_truth("ucf101-24", known, output, {24: "UCF101-24"}, videos)
    for part, listed in splits.items():
        if lost := [video for video in listed[0] if video not in content]:
            told = f"{len(lost)} of {len(listed[0])} videos of {part} have no corrected truth: {some(lost, 3)}"
            made.notes.append(told)
    return made


def _write_truth(
    name: str, content: Mapping[str, Any], output: Path, classes: Mapping[int, str], videos: Path | None
) -> Prepared:
    made = Prepared()
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{name}.npz"
    write_tubes(file, content)
    count = len(content["labels"])
    made.notes.append(f"{count} classes: {classes.get(count, 'not a number of classes of ' + name)}")
    for subset in ("train", "test"):
        for split in range(1, len(content[f"{subset}_videos"]) + 1):
            if content[f"{subset}_videos"][split - 1]:
                _tell(read_tubes(file, subset, split), f"{subset}, split {split}", made)
    names = list(content["gttubes"])
    if videos is not None:
        _present(videos, names, output / "missing.txt", "all", made)
    write_text(output / "classes.txt", "".join(f"{label}\n" for label in content["labels"]))
    made.files[:0] = [file, output / "classes.txt"]
    return made


def _tell(truth: TubeTruth, which: str, made: Prepared) -> None:
    tubes: Tubes = truth.tubes
    frames = len({*zip(np.repeat(tubes.videos, tubes.lengths).tolist(), tubes.frames.tolist(), strict=True)})
    made.notes.append(
        f"{which}: {len(truth.videos):,} videos, {len(tubes):,} tubes, {len(tubes.frames):,} boxes; "
        f"{frames:,} of {int(truth.counts.sum()):,} frames have truth, the others are background"
    )
    made.notes.extend(f"{which}: {problem}" for problem in truth.problems())
