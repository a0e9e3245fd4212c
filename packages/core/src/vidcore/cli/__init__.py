"""The ``vidcore`` command: subcommands come from plugins and are imported when named."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TextIO

import click

from vidcore import __version__
from vidcore.cli.completion import VARIABLE, use_bash
from vidcore.errors import ComponentError, PluginError, UserError, missing_library, nearest
from vidcore.launchers import LAUNCHERS, launched_by
from vidcore.plugins.catalog import NOT_OFFERED, Catalog, Component, load_plugins
from vidcore.plugins.place import failed_at, with_place

__all__ = ["Context", "main", "run"]


class Context:
    """The object that commands get with ``@click.pass_obj``.

    Args:
        plugins: files of ``--plugin``.
    """

    def __init__(self, plugins: Sequence[str] = ()) -> None:
        self.plugins = tuple(plugins)

    @cached_property
    def catalog(self) -> Catalog:
        return load_plugins(files=self.plugins)


GROUPS = {
    "data": "Prepare annotations and features.",
    "data prepare": "Convert the official annotations of a dataset.",
    "demo": "Make a small dataset that a model learns in minutes.",
    "weights": "Find, download, verify and convert published weights.",
}
"""What the commands of a group do."""


class Commands(click.Group):
    """Subcommands that plugins declare; ``"demo recognition"`` is command ``recognition`` of group ``demo``."""

    def __init__(self, prefix: str = "", **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self.prefix = prefix

    def _offered(self, ctx: click.Context) -> dict[str, Component | None]:
        """Return components by name, with None for a group."""
        offered: dict[str, Component | None] = {}
        for name, component in sorted(_catalog(ctx).commands.items()):
            if name.startswith(self.prefix):
                head, _, rest = name.removeprefix(self.prefix).partition(" ")
                offered[head] = None if rest else component
        return offered

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._offered(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        offered = self._offered(ctx)
        if cmd_name not in offered:
            return None
        component = offered[cmd_name]
        if component is None:
            below = f"{self.prefix}{cmd_name} "
            help_ = GROUPS.get(below.rstrip(), "Commands of a plugin.")
            return Commands(below, name=cmd_name, help=help_, no_args_is_help=True)
        try:
            command = component.load()
            if not isinstance(command, click.Command):
                raise PluginError(
                    f"{component.name} of {component.plugin}: {component.target!r} is not a click command"
                )
        except PluginError as error:  # one broken command must not break the help of the others
            return _broken(cmd_name, error)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args and not args[0].startswith("-") and not ctx.resilient_parsing  # a shell completes silently
        if named and args[0] not in self._offered(ctx):
            name = f"{self.prefix}{args[0]}"
            if name in NOT_OFFERED:
                raise click.UsageError(f"'vidcore {name}' {NOT_OFFERED[name]}", ctx)
            names = self.list_commands(ctx)
            hint = nearest(args[0], names) or f"; there are {', '.join(names)}"
            raise click.UsageError(f"no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _catalog(ctx: click.Context) -> Catalog:
    return ctx.ensure_object(Context).catalog


def _broken(name: str, error: PluginError) -> click.Command:
    def refuse() -> None:
        raise error

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, help=f"Broken: {error}", context_settings=settings)


HELP = {"help_option_names": ["-h", "--help"]}


@click.command(cls=Commands, name="vidcore", no_args_is_help=True, context_settings=HELP)
@click.version_option(__version__, message="vidcore %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.option("--plugin", multiple=True, metavar="FILE", help="Use the components of a Python file, and run its code.")
@click.option(
    "--launcher", type=click.Choice(sorted(LAUNCHERS)), help="What started several processes; default: torchrun."
)
def cli(debug: bool, plugin: tuple[str, ...], launcher: str | None) -> None:
    """Video understanding: train, evaluate and use models described by one TOML file.

    The options --debug and --plugin may stand anywhere on the command line.
    """
    if launcher:
        launched_by(launcher)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # processes that clean up would wait for each other


def main() -> None:
    """Set up the process, run the command in ``sys.argv`` and exit: the console script."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
    rest = _split(sys.argv[1:])[0]
    command = next((argument for argument in rest if not argument.startswith("-")), "")
    for number in range(3):  # what is closed would get the number of the next file, and messages would be written to it
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    to_files = command in WRITES_FILES or any(argument.startswith(TO_FILES) for argument in sys.argv[2:])
    sys.stderr = _opened(sys.stderr, _Messages(2, "w", closefd=False))
    sys.stdout = _opened(sys.stdout, (_Messages if to_files else _Results)(1, "w", closefd=False))
    if VARIABLE in os.environ:
        use_bash()
    if "RANK" not in os.environ:
        signal.signal(signal.SIGTERM, _terminate)  # not under torchrun, whose processes would wait for each other
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except (OSError, Unread) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it again
        if code == 0 and isinstance(error, OSError):
            click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        code = code or (2 if isinstance(error, OSError) else UNREAD)
    sys.exit(code)


