"""Evaluations of a run: the last scores, the best ones, and when to stop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, evolve, frozen

from vidcore.engine import dist
from vidcore.engine.checkpoint import load
from vidcore.engine.options import TrainOptions
from vidcore.errors import CheckpointError, ConfigError, nearest
from vidcore.files import write_json
from vidcore.notes import read_note

__all__ = ["EvaluationHistory", "selection_score"]


def selection_score(options: TrainOptions, scores: Mapping[str, float]) -> str:
    """Return the name of the score that selects the best weights. Raises ``ConfigError`` if it is missing."""
    name = options.best or next(iter(scores))
    if name not in scores:
        hint = nearest(name, scores) or f"; its scores are {', '.join(scores)}"
        raise ConfigError(f"train.best: the evaluation returns no score {name!r}{hint}")
    return name


@frozen
class _Kept:
    """Content of the file of an ``EvaluationHistory``."""

    evaluated_step: int = 0
    scores: dict[str, float] = Factory(dict)
    best: dict[str, Any] = Factory(dict)
    since_best: int = 0
    """Evaluations after the best."""

    @classmethod
    def parse(cls, row: Any) -> _Kept:
        """Raises ``TypeError``, ``LookupError`` or ``ValueError`` if a row is something else."""
        scores = {str(name): float(value) for name, value in row["scores"].items()}  # JSON has "nan" as a string
        best = row["best"] and {
            "score": str(row["best"]["score"]),
            "value": float(row["best"]["value"]),
            "epoch": _count(row["best"]["epoch"]),
            "step": _count(row["best"]["step"]),
        }
        return cls(_count(row["evaluated_step"]), scores, best or {}, _count(row["since_best"]))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a number of steps")
    return value


class EvaluationHistory:
    """The last and the best evaluation, in a file of their own that is also written when no checkpoint is."""

    def __init__(self, path: Path, options: TrainOptions, best: Path | None = None) -> None:
        """
        Args:
            path: JSON file, read if it exists.
            options: which score selects the best weights, and when to stop.
            best: checkpoint of the best weights, if a run resumes.

        Raises ``CheckpointError`` if ``best`` is damaged.
        """
        self.path = path
        self.options = options
        kept = dist.broadcast(self._read(best) if dist.world().rank == 0 else _Kept())
        self.evaluated_step, self.scores, self.since_best = kept.evaluated_step, kept.scores, kept.since_best
        self.best = kept.best
        """``score``, ``value``, ``epoch`` and ``step`` of the best evaluation."""

    def _read(self, best: Path | None) -> _Kept:
        """Return what is known about earlier evaluations: without the file, only the best, from its checkpoint."""
        kept = read_note(self.path, _Kept.parse)
        if best is None:
            return kept or _Kept()
        if not best.exists():
            if kept and kept.best:
                warnings.warn(f"{best}: is missing; the best evaluation from now on replaces it", stacklevel=4)
            return evolve(kept or _Kept(), best={})
        try:
            content = load(best)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; replace it, or delete it to resume without the best weights so far"
            ) from None
        if kept:
            return kept
        try:
            scores = content["scores"]
            name = self.options.best or next(iter(scores))
            row = {"score": name, "value": scores[name], "epoch": content["epoch"], "step": content["step"]}
            return _Kept.parse({"evaluated_step": 0, "scores": {}, "best": row, "since_best": 0})
        except (TypeError, LookupError, StopIteration):  # selected by a score that is not there any more
            return _Kept()

    @property
    def should_stop(self) -> bool:
        """Whether the last ``train.early_stop`` evaluations brought no improvement."""
        return self.options.early_stop is not None and self.since_best >= self.options.early_stop

    def is_best(self, scores: Mapping[str, float]) -> bool:
        """Whether these scores are better than all before.

        Raises ``ConfigError`` if the selecting score (``train.best``) is not among them.
        """
        if not scores:
            return False
        name = selection_score(self.options, scores)
        rule = self.options.best_rule or ("less" if "loss" in name else "greater")
        if self.best.get("score") != name or math.isnan(self.best["value"]):
            return True
        best = float(self.best["value"])
        return scores[name] > best if rule == "greater" else scores[name] < best

    def record(self, scores: Mapping[str, float], epoch: int, step: int, best: bool) -> None:
        """Record an evaluation on every rank; rank 0 writes the file."""
        self.since_best = 0 if best else self.since_best + 1
        self.evaluated_step, self.scores = step, dict(scores)
        if best:
            name = selection_score(self.options, scores)
            self.best = {"score": name, "value": scores[name], "epoch": epoch, "step": step}
        if dist.world().rank == 0:
            kept = {"evaluated_step": step, "scores": self.scores, "best": self.best, "since_best": self.since_best}
            write_json(self.path, kept)
