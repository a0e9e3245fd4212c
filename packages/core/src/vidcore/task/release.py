"""Release files: the weights of a model, and all that is needed to use them, in one safetensors file.

A release may come from anyone. Its Task has no code, names only components that are installed, and refers to no file.
Nothing here imports torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from attrs import field, frozen

from vidcore.config.bind import Call
from vidcore.config.load import Key, Table, format_key
from vidcore.errors import CheckpointError, UserError
from vidcore.files import parse_json
from vidcore.plugins.catalog import KINDS, Component

__all__ = ["FORMAT", "SUFFIX", "Release", "is_release", "kept_table"]

FORMAT = 1
SUFFIX = ".safetensors"
LARGEST_HEADER = 16 << 20
"""Bytes; the names and shapes of a thousand tensors take a tenth of a megabyte."""
LARGEST_NUMBER = 1 << 20
"""Largest number in the Task of a release."""
DEEPEST = 64
"""Largest number of tables inside each other in the Task of a release."""
ALLOWED = ("decoders", "models", "transforms")
"""Kinds of the core that the Task of a release may use. Components of others read or write files."""
KEPT = {("model",), ("data", "test", "pipeline"), ("runtime", "precision")}
"""Tables and values of a Task that a release keeps."""


@frozen
class Release:
    """The metadata of a release file."""

    path: Path
    name: str
    """Name of the Task."""
    task: Table = field(repr=False)
    """Model and test pipeline."""
    about: Mapping[str, Any] = field(repr=False)
    """All metadata: ``class_names``, ``scores``, ``input``, ``reference``, ``versions``, ``license``."""
    tensors: int = 0
    """Number of tensors in the file."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the metadata of a file, without its weights.

        Raises ``CheckpointError`` if the file is missing or damaged, or is not a release.
        """
        about, tensors = _metadata(path)
        task, name = about.get("task"), about.get("name")
        if about.get("format") != FORMAT:
            found = f"has format {about['format']!r}" if "format" in about else "has no format"
            raise CheckpointError(f"{path}: {found}; this version of vidcore reads releases of format {FORMAT}")
        if not isinstance(task, dict) or not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{path}: is a damaged release: its name or its Task is missing or not valid")
        names = about.get("class_names")
        if names is not None and not (isinstance(names, list) and all(map(_is_name, names))):
            raise CheckpointError(f"{path}: is a damaged release: class_names must be strings of printable characters")
        if problem := next(_table_problems(task), None):
            raise CheckpointError(f"{path}: {problem}")
        release = cls(path, name, task, about, tensors)
        scores = release.reference
        if scores is not None and not (isinstance(scores, list) and scores and all(map(_is_score, scores))):
            raise CheckpointError(f"{path}: is a damaged release: its reference scores must be numbers")
        versions = about.get("versions")
        if versions is not None and not (
            isinstance(versions, dict) and all(map(_is_name, (*versions, *versions.values())))
        ):
            raise CheckpointError(f"{path}: is a damaged release: versions must be strings of printable characters")
        return release

    @property
    def reference(self) -> list[float] | None:
        """Scores of the generated clip (``vidcore.task.reference``); None if there are none, or of another clip."""
        found = self.about.get("reference")
        return found.get("scores") if isinstance(found, dict) and found.get("clip") == 1 else None

    def table(self) -> Table:
        """Return the Task as a table: it has no data, which predictions do not need."""
        table: Table = json.loads(json.dumps(self.task))
        part = table.setdefault("data", {}).setdefault("test", {})
        return table | {"data": {"test": {"dataset": {"type": "ConcatDataset", "datasets": []}, **part}}}

    def problems(self, bound: Call, paths: Mapping[str, Path]) -> Iterator[str]:
        """Yield a sentence for everything in its checked Task that a release must not have.

        Args:
            bound: the Task of ``table``.
            paths: the paths in it, by the file and key that contain them.
        """
        for place, path in paths.items():
            yield f"{place}: names the file {path}; a release works alone, so its Task cannot refer to other files"
        pipeline = bound.arguments["data"].arguments["test"].arguments.get("pipeline", {})
        for component in _components([bound.arguments.get("model"), pipeline]):
            if component.kind in KINDS and component.kind not in ALLOWED:
                found = f"names {component.name}, one of {component.kind}"
                yield f"{self.path}: {found}; a release may name {', '.join(ALLOWED)}"


def is_release(path: str | Path) -> bool:
    """Whether a path that stands for a Task is that of a release."""
    return Path(path).suffix == SUFFIX


def kept_table(table: Mapping[str, Any], part: str) -> Table:
    """Return the tables of a Task that a release keeps; the pipeline is that of ``part`` (``data.test``)."""
    kept: Table = {"model": table["model"]}
    kept["data"] = {"test": {"pipeline": table["data"][part.partition(".")[2]].get("pipeline", {})}}
    if "precision" in table.get("runtime", {}):
        kept["runtime"] = {"precision": table["runtime"]["precision"]}
    return kept


def _components(value: Any) -> Iterator[Component]:
    if isinstance(value, Component):
        yield value
    elif isinstance(value, Call):
        if isinstance(value.component, Component):
            yield value.component
        yield from _components(value.arguments)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _components(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _components(inner)


def _metadata(path: Path) -> tuple[Mapping[str, Any], int]:
    """Return the metadata of a release, and the number of its tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise CheckpointError(f"{path}: is damaged, or not a safetensors file: its header has {length} bytes")
            header = parse_json(file.read(length).decode())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise CheckpointError(f"{path}: is damaged, or not a safetensors file: {error}") from None
    written = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    text = written.get("vidcore") if isinstance(written, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(
            f"{path}: holds weights only, and is not a release of 'vidcore publish'; name a Task, and these weights "
            "with --checkpoint"
        )
    try:
        about = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: is a damaged release: {error}") from None
    return about if isinstance(about, dict) else {}, len(header) - 1


def _is_score(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_name(value: Any) -> bool:
    """Whether a value is a string that does nothing to a terminal."""
    return isinstance(value, str) and not re.search(r"[\x00-\x1f\x7f-\x9f]", value)


def _table_problems(table: Table) -> Iterator[str]:
    """Yield a sentence for each value of the table that a release cannot have, without knowing its component."""
    for key, value in _leaves(table, ()):
        if not any(key[: len(kept)] == kept for kept in KEPT):
            yield f"its Task has {format_key(key)}, which is not part of a release"
        if len(key) > DEEPEST:
            yield f"its Task has more than {DEEPEST} tables inside each other"
            return
        if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            yield f"{format_key(key)} = {value:g} is too large: numbers in a release are at most {LARGEST_NUMBER}"


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, dict) and value and len(key) <= DEEPEST:
        for name, inner in value.items():
            yield from _leaves(inner, (*key, name))
    elif isinstance(value, list) and value and len(key) <= DEEPEST:
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*key, str(number)))
    else:
        yield key, value
