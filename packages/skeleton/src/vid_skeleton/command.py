"""``vidcore skeletons``: the skeletons of the persons in videos, as one file."""

from __future__ import annotations

from pathlib import Path

import click

from vidcore.cli import Context
from vidcore.cli.common import FILE
from vidcore.cli.completion import complete_files
from vidcore.cli.persons import find_persons, persons_options
from vidcore.jobs import finish


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER|LIST...", shell_complete=complete_files)
@click.option("--output", "-o", type=FILE, required=True, help="File to write; ends in .npz.")
@persons_options(required=True)
@click.option("--overwrite", is_flag=True, help="Replace FILE instead of adding videos to it.")
@click.pass_obj
def skeletons(
    context: Context,
    videos: tuple[str, ...],
    output: Path,
    estimator: str,
    detector: str | None,
    tracker: str,
    overwrite: bool,
) -> None:
    """Find the skeletons of the persons in VIDEOs.

    A FOLDER stands for the videos below it; a LIST is a .txt file with a path in each line. Videos that are in FILE are
    skipped. A run that was interrupted resumes, and a video that cannot be read does not stop the others.
    """
    from vid_skeleton.extraction import write_all
    from vidcore.predict.inputs import find_videos
    from vidcore.predict.persons import PersonFinder

    found = find_videos(videos)
    finder = PersonFinder.named(context.catalog, estimator, detector, tracker)
    settings = {"estimator": estimator, "detector": detector, "tracker": tracker}
    counts = write_all(output, found, finder, lambda video: find_persons(finder, video), settings, overwrite)
    finish(counts, f"{output}: skeletons")
