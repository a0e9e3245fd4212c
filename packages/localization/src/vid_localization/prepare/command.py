"""Commands: ``vidcore data prepare ...``, ``vidcore data convert-features``, ``vidcore data proposals``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.tools.progress import progress_bar

if TYPE_CHECKING:
    from vid_localization.datasets.annotations import Video
    from vid_localization.prepare.official import Prepared

folder_argument = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
folder_type = click.Path(file_okay=False, path_type=Path)
output_option = click.option("--output", "-o", type=folder_type, required=True, help="Folder to write to.")
files_option = click.option(
    "--files", type=folder_type, help="Keep only videos with a file (features or video) below this folder."
)
videos_option = click.option(
    "--videos",
    type=folder_type,
    help="Read durations, frames and rates of the videos below this folder; keep only these.",
)


def _report(prepared: Prepared) -> None:
    for note in prepared.notes:
        click.echo(f"note: {note}", err=True)
    for path in prepared.files:
        click.echo(f"wrote {path}")


def _prepare(
    prefix: str,
    videos: Callable[[Path], list[Video]],
    folder: Path,
    output: Path,
    files: Path | None,
    facts: Path | None,
) -> None:
    from vid_localization.prepare.official import facts_of_file, find_files, write_parts
    from vidcore.errors import DataError, VideoError
    from vidcore.video.open import VIDEO_SUFFIXES

    found = videos(folder)
    present = find_files(files) if files else None
    if facts is not None:
        paths = find_files(facts, VIDEO_SUFFIXES)
        known = [(v, paths.get(v.name) or paths.get(v.name.removeprefix("v_"))) for v in found]
        measured, bad = [], []
        for video, path in progress_bar([(video, path) for video, path in known if path], "reading videos"):
            try:
                measured.append(facts_of_file(video, path))
            except VideoError as error:
                bad.append(error)
        if without := len(found) - len(measured) - len(bad):
            click.echo(f"note: {without} of {len(found)} videos have no file and are left out", err=True)
        for failure in bad:
            click.echo(f"note: left out: {failure}", err=True)
        if not measured:
            raise DataError(f"{facts}: has no readable file of any of the {len(found)} annotated videos")
        found = measured
    _report(write_parts(prefix, found, output, present))


@click.command()
@folder_argument
@output_option
@files_option
@videos_option
def activitynet(folder: Path, output: Path, files: Path | None, videos: Path | None) -> None:
    """Prepare the annotations of ActivityNet 1.3.

    FOLDER has activity_net.v1-3.min.json, or anet_anno_action.json and video_info_new.csv.
    """
    from vid_localization.prepare.official import activitynet_videos

    _prepare("anet_anno", activitynet_videos, folder, output, files, videos)


@click.command()
@folder_argument
@output_option
@files_option
@videos_option
def hacs(folder: Path, output: Path, files: Path | None, videos: Path | None) -> None:
    """Prepare the annotations of HACS Segments.

    FOLDER has HACS_segments_v1.1.1.json.
    """
    from vid_localization.prepare.official import hacs_videos

    _prepare("hacs_anno", hacs_videos, folder, output, files, videos)


@click.command()
@folder_argument
@output_option
@files_option
@videos_option
def thumos14(folder: Path, output: Path, files: Path | None, videos: Path | None) -> None:
    """Prepare the annotations of THUMOS'14.

    FOLDER has tables like BaseballPitch_val.txt. Training needs the durations that --videos adds.
    """
    from vid_localization.prepare.official import thumos_videos

    _prepare("thumos14", thumos_videos, folder, output, files, videos)


@click.command("charades-sta")
@folder_argument
@output_option
@click.option("--videos", type=folder_type, help="Make the tables of durations, rates and frames from these videos.")
def charades_sta(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the annotations of Charades-STA.

    FOLDER has charades_sta_train.txt, charades_sta_test.txt and, if you have them, the tables that --videos makes.
    """
    from vid_localization.prepare.official import prepare_charades

    _report(prepare_charades(folder, output, videos))


@click.command("convert-features")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@output_option
@click.option(
    "--length", type=click.IntRange(min=1), metavar="N", help="Rescale the features of every video to this length."
)
@click.option(
    "--format", "kind", type=click.Choice(["npy", "csv"]), default="npy", show_default=True, help="Format of the files."
)
def convert_features(folders: tuple[Path, ...], output: Path, length: int | None, kind: Any) -> None:
    """Convert feature files and merge those of a video.

    Files of the same video in several FOLDERS (RGB and flow) are put side by side.
    """
    from vid_localization.prepare.merging import feature_files, merge_features, merged_info
    from vidcore.errors import DataError
    from vidcore.features.files import write_features

    found = feature_files(folders)
    if output.resolve() in [folder.resolve() for folder in folders]:
        raise DataError(f"{output}: is an input folder; choose another output folder")
    output.mkdir(parents=True, exist_ok=True)
    channels = set()
    for name, paths in progress_bar(list(found.items()), "features"):
        merged = merge_features(paths, length)
        channels.add(merged.shape[1])
        info = merged_info(paths, merged)
        write_features(output / f"{name}.{kind}", merged, kind, None if info is None else info.feature_duration)
        if info is not None:
            info.write(output / f"{name}.{kind}")
    click.echo(f"wrote {len(found)} files with {', '.join(map(str, sorted(channels)))} channels to {output}")
    if len(channels) > 1:
        click.echo("note: videos differ in their number of channels, which no model accepts", err=True)


@click.command()
@click.argument("annotations", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("boundaries", type=click.Path(exists=True, file_okay=False, path_type=Path))
@output_option
@click.option(
    "--peak-threshold",
    default=0.5,
    show_default=True,
    metavar="FRACTION",
    help="Probabilities above this fraction of the maximum are boundaries.",
)
@click.option(
    "--top-k", default=1000, show_default=True, metavar="N", help="Number of proposals of a video that get features."
)
@click.option(
    "--boundary-ratio",
    default=0.2,
    show_default=True,
    metavar="FRACTION",
    help="Half the width of the zones around boundaries.",
)
@click.option(
    "--workers",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Videos to process in parallel.",
)
def proposals(
    annotations: Path,
    boundaries: Path,
    output: Path,
    peak_threshold: float,
    top_k: int,
    boundary_ratio: float,
    workers: int,
) -> None:
    """Generate the proposals of BSN and their features.

    This is BSN's second stage. BOUNDARIES is the folder of tables that a TEM has written. Writes pgm_proposals/ and
    pgm_features/; files that are up to date are not written again.
    """
    from vid_localization.prepare.proposals import GenerateProposals

    job = GenerateProposals(boundaries, annotations, peak_threshold, top_k, boundary_ratio, workers=workers)
    videos = job.videos()
    output.mkdir(parents=True, exist_ok=True)
    count = sum(1 for _ in progress_bar(job.generate(output, videos), "proposals", len(videos)))
    click.echo(f"wrote proposals of {count} videos to {output / 'pgm_proposals'}, features to pgm_features beside it")
