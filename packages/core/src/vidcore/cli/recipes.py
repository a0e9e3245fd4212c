"""What `vidcore list recipes` shows of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from vidcore.config.load import load

if TYPE_CHECKING:
    from vidcore.plugins.catalog import Catalog

__all__ = ["RecipeFacts"]

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

    @classmethod
    def of(cls, name: str, catalog: Catalog) -> Self:
        """Read the facts in ``[info]`` of a recipe and of its stages."""
        path, table = catalog.recipes[name], load(name, catalog.recipes).data
        plugin = next(plugin for plugin, folder in catalog.recipe_folders if path.is_relative_to(folder))
        info: dict[str, Any] = {}
        for part in (*table.get("stages", {}).values(), table):
            info |= part.get("info", {})
        parameters = None if "stages" in table else info.get("parameters")
        scores = {k: v for k, v in info.items() if isinstance(v, int | float) and k != "parameters"}
        return cls(name, plugin.removeprefix("vid-"), info.get("dataset"), parameters, scores)

    def lines(self) -> Iterator[str]:
        """Yield indented lines with the facts, at most ``WIDTH`` long."""
        facts = [self.task, *([self.dataset] if self.dataset else [])]
        facts += [f"{self.parameters / 1e6:.3g} M parameters"] if self.parameters else []
        facts += [f"{name} {score}" for name, score in self.scores.items()]
        line = " "
        for fact in facts:
            if len(line) + 1 + len(fact) > WIDTH:
                yield line
                line = "   "
            line += f" {fact}," if fact != facts[-1] else f" {fact}"
        yield line
