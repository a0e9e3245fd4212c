"""``docs/recipes.md`` lists every recipe, as ``python tests/test_recipes_page.py`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from vidcore.cli.recipes import RecipeFacts
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.task import Task

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/recipes.md"
FACTS = Path(__file__).with_name("published_recipes.txt")
CROPS = {"ThreeCrop": 3, "TenCrop": 10}
TABLES = "<!-- tables written by tests/test_recipes_page.py -->\n"


def family(name: str, catalog: Catalog) -> tuple[str, str]:
    """Return the package and the folder of a recipe."""
    path = catalog.recipes[name]
    plugin, folder = next((p, f) for p, f in catalog.recipe_folders if path.is_relative_to(f))
    return plugin, path.relative_to(folder).parts[0]


def tables(catalog: Catalog) -> Iterator[str]:
    """Yield the lines of a table for each family, and of one of the networks of which nothing is published."""
    names = sorted(catalog.recipes, key=lambda name: (family(name, catalog), name))
    for plugin, families in groupby(names, lambda name: family(name, catalog)[0]):
        yield f"\n## {plugin}\n"
        for folder, members in groupby(families, lambda name: family(name, catalog)[1]):
            yield f"\n### {folder}\n"
            yield "\n| recipe | dataset | parameters | views | published scores | weights |\n"
            yield "| --- | --- | --- | --- | --- | --- |\n"
            yield from (row(name, catalog) for name in members)
    yield "\n## Networks of which nothing is published\n\n"
    yield "Neither a size nor a reference output; their keys and shapes follow from networks of their family:\n\n"
    yield from (f"- `{name}`\n" for name in unproven() if name in catalog.recipes)


def row(name: str, catalog: Catalog) -> str:
    """Return the row of a recipe."""
    facts, task = RecipeFacts.of(name, catalog), Task.load(name, catalog)
    cells = (f"`{name}`", facts.dataset or "", facts.size, views(task), facts.scored, facts.weights or "none")
    return f"| {' | '.join(cells)} |\n"


def views(task: Task) -> str:
    """Return how many clips and crops the test takes, and how many frames a clip has: ``10 x 3 of 8``.

    A clip of several modalities has those of each: ``10 x 1 of 8 RGB and 32 Pose``.
    """
    part = task.table.get("data", {}).get("test", {})
    steps: list[dict[str, Any]] = list(part.get("pipeline", {}).values())
    sample = next((step for step in steps if "num_clips" in step or "clip_len" in step), None)
    if sample is None:
        return ""
    clips = sample.get("num_clips", 1) * (2 if sample.get("twice_sample") else 1)
    crops = max((CROPS.get(step["type"], 1) for step in steps), default=1)
    frames = sample.get("clip_len", 1)
    if isinstance(frames, dict):
        frames = " and ".join(f"{count} {modality}" for modality, count in frames.items())
    return f"{clips} x {crops} of {frames}"


def unproven() -> list[str]:
    """Return the published configurations of which neither a size nor a reference network is published."""
    rows = (line.split("; ", 2) for line in FACTS.read_text().splitlines())
    return [name for name, known, _ in rows if known == "nothing"]


def page(catalog: Catalog) -> str:
    """Return the whole page: its text as it is, and the tables."""
    return PAGE.read_text().partition(TABLES)[0] + TABLES + "".join(tables(catalog))


def test_the_page_of_recipes_is_up_to_date() -> None:
    assert page(load_plugins()) == PAGE.read_text(), f"run python tests/{Path(__file__).name}"


if __name__ == "__main__":
    PAGE.write_text(page(load_plugins()))
