"""Commands: ``vidcore data prepare msrvtt`` and ``vidcore data prepare msvd``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vid_retrieval.prepare.writing import Output

folder_type = click.Path(file_okay=False, path_type=Path)
folder_argument = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
output_option = click.option("--output", "-o", type=folder_type, required=True, help="Folder to write to.")
videos_option = click.option(
    "--videos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the videos; those without a file are left out and listed.",
)


def _report(done: Output) -> None:
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    for path in done.written:
        click.echo(f"wrote {path}")


@click.command()
@folder_argument
@output_option
@videos_option
def msrvtt(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the captions and questions of MSR-VTT.

    FOLDER has train_val_videodatainfo.json and test_videodatainfo.json, or MSRVTT_data.json; for the split 1k-A also
    MSRVTT_JSFUSION_test.csv; for questions train_qa.json, val_qa.json and test_qa.json.
    """
    from vid_retrieval.prepare.msrvtt import prepare_msrvtt

    _report(prepare_msrvtt(folder, output, videos))


@click.command()
@folder_argument
@output_option
@videos_option
def msvd(folder: Path, output: Path, videos: Path | None) -> None:
    """Prepare the captions of MSVD.

    FOLDER has AllVideoDescriptions.txt, or the table of all languages (.csv), and the lists train_list.txt,
    val_list.txt and test_list.txt, or youtube_mapping.txt.
    """
    from vid_retrieval.prepare.msvd import prepare_msvd

    _report(prepare_msvd(folder, output, videos))
