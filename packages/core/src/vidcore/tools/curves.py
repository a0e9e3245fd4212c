"""Curves of a run: losses, learning rate and scores over its steps, drawn from ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidcore.engine.observers import log_record
from vidcore.mending import read_lines
from vidcore.protocols import Observer

if TYPE_CHECKING:
    from vidcore.tools.draw import Axes, Figure

__all__ = ["Curves", "draw_curves"]

WIDTH, LOWEST, LINE, GAP = 6.6, 1.9, 0.2, 0.5
"""Inches: width of a panel, its minimum height, a line of its legend, and the space between panels."""
POINTS = 300
"""Maximum number of points of a curve; more are averaged, since dense zigzags are not readable."""
DECADES = 100
"""Ratio of positive values from which panels in ``LOGARITHMIC`` get a logarithmic axis."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))
MARKERS = "osD^v"

Curve = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Steps and values; a value may be NaN, which breaks the line."""


class Curves(Observer):
    """Draws ``curves.png`` at the end of a run."""

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._folder = run_dir
        self._picture: Path | None = None

    def on_end(self, report: Mapping[str, Any]) -> None:
        from vidcore.tools.draw import save_figure

        figure = draw_curves(self._folder / "metrics.jsonl", report.get("training", {}).get("best"))
        if figure:
            self._picture = self._folder / "curves.png"
            save_figure(figure, self._picture)

    def files(self) -> Sequence[Path]:
        return [self._picture] if self._picture else []


def draw_curves(metrics: Path, best: Mapping[str, Any] | None = None, font: Path | None = None) -> Figure | None:
    """Draw the log of a run: a panel for each kind of value, over the steps of the run.

    Args:
        metrics: the ``metrics.jsonl`` of the run.
        best: ``score``, ``value``, ``epoch`` and ``step`` of the best evaluation, to mark it.
        font: font file that takes precedence over installed fonts.

    Returns:
        The figure; None if the log has no values to draw.
    """
    panels = _panels(metrics) if metrics.exists() else {}
    if not panels:
        return None
    from vidcore.tools.draw import add_axes, drawing, left_to_right, new_figure

    last = max(float(steps[-1]) for curves in panels.values() for steps, _ in curves.values())
    with drawing([name for curves in panels.values() for name in curves], font) as letters:
        legends = {
            title: [
                letters.name(f"{left_to_right(name)} = {values[-1]:.4g}", i, 34)
                for i, (name, (_, values)) in enumerate(curves.items(), 1)
            ]
            for title, curves in panels.items()
        }
        heights = [max(LOWEST, LINE * (sum(t.count("\n") + 1 for t in texts) + 2)) for texts in legends.values()]
        figure = new_figure(WIDTH + 1, sum(heights) + GAP * len(heights))
        top = GAP
        for (title, curves), height in zip(panels.items(), heights, strict=True):
            axes = add_axes(figure, 0.7, top, WIDTH, height)
            top += height + GAP
            axes.set_title(letters.text(title))
            axes.set_xlim(0, max(last, 1) * 1.01)
            _draw_panel(axes, title, curves, legends[title], best)
        figure.axes[-1].set_xlabel("step")
    return figure


def _panels(metrics: Path) -> dict[str, dict[str, Curve]]:
    """Return curves by panel title and name."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in read_lines(metrics, log_record):
        kind, step = record.pop("kind"), record.pop("step")
        for name, value in record.items():
            panel = _title(kind, name)
            if panel and (isinstance(value, int | float) or value in NOT_FINITE):
                point = (step, math.nan if value in NOT_FINITE else float(value))
                found.setdefault(panel, {}).setdefault(name, []).append(point)
    for curves in found.values():
        for name in [n for n, points in curves.items() if all(math.isnan(v) for _, v in points)]:
            del curves[name]
    scores = found.get("evaluation", {})
    for name in [n for n, points in scores.items() if any(abs(v) > 1 for _, v in points)]:
        found[f"evaluation: {name}"] = {name: scores.pop(name)}  # would flatten scores between 0 and 1
    order = [t for t in (*TITLES, *sorted(found)) if found.get(t)]
    return {t: {n: _thinned(np.array(points)) for n, points in found[t].items()} for t in dict.fromkeys(order)}


TITLES = ("loss", "training", "learning rate")
LOGARITHMIC = ("loss", "norm of the gradients")
NOT_FINITE = ("nan", "inf", "-inf")


def _title(kind: str, name: str) -> str | None:
    if name == "epoch" or name.startswith("seconds/"):
        return None
    if kind == "evaluation":
        return "evaluation" if "loss" not in name else "loss"
    if kind != "step":
        return None
    if name == "lr":
        return "learning rate"
    if name == "grad_norm":
        return "norm of the gradients"
    return "loss" if "loss" in name else "training"


def _thinned(points: np.ndarray[Any, Any]) -> Curve:
    """Return steps and values of at most ``POINTS`` points: means, and the last point."""
    parts = np.array_split(points, min(len(points), POINTS))
    known = [part[np.isfinite(part[:, 1])] for part in parts]
    means = np.stack([(some if len(some) else part).mean(0) for part, some in zip(parts, known, strict=True)])
    means[-1] = points[-1]
    return means[:, 0], means[:, 1]


def _draw_panel(
    axes: Axes, title: str, curves: Mapping[str, Curve], labels: Sequence[str], best: Mapping[str, Any] | None
) -> None:
    from vidcore.tools.draw import COLOURS, INK, round_numbers

    values = np.concatenate([v[np.isfinite(v)] for _, v in curves.values()])
    low, high = float(values.min()), float(values.max())
    if title in LOGARITHMIC and low > 0 and high > DECADES * low:
        axes.set_yscale("log")
    elif high - low < 1e-4 * max(abs(low), abs(high)) or high == low:  # means of equal numbers differ slightly
        axes.set_ylim(low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1))
    round_numbers(axes.yaxis)
    round_numbers(axes.xaxis)
    axes.locator_params("x", integer=True)
    axes.grid(axis="y")
    lines = []
    for i, (steps, curve) in enumerate(curves.values()):
        above = sum(np.array_equal(curve, c, equal_nan=True) for _, c in list(curves.values())[i + 1 :])
        few = len(curve) <= 40  # show single evaluations, which a line would hide
        lines += axes.plot(
            steps,
            curve,
            color=COLOURS[i % len(COLOURS)],
            linestyle=DASHES[i // len(COLOURS) % len(DASHES)],
            linewidth=1.6 + 2.4 * above,  # visible below identical curves
            marker=MARKERS[i // len(COLOURS) % len(MARKERS)] if few else None,
            markersize=4 + 2.4 * above,
        )
    if best:
        axes.axvline(best["step"], color=INK, linewidth=1, linestyle=":", zorder=1)
        if best["score"] in curves:
            lines += axes.plot(best["step"], best["value"], "*", color=INK, markersize=12, zorder=5, linestyle="none")
            labels = [*labels, f"best, epoch {best['epoch']} = {best['value']:.4g}"]
    legend = axes.legend(lines, ["x"] * len(lines), loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # legend() would drop labels with a leading underscore
