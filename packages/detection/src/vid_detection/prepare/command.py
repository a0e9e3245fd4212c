"""Commands: ``vidcore data prepare ava`` and the others of detection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vid_detection.prepare.official import Prepared

folder_argument = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
folder_type = click.Path(file_okay=False, path_type=Path)
output_option = click.option("--output", "-o", type=folder_type, required=True, help="Folder to write to.")
videos_option = click.option(
    "--videos", type=folder_type, help="Folder of the videos, or folders of frames: leaves out or lists missing ones."
)


def _report(prepared: Prepared) -> None:
    for note in prepared.notes:
        click.echo(f"note: {note}", err=True)
    for path in prepared.files:
        click.echo(f"wrote {path}")


@click.command()
@folder_argument
@output_option
@videos_option
def ava(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the annotations of AVA v2.1 or v2.2.

    FOLDER has ava_train_v2.2.csv, ava_val_v2.2.csv, and the excluded timestamps and action lists beside them.
    """
    from vid_detection.prepare.official import prepare_ava

    _report(prepare_ava(folder, output, videos))


@click.command("ava-kinetics")
@folder_argument
@output_option
@videos_option
def ava_kinetics(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the annotations of AVA-Kinetics.

    FOLDER is ava_kinetics_v1_0, with the tables of AVA and of Kinetics. --videos names the clip of each row.
    """
    from vid_detection.prepare.official import prepare_ava_kinetics

    _report(prepare_ava_kinetics(folder, output, videos))


@click.command()
@folder_argument
@output_option
@videos_option
def multisports(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the tubes of MultiSports.

    FOLDER has multisports_GT.pkl. Its test videos are those of validation.
    """
    from vid_detection.prepare.official import prepare_tubes

    _report(prepare_tubes("multisports", _pickle(folder, "multisports_GT.pkl"), output, {66: "MultiSports"}, videos))


@click.command()
@folder_argument
@output_option
@videos_option
def jhmdb(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the tubes of JHMDB.

    FOLDER has JHMDB-GT.pkl, the truth in the format of ACT.
    """
    from vid_detection.prepare.official import prepare_tubes

    kinds = {21: "JHMDB", 14: "sub-JHMDB, where the whole person is visible; JHMDB has 21"}
    _report(prepare_tubes("jhmdb", _pickle(folder, "JHMDB-GT.pkl"), output, kinds, videos))


@click.command("ucf101-24")
@folder_argument
@output_option
@videos_option
def ucf101_24(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the tubes of UCF101-24.

    FOLDER has UCF101v2-GT.pkl, or the corrected pyannot.pkl with trainlist01.txt and testlist01.txt.
    """
    from vid_detection.prepare.official import prepare_ucf24

    _report(prepare_ucf24(folder, output, videos))


def _pickle(folder: Path, name: str) -> Path:
    from vidcore.errors import DataError

    found = sorted(folder.rglob(name))
    if not found:
        raise DataError(f"{folder}: has no {name}")
    return found[-1]
