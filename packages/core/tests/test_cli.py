"""Exit codes and messages of the command line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from attrs import evolve

from vidcore.cli import Context, cli, run
from vidcore.cli.completion import VARIABLE, Bash
from vidcore.errors import PluginError
from vidcore.plugins.catalog import load_plugins

RUN = """
import os, signal, sys, time

from vidcore import cli


def work(*_, **__):
    {}


cli.cli.main = work
sys.argv = ["vidcore"]
cli.main()
"""


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (  # a shell ignores it for jobs in the background
            "signal.signal(signal.SIGINT, signal.default_int_handler); signal.raise_signal(signal.SIGINT)",
            130,
            "interrupted",
        ),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, "terminated"),
        pytest.param(
            "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has')",
            1,
            "error: CUDA out of memory. Tried to allocate 2.00 GiB: use a smaller data.*.batch_size",
            marks=pytest.mark.torch,
        ),
        pytest.param("import torch; torch.empty(2**60)", 1, "error: ", marks=pytest.mark.torch),
        (
            "raise KeyError(3)",
            1,
            "error: KeyError: 3\nThis looks like a bug (or incompatible parts in the Task); rerun with --debug for a "
            "traceback.",
        ),
    ],
)
def test_exit_codes(work: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", RUN.format(work)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert ("use a smaller data.*.batch_size" in done.stderr) == ("torch" in work)
    assert "Traceback" not in done.stderr


WRITES = """
import sys
from pathlib import Path

import click

from vidcore import cli


def work(*_, **__):
    for number in range(5000):
        click.echo(f"line {number}")
        print("message", number, file=sys.stderr)
    Path("done").touch()
    return 0


cli.cli.invoke = work
sys.argv = ["vidcore", *sys.argv[1:]]
cli.main()
"""


def end_of(kind: str) -> int:
    """Return a file descriptor to which nothing can be written."""
    if kind == "full disk":
        return os.open("/dev/full", os.O_WRONLY)
    read, end = os.pipe()
    if kind == "closed pipe":
        os.close(read)
    else:
        os.set_blocking(end, False)  # and nobody reads: as on a terminal that is stopped
    return end


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("run a", "closed pipe"),
        ("run a", "full disk"),
        ("run a", "full pipe"),
        ("test a", "closed pipe"),
        ("features a", "closed pipe"),
        ("score a", "closed pipe"),
        ("predict a -o x.csv", "closed pipe"),
    ],
)
def test_commands_that_write_files_continue_if_nobody_reads(tmp_path: Path, command: str, kind: str) -> None:
    end = end_of(kind)
    done = subprocess.run([sys.executable, "-c", WRITES, *command.split()], cwd=tmp_path, stdout=end, stderr=end)
    os.close(end)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    ("kind", "code", "said"), [("closed pipe", 141, ""), ("full disk", 2, "error: .*No space left.*")]
)
@pytest.mark.parametrize("command", ["list", "predict a"])
def test_commands_that_print_end_quietly(tmp_path: Path, command: str, kind: str, code: int, said: str) -> None:
    end = end_of(kind)
    script = WRITES.replace('print("message", number, file=sys.stderr)', "pass")
    arguments = [sys.executable, "-c", script, *command.split()]
    done = subprocess.run(arguments, cwd=tmp_path, stdout=end, stderr=subprocess.PIPE, text=True)
    os.close(end)
    assert done.returncode == code
    assert re.fullmatch(said, done.stderr.partition("\n")[0])


@pytest.mark.skipif(sys.platform == "win32", reason="closes file descriptors in a shell")
def test_closed_outputs_do_not_become_files(tmp_path: Path) -> None:
    script = WRITES.replace('Path("done")', "open('kept', 'w'); os.write(2, b'message'); Path(\"done\")")
    script = script.replace("import sys", "import os\nimport sys", 1)
    done = subprocess.run(["bash", "-c", '"$0" -c "$1" run a >&- 2>&- <&-', sys.executable, script], cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "kept").read_text() == ""


def test_a_command_run_from_python_does_not_change_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = warnings.showwarning, signal.getsignal(signal.SIGTERM)
    assert run(["list", "metrics"]) == 0
    assert run(["list", "metricks"]) == 2
    assert (warnings.showwarning, signal.getsignal(signal.SIGTERM)) == before
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["evaluate", "a.npz", "task.toml"], "'vidcore evaluate' is now 'vidcore score'"),
        (["data", "features", "folder"], "'vidcore data features' is now 'vidcore data convert-features'"),
        (["evaluatte"], "no command 'evaluatte'"),
    ],
)
def test_a_renamed_command_names_the_new_one(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its name, groups included."""
    context = click.Context(group, obj=Context())
    yield path, group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_explains_itself_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for path, command in commands(cli):
        assert run([*path, "-h"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: {' '.join(['vidcore', *path])} "), path
        assert max(map(len, shown.splitlines())) <= 80, path
        if isinstance(command, click.Group):
            listed = shown.partition("Commands:\n")[2].splitlines()
            whole = [line.endswith(".") and not line.endswith("..") for line in listed]
            assert all(whole), f"{path}: not whole sentences: {listed}"
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path}: {option.name}"
                assert option.help.endswith((".", ")")), f"{path}: {option.help}"
                assert option.type is not click.STRING or option.metavar, f"{path}: {option.name}: TEXT of what kind?"


def test_a_group_of_a_plugin_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import click\nfrom vidcore.plugins.hooks import hookimpl\n@click.command()\ndef a(): 'Do it.'\n"
    code += "@hookimpl\ndef vidcore_commands():\n    return {'mine a': f'{__name__}:a', 'data mine': f'{__name__}:a'}\n"
    (tmp_path / "own.py").write_text(code)
    assert run(["--plugin", str(tmp_path / "own.py"), "-h"]) == 0
    assert "  mine        Commands of a plugin.\n" in capsys.readouterr().out
    assert run(["--plugin", str(tmp_path / "own.py"), "data", "-h"]) == 0
    assert re.search(r"(?m)^  mine +Do it\.$", capsys.readouterr().out)


def test_a_missing_argument_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: Missing argument 'TASK'.",
        "Usage: vidcore check [OPTIONS] TASK",
        "Try 'vidcore check -h' for help.",
    ]
    assert run(["check", "--bild", "a.toml"]) == 2
    assert "Usage: vidcore check [OPTIONS] TASK" in capsys.readouterr().err


