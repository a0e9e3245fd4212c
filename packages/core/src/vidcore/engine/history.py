"""Evaluations of a run: the last scores, the best ones, and when to stop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import Factory, evolve, frozen

from vidcore.engine import dist
from vidcore.engine.checkpoint import load
from vidcore.engine.options import TrainOptions, higher_is_better
from vidcore.errors import CheckpointError, ConfigError, nearest
from vidcore.files import write_json
from vidcore.mending import read_note

__all__ = ["EvaluationHistory", "selection_scores"]


def selection_scores(options: TrainOptions, scores: Mapping[str, float]) -> list[str]:
    """Return the names of the scores that select weights, the main one first.

    Raises ``ConfigError`` if one is missing.
    """
    names = options.best or next(iter(scores))
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in scores:
            hint = nearest(name, scores) or f"; its scores are {', '.join(scores)}"
            raise ConfigError(f"train.best: the evaluation returns no score {name!r}{hint}")
    return names


@frozen
class _Kept:
    """Content of the file of an ``EvaluationHistory``."""

    evaluated_step: int = -1
    """-1 before the first evaluation."""
    scores: dict[str, float] = Factory(dict)
    best: dict[str, Any] = Factory(dict)
    since_best: int = 0
    """Evaluations after the best."""
    also_best: dict[str, dict[str, Any]] = Factory(dict)
    """The best by further scores of ``train.best``."""
    evaluations: list[tuple[int, dict[str, float]]] = Factory(list)
    """Step and scores of every evaluation."""

    @classmethod
    def parse(cls, row: Any) -> _Kept:
        """Raises ``TypeError``, ``LookupError`` or ``ValueError`` if a row is something else."""
        best = row["best"] and _evaluation(row["best"])
        also = {str(name): _evaluation(value) for name, value in row.get("also_best", {}).items()}  # may be missing
        evaluations = [(_count(step), _numbers(scores)) for step, scores in row.get("evaluations", ())]
        counts = _count(row["evaluated_step"]), _count(row["since_best"])
        return cls(counts[0], _numbers(row["scores"]), best or {}, counts[1], also, evaluations)


def _evaluation(row: Any) -> dict[str, Any]:
    return {
        "score": str(row["score"]),
        "value": float(row["value"]),
        "epoch": _count(row["epoch"]),
        "step": _count(row["step"]),
    }


def _numbers(scores: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in scores.items()}  # JSON has "nan" as a string


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a number of steps")
    return value


class EvaluationHistory:
    """The last and the best evaluation, in a file of their own that is also written when no checkpoint is."""

    def __init__(self, path: Path, options: TrainOptions, best: Path | None = None) -> None:
        """
        Args:
            path: JSON file, read if a run resumes.
            options: which scores select the best weights, and when to stop.
            best: checkpoint of the best weights, if a run resumes.

        Raises ``CheckpointError`` if ``best`` is damaged.
        """
        self.path = path
        self.options = options
        kept = dist.broadcast(self._read(best) if dist.world().rank == 0 else _Kept())
        self.evaluated_step, self.scores, self.since_best = kept.evaluated_step, kept.scores, kept.since_best
        self.best = kept.best
        """``score``, ``value``, ``epoch`` and ``step`` of the best evaluation."""
        self.also_best = kept.also_best
        """The same by further scores of ``train.best``."""
        self.evaluations = kept.evaluations
        """Step and scores of every evaluation."""

    def _read(self, best: Path | None) -> _Kept:
        """Return what is known about earlier evaluations: without the file, only the best, from its checkpoint."""
        if best is None:
            return _Kept()
        kept = read_note(self.path, _Kept.parse)
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
            name = selection_scores(self.options, scores)[0]
            row = {"score": name, "value": scores[name], "epoch": content["epoch"], "step": content["step"]}
            return _Kept.parse({"evaluated_step": 0, "scores": {}, "best": row, "since_best": 0})
        except (TypeError, LookupError, StopIteration, ConfigError):  # selected by a score that is not there any more
            return _Kept()

    @property
    def should_stop(self) -> bool:
        """Whether the last ``train.early_stop`` evaluations brought no improvement."""
        return self.options.early_stop is not None and self.since_best >= self.options.early_stop

    def resume_at(self, step: int, earlier: Sequence[tuple[int, dict[str, float]]]) -> None:
        """Forget evaluations after a step, which a resumed run repeats.

        Args:
            step: where the run resumes.
            earlier: evaluations in the checkpoint, for a run that resumes in a different folder.
        """
        known = self.evaluations or list(earlier)
        self.evaluations = [evaluation for evaluation in known if evaluation[0] <= step]

    def improved(self, scores: Mapping[str, float]) -> list[str]:
        """Return the selecting scores that are better than all before, the main one first.

        Raises ``ConfigError`` if a selecting score (``train.best``) is not among the scores.
        """
        if not scores:
            return []
        main, *others = selection_scores(self.options, scores)
        before = {main: self.best} | {name: self.also_best.get(name, {}) for name in others}
        return [name for name, best in before.items() if self._better(scores[name], name, best)]

    def _better(self, value: float, name: str, best: Mapping[str, Any]) -> bool:
        if best.get("score") != name or math.isnan(best["value"]):
            return True
        higher = higher_is_better(self.options.best_rule, name)
        return value > float(best["value"]) if higher else value < float(best["value"])

    def record(self, scores: Mapping[str, float], epoch: int, step: int, improved: Sequence[str]) -> None:
        """Record an evaluation on every rank; rank 0 writes the file."""
        main = selection_scores(self.options, scores)[0] if scores else None
        self.since_best = 0 if main in improved else self.since_best + 1
        self.evaluated_step, self.scores = step, dict(scores)
        self.evaluations.append((step, self.scores))
        for name in improved:
            best = {"score": name, "value": scores[name], "epoch": epoch, "step": step}
            if name == main:
                self.best = best
            else:
                self.also_best[name] = best
        if dist.world().rank == 0:
            names = ("evaluated_step", "scores", "best", "also_best", "since_best", "evaluations")
            write_json(self.path, {name: getattr(self, name) for name in names})
