"""Commands: ``vidcore data prepare ntu60`` and the others of skeletons."""

from __future__ import annotations

from pathlib import Path

import click

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
    help="List of videos to leave out, such as the official one of missing skeletons.",
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
