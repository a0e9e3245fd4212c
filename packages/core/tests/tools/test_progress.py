"""Progress on a terminal, in a pipe and in a file."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidcore.jobs import each, run_files
from vidcore.tools import progress
from vidcore.tools.progress import Display, Work, progress_bar


class Clock:
    """``time``, which passes only on request."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def some_work(clock: Clock) -> Work:
    """Return work of which 20 steps took 100 seconds; the other 380 will take 1900."""
    work = Work("epoch 3/20", 500, 100, ["loss 0.6931", "lr 0.01", "top1_acc 0.5"])
    clock.now += 100
    work.update(120)
    return work


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (30, "epoch 3/20  120/500"),
        (40, "epoch 3/20  120/500 #-----  0:31:40 left"),
        (48, "epoch 3/20  120/500  loss 0.6931  0:31:40 left"),
        (60, "epoch 3/20  120/500 ###----------  loss 0.6931  0:31:40 left"),
        (80, "epoch 3/20  120/500 ######------------------  loss 0.6931  lr 0.01  0:31:40 left"),
        (
            120,
            "epoch 3/20  120/500 #######-----------------------  loss 0.6931  lr 0.01  top1_acc 0.5  0:31:40 left",
        ),
    ],
)
def test_a_line_fits_and_shows_what_there_is_room_for(clock: Clock, width: int, line: str) -> None:
    assert some_work(clock).line(width, "#-") == line


def test_a_long_run_fits_60_columns(clock: Clock) -> None:
    work = Work("epoch 100/256", 480_000, 0, ["loss 1.234e-05"])
    clock.now += 0.1 * 120_000
    work.update(120_000)
    assert work.line(60) == "epoch 100/256  120000/480000  loss 1.234e-05  10:00:00 left"


def test_the_time_left_counts_down_and_leaves_pauses_out(clock: Clock) -> None:
    work = some_work(clock)
    assert work.left() == "0:31:40"
    clock.now += 4
    assert work.left() == "0:31:36", "while a step takes longer"
    clock.now += 60
    work.pause(64)  # an evaluation
    assert work.left() == "0:31:40"
    assert Work("features", 10).left() == "", "unknown"
    clock.now += 10_000
    assert work.left() == "0:00:00"


def test_plain_lines_come_now_and_then(clock: Clock) -> None:
    out = io.StringIO()
    display, work = Display(out, seconds=10), Work("features", 1000)
    for done in range(1, 601):
        clock.now += 1
        work.update(done)
        display.show(work)
    lines = out.getvalue().splitlines()
    assert lines[0] == "features  10/1000  1 s/item  left 0:16:30"
    counts = [int(line.split()[1].partition("/")[0]) for line in lines]
    assert counts == [*range(10, 120, 10), 170, 230, 290, 350, 410, 470, 530, 590]


class Screen(io.StringIO):
    """A terminal with an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("encoding", "bar"), [("ascii", "###"), ("utf-8", "━━━")])
def test_the_bar_can_be_written(encoding: str, bar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    display = Display(screen := Screen(encoding))
    display.show(Work("features", 10, 9))
    display.close()
    assert bar in screen.getvalue()
    screen.getvalue().encode(encoding)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    display = Display(screen := Screen("utf-8"), seconds=0)
    display.show(Work("features", 10, 9))
    assert screen.getvalue() == "features  9/10\n"


def test_items_are_counted_when_they_are_done(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)

    def slow() -> Iterator[str]:
        for name in "abc":
            clock.now += 60
            yield name

    assert "".join(progress_bar(slow(), "videos", 3)) == "abc"
    assert out.getvalue().splitlines() == [
        "videos  1/3  60 s/item  left 0:02:00",
        "videos  2/3  60 s/item  left 0:01:00",
        "videos  3/3  60 s/item  left 0:00:00",
    ]


def test_work_on_files_in_a_pipe_tells_the_time_left(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(name: str) -> str:
        clock.now += 30
        return name

    run_files(["a", "b"], make=each(work), save=lambda i, m: f"wrote {m}", done=lambda i: False, failures=tmp_path)
    seen = capsys.readouterr()
    assert seen.out == "wrote a\nwrote b\n"
    assert seen.err.splitlines()[0] == "files  1/2  30 s/item  left 0:00:30"


SCRIPT = """
import sys, time
from vidcore.tools.progress import Display, Work
display, work = Display(), Work("epoch 3/20", 500, 100, ["loss 0.6931", "lr 0.01", "top1_acc 0.5"])
display.show(work)
time.sleep(0.1)
work.update(101)
display.show(work)
time.sleep({seconds})
display.say("epoch 3  step 101  evaluation: acc/top1 0.5")
print("a warning", file=sys.stderr)
display.close()
print("the end")
"""


def screen(columns: int, seconds: float) -> str:
    """Return what a process writes to a terminal with this many columns."""
    fcntl, pty, struct, termios = map(pytest.importorskip, ("fcntl", "pty", "struct", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    command = [sys.executable, "-c", SCRIPT.format(seconds=seconds)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the process has ended
                part = b""
            if not part:
                break
            seen += part
    os.close(ours)
    return seen.decode()


@pytest.mark.parametrize(("columns", "seconds"), [(60, 0.1), (80, 2.2), (120, 0.1)])
def test_what_a_terminal_shows(columns: int, seconds: float) -> None:
    seen = screen(columns, seconds)
    assert "\x1b[?25h" in seen, "the cursor is back"
    lines = [line.strip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)) if line.strip()]
    assert all(len(line) < columns for line in lines)
    bars = [line for line in lines if "━" in line or "─" in line]
    assert any(re.fullmatch(r"epoch 3/20  101/500 [━─]{3,}  loss 0.6931  .*\d:\d\d:\d\d left", line) for line in bars)
    assert any("top1_acc 0.5" in line for line in bars) == (columns == 120)
    assert lines[-1] == "the end"
    assert "a warning" in lines
    assert "epoch 3  step 101  evaluation: acc/top1 0.5" in lines
    if seconds > 1:
        assert len(set(bars)) >= 3, "redrawn every second, although no step ends"