WRITES_FILES = ("data", "demo", "features", "fuse", "publish", "run", "score", "test")
"""Commands whose results are files: they continue if their output is no longer read."""
TO_FILES = ("-o", "--output", "--write", "--draw")
"""Options of other commands with the same effect."""


UNREAD = 128 + 13
"""Exit code if nobody reads the output: that of SIGPIPE."""


class _Messages(io.FileIO):
    """A pipe, terminal or file that drops output that it cannot write (no reader, full disk, full pipe)."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written  # None: a non-blocking pipe is full


class Unread(BaseException):
    """Nobody reads the output any more, as in ``vidcore list recipes | head``."""


class _Results(io.FileIO):
    """Output that a command is run for."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise Unread from None


def _opened(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    """Return a text stream to ``raw`` that also writes file names of bytes that do not decode."""
    if stream is not None and not isinstance(stream, io.TextIOWrapper):  # of a program that calls ``main``
        return stream
    encoding, by_line = (stream.encoding, stream.line_buffering) if stream else ("utf-8", False)
    by_line = by_line or isinstance(raw, _Messages)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=by_line)


def run(arguments: Sequence[str]) -> int:
    """Run a command as the console script does, without changing global state: for callers from Python.

    Args:
        arguments: the command line after ``vidcore``.

    Returns:
        The exit code: 0 success, 2 user error, 1 bug, 130 interrupted, 141 output no longer read, 143 terminated.
    """
    arguments, debug, plugins = _split(arguments)
    try:
        code = cli.main(arguments, prog_name="vidcore", standalone_mode=False, obj=Context(plugins))
    except SystemExit as end:  # from a command that has printed its error
        code = end.code
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message())
        code = 0
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} -h' for help.", err=True)
        code = 2
    except Unread:
        code = UNREAD
    except (click.Abort, KeyboardInterrupt) as error:
        terminated = isinstance(error.__cause__ or error, Terminated)
        click.echo("terminated" if terminated else "interrupted", err=True)
        code = 143 if terminated else 130
    except (UserError, OSError) as error:
        if debug:
            raise
        click.echo("\n".join(f"{_error()}: {line}" for line in _lines(error)), err=True)
        code = 2
    except Exception as error:
        if debug:
            raise
        if missing := missing_library("this", error):
            click.echo(f"{_error()}: {missing}", err=True)
            return 2
        if _other_rank_failed(error):
            click.echo(f"{_error()}: another rank failed first; see its message", err=True)
            time.sleep(5)  # torchrun then kills this one, and reports the rank that ended first as the cause
        elif _out_of_memory(error):
            what = ". ".join(str(error).split(". ")[:2]) or "out of memory"
            click.echo(f"{_error()}: {what}: {OOM_HINT}", err=True)
        else:
            in_worker = isinstance(error, ComponentError)
            hint = PLUGIN_HINT if in_worker or failed_at(error) else BUG_HINT
            click.echo(f"{_error()}: {error if in_worker else with_place(error)}\n{hint}", err=True)
        code = 1
    return code if isinstance(code, int) else 0


def _split(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """Return the arguments without the options that may stand anywhere, whether to debug, and the plugin files."""
    rest: list[str] = []
    plugins: list[str] = []
    debug, todo = False, iter(arguments)
    for argument in todo:
        if argument == "--":
            rest += [argument, *todo]
        elif argument == "--debug":
            debug = True
        elif argument == "--plugin" and (file := next(todo, None)) is not None:
            plugins.append(file)
        elif argument.startswith("--plugin="):
            plugins.append(argument.removeprefix("--plugin="))
        else:
            rest.append(argument)
    return rest, debug, plugins


class Terminated(KeyboardInterrupt):
    """SIGTERM, e.g. before a shutdown; handled like Ctrl-C."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


BUG_HINT = "This looks like a bug (or incompatible parts in the Task); rerun with --debug for a traceback."


PLUGIN_HINT = "This line is in a plugin; rerun with --debug for a traceback."


def _error() -> str:
    """Return the prefix of messages, with the rank if torchrun started several processes."""
    return f"error (rank {os.environ.get('RANK')})" if os.environ.get("WORLD_SIZE", "1") != "1" else "error"


def _other_rank_failed(error: Exception) -> bool:
    """Whether Gloo or NCCL lost a connection, so that the cause is another process."""
    return type(error).__name__ in ("DistBackendError", "DistNetworkError") or "gloo/transport" in str(error)


OOM_HINT = (
    "use a smaller data.*.batch_size (with train.accumulate to compensate in training), a smaller input, or "
    'runtime.precision = "bf16"'
)


def _out_of_memory(error: Exception) -> bool:
    """Whether a tensor did not fit, on a GPU or elsewhere."""
    return type(error).__name__ in ("OutOfMemoryError", "MemoryError") or "can't allocate memory" in str(error)


def _lines(error: UserError | OSError) -> list[str]:
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.filename}: {error.strerror}"]
    return str(error).splitlines() or [type(error).__name__]


if __name__ == "__main__":
    main()
