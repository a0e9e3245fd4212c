"""Commands: ``vidcore data prepare ntu60`` and the others of skeletons."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vid_skeleton.estimates.persons import Coordinates

source_argument = click.argument("source", type=click.Path(exists=True, path_type=Path))
file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
output_option = click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File of skeletons to write; ends in .npz.",
)
missing_option = click.option(
    "--missing",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="List of further videos to leave out, beside those that the authors list as missing.",
)


def _convert(
    dataset: str, source: Path, output: Path, missing: Path | None = None, kp_root: Path | None = None
) -> None:
    from vid_skeleton.prepare.convert import convert_ntu, convert_published
    from vidcore.errors import UserError

    if output.suffix != ".npz":
        raise UserError(f"-o {output}: must end in .npz")
    if source.is_dir():
        notes = convert_ntu(dataset, source, output, missing)
    elif missing is not None:
        raise UserError("--missing is for a folder of .skeleton files; published pickles leave these videos out")
    else:
        notes = convert_published(dataset, source, output, kp_root)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"wrote {output}")


@click.command()
@source_argument
@output_option
@missing_option
def ntu60(source: Path, output: Path, missing: Path | None) -> None:
    """Prepare the skeletons of NTU RGB+D.

    SOURCE is a folder of .skeleton files, or a published pickle (ntu60_2d.pkl, ntu60_3d.pkl).
    """
    _convert("ntu60", source, output, missing)


@click.command()
@source_argument
@output_option
@missing_option
def ntu120(source: Path, output: Path, missing: Path | None) -> None:
    """Prepare the skeletons of NTU RGB+D 120.

    SOURCE is a folder of .skeleton files, or a published pickle (ntu120_2d.pkl, ntu120_3d.pkl).
    """
    _convert("ntu120", source, output, missing)


@click.command("kinetics-skeleton")
@file_argument
@output_option
@click.option(
    "--kp-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of the separate files of joints.",
)
def kinetics_skeleton(file: Path, output: Path, kp_root: Path) -> None:
    """Prepare the skeletons of Kinetics-400.

    FILE is the published pickle k400_2d.pkl. Its people are not linked over time.
    """
    _convert("kinetics-skeleton", file, output, kp_root=kp_root)


def _of_pickle(dataset: str, title: str, pickle: str) -> click.Command:
    """Return the command of a dataset that is published as one pickle."""

    @click.command(dataset, help=f"Prepare the skeletons of {title}.\n\nFILE is the published pickle {pickle}.")
    @file_argument
    @output_option
    def command(file: Path, output: Path) -> None:
        _convert(dataset, file, output)

    return command


gym = _of_pickle("gym", "FineGYM (99 classes)", "gym_2d.pkl")
ucf101_skeleton = _of_pickle("ucf101-skeleton", "UCF101", "ucf101_2d.pkl")
hmdb51_skeleton = _of_pickle("hmdb51-skeleton", "HMDB51", "hmdb51_2d.pkl")
diving48_skeleton = _of_pickle("diving48-skeleton", "Diving48", "diving48_2d.pkl")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@output_option
@click.option("--classes", type=click.Choice(["60", "120"]), default="60", show_default=True, help="Number of classes.")
def babel(folder: Path, output: Path, classes: str) -> None:
    """Prepare the motion capture of BABEL.

    FOLDER has train_ntu_sk_60.npy, train_label_60.pkl, and those of val, from the official archive of features.
    """
    from vid_skeleton.prepare.babel import convert_babel
    from vidcore.errors import UserError

    if output.suffix != ".npz":
        raise UserError(f"-o {output}: must end in .npz")
    for note in convert_babel(folder, output, int(classes)):
        click.echo(f"note: {note}", err=True)
    click.echo(f"wrote {output}")


def _size(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT, such as 1920x1080")
    return int(found[2]), int(found[1])


@click.command("convert-skeletons")
@source_argument
@output_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["coco", "openpose", "alphapose", "kinetics-skeleton", "mmskeleton"]),
    help="What wrote the files; default: what they look like.",
)
@click.option(
    "--layout",
    type=click.Choice(["coco", "openpose"]),
    help="Convert the joints, by name; default: those of the files.",
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV file of the classes of videos, with lines name,class or name,class,split.",
)
@click.option("--label-by-folder", is_flag=True, help="The class of a video is the folder of SOURCE in which it lies.")
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of class names, in the order of their numbers; default: sorted.",
)
@click.option("--split", metavar="NAME", help="Name of a split for all videos, such as train.")
@click.option("--size", metavar="WIDTHxHEIGHT", callback=_size, help="Size of the frames, if the files do not say it.")
@click.option(
    "--coordinates",
    type=click.Choice(["pixels", "0..1", "-1..1"]),
    help="Unit of the joints; default: pixels, or what the numbers look like.",
)
@click.option("--fps", type=click.FloatRange(0, 1000, min_open=True), metavar="RATE", help="Frames per second.")
@click.option(
    "--images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of the images that results of COCO are of: annotations with images.",
)
@click.option("--relink", is_flag=True, help="Link people by their joints, even if the files have ids.")
def convert_skeletons(
    source: Path,
    output: Path,
    form: str | None,
    layout: str | None,
    labels: Path | None,
    label_by_folder: bool,
    classes: Path | None,
    split: str | None,
    size: tuple[int, int] | None,
    coordinates: Coordinates | None,
    fps: float | None,
    images: Path | None,
    relink: bool,
) -> None:
    """Convert JSON files of pose estimators.

    The result is a file of skeletons. SOURCE is a file, or a folder that is searched with the folders in it. It has
    results or annotations of COCO keypoints, folders of OpenPose (a file for each frame), results of AlphaPose, or
    files of Kinetics-Skeleton or MMSkeleton. A video is named after its file or folder. Files that cannot be read are
    named and left out.
    """
    from vid_skeleton.estimates.images import Images
    from vid_skeleton.estimates.persons import Options
    from vid_skeleton.prepare.estimates import convert_estimates, read_labels
    from vidcore.errors import UserError

    if output.suffix != ".npz":
        raise UserError(f"-o {output}: must end in .npz")
    if labels and label_by_folder:
        raise UserError("--labels and --label-by-folder both say what the classes are: leave one out")
    options = Options(
        size=size,
        coordinates=coordinates,
        fps=fps,
        relink=relink,
        images=None if images is None else Images.read(images),
    )
    table = None if labels is None else read_labels(labels)
    done = convert_estimates(source, output, options, form, layout, table, label_by_folder, classes, split)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    for reason in done.bad:
        click.echo(f"left out: {reason}", err=True)
    known = "" if done.classes is None else f", {done.classes} class{'es' * (done.classes != 1)}"
    click.echo(f"wrote {output}: {done.videos} video{'s' * (done.videos != 1)}, {done.joints}{known}")
    if done.bad:
        click.echo(f"error: {len(done.bad)} of the files or videos cannot be read", err=True)
        sys.exit(2)


@click.command("check-skeletons")
@file_argument
def check_skeletons(file: Path) -> None:
    """Check a file of skeletons, and show what is in it.

    FILE is a .npz file, or a published pickle. An error names file, sample and field.
    """
    from vid_skeleton.contents import check_contents

    for name, text in check_contents(file):
        click.echo(f"{name:<10}{text}")
