"""Values in JSON, checked one by one: an error names the file and the path to the value."""

from __future__ import annotations

from typing import Any

from vidcore.data.fields import finite_number
from vidcore.errors import AnnotationError

__all__ = ["as_list", "as_seconds", "as_table", "as_words"]


def as_table(where: str, value: Any) -> dict[str, Any]:
    """Return a JSON object. Raises ``AnnotationError`` for anything else."""
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: must be an object, got {_shown(value)}")
    return value


def as_list(where: str, value: Any, length: int | None = None) -> list[Any]:
    """Return a JSON array with the given number of values. Raises ``AnnotationError`` for anything else."""
    if not isinstance(value, list) or length not in (None, len(value)):
        raise AnnotationError(f"{where}: must be a list{f' of {length} values' if length else ''}, got {_shown(value)}")
    return value


def as_seconds(where: str, value: Any) -> float:
    """Return a time from the beginning of a video. Raises ``AnnotationError`` if it is not a number from 0."""
    if (seconds := finite_number(where, value)) < 0:
        raise AnnotationError(f"{where}: a time must be seconds from 0, got {seconds:g}")
    return seconds


def as_words(value: Any) -> tuple[str, ...]:
    """Return what an attribute says: a text, number or list of them; nothing for null, and for what is not text.

    >>> as_words("run"), as_words(3), as_words(["a", " "]), as_words(None)
    (('run',), ('3',), ('a',), ())
    """
    if isinstance(value, list):
        return tuple(word for part in value for word in as_words(part))
    if isinstance(value, bool):
        return (str(value).lower(),)
    word = str(value).strip() if isinstance(value, str | int | float) else ""
    return (word,) if word else ()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
