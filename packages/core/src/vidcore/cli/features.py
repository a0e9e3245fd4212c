"""The command that writes features of videos. torch is imported inside it."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidcore.cli import Context
from vidcore.cli.inspect import set_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vidcore.features.extract import Extractor
    from vidcore.features.folder import FeatureFolder

PATIENCE = timedelta(days=30)
"""How long a process that has done its share waits for the others."""


@click.command()
@click.argument("task")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER|LIST...")
@set_option
@click.option(
    *("--checkpoint", "-c"),
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Weights: of a run, or published.",
)
@click.option(
    *("--output", "-o"), type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to."
)
@click.option("--stride", default="16", show_default=True, help="Distance of positions: frames, or seconds (0.5s).")
@click.option("--rescale", "length", type=click.IntRange(1), help="Bring the features of every video to this length.")
@click.option("--format", "kind", type=click.Choice(["npy", "csv"]), default="npy", show_default=True)
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Clips at once.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Videos decoded at a time.")
@click.option("--overwrite", is_flag=True, help="Make features anew that are there with other settings.")
@click.pass_obj
def features(
    context: Context,
    task: str,
    videos: tuple[str, ...],
    overrides: tuple[str, ...],
    checkpoint: Path,
    output: Path,
    stride: str,
    length: int | None,
    kind: Literal["npy", "csv"],
    batch_size: int,
    workers: int,
    overwrite: bool,
) -> None:
    """Describe VIDEOs at regular distances with the backbone of TASK and a checkpoint: an array (T, C) for each.

    A FOLDER means the videos below it; a LIST is a .txt file with a video in each line. Features that are there
    are not made again. Under torchrun, processes share the videos.
    """
    from vidcore.config.task import Task

    checked = Task.load(task, context.catalog, overrides)
    import torch

    from vidcore.engine import dist
    from vidcore.features.extract import Extractor, Stride
    from vidcore.features.folder import FeatureFolder, feature_names
    from vidcore.predict import Predictor, find_videos

    distance = Stride.parse(stride)
    found = list(dict.fromkeys(find_videos(videos)))
    names = feature_names(found)
    predictor = Predictor(checked, checkpoint)
    extractor = Extractor(predictor, distance, length, batch_size, workers)
    folder = FeatureFolder.of(output, checked, checkpoint, distance, length, kind)
    folder.prepare(overwrite)
    world = dist.join(torch.device("cpu"), PATIENCE)
    share = list(zip(names, found, strict=True))[world.rank :: world.size]
    todo = [(name, video) for name, video in share if not folder.has(name, video)]
    bad = _write(extractor, folder, todo, f"process {world.rank}: " if world.size > 1 else "")
    counts = dist.gather_to_first((len(todo) - bad, len(share) - len(todo), bad))
    dist.leave()
    if counts is not None:
        _conclude(output, *map(sum, zip(*counts, strict=True)))


def _write(extractor: Extractor, folder: FeatureFolder, todo: Sequence[tuple[str, Path]], who: str) -> int:
    """Write the features of videos; returns how many of them cannot be read."""
    from rich.console import Console
    from rich.progress import Progress

    from vidcore.errors import VideoError

    bad = 0
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty() or bool(who)) as bar:
        task = bar.add_task("features", total=len(todo))
        for number, made in extractor([video for _, video in todo]):
            name, video = todo[number]
            if isinstance(made, VideoError):
                bad += 1
                click.echo(f"{who}not read: {made}", err=True)
            else:
                path = folder.save(name, video, made)
                if bar.disable:
                    rows, channels = made.values.shape
                    click.echo(f"{who}wrote {path}: {rows} x {channels}")
            bar.advance(task)
    return bad


def _conclude(output: Path, new: int, there: int, bad: int) -> None:
    parts = [f"{new} new", *([f"{there} already there"] if there else [])]
    click.echo(f"features of {new + there} videos in {output}: {', '.join(parts)}")
    if bad:
        click.echo(f"error: {bad} of {new + there + bad} videos cannot be read", err=True)
        sys.exit(2)
