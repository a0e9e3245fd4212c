"""Files of weights, and the libraries that run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidcore.errors import PluginError, UserError

__all__ = ["opening", "requires"]


@contextmanager
def requires(component: str, library: str, extra: str) -> Iterator[None]:
    """Raise ``PluginError`` that says what to install if an import within the block fails.

    Args:
        component: that needs the library.
        library: its name.
        extra: of vid-persons that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise PluginError(f"{component} needs {library}: pip install 'vid-persons[{extra}]'") from error


@contextmanager
def opening(component: str, path: Path) -> Iterator[None]:
    """Raise ``UserError`` that names a file of weights in place of any error of the library that reads it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # libraries raise their own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{component}: weights {path} cannot be read: {reason}") from error
