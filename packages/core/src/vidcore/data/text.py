"""Reading annotation files as text or JSON, with errors that name the file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vidcore.data.classes import check_file
from vidcore.errors import AnnotationError, UserError
from vidcore.files import parse_json

__all__ = ["read_json", "read_json_value", "read_text", "unique_names"]


def read_text(file: Path, what: str = "annotation file") -> str:
    """Return the content of a UTF-8 file, without a byte order mark; messages call it ``what``.

    Raises ``DataError`` if the file does not exist, ``AnnotationError`` if it is not UTF-8.
    """
    check_file(file, what)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{file}: is not UTF-8 text: {error}") from None


def read_json(file: Path, what: str, hint: str = "") -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        file: to read.
        what: its name in messages.
        hint: added to the message if the file is not JSON.

    Raises:
        AnnotationError: it is not JSON, not an object, or has a name twice in one object.
        DataError: the file does not exist.
    """
    content = read_json_value(file, what, hint)
    if not isinstance(content, dict):
        raise AnnotationError(f"{file}: must be a JSON object, got {type(content).__name__}")
    return content


def read_json_value(file: Path, what: str, hint: str = "") -> Any:
    """Return the value in a JSON file, of any type; see ``read_json``."""
    check_file(file, what)
    try:
        return parse_json(file.read_text(encoding="utf-8-sig"), partial(unique_names, file))
    except UserError:
        raise
    except ValueError as error:
        raise AnnotationError(f"{file}: is not JSON{hint}: {error}") from None


def unique_names(file: Path | str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON file, for ``parse_json``: ``json`` alone would keep the last of two equal names.

    Raises ``AnnotationError``, beginning with the file, if a name occurs twice.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in table if names.count(name) > 1)
        raise AnnotationError(f"{file}: {twice}: is listed twice")
    return table
