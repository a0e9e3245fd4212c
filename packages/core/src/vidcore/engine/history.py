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
    """Return the name of the score that selects the best weights. Raises ``ConfigError`` if it is missing."""
    name = options.best or next(iter(scores))
    if name not in scores:
        hint = nearest(name, scores) or f"; its scores are {', '.join(scores)}"
        raise ConfigError(f"train.best: the evaluation returns no score {name!r}{hint}")
    return name


class EvaluationHistory:
    """The last and the best evaluation, in a file of their own that is also written when no checkpoint is."""

    def __init__(self, path: Path, options: TrainOptions) -> None:
        """
        Args:
            path: JSON file, read if it exists.
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
        here = dist.world().rank == 0 and path.exists()
        kept = dist.broadcast(json.loads(path.read_text(encoding="utf-8")) if here else None)
        if kept:
            self.evaluated_step, self.since_best = kept["evaluated_step"], kept["since_best"]
            self.scores = {name: float(value) for name, value in kept["scores"].items()}  # JSON has "nan" as a string
            self.best = kept["best"] and kept["best"] | {"value": float(kept["best"]["value"])}

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
