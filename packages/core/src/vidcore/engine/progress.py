"""Means of step values, and the memory of evaluations: the small state of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidcore.engine import dist
from vidcore.engine.options import TrainOptions
from vidcore.errors import ConfigError, nearest
from vidcore.files import write_json

__all__ = ["Meter", "Progress"]


class Meter:
    """Means of values since the last look, and since the epoch began. Values on a GPU stay there until looked at."""

    def __init__(self) -> None:
        self._steps: list[Mapping[str, torch.Tensor]] = []
        self.epoch: dict[str, tuple[float, int]] = {}
        """Sum and number of steps by name."""

    def add(self, values: Mapping[str, torch.Tensor]) -> None:
        """Take the values of a step in."""
        self._steps.append(values)

    def look(self, seconds: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the means per step since the last look, over all processes; ``seconds`` were spent in these steps."""
        count, names = len(self._steps), dict.fromkeys(name for values in self._steps for name in values)
        columns = {name: [values[name] for values in self._steps if name in values] for name in names}
        means = {name: float(torch.stack(column).sum(dtype=torch.float32)) / count for name, column in columns.items()}
        means |= {f"seconds/{name}": total / count for name, total in seconds.items()}
        means = dist.mean(means, device)
        for name, value in means.items():
            total, steps = self.epoch.get(name, (0.0, 0))
            self.epoch[name] = (total + value * count, steps + count)
        self._steps = []
        return means

    def end_epoch(self) -> dict[str, float]:
        """Return the means over the epoch, and start the next."""
        means = {name: total / steps for name, (total, steps) in self.epoch.items()}
        self.epoch = {}
        return means


def deciding(options: TrainOptions, scores: Mapping[str, float]) -> str:
    """Return the name of the score that says which weights are the best. Raises ``ConfigError`` where it is missing."""
    name = options.best or next(iter(scores))
    if name not in scores:
        hint = nearest(name, scores) or f"; there are {', '.join(scores)}"
        raise ConfigError(f"train.best: the evaluation gives no score {name!r}{hint}")
    return name


class Progress:
    """What evaluations said, in a file of its own: an evaluation need not wait for a checkpoint to be remembered."""

    def __init__(self, path: Path, options: TrainOptions) -> None:
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
            self.scores = {name: float(value) for name, value in known["scores"].items()}  # "nan" is no JSON number
            self.best = known["best"] and known["best"] | {"value": float(known["best"]["value"])}

    @property
    def stops(self) -> bool:
        """Whether evaluations have not become better for as long as ``train.early_stop`` allows."""
        return self.options.early_stop is not None and self.since_best >= self.options.early_stop

    def improves(self, scores: Mapping[str, float]) -> bool:
        """Whether these scores are better than all before.

        Raises ``ConfigError`` where the score that decides (``train.best``) is not among them.
        """
        if not scores:
            return False
        name = deciding(self.options, scores)
        rule = self.options.best_rule or ("less" if "loss" in name else "greater")
        if self.best.get("score") != name or math.isnan(self.best["value"]):
            return True
        known = float(self.best["value"])
        return scores[name] > known if rule == "greater" else scores[name] < known

    def remember(self, scores: Mapping[str, float], epoch: int, step: int, best: bool) -> None:
        """Write down an evaluation; only the first process writes, but all know."""
        self.since_best = 0 if best else self.since_best + 1
        self.evaluated_step, self.scores = step, dict(scores)
        if best:
            name = deciding(self.options, scores)
            self.best = {"score": name, "value": scores[name], "epoch": epoch, "step": step}
        if dist.world().rank == 0:
            known = {"evaluated_step": step, "scores": self.scores, "best": self.best, "since_best": self.since_best}
            write_json(self.path, known)
