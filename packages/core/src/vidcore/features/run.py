"""Describing many videos: what ``vidcore features`` does, and the step of a run that does the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from vidcore.errors import DataError, VideoError
from vidcore.features.extract import Extractor
from vidcore.features.folder import FeatureFolder, feature_names
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.inputs import find_videos
from vidcore.predict.predictor import Predictor
from vidcore.task.task import Task
from vidcore.video.window import Span

__all__ = ["Counts", "ExtractFeatures", "write_all"]


@frozen
class Counts:
    """What became of videos."""

    new: int = 0
    there: int = 0
    """Their features were there already."""
    bad: int = 0
    """They cannot be read."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.new + other.new, self.there + other.there, self.bad + other.bad)

    def __str__(self) -> str:
        parts = [f"{self.new} new"]
        parts += [f"{self.there} already there"] if self.there else []
        parts += [f"{self.bad} cannot be read"] if self.bad else []
        return f"features of {self.new + self.there} videos: {', '.join(parts)}"


@frozen
class ExtractFeatures:
    """Features of videos for the stages after this one: a job that does what ``vidcore features`` does.

    Args:
        task: whose model and test pipeline are used: a Task file or the name of a recipe.
        checkpoint: weights of the model.
        videos: files, folders, and lists (``.txt``).
        stride: distance of positions, in frames (``"16"``) or seconds (``"0.5s"``).
        length: rescale the features of every video to so many positions.
        format: of the files.
        batch_size: clips at once.
        workers: videos that are decoded at the same time.
    """

    task: Path
    checkpoint: Path
    videos: list[Path]
    stride: str = "16"
    length: int | None = None
    format: Literal["npy", "csv"] = "npy"
    batch_size: int = 8
    workers: int = 2

    def __call__(self, folder: Path, rank: int = 0, world: int = 1) -> None:
        """Write the features of every ``world``-th video, from video ``rank`` on.

        Videos that cannot be read are named and left out. Raises ``DataError`` where that is all of them.
        """
        catalog = load_plugins()
        name = self.task.name if self.task.name in catalog.recipes and not self.task.exists() else self.task
        task = Task.load(name, catalog)
        made = FeatureFolder.of(
            folder, task, self.checkpoint, Span.parse(self.stride, "stride"), self.length, self.format
        )
        counts = write_all(made, task, find_videos(self.videos), self.batch_size, self.workers, rank, world)
        print(f"{folder}: {counts}", file=sys.stderr)
        if counts.bad and not counts.new + counts.there:
            raise DataError(f"none of the {counts.bad} videos can be read")


def write_all(
    folder: FeatureFolder,
    task: Task,
    videos: Sequence[Path],
    batch_size: int = 8,
    workers: int = 2,
    rank: int = 0,
    world: int = 1,
    overwrite: bool = False,
) -> Counts:
    """Write the features of every ``world``-th video, from video ``rank`` on, where they are not there already.

    Args:
        folder: where to, and with what.
        task: with the model and the pipeline.
        videos: files or folders of frames.
        batch_size: clips at once.
        workers: videos that are decoded at the same time.
        rank, world: which of how many processes this is.
        overwrite: make features anew that are there with other settings.

    Raises:
        UserError: the folder, the Task or the checkpoint is wrong. A video that cannot be read is only named.
    """
    distinct = list(dict.fromkeys(videos))
    names = feature_names(distinct)
    predictor = Predictor(task, folder.settings["checkpoint"])
    extractor = Extractor(predictor, folder.stride, folder.settings.get("length"), batch_size, workers)
    folder.prepare(overwrite)
    share = list(zip(names, distinct, strict=True))[rank::world]
    todo = [(name, video) for name, video in share if not folder.has(name, video)]
    bad = _write(extractor, folder, todo, f"process {rank}: " if world > 1 else "")
    return Counts(len(todo) - bad, len(share) - len(todo), bad)


def _write(extractor: Extractor, folder: FeatureFolder, todo: Sequence[tuple[str, Path]], who: str) -> int:
    """Write the features of videos; returns how many of them cannot be read."""
    from rich.console import Console
    from rich.progress import Progress

    bad = 0
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty() or bool(who)) as bar:
        task = bar.add_task("features", total=len(todo))
        for number, made in extractor([video for _, video in todo]):
            name, video = todo[number]
            if isinstance(made, VideoError):
                bad += 1
                print(f"{who}not read: {made}", file=sys.stderr)
            else:
                path = folder.save(name, video, made)
                if bar.disable:
                    rows, channels = made.values.shape
                    print(f"{who}wrote {path}: {rows} x {channels}", flush=True)
            bar.advance(task)
    return bad
