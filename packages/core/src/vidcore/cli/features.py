"""``vidcore features``. torch is imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidcore.cli.common import FOLDER, checkpoint_option, shard_option, with_task
from vidcore.cli.completion import complete_files
from vidcore.jobs import finish, share

if TYPE_CHECKING:
    from vidcore.jobs import Shard
    from vidcore.task.task import Task


@click.command()
@with_task
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER|LIST...", shell_complete=complete_files)
@checkpoint_option
@click.option("--output", "-o", type=FOLDER, required=True, help="Folder to write to.")
@click.option(
    "--stride",
    default="16",
    show_default=True,
    metavar="LENGTH",
    help="Distance between positions: frames or seconds (0.5s).",
)
@click.option(
    *("--rescale", "length"), type=click.IntRange(1), metavar="N", help="Rescale the features of videos to N positions."
)
@click.option(
    "--format", "kind", type=click.Choice(["npy", "csv"]), default="npy", show_default=True, help="Format of the files."
)
@click.option("--logits", is_flag=True, help="Class scores before the softmax instead of features.")
@click.option(
    "--batch-size", default=8, show_default=True, type=click.IntRange(1), metavar="N", help="Clips per forward pass."
)
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1), metavar="N", help="Videos to decode in parallel."
)
@shard_option
@click.option("--overwrite", is_flag=True, help="Replace features that were made with different settings.")
def features(
    task: Task,
    videos: tuple[str, ...],
    checkpoint: Path | None,
    output: Path,
    stride: str,
    length: int | None,
    kind: Literal["npy", "csv"],
    logits: bool,
    batch_size: int,
    workers: int,
    shard: Shard,
    overwrite: bool,
) -> None:
    """Extract features of VIDEOs with the model of TASK.

    The features of a video are an array (T, C): a vector for each of T positions at regular distances. A FOLDER stands
    for the videos below it; a LIST is a .txt file with a path in each line. Videos that have features are skipped.
    Processes of torchrun share the videos; use --shard to share them between machines.
    """
    from vidcore.features.folder import FeatureFolder
    from vidcore.features.run import write_all
    from vidcore.predict.inputs import FrameNames, find_videos
    from vidcore.tools.fetch import weights_for
    from vidcore.video.window import Span

    names = FrameNames.of(task)
    found, weights = find_videos(videos, names=names), weights_for(task, checkpoint)
    folder = FeatureFolder.of(output, task, weights, Span.parse(stride, "stride"), length, kind, logits)
    counts = share(
        lambda part, label: write_all(folder, task, found, batch_size, workers, part, label, overwrite), shard
    )
    finish(counts, f"{output}: features")
