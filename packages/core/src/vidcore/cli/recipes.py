"""What `vidcore list recipes` shows of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from vidcore.config.load import load

if TYPE_CHECKING:
    from vidcore.plugins.catalog import Catalog

__all__ = ["COLUMNS", "RecipeFacts"]

COLUMNS = ("name", "task", "dataset", "parameters", "published scores", "weights")
WIDTH = 80


@frozen
class RecipeFacts:
    """The published facts of a recipe."""

    name: str
    task: str
    """Name of the package that has it, without ``vid-``."""
    dataset: str | None
    parameters: int | None
    scores: dict[str, float]
    weights: str | None
    """Licence of the published weights; None if there are none."""

    @classmethod
    def of(cls, name: str, catalog: Catalog) -> Self:
        """Read the facts in ``[info]`` of a recipe and of its stages, without scores in which stages differ."""
        path, table = catalog.recipes[name], load(name, catalog.recipes).data
        plugin = next(plugin for plugin, folder in catalog.recipe_folders if path.is_relative_to(folder))
        stages = [stage.get("info", {}) for stage in table.get("stages", {}).values()]
        info: dict[str, Any] = {}
        for stage in stages:
            info |= stage
        differ = {key for stage in stages for key in stage if stage[key] != info[key]}
        info |= table.get("info", {})
        parameters = None if "stages" in table else info.get("parameters")
        own = table.get("info", {}).keys()
        scores = {k: v for k, v in info.items() if isinstance(v, int | float) and k != "parameters"}
        scores = {k: v for k, v in scores.items() if k in own or k not in differ}
        weights = info.get("license", "licence unknown") if info.get("weights") else None
        return cls(name, plugin.removeprefix("vid-"), info.get("dataset"), parameters, scores, weights)

    @property
    def size(self) -> str:
        """Number of parameters in millions; an empty string if it is not stated."""
        return f"{self.parameters / 1e6:.3g} M" if self.parameters else ""

    @property
    def scored(self) -> str:
        """Published scores."""
        return ", ".join(f"{name} {score}" for name, score in self.scores.items())

    def row(self) -> tuple[str, ...]:
        """Return the facts in the order of ``COLUMNS``."""
        return (self.name, self.task, self.dataset or "", self.size, self.scored, self.weights or "")

    def lines(self) -> Iterator[str]:
        """Yield indented lines with the facts, at most ``WIDTH`` long."""
        facts = [self.task, *([self.dataset] if self.dataset else [])]
        facts += [f"{self.size} params"] if self.size else []
        facts += self.scored.split(", ") if self.scored else []
        facts.append(self.weights or "no weights")
        line = " "
        for i, fact in enumerate(facts, 1):
            if len(line) + 1 + len(fact) > WIDTH:
                yield line
                line = "   "
            line += f" {fact}," if i < len(facts) else f" {fact}"
        yield line
