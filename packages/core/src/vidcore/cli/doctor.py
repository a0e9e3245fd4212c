"""``vidcore doctor``."""

from __future__ import annotations

import json
import sys
import textwrap

import click

from vidcore.cli import Context

WIDTH = 80
COLUMN = 20


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(context: Context, as_json: bool) -> None:
    """Show versions, devices, decoders and problems.

    The exit code is 2 if vidcore cannot work at all, and 0 otherwise.
    """
    from attrs import asdict

    from vidcore.tools.doctor import examine

    found = examine(context.catalog)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        for title, rows in (("versions", found.versions), ("devices", found.devices), ("decoders", found.decoders)):
            click.echo(title)
            for name, value in rows.items():
                click.echo(_wrapped(value, f"  {name:{COLUMN}}", " " * (COLUMN + 2)))
        count = len(found.problems)
        click.echo(f"{count or 'no'} problem{'' if count == 1 else 's'}{' found' if not count else ''}")
        for problem in found.problems:
            click.echo(_wrapped(problem, "- ", "  "))
    if not found.usable:
        sys.exit(2)


def _wrapped(text: str, first: str, others: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
