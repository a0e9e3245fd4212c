"""Annotation files as text and as JSON, with what is wrong named."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vidcore.data.classes import check_file
from vidcore.errors import AnnotationError, UserError
from vidcore.files import parse_json

__all__ = ["read_json", "read_text"]


def read_text(file: Path, what: str = "annotation file") -> str:
    """Return the text of a UTF-8 file, without a byte order mark; messages call it ``what``.

    Raises ``DataError`` where there is no such file, ``AnnotationError`` where it is something else.
    """
    check_file(file, what)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{file}: is no text: {error}") from None


def read_json(file: Path, what: str, hint: str = "") -> dict[str, Any]:
    """Return the table that a JSON file holds; a name that is there twice, at any depth, is an error.

    Args:
        file: to read.
        what: what messages call it.
        hint: added to the message about what is not JSON.

    Raises:
        AnnotationError: it is no JSON, no table, or names something twice.
        DataError: there is no such file.
    """
    check_file(file, what)
    try:
        content = parse_json(file.read_text(encoding="utf-8-sig"), partial(_table, file))
    except UserError:
        raise
    except ValueError as error:
        raise AnnotationError(f"{file}: is no JSON{hint}: {error}") from None
    if not isinstance(content, dict):
        raise AnnotationError(f"{file}: must be a table by name, got {type(content).__name__}")
    return content


def _table(file: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of a JSON file, where the last of two equal names would win without a word."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in table if names.count(name) > 1)
        raise AnnotationError(f"{file}: {twice}: is listed twice")
    return table
