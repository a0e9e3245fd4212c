"""Features of many videos: ``vidcore features``, and a job that does the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from vidcore.config.load import recipes_like
from vidcore.errors import DataError
from vidcore.features.extract import Extractor, Features
from vidcore.features.folder import FeatureFolder, alike_but_for_case, feature_names
from vidcore.jobs import Counts, Shard, run_files
from vidcore.plugins.catalog import Catalog
from vidcore.predict.inputs import FrameNames, find_videos
from vidcore.predict.predictor import Predictor
from vidcore.task.task import Task
from vidcore.tools.fetch import obtain
from vidcore.video.window import Span

__all__ = ["ExtractFeatures", "write_all"]


@frozen
class ExtractFeatures:
    """Features of videos for later stages: a job that does what ``vidcore features`` does.

    Args:
        task: Task file, or name of a recipe, with the model and the test pipeline.
        checkpoint: weights of the model, or a recipe with published ones.
        videos: files, folders, and lists (``.txt``).
        stride: distance between positions, in frames (``"16"``) or seconds (``"0.5s"``).
        length: number of positions to rescale the features of every video to; default: not rescaled.
        format: of the files.
        batch_size: clips per forward pass.
        workers: videos to decode at the same time.
        logits: class scores (before a softmax) instead of features.
    """

    task: Path
    checkpoint: Path
    videos: list[Path]
    stride: str = "16"
    length: int | None = None
    format: Literal["npy", "csv"] = "npy"
    batch_size: int = 8
    workers: int = 2
    logits: bool = False

    def __call__(self, folder: Path, rank: int, world: int, catalog: Catalog) -> None:
        """Write the features of one process's part of the videos.

        Videos that cannot be read are reported and skipped. Raises ``DataError`` if there are no others.
        """
        is_recipe = not self.task.exists() and recipes_like(self.task.name, catalog.recipes)
        task = Task.load(self.task.name if is_recipe else self.task, catalog)
        stride = Span.parse(self.stride, "stride")
        checkpoint = obtain(self.checkpoint, catalog)
        made = FeatureFolder.of(folder, task, checkpoint, stride, self.length, self.format, self.logits)
        label = f"process {rank}: " if world > 1 else ""
        shard = Shard().split(rank, world)
        counts = write_all(
            made, task, find_videos(self.videos, names=FrameNames.of(task)), self.batch_size, self.workers, shard, label
        )
        print(f"{folder}: features of {counts.good} videos: {counts}", file=sys.stderr)
        if counts.bad and not counts.good:
            raise DataError(f"none of the {counts.bad} videos can be read")


def write_all(
    folder: FeatureFolder,
    task: Task,
    videos: Sequence[Path],
    batch_size: int = 8,
    workers: int = 2,
    shard: Shard = Shard(),  # noqa: B008 - frozen
    label: str = "",
    overwrite: bool = False,
) -> Counts:
    """Write the features of a shard of the videos that do not exist yet.

    Args:
        folder: where to write, with the settings.
        task: has the model and the pipeline.
        videos: files or folders of frames.
        batch_size: clips per forward pass.
        workers: videos to decode at the same time.
        shard: the videos to handle.
        label: printed before each line if several processes write to one terminal.
        overwrite: replace features with different settings.

    Raises:
        UserError: the folder, the Task or the checkpoint is not valid. A video that cannot be read is only listed.
    """
    distinct = list(dict.fromkeys(videos))
    named = list(zip(feature_names(distinct), distinct, strict=True))
    if (pair := alike_but_for_case(name for name, _ in named)) and shard.index == 0:
        ignores = "a file system that ignores case keeps the features of only one of them"
        print(f"note: {pair[1]} and {pair[0]} differ by case only: {ignores}", file=sys.stderr)
    settings = folder.settings
    predictor = Predictor(task, settings["checkpoint"], views="test")
    extractor = Extractor(
        predictor, folder.stride, settings.get("length"), batch_size, workers, settings.get("logits", False)
    )

    def save(item: tuple[str, Path], made: Features) -> str:
        rows, channels = made.values.shape
        return f"wrote {folder.save(*item, made)}: {rows} x {channels}"

    with folder.claim(overwrite):
        return run_files(
            named,
            make=lambda todo: extractor([video for _, video in todo]),
            save=save,
            done=lambda item: folder.has(*item),
            failures=folder.path,
            name=lambda item: item[1],
            shard=shard,
            title="features",
            label=label,
        )
