"""Handling of bad samples: videos that cannot be read, annotations that are not valid."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any, Literal, Self

from attrs import Attribute, asdict, evolve, field, frozen
from attrs.validators import instance_of, optional

from vidcore.data.limits import resource_hint
from vidcore.errors import AnnotationError, ComponentError, DataError, UserError, VideoError
from vidcore.files import append_line
from vidcore.notes import read_lines
from vidcore.plugins.place import failed_at, with_place
from vidcore.sample import Sample

__all__ = ["RECOVERABLE", "BadSamples", "Failure", "Policy"]

Policy = Literal["raise", "skip", "resample"]
RECOVERABLE = (VideoError, AnnotationError)
"""Errors of single samples, which a policy may forgive; every other error ends the run."""


def _count(failure: object, attribute: Attribute[Any], value: object) -> None:
    if type(value) is not int or value < 0:
        raise TypeError(f"{attribute.name} is {value!r}")


@frozen
class Failure:
    """A sample that could not be loaded, as a worker reports it."""

    index: int = field(validator=_count)
    epoch: int = field(validator=_count)
    path: str | None = field(validator=optional(instance_of(str)))
    reason: str = field(validator=instance_of(str))
    step: str = field(default="", validator=instance_of(str))
    """Where it failed: the key of a pipeline step, for example; empty if not known."""
    fatal: bool = False
    """Whether it ends the run under every policy."""
    details: str = field(default="", repr=False)
    """Traceback of an error that is not a ``UserError``."""
    in_plugin: bool = False
    """Whether the code of a plugin raised it; the reason then ends with file and line."""
    quarantined: bool = field(default=False, validator=instance_of(bool))
    """Whether loading it makes a process hang or die: it is not loaded again, also after resuming."""

    @classmethod
    def of(cls, error: Exception, index: int, epoch: int, sample: Sample | None, step: str) -> Failure:
        """Describe the exception that is being handled."""
        path = sample.path if sample else None
        if short := resource_hint(error):
            return cls(index, epoch, path, short, step, fatal=True)
        if isinstance(error, UserError):
            return cls(index, epoch, path, str(error), step, fatal=not isinstance(error, RECOVERABLE))
        in_plugin = bool(failed_at(error))
        return cls(index, epoch, path, with_place(error), step, True, traceback.format_exc(), in_plugin=in_plugin)

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """Return the failure in a row of a list of bad samples, in which ``quarantined`` was once ``avoid``.

        Raises ``TypeError``, ``ValueError`` or ``AttributeError`` if it is something else.
        """
        return cls(**{("quarantined" if name == "avoid" else name): value for name, value in row.items()})

    def as_fatal(self) -> Failure:
        return evolve(self, fatal=True)

    def __str__(self) -> str:
        where = f" ({self.path})" if self.path and self.path not in self.reason else ""
        step = f", {self.step}" if self.step else ""
        return f"sample {self.index}{where}{step}: {self.reason}"

    def as_error(self) -> Exception:
        """Return the error to raise in the main process: one line, with the worker's traceback as a note."""
        if not self.details:
            return DataError(str(self))
        error = ComponentError(str(self)) if self.in_plugin else RuntimeError(str(self))
        error.add_note(self.details)
        return error


class BadSamples:
    """The bad samples of one dataset: counts them, lists them in a file, and raises if there are too many.

    The file has one JSON object per line (index, epoch, path, reason, step, and quarantined if true), and each
    sample once, also over resumed runs. So a resumed run counts the same samples against the budget.
    """

    def __init__(self, size: int, budget: float = 0.01, path: Path | None = None) -> None:
        """
        Args:
            size: number of samples in the dataset.
            budget: fraction of samples that may be bad; ten always may.
            path: file of the list; default: no file.
        """
        self.allowed = max(10, int(size * budget))
        self.size = size
        self.path = path
        self.failures: dict[int, Failure] = {}
        if path is not None:
            listed = read_lines(path, Failure.from_row)
            self.failures = {known.index: known for known in listed if known.index < size}

    def __len__(self) -> int:
        return len(self.failures)

    @property
    def example(self) -> Failure | None:
        """One bad sample; None if there are none."""
        return next(iter(self.failures.values()), None)

    def record(self, failure: Failure) -> None:
        """Record a bad sample.

        Raises ``DataError``, naming the list, if there are more than the budget allows.
        """
        if failure.index not in self.failures:
            self.failures[failure.index] = failure
            if self.path is not None:
                hidden = ("fatal", "details", "in_plugin")
                row = asdict(failure, filter=lambda a, v: a.name not in hidden and v is not False)
                append_line(self.path, json.dumps(row))
        if len(self.failures) > self.allowed:
            listed = f"; {self.path} lists them" if self.path is not None else ""
            raise DataError(
                f"{len(self.failures)} of {self.size} samples are bad, {self.allowed} are allowed{listed}; "
                f"the last is {failure}"
            )
