"""``vidcore embed`` and ``vidcore search``. torch is imported inside them."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import click

from vidcore.cli import Context
from vidcore.cli.common import FILE, FOLDER, checkpoint_option, font_option, refuse_overwriting_inputs, table
from vidcore.cli.completion import complete_files, complete_task
from vidcore.errors import UserError
from vidcore.files import dump_json
from vidcore.jobs import finish

if TYPE_CHECKING:
    from vid_retrieval.search.index import Nearest


MANY = 100
"""Windows from which a search tells whether the best one stands out."""


@click.command()
@click.argument("videos", nargs=-1, metavar="VIDEO|FOLDER|LIST...", shell_complete=complete_files)
@click.option("--output", "-o", type=FOLDER, required=True, help="Folder of the index.")
@click.option("--task", metavar="TASK", shell_complete=complete_task, help="Model and pipeline; an index keeps them.")
@checkpoint_option
@click.option("--window", metavar="LENGTH", help="Length of a window: seconds or frames (50f); default: 10s.")
@click.option("--stride", metavar="LENGTH", help="From one window to the next; default: its length.")
@click.option("--precision", type=click.Choice(["float32", "float16"]), help="Of the vectors; default: float32.")
@click.option("--remove-missing", is_flag=True, help="Remove videos that no longer exist.")
@click.option("--overwrite", is_flag=True, help="Start again if the index was made with different settings.")
@click.pass_obj
def embed(
    context: Context,
    videos: tuple[str, ...],
    output: Path,
    task: str | None,
    checkpoint: Path | None,
    window: str | None,
    stride: str | None,
    precision: Literal["float32", "float16"] | None,
    remove_missing: bool,
    overwrite: bool,
) -> None:
    """Make an index of VIDEOs for vidcore search, or add to it.

    There is an embedding for each window of a video. A FOLDER stands for the videos below it; a LIST is a .txt file
    with a path in each line. Videos that the index has are skipped, changed ones are replaced. A run that was
    interrupted resumes, and a video that cannot be read does not stop the others.
    """
    from vid_retrieval.search.embedding import index_settings, write_index
    from vid_retrieval.search.index import VideoIndex
    from vidcore.task.task import Task
    from vidcore.tools.fetch import weights_for
    from vidcore.video.window import Span

    if not videos and not remove_missing:
        raise UserError("name videos to add, or use --remove-missing")
    if task is None:
        given = {"--checkpoint": checkpoint, "--window": window, "--stride": stride, "--precision": precision}
        if alone := next((name for name, value in given.items() if value is not None), None):
            raise UserError(f"{alone}: requires --task; without it, the index keeps its settings")
        if not (output / "index.jsonl").exists():
            raise UserError(f"{output}: is a new index: name the model with --task, and --checkpoint if needed")
        index = VideoIndex.load(output)
        settings, precision = index.settings, index.precision
    else:
        checked = Task.load(task, context.catalog)
        length = Span.parse(window or "10s", "--window")
        step = Span.parse(stride, "--stride") if stride else None
        settings = index_settings(output, checked, weights_for(checked, checkpoint), length, step)
    counts = write_index(
        output,
        settings,
        videos,
        precision=precision or "float32",
        remove_missing=remove_missing,
        overwrite=overwrite,
        catalog=context.catalog,
    )
    finish(counts, f"{output}: an index")


@click.command()
@click.argument("index", type=FOLDER)
@click.argument("text")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), metavar="N", help="Windows to show.")
@click.option("--one-per-video", is_flag=True, help="Show only the best window of each video.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--output", "-o", type=FILE, help="Also write a contact sheet (.png).")
@font_option
@click.pass_obj
def search(
    context: Context, index: Path, text: str, top: int, one_per_video: bool, as_json: bool, output: Path | None
) -> None:
    """Find the windows of videos that fit TEXT best.

    INDEX is a folder of vidcore embed; all its windows are compared, exactly. The column "above mean" tells how many
    standard deviations a window is more similar to TEXT than the windows of the index are on average: cosines alone
    mean little.
    """
    if output is not None and output.suffix.lower() != ".png":
        raise UserError(f"{output}: a contact sheet ends in .png")
    refuse_overwriting_inputs(output)
    from vid_retrieval.search.embedding import Searcher

    found = Searcher(index, context.catalog)(text, top, one_per_video)
    if output is not None:
        from vid_retrieval.search.sheet import write_sheet

        write_sheet(output, text, found)
    if as_json:
        click.echo(dump_json(_as_json(text, found), indent=2))
    else:
        _print(found)
    if output is not None:
        print(f"wrote {output}", file=sys.stderr)


def _print(found: Nearest) -> None:
    from vid_retrieval.search.times import span_text

    rows = [
        (str(i), f"{m.cosine:.3f}", f"{m.deviations:+.1f}", span_text(m), _shown(m.video))
        for i, m in enumerate(found.matches, 1)
    ]
    table(["", "cosine", "above mean", "time", "video"], rows)
    chance = NormalDist().inv_cdf((found.windows - 0.375) / (found.windows + 0.25))  # of the best, by Blom's formula
    if found.windows >= MANY and found.matches[0].deviations < chance:
        click.echo(
            f"note: nothing stands out: by chance, the best of {found.windows} windows is {chance:+.1f} above mean"
        )


def _shown(video: str) -> str:
    """Return a path relative to the current folder, if it is below it."""
    path = Path(video)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _as_json(text: str, found: Nearest) -> dict[str, object]:
    keys = ("video", "start", "end", "in_frames", "cosine", "deviations")
    matches = [{key: getattr(match, key) for key in keys} for match in found.matches]
    about = {"windows": found.windows, "mean": found.mean, "deviation": found.deviation}
    return {"text": text, "matches": matches, **about}
