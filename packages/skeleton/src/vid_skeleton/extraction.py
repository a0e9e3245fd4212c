"""Skeletons of many videos: each is kept in a file of its own until all are done, so that nothing is done twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vid_skeleton.files import Skeletons, SkeletonWriter, Track, read_skeletons, skeleton_writer
from vid_skeleton.graphs import LAYOUTS
from vidcore.errors import UserError
from vidcore.files import parse_json, write_json
from vidcore.jobs import Counts, each, run_files
from vidcore.locks import Lock
from vidcore.persons import Persons
from vidcore.predict.persons import FoundPersons, PersonFinder

__all__ = ["tracks_of", "write_all"]


def write_all(
    output: Path,
    videos: Sequence[Path],
    finder: PersonFinder,
    find: Callable[[Path], FoundPersons],
    settings: Mapping[str, str | None],
    overwrite: bool = False,
) -> Counts:
    """Write the skeletons of videos that are not yet in a file into it.

    While the work lasts, the folder ``FILE.parts`` beside it holds the videos that are done. Videos that fail are
    listed there, in ``failures.jsonl``.

    Args:
        output: the file.
        videos: files or folders of frames.
        finder: has the layout of joints.
        find: returns the persons in a video.
        settings: what the skeletons are made with: a run that was interrupted resumes with equal ones only.
        overwrite: replace the file, and what an interrupted run has made.

    Raises ``UserError`` if two videos have one name, the file or its joints do not fit, or the settings differ.
    """
    layout = LAYOUTS.get(finder.layout or "")
    if layout is None:
        known = ", ".join(LAYOUTS)
        raise UserError(f"joints of the layout {finder.layout!r} cannot be written; known are {known}")
    if output.suffix != ".npz":
        raise UserError(f"-o {output}: must end in .npz")
    named = _names(videos)
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    with Lock(parts / ".lock") as lock:
        if not lock.take():
            raise UserError(f"{output}: another process is writing it")
        overwrite = _begin(parts, settings, overwrite)
        old = read_skeletons(output) if output.exists() and not overwrite else None
        if old is not None and (old.joint_names, old.units, old.points.shape[2]) != (layout.names, "pixels", 2):
            raise UserError(
                f"{output}: has other joints than those of {finder.layout!r} in pixels; choose another file"
            )
        known_names = set() if old is None else {str(name) for name in old.names}

        def save(item: tuple[str, Path], found: FoundPersons) -> str:
            tracks = tracks_of(found.persons)
            with skeleton_writer(_part(parts, item[0]), layout.names, layout.inward) as writer:
                writer.add(item[0], len(found.times), tracks, found.size, found.fps)
            shown = f"{len(tracks)} person{'s' * (len(tracks) != 1)}" if tracks else "nobody"
            return f"{item[1]}: {shown} in {len(found.times)} frames"

        counts = run_files(
            named,
            make=each(lambda item: find(item[1])),
            save=save,
            done=lambda item: item[0] in known_names or _part(parts, item[0]).exists(),
            failures=parts,
            name=lambda item: item[1],
            title="skeletons",
            bar=False,
        )
        new = [file for name, _ in named if name not in known_names and (file := _part(parts, name)).exists()]
        if new:
            with skeleton_writer(
                output, layout.names, layout.inward, class_names=old.class_names if old else None
            ) as writer:
                for source in ([] if old is None else [old], map(read_skeletons, new)):
                    for skeletons in source:
                        _copy(skeletons, writer)
        for file in new:
            file.unlink()
    if not counts.bad:
        shutil.rmtree(parts)
    return counts


def tracks_of(persons: Persons) -> list[Track]:
    """Return the tracks of persons along a video, by identity; frames without the person have NaN for all joints."""
    assert persons.tracks is not None and persons.frames is not None
    assert persons.points is not None and persons.joint_scores is not None
    made = []
    for track in np.unique(persons.tracks).tolist():
        rows = np.flatnonzero(persons.tracks == track)
        frames = persons.frames[rows]
        start, length = int(frames[0]), int(frames[-1] - frames[0]) + 1
        points = np.full((length, *persons.points.shape[1:]), np.nan, np.float32)
        scores = np.zeros(points.shape[:2], np.float32)
        boxes = np.full((length, 4), np.nan, np.float32)
        points[frames - start] = persons.points[rows]
        scores[frames - start] = persons.joint_scores[rows]
        boxes[frames - start] = persons.boxes[rows]
        made.append(Track(start, points, scores, boxes))
    return made


def _names(videos: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the videos with their names: of a file, without its suffix."""
    seen: dict[str, Path] = {}
    for video in dict.fromkeys(videos):
        name = video.name if video.is_dir() else video.stem
        other = seen.setdefault(name, video)
        if other is not video:
            raise UserError(f"{video} and {other}: skeletons are named after videos, and these two have the same name")
    return list(seen.items())


def _part(parts: Path, name: str) -> Path:
    return parts / f"{name}.npz"


def _begin(parts: Path, settings: Mapping[str, str | None], overwrite: bool) -> bool:
    """Resume with what an interrupted run has made, or begin with nothing.

    Returns whether the run that was begun replaces the file.
    """
    file = parts / "settings.json"
    if file.exists() and not overwrite:
        try:
            begun = parse_json(file.read_text(encoding="utf-8"))
        except ValueError:
            begun = None
        if not isinstance(begun, dict):
            raise UserError(f"{file} is damaged: start over with --overwrite")
        different = next((key for key in settings if begun.get(key) != settings[key]), None)
        if different:
            raise UserError(
                f"{parts}: was begun with --{different} {begun.get(different)}, not {settings[different]}; use that, or"
                " start over with --overwrite"
            )
        return begun.get("overwrite") is True
    for old in parts.glob("*.npz"):
        old.unlink()
    write_json(file, {**settings, "overwrite": overwrite})
    return overwrite


def _copy(skeletons: Skeletons, writer: SkeletonWriter) -> None:
    """Add the videos of a file to another one."""
    first = len(writer)
    for index, name in enumerate(skeletons.names):
        label = None if skeletons.labels is None or skeletons.labels[index] < 0 else int(skeletons.labels[index])
        size = int(skeletons.sizes[index, 0]), int(skeletons.sizes[index, 1])
        rate = float(skeletons.fps[index])
        fps = None if np.isnan(rate) else rate
        writer.add(str(name), int(skeletons.frames[index]), list(skeletons.tracks(index)), size, fps, label)
    for split, numbers in skeletons.splits.items():
        writer.splits.setdefault(split, []).extend((numbers + first).tolist())
