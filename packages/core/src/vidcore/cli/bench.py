"""``vidcore bench``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vidcore.cli.common import table, with_task

if TYPE_CHECKING:
    from vidcore.task.task import Task


@click.command()
@with_task
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Time per measurement.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(task: Task, seconds: float, as_json: bool) -> None:
    """Measure the speed of the loader and the model of TASK.

    Both are measured separately and together; a hint names what to change if the model waits for data.
    """
    from vidcore.tools.bench import bench as measure

    found = measure(task, seconds)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    click.echo(
        f"{found['task']} on {found['device']}: batches of {found['batch_size']}, {found['workers']} workers, "
        f"{found['cores']:.3g} CPU cores\n"
    )
    parts = ("loader", "model", "together")
    table(["", "samples/s"], [(part, f"{found[part]['samples_per_second']:.1f}") for part in parts])
    click.echo()
    spent = found["loader"]["milliseconds_per_sample"]
    table(["step of loading", "ms per sample"], [(name, f"{ms:.2f}") for name, ms in spent.items()])
    click.echo()
    shares = found["together"]["shares"]
    table(["phase of training", "time"], [(name, f"{share:.0%}") for name, share in shares.items()])
    click.echo(f"\n{found['advice'] or 'The model does not wait for data.'}")
