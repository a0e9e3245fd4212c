"""The same work for each of many files: resumable, shared by processes, with a list of failures.

Every command that walks over files uses this: it skips files that are done, writes results as it goes, lists failures
in ``failures.jsonl``, shows its progress, and ends with a count and an exit code. A command that counts frames::

    def count(video: Path) -> int:
        with open_video(video) as reader:
            return len(reader)

    counts = run_files(
        videos,
        make=each(count),
        save=lambda video, frames: write_json(output / f"{video.stem}.json", frames),
        done=lambda video: (output / f"{video.stem}.json").exists(),
        failures=output,
        shard=Shard.parse("2/8"),
    )
    finish(counts, f"{output}: frames")

Nothing in the core but commands and their helpers imports this module.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeVar

from attrs import frozen

from vidcore.errors import DataError, UserError, VideoError
from vidcore.files import append_line, dump_json
from vidcore.tools.progress import progress_bar

__all__ = ["Counts", "Shard", "each", "finish", "run_files", "share"]

T = TypeVar("T")
Made = TypeVar("Made")

PATIENCE = timedelta(days=30)
"""How long a process that has finished its part waits for the others."""


@frozen
class Shard:
    """One of several equal parts of a list of files.

    >>> Shard.parse("2/3"), str(Shard.parse("2/3")), Shard.parse("2/3").of("abcdefgh")
    (Shard(index=1, count=3), '2/3', 'beh')
    >>> Shard.parse("2/3").split(0, 2)
    Shard(index=1, count=6)
    """

    index: int = 0
    """From 0; in strings, from 1."""
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``i/n``: part i, counted from 1, of n. Raises ``UserError`` for anything else."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"shard {text!r}: must be i/n with i from 1 to n, such as 1/4")
        return cls(int(found[1]) - 1, int(found[2]))

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of this shard: every ``count``-th, since neighbours often have similar lengths."""
        return items[self.index :: self.count]

    def split(self, rank: int, world: int) -> Shard:
        """Return the part of process ``rank`` if ``world`` processes share this shard."""
        return Shard(self.index + rank * self.count, self.count * world)


@frozen
class Counts:
    """Numbers of files by result.

    >>> str(Counts(2, 14) + Counts(1, 0, 1))
    '3 new, 14 already there, 1 cannot be read'
    """

    new: int = 0
    existing: int = 0
    """Files done earlier."""
    bad: int = 0
    """Files that failed."""

    @property
    def good(self) -> int:
        """Files that are done, now or earlier."""
        return self.new + self.existing

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.new + other.new, self.existing + other.existing, self.bad + other.bad)

    def __str__(self) -> str:
        parts = [f"{self.new} new"]
        parts += [f"{self.existing} already there"] if self.existing else []
        parts += [f"{self.bad} cannot be read"] if self.bad else []
        return ", ".join(parts)


def each(function: Callable[[T], Made]) -> Callable[[Sequence[T]], Iterator[tuple[int, Made | UserError]]]:
    """Turn a function of one file into ``make`` of ``run_files``, which handles one file after another.

    A ``VideoError`` or ``DataError`` counts as the failure of a file; any other error ends the work.
    """

    def make(items: Sequence[T]) -> Iterator[tuple[int, Made | UserError]]:
        for number, item in enumerate(items):
            try:
                yield number, function(item)
            except (VideoError, DataError) as error:
                yield number, error

    return make


def run_files(
    items: Sequence[T],
    *,
    make: Callable[[Sequence[T]], Iterable[tuple[int, Made | UserError]]],
    save: Callable[[T, Made], str | None],
    done: Callable[[T], bool],
    failures: Path,
    name: Callable[[T], object] = str,
    shard: Shard = Shard(),
    title: str = "files",
    label: str = "",
    bar: bool = True,
) -> Counts:
    """Do the work of one shard.

    On a terminal a bar shows the progress; elsewhere a line is printed for each file, and now and then the time left.

    Args:
        items: the files of all shards, in the same order for each of them.
        make: does the work: yields (index of the item, result or error), in any order. See ``each``.
        save: writes a result atomically (``vidcore.files.atomic_write``), and returns a line about it.
        done: whether the result of an item already exists.
        failures: folder in which ``failures.jsonl`` (``failures-2-of-8.jsonl`` for a shard) gets a line for each item
            as it fails. The file of an earlier run is replaced.
        name: returns the name of an item for the list of failures.
        shard: the items to handle.
        title: of the bar.
        label: printed before each line if several processes write to one terminal; then there is no bar.
        bar: show a bar of the items on a terminal; False if ``make`` shows the progress of each.
    """
    mine = shard.of(items)
    todo = [item for item in mine if not done(item)]
    failed = _FailureList(failures, shard)
    new = bad = 0
    bar = bar and not label
    quiet = bar and sys.stderr.isatty()
    for number, made in progress_bar(make(todo), title, len(todo)) if bar else make(todo):
        item = todo[number]
        if isinstance(made, UserError):
            bad += 1
            failed.add(str(name(item)), made)
            print(f"{label}skipped: {made}", file=sys.stderr, flush=True)
        else:
            new += 1
            line = save(item, made)
            if line and not quiet:
                print(f"{label}{line}", flush=True)
    return Counts(new, len(mine) - len(todo), bad)


def share(work: Callable[[Shard, str], Counts], shard: Shard) -> Counts | None:
    """Call ``work`` with a shard and a label: under torchrun, with this process's part and its rank.

    Returns the counts of all processes on rank 0, None on other ranks.
    """
    if "RANK" not in os.environ:
        return work(shard, "")
    import torch

    from vidcore.engine import dist

    with dist.process_group(torch.device("cpu"), PATIENCE) as world:
        label = f"process {world.rank}: " if world.size > 1 else ""
        counts = dist.gather_to_rank0(work(shard.split(world.rank, world.size), label))
    return None if counts is None else sum(counts, Counts())


def finish(counts: Counts | None, what: str) -> None:
    """Print the counts of files; exit with code 2 if any failed.

    Args:
        counts: result of ``share``; None prints nothing.
        what: names the folder and the results, e.g. ``out: features``.
    """
    if counts is None:
        return
    print(f"{what} of {counts.good} videos: {counts}", flush=True)
    if counts.bad:
        print(f"error: {counts.bad} of {counts.good + counts.bad} videos cannot be read", file=sys.stderr)
        sys.exit(2)


class _FailureList:
    """A file with a line for each failure; it exists only if there is one."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        part = "" if shard.count == 1 else f"-{shard.index + 1}-of-{shard.count}"
        self.path = folder / f"failures{part}.jsonl"
        for old in folder.glob("failures-*-of-*.jsonl") if shard.count == 1 else ():  # this run covers all shards
            old.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def add(self, name: str, error: UserError) -> None:
        """Write a line at once, since the process may be killed during the next file."""
        line = dump_json({"file": name, "error": str(error)})
        append_line(self.path, line)
