"""Handling of bad samples: videos that cannot be read, annotations that are not valid."""

from __future__ import annotations

import json
import traceback
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from attrs import Attribute, asdict, evolve, field, frozen
from attrs.validators import instance_of, optional

from vidcore.data.labels import SampleClasses
from vidcore.data.limits import resource_hint
from vidcore.errors import AnnotationError, ComponentError, DataError, UserError, VideoError, some
from vidcore.files import append_line
from vidcore.mending import read_lines
from vidcore.plugins.place import failed_at, with_place
from vidcore.protocols import Dataset
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
    """The bad samples of one dataset: counts them, lists them in a file, and raises if too many are lost.

    The file has one JSON object per line (index, epoch, path, reason, step, and quarantined if true), and each
    sample once, also over resumed runs. So a resumed run counts the same samples against the budget, and several
    processes with one file count those of all.
    """

    def __init__(
        self,
        dataset: Dataset,
        budget: float,
        path: Path | None = None,
        *,
        name: str = "",
        training: bool = False,
    ) -> None:
        """
        Args:
            dataset: all samples.
            budget: fraction of samples that may be bad; one always may.
            path: file of the list; default: no file.
            name: key of the dataset, such as ``data.train``, for messages.
            training: refuse to lose all samples of a class; otherwise, notes say what scores cover.
        """
        self.dataset = dataset
        self.allowed = max(1, int(len(dataset) * budget + 1e-9))
        self.path = path
        self.failures: dict[int, Failure] = {}
        self._name = name
        self._training = training
        self._known_size = 0
        self.refresh()

    def __len__(self) -> int:
        return len(self.failures)

    @property
    def example(self) -> Failure | None:
        """One bad sample; None if there are none."""
        return next(iter(self.failures.values()), None)

    @cached_property
    def classes(self) -> SampleClasses | None:
        """Classes of the samples, if they are known."""
        return SampleClasses.of(self.dataset)

    def record(self, failure: Failure) -> None:
        """Record a bad sample.

        Raises ``DataError``, naming the list, if a class has no other sample, or if there are more than the budget
        allows.
        """
        self.refresh()
        if failure.index not in self.failures:
            self.failures[failure.index] = failure
            self._append(failure)
        if self._training and self.classes is not None:
            counts = self.classes.counts(self.failures)
            for number in self.classes.rows[failure.index]:
                if counts[number] == self.classes.totals[number]:
                    whole = "the only sample" if counts[number] == 1 else f"all {counts[number]} samples"
                    what = f"{whole} of class {self.classes.name(number)} {'is' if counts[number] == 1 else 'are'} bad"
                    raise self._error(what, f"the last is {failure}; repair one, or remove the class")
        if len(self) > self.allowed:
            verb = "is" if self.allowed == 1 else "are"
            what = f"{len(self)} of {len(self.dataset)} samples are bad, {self.allowed} {verb} allowed"
            raise self._error(what, f"the first is {self.example}; repair them, or allow more with bad_budget")

    def _error(self, what: str, advice: str) -> DataError:
        where, listed = f"{self._name}: " if self._name else "", f"; {self.path} lists them" if self.path else ""
        return DataError(f"{where}{what}{listed}; {advice}")

    def refresh(self) -> None:
        """Read what other processes, or this run before it resumed, added to the list."""
        if self.path is not None and self.path.exists() and self.path.stat().st_size != self._known_size:
            self._known_size = self.path.stat().st_size
            for known in read_lines(self.path, Failure.from_row):
                if known.index < len(self.dataset):
                    self.failures.setdefault(known.index, known)

    def _append(self, failure: Failure) -> None:
        if self.path is not None:
            hidden = ("fatal", "details", "in_plugin")
            row = asdict(failure, filter=lambda a, v: a.name not in hidden and v is not False)
            append_line(self.path, line := json.dumps(row))
            self._known_size += len(line) + 1

    def notes(self) -> list[str]:
        """Return a sentence for people: how many samples are bad, which classes lose how many, where they are listed.

        Empty if there are none.
        """
        self.refresh()
        if not self.failures:
            return []
        classes = "" if self.classes is None else self._losses(self.classes)
        where, listed = f"{self._name}: " if self._name else "", f"; {self.path} lists them" if self.path else ""
        verb, rest = "is" if len(self) == 1 else "are", len(self.dataset) - len(self)
        scored = "" if self._training else f"; scores cover the other {rest}"
        return [f"{where}{len(self)} of {len(self.dataset)} samples {verb} bad{classes}{scored}{listed}"]

    def _losses(self, classes: SampleClasses) -> str:
        counts, totals = classes.counts(self.failures), classes.totals
        worst = np.argsort(-counts / np.maximum(totals, 1), kind="stable")[: np.count_nonzero(counts)]
        lost = [f"{classes.name(k)} loses {counts[k]} of {totals[k]}" for k in worst]
        return f" (class {some(lost, 10)})" if lost else ""
