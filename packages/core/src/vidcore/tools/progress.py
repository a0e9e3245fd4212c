"""Progress bars of commands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(items: Sequence[Any] | Iterable[Any], what: str, total: int | None = None) -> Iterable[Any]:
    """Iterate over items with a progress bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, what, total=total, console=Console(stderr=True), transient=True)
