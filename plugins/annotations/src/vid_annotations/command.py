"""Command: ``vidcore data convert-annotations``."""

from __future__ import annotations

from pathlib import Path

import click

FORMATS = ("ava", "coco", "cvat", "label-studio", "via", "voc")


@click.command("convert-annotations")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    *("--output", "-o"),
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write: boxes.csv, or segments.json.",
)
@click.option("--format", "tool", type=click.Choice(FORMATS), help="Format of SOURCE; default: detected.")
@click.option(
    "--videos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the videos, for times of frames; names in the output are paths below it.",
)
@click.option("--video", metavar="NAME", help="The video of SOURCE, if it does not name it.")
@click.option(
    *("--fps", "-r"), type=click.FloatRange(min=0, min_open=True), help="Frames per second, without videos to tell."
)
@click.option(
    "--first-frame", type=click.IntRange(min=0), default=0, show_default=True, help="First number in names of frames."
)
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Keep one key frame per SECONDS.",
)
@click.option(
    "--action-from",
    multiple=True,
    metavar="label|attribute:NAME",
    help="What the action is; can be repeated; default: the attribute 'action', else the label.",
)
@click.option(
    "--person-from",
    default="track",
    show_default=True,
    metavar="track|none|attribute:NAME",
    help="Who a box is.",
)
@click.option(
    "--classes", type=click.Path(dir_okay=False, path_type=Path), help="Names of action numbers, for AVA tables."
)
@click.option("--times", type=click.Choice(["seconds", "frames"]), help="What AVA tables with boxes in pixels count.")
def convert_annotations(
    source: Path,
    output: Path,
    tool: str | None,
    videos: Path | None,
    video: str | None,
    fps: float | None,
    first_frame: int,
    every: float | None,
    action_from: tuple[str, ...],
    person_from: str,
    classes: Path | None,
    times: str | None,
) -> None:
    """Convert annotations of labelling tools.

    SOURCE is a file of CVAT, VIA 3, COCO, VOC, Label Studio or AVA, or a folder or ZIP archive of them. Boxes
    become a CSV table for detection, segments a JSON file for localization. Of boxes alone, segments are the times at
    which anybody does an action.
    """
    from vid_annotations.convert import read_annotations, segments_of_boxes, write_boxes, write_segments
    from vid_annotations.places import Videos
    from vid_annotations.source import Options
    from vidcore.cli.common import refuse_overwriting_inputs
    from vidcore.errors import UserError, some

    if output.suffix.lower() not in (".csv", ".json"):
        raise UserError(f"-o {output}: must end in .csv (boxes) or .json (segments)")
    refuse_overwriting_inputs(output)
    options = Options(Videos(videos), video, fps, first_frame, classes, times)
    converted = read_annotations(source, options, tool, action_from=action_from, person_from=person_from, every=every)
    notes = converted.notes
    if output.suffix.lower() == ".csv":
        boxes = [row for row in converted.boxes if row.box]
        if not boxes:
            has = "segments, which -o segments.json takes" if converted.segments else "neither boxes nor segments"
            raise UserError(f"{source}: has no boxes; it has {has}")
        if converted.segments:
            notes.append(f"segments that are not in this table: {len(converted.segments):,} (-o segments.json)")
        write_boxes(output, converted.boxes)
        frames, unit = len({row[:2] for row in converted.boxes}), "fractions" if converted.relative else "pixels"
        what = f"{len({row[:4] for row in boxes}):,} boxes in {unit} at {frames:,} key frames"
        if idle := sum(not row.action for row in boxes):
            notes.append(f"boxes without an action: {idle:,} (that column is empty)")
    else:
        segments = converted.segments
        if not segments:
            segments = segments_of_boxes(converted.boxes)
            notes.append("segments are the times at which anybody does an action, as there are only boxes")
            if not segments:
                raise UserError(f"{source}: has neither segments nor boxes with actions over time")
        elif any(row.box for row in converted.boxes):
            notes.append("boxes are not in this file: -o boxes.csv")
        if any("duration_second" not in facts for facts in converted.videos.values()):
            notes.append("the durations of videos are not known: --videos adds them")
        write_segments(output, segments, converted.videos)
        what = f"{len(segments):,} segments"
    for note in notes:
        click.echo(f"note: {note}", err=True)
    videos_said = f"{len(converted.videos):,} video{'s' * (len(converted.videos) != 1)}"
    click.echo(f"wrote {output}: {what}, {videos_said}, actions: {some(converted.actions, 10) or 'none'}")