def test_a_shell_completes_every_argument() -> None:
    silent, free = [], {"text"}  # what a person writes
    for path, command in commands(cli):
        context = click.Context(command, obj=Context())
        context.resilient_parsing = True
        for argument in command.params:
            if not isinstance(argument, click.Argument) or argument.name in free:
                continue
            if not argument.shell_complete(context, ""):
                silent.append((path, argument.name))
    assert silent == []


def completed(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    program = folder / "vidcore"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vidcore "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$('{program}' completion bash)"
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
        _vidcore_completion '{program}' 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_kinds_files_and_keys(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text('[optimizer]\ntype = "SGD"\nlr = 0.1\n[train]\nepochs = 3\n')
    (tmp_path / "tasks").mkdir()
    assert completed(tmp_path, "vidcore", "comp") == ["compare", "completion"]
    assert completed(tmp_path, "vidcore", "list", "tran") == ["transforms"]
    found = completed(tmp_path, "vidcore", "run", "task.toml", "--set", "train.val_")
    assert found == [f"train.val_{name}=" for name in ("at_start", "begin", "interval", "loss")]


def test_other_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.toml").write_text('[data.val.pipeline]\ndecode = { type = "Decode" }\n')
    (tmp_path / "tasks").mkdir()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/tam_r50.toml").touch()
    context = Context()
    context.catalog = evolve(load_plugins(), recipe_folders=(("vid-own", tmp_path / "recipes"),))
    shell = Bash(cli, {"obj": context}, "vidcore", VARIABLE)

    def complete(*words: str) -> list[str]:
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    assert complete("data", "prepare", "x") == []
    assert complete("no-such-command", "x") == []
    assert {"runtime.seed=", "train.epochs="} <= {*complete("run", "--set", "")}, "before a Task is given"
    assert complete("check", "task.toml", "--set", "data.val.pipeline.decode.t") == [
        *(f"data.val.pipeline.decode.{name}=" for name in ("threads", "type"))
    ]
    assert "data.val.batch_size=" in complete("check", "task.toml", "--set", "data.val.b")
    assert complete("check", "ta") == ["task.toml", "tasks/", "tam_r50"]
    for name in ("bash", "zsh", "fish"):
        assert run(["completion", name]) == 0


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("CSVLog", "observers", "was removed: pandas.read_json"),
        ("LBFGS", "optimizers", "is not supported: it needs the loss"),
    ],
)
def test_a_component_that_is_not_offered_has_a_reason(name: str, kind: str, why: str) -> None:
    with pytest.raises(PluginError, match=f"^'{name}' {why}"):
        load_plugins().get(name, kind)


def without_torch(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of a command without PyTorch."""
    script = "import sys; sys.modules['torch'] = None; from vidcore.cli import main; main()"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


TASK = """
[job]
type = "ExtractFeatures"
task = "task.toml"
checkpoint = "best.pt"
videos = ["a.mp4"]
[optimizer]
type = "SGD"
lr = 0.1
[train]
epochs = 3
"""
UNCHECKED = "task.toml: optimizer: not checked: SGD needs PyTorch: pip install 'vidcore[torch]'"


def test_without_pytorch_the_other_parts_of_a_task_are_checked(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(TASK)
    (tmp_path / "best.pt").touch()
    (tmp_path / "a.mp4").touch()
    warned = f"warning: {tmp_path}/{UNCHECKED}\n"
    assert without_torch(tmp_path, "check", "task.toml") == (0, "task: fine\n", warned)
    code, _, said = without_torch(tmp_path, "check", "task.toml", "--set", "train.epoch=3")
    assert (code, said.startswith(warned), said.count("error")) == (2, True, 1)
    assert "unknown key: [train] takes no 'epoch'; did you mean 'epochs'?" in said
    for command in (["run", "task.toml"], ["check", "task.toml", "--build"], ["explain", "task.toml", "--schedule"]):
        code, _, said = without_torch(tmp_path, *command)
        assert (code, said) == (2, f"{warned}error: this needs PyTorch: pip install 'vidcore[torch]'\n"), command
    assert without_torch(tmp_path, "list", "optimizers")[0] == 0


def test_the_list_of_everything_names_recipes_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list"]) == 0
    parts, recipes = capsys.readouterr().out.split("\n\n")
    assert recipes.splitlines() == ["recipes", *sorted(load_plugins().recipes)]
    assert "recipes" not in {line.split()[0] for line in parts.splitlines()}
