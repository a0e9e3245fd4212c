"""Evaluations of a run: the last scores, the best ones, and when to stop."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidcore.engine import dist
from vidcore.engine.options import TrainOptions
from vidcore.errors import ConfigError, nearest
from vidcore.files import write_json

__all__ = ["EvaluationHistory", "selection_score"]


def selection_score(options: TrainOptions, scores: Mapping[str, float]) -> str:
    """Return the name of the score that selects the best weights. Raises ``ConfigError`` where it is missing."""
    name = options.best or next(iter(scores))
    if name not in scores:
        hint = nearest(name, scores) or f"; there are {', '.join(scores)}"
        raise ConfigError(f"train.best: the evaluation gives no score {name!r}{hint}")
    return name


class EvaluationHistory:
    """The last and the best evaluation, kept in a file of its own: it is written also when no checkpoint is."""

    def __init__(self, path: Path, options: TrainOptions) -> None:
        """
        Args:
            path: JSON file, read where it exists.
            options: which score selects the best weights, and when to stop.
        """
        self.path = path
        self.options = options
        self.evaluated_step = 0
        self.scores: dict[str, float] = {}
        self.best: dict[str, Any] = {}
        """``score``, ``value``, ``epoch`` and ``step`` of the best evaluation."""
        self.since_best = 0
        """Evaluations after the best."""
        first = dist.world().rank == 0
        known = dist.broadcast(json.loads(path.read_text(encoding="utf-8")) if first and path.exists() else None)
        if known:
            self.evaluated_step, self.since_best = known["evaluated_step"], known["since_best"]
            self.scores = {name: float(value) for name, value in known["scores"].items()}  # JSON has "nan" as a string
            self.best = known["best"] and known["best"] | {"value": float(known["best"]["value"])}

    @property
    def should_stop(self) -> bool:
        """Whether ``train.early_stop`` evaluations in a row brought no improvement."""
        return self.options.early_stop is not None and self.since_best >= self.options.early_stop

    def is_best(self, scores: Mapping[str, float]) -> bool:
        """Whether these scores are better than all before.

        Raises ``ConfigError`` where the selecting score (``train.best``) is not among them.
        """
        if not scores:
            return False
        name = selection_score(self.options, scores)
        rule = self.options.best_rule or ("less" if "loss" in name else "greater")
        if self.best.get("score") != name or math.isnan(self.best["value"]):
            return True
        known = float(self.best["value"])
        return scores[name] > known if rule == "greater" else scores[name] < known

    def record(self, scores: Mapping[str, float], epoch: int, step: int, best: bool) -> None:
        """Record an evaluation in every process; the first one writes it to the file."""
        self.since_best = 0 if best else self.since_best + 1
        self.evaluated_step, self.scores = step, dict(scores)
        if best:
            name = selection_score(self.options, scores)
            self.best = {"score": name, "value": scores[name], "epoch": epoch, "step": step}
        if dist.world().rank == 0:
            known = {"evaluated_step": step, "scores": self.scores, "best": self.best, "since_best": self.since_best}
            write_json(self.path, known)
