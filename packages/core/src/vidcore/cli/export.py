"""``vidcore export``. torch is imported inside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidcore.cli.common import FILE, checkpoint_option, refuse_overwriting_inputs, with_task
from vidcore.errors import UserError

if TYPE_CHECKING:
    from vidcore.task.task import Task


@click.command()
@with_task
@checkpoint_option
@click.option("--output", "-o", type=FILE, required=True, help="File to write, such as model.onnx.")
@click.option(
    "--views",
    type=click.Choice(["one", "test"]),
    default="one",
    show_default=True,
    help="The graph takes one view of a video, or all views of the test protocol.",
)
@click.option("--example", type=FILE, help="A file that TASK reads, such as a video; default: a generated one.")
@click.option(
    "--joints", metavar="N[x3]", help="Joints of a generated person, x3 if in space; default: those that TASK takes."
)
def export(
    task: Task,
    checkpoint: Path | None,
    output: Path,
    views: Literal["one", "test"],
    example: Path | None,
    joints: str | None,
) -> None:
    """Write the model of TASK as an ONNX graph.

    A JSON file beside it describes inputs, output, pipeline and classes. Normalisation is part of the graph, and its
    scores are those of `vidcore predict`; both are compared before anything is written. The model must score classes.
    TASK is a file; or a release (.safetensors) or a published recipe, which need no --checkpoint.
    """
    refuse_overwriting_inputs(output)
    found = None if joints is None else re.fullmatch(r"([1-9]\d{0,3})(?:x([23]))?", joints)
    if joints is not None and found is None:
        raise UserError(f"--joints {joints}: must be a number of joints, such as 17, or 25x3 for joints in space")
    if joints is not None and example is not None:
        raise UserError("--joints: are of a generated person; leave it out with --example")
    from vidcore.predict.export import export as export_

    people = (int(found[1]), int(found[2] or 2)) if found else None
    made = export_(task, checkpoint, output, views=views, example=example, joints=people)
    for kind in ("inputs", "outputs"):
        for one in made.about[kind]:
            axes = f" ({' '.join(one['axes'])})" if one["axes"] else ""
            click.echo(f"{kind[:-1]:6} {one['name']}: {one['dtype']} {' x '.join(map(str, one['shape']))}{axes}")
    click.echo(f"ONNX Runtime gives the same scores: they differ by at most {made.about['largest_difference']:.1g}")
    size = made.path.stat().st_size / 1e6
    click.echo(f"wrote {made.path} ({size:.1f} MB) and {made.description}")
