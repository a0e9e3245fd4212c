"""Small files about a run that it can do without: a damaged one is set aside, and the run resumes.

Half a line after a kill, zeros after a power failure, or a hand that edited must not cost the training. Files that a
run cannot do without (its Task, its checkpoints) are not read here: damage in them is a ``UserError``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vidcore.files import parse_json, write_text
from vidcore.locks import guard

__all__ = ["mend_lines", "read_lines", "read_note", "set_aside"]

T = TypeVar("T")

_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What a function raises that gets JSON of another shape than it expects."""


def read_note(path: Path, parse: Callable[[Any], T], mend: bool = True) -> T | None:
    """Return ``parse`` of a JSON file; None if it does not exist or is damaged.

    Args:
        path: a damaged file is renamed to ``NAME.damaged``, and a warning names both.
        parse: converts the content. An error that it raises means damage.
        mend: set a damaged file aside; false if another process does that.
    """
    try:
        return parse(parse_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        if mend:
            set_aside(path, _reason(error))
        return None


def read_lines(path: Path, parse: Callable[[Any], T]) -> Iterator[T]:
    """Yield ``parse`` of each line of a file of JSON objects; skip damaged lines. The file may be missing."""
    yield from (found for _, found in _lines(path, parse) if not isinstance(found, Exception))


def mend_lines(path: Path, parse: Callable[[Any], object]) -> None:
    """Remove damaged lines from a file of JSON objects, so that it can be appended to.

    A line at the end that was cut off is only dropped: that is what a killed process leaves. If more is damaged, the
    file as it was is kept as ``NAME.damaged``, and a warning names both.
    """
    if not path.exists():
        return
    lines = list(_lines(path, parse))
    good = [line for line, found in lines if not isinstance(found, Exception)]
    whole = path.read_bytes().endswith(b"\n")
    damaged = [found for _, found in lines[: None if whole else -1] if isinstance(found, Exception)]
    if damaged:
        set_aside(path, f"{len(damaged)} of {len(lines)} lines: {_reason(damaged[0])}")
    if len(good) < len(lines) or not whole:
        write_text(path, "".join(f"{line}\n" for line in good))


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file to ``NAME.damaged`` (or ``NAME.damaged2``, ...), and warn."""
    names = (path.with_name(f"{path.name}.damaged{number if number > 1 else ''}") for number in range(1, 1000))
    kept = next(name for name in names if not name.exists())
    guard(path).rename(kept)
    warnings.warn(
        f"{path}: is damaged ({reason}); it is kept as {kept.name}, and the run does without it", stacklevel=3
    )


def _lines(path: Path, parse: Callable[[Any], T]) -> Iterator[tuple[str, T | Exception]]:
    """Yield each line of a file, and ``parse`` of it or the error."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        if line:
            try:
                yield line, parse(parse_json(line))
            except _DAMAGE as error:
                yield line, error


def _reason(error: Exception) -> str:
    text = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
    text = text or type(error).__name__
    return text if len(text) <= 100 else f"{text[:97]}..."
