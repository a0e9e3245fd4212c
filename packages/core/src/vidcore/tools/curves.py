"""A picture of a run: losses, learning rate and scores over its steps, drawn from ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidcore.files import write_png
from vidcore.protocols import Observer

__all__ = ["Curves", "draw_curves"]

WIDTH, HEIGHT = 1000, 280
LEFT, RIGHT, TOP, BOTTOM = 90, 230, 34, 34
"""Margins of a panel: numbers, legend, title, steps."""
POINTS = 300
"""Points of a curve; more are averaged, for lines on top of each other show nothing."""
FONT, SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
COLOURS = (  # blue, vermilion, green, purple, orange, sky blue, black, yellow (Okabe and Ito), as RGB
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
    (220, 200, 66),
)

Curve = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Steps and values, both finite."""


class Curves(Observer):
    """Draws ``curves.png`` at the end of a run."""

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._folder = run_dir
        self._picture: Path | None = None

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._picture = draw_curves(self._folder / "metrics.jsonl", self._folder / "curves.png")

    def files(self) -> Sequence[Path]:
        return [self._picture] if self._picture else []


def draw_curves(metrics: Path, picture: Path) -> Path | None:
    """Draw what a run logged.

    Args:
        metrics: the ``metrics.jsonl`` of the run.
        picture: PNG file to write.

    Returns:
        The picture; None where nothing was logged that can be drawn.
    """
    panels = _panels(metrics) if metrics.exists() else {}
    if not panels:
        return None
    last = max(float(steps[-1]) for curves in panels.values() for steps, _ in curves.values())
    image = np.vstack([_panel(title, curves, last) for title, curves in panels.items()])
    write_png(picture, image)
    return picture


def _panels(metrics: Path) -> dict[str, dict[str, Curve]]:
    """Return curves by title of their panel and by name."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the disk was full
            continue
        kind, step = record.pop("kind"), record.pop("step")
        for name, value in record.items():
            panel = _title(kind, name)
            if panel and isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(panel, {}).setdefault(name, []).append((step, value))
    scores = found.get("evaluation", {})
    for name in [n for n, points in scores.items() if max(abs(v) for _, v in points) > 1]:
        found[f"evaluation: {name}"] = {name: scores.pop(name)}  # would flatten those between 0 and 1
    order = [t for t in (*TITLES, *sorted(found)) if found.get(t)]
    return {t: {n: _thinned(np.array(points)) for n, points in found[t].items()} for t in dict.fromkeys(order)}


TITLES = ("loss", "while training", "learning rate")


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
    return "loss" if "loss" in name else "while training"


def _thinned(points: np.ndarray[Any, Any]) -> Curve:
    """Return steps and values of at most ``POINTS`` points."""
    parts = np.array_split(points, min(len(points), POINTS))
    means = np.stack([part.mean(0) for part in parts])
    means[-1] = points[-1]
    return means[:, 0], means[:, 1]


def _panel(title: str, curves: Mapping[str, Curve], last: float) -> np.ndarray[Any, Any]:
    """Draw curves over the steps from 0 to ``last``, with a legend."""
    image = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    values = np.concatenate([v for _, v in curves.values()])
    ticks = _ticks(float(values.min()), float(values.max()))
    low, high = ticks[0], ticks[-1]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(step: Any, value: Any) -> tuple[Any, Any]:
        return LEFT + (right - LEFT) * (step / last), bottom - (bottom - TOP) * ((value - low) / (high - low))

    _write(image, title, (LEFT, TOP - 12), scale=1.25)
    for tick in ticks:
        _, y = at(0, tick)
        cv2.line(image, (LEFT, round(y)), (right, round(y)), GRID)
        label = f"{tick:.6g}"
        _write(image, label, (LEFT - 8 - _width(label), round(y) + 4))
    for tick in _ticks(0.0, last):
        if tick <= last:
            x, _ = at(tick, low)
            cv2.line(image, (round(x), bottom), (round(x), bottom + 4), INK)
            label = f"{tick:.6g}"
            _write(image, label, (round(x) - _width(label) // 2, bottom + 18))
    _write(image, "steps", (right + 36, bottom + 18))
    cv2.line(image, (LEFT, bottom), (right, bottom), INK)
    for number, (name, (steps, curve)) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = np.stack(at(steps, curve), 1)
        above = sum(np.array_equal(curve, other) for _, other in list(curves.values())[number + 1 :])
        thickness = 2 + 3 * above  # to be seen below those drawn over it
        cv2.polylines(image, [np.round(points * 16).astype(np.int32)], False, colour, thickness, cv2.LINE_AA, shift=4)
        if len(points) <= 40:  # few evaluations are points that a line would hide
            for x, y in points:
                cv2.circle(image, (round(x), round(y)), 3 + above, colour, -1, cv2.LINE_AA)
        y = TOP + 8 + 16 * number
        if y < bottom + 20:
            cv2.line(image, (right + 12, y - 4), (right + 30, y - 4), colour, 2, cv2.LINE_AA)
            _write(image, f"{_short(name)} {curve[-1]:.4g}", (right + 36, y))
    return image


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return round numbers from at most ``low`` to at least ``high``, about five."""
    largest = max(abs(low), abs(high))
    span = high - low if high - low > 1e-6 * largest else largest or 1.0  # means of equal numbers differ a little
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= span / 4 * 0.999)
    first, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * i for i in range(first, max(end, first + 1) + 1)]


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:7]}..{name[-9:]}"


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, FONT, SIZE, 1)[0][0])


def _write(image: np.ndarray[Any, Any], text: str, at: tuple[int, int], scale: float = 1.0) -> None:
    plain = text.encode("ascii", "replace").decode()  # the font has no other letters
    cv2.putText(image, plain, at, FONT, SIZE * scale, INK, 1, cv2.LINE_AA)
