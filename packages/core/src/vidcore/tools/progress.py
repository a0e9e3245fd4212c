"""Progress of long work: one line at the bottom of a terminal; elsewhere a plain line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import IO, TYPE_CHECKING, TypeVar

from attrs import define, field

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["Display", "Work", "progress_bar"]

T = TypeVar("T")

BAR = (3, 30)
"""Fewest and most columns of a bar; there is none where fewer are free."""
ROOM = 12
"""Columns that the bar keeps before facts after the first are shown."""


@define
class Work:
    """Work that can be counted, and the time that it takes.

    >>> print(Work("epoch 3/20", 400, 120, ["loss 0.693", "lr 0.01"]).line(60, "#-"))
    epoch 3/20  120/400 ######-------------  loss 0.693  lr 0.01
    """

    label: str
    total: int
    done: int = 0
    facts: Sequence[str] = ()
    """Shown as far as there is room, the first one always."""
    _first: int = field(init=False)
    _since: float = field(init=False, factory=lambda: time.monotonic())
    _updated: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._first, self._updated = self.done, self._since

    def update(self, done: int) -> None:
        """Set how much is done."""
        self.done, self._updated = done, time.monotonic()

    def pause(self, seconds: float) -> None:
        """Leave the last seconds, which were spent on something else, out of the estimate."""
        self._since += seconds
        self._updated += seconds

    @property
    def seconds_each(self) -> float | None:
        """Mean time of what was done; None before the first is done."""
        count = self.done - self._first
        return (self._updated - self._since) / count if count > 0 else None

    def left(self) -> str:
        """Return the time that the rest will take (``0:01:23``), or an empty string if it is unknown.

        It counts down while nothing is finished.
        """
        if self.seconds_each is None:
            return ""
        rest = (self.total - self.done) * self.seconds_each - (time.monotonic() - self._updated)
        minutes, seconds = divmod(max(0, round(rest)), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"

    def line(self, width: int, marks: str = "━─") -> str:
        """Return label, count, bar, facts and time left, in at most ``width`` columns."""
        head = f"{self.label}  {self.done}/{self.total}"
        left = [f"{rest} left"] if (rest := self.left()) else []
        for shown in range(len(self.facts), -1, -1):
            tail = "".join(f"  {text}" for text in [*self.facts[:shown], *left])
            free = min(width - len(head) - len(tail) - 1, BAR[1])
            if free >= (ROOM if shown > 1 else BAR[0]):
                filled = round(free * self.done / self.total) if self.total else free
                return f"{head} {marks[0] * filled}{marks[1] * (free - filled)}{tail}"
            if shown <= 1 and len(head + tail) <= width:
                return head + tail
        return head[:width]

    def plain(self, unit: str = "") -> str:
        """Return everything, for a file."""
        head = f"{self.label}  {f'{unit} ' * bool(unit)}{self.done}/{self.total}"
        each = [] if self.seconds_each is None else [f"{self.seconds_each:.3g} s/{unit or 'item'}"]
        return "  ".join([head, *self.facts, *each, *([f"left {rest}"] if (rest := self.left()) else [])])


class Display:
    """Shows one ``Work`` at a time: drawn twice a second on a terminal; elsewhere a plain line now and then.

    Plain lines come every ``seconds``, and after a while every six times as many.

    Args:
        out: a terminal, a pipe or a file; default: stderr.
        seconds: time between two plain lines.
    """

    def __init__(self, out: IO[str] | None = None, seconds: float = 10.0) -> None:
        self.out = sys.stderr if out is None else out
        self.seconds = seconds
        self.terminal = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self._work: Work | None = None
        self._live: Live | None = None
        self._began = self._said = time.monotonic()

    def show(self, work: Work | None, unit: str = "", now: bool = False) -> None:
        """Show the state of some work, or nothing more of it (None).

        Args:
            work: what is shown until the next call.
            unit: of what is counted, for plain lines.
            now: print a plain line in any case.
        """
        self._work = work
        if self.terminal and self._live is None and work is not None:
            self._open()
        elif not self.terminal and work is not None:
            time_now = time.monotonic()
            wait = self.seconds * (1 if time_now - self._began < 12 * self.seconds else 6)
            if now or time_now - self._said >= wait:
                self._said = time_now
                self.say(work.plain(unit))

    def say(self, line: str) -> None:
        """Print a line, above the work that is shown."""
        if self._live is not None:
            self._live.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self.out, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _open(self) -> None:
        from rich.console import Console as Terminal
        from rich.live import Live
        from rich.text import Text

        terminal = Terminal(file=self.out)
        try:
            "━─".encode(terminal.encoding)
            marks = "━─"
        except UnicodeEncodeError:
            marks = "#-"

        def draw() -> Text:
            line = self._work.line(terminal.width - 1, marks) if self._work else ""
            return Text(line, no_wrap=True, overflow="crop")

        # what is printed stands above the line, unless it goes to a file or a pipe
        self._live = Live(
            get_renderable=draw,
            console=terminal,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._live.start()


def progress_bar(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate over items and show how many are done, on stderr.

    Args:
        items: one counts as done when the next is taken.
        what: label, such as ``features``.
        total: number of items; default: ``len(items)``.
    """
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    work, display = Work(what, total), Display()
    try:
        if total:
            display.show(work)
        for number, item in enumerate(items, 1):
            yield item
            work.update(number)
            display.show(work)
    finally:
        display.close()
