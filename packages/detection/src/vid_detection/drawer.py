"""Persons on video: the box of each, and what the person does."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from vidcore.persons import Persons, PersonScores
from vidcore.sample import Sample
from vidcore.tools.draw import COLOURS, rgb
from vidcore.tools.drawers import Canvas, Drawer, Layer
from vidcore.typing import Array

__all__ = ["PersonDrawer"]

HEAD = 0.25
"""Upper part of a box, where a face may be, that no label covers."""
LEAST = 0.3
"""Score from which an action is written; the best one always is."""
NEAR = 1.5
"""Distance of a label from its box, in lines of text, up to which one sees that they belong together."""
CACHED = 500
"""Labels that are kept; those of a second are the same in all of its frames."""
EDGE = (16, 16, 16)
"""Colour around lines, so that they stand out on any background."""
LABELS = [colour for colour in COLOURS if colour != "#000000"]


class PersonDrawer(Drawer):
    """Draws the boxes of persons, and writes the actions of each person beside it, with their scores.

    A label covers no other label, and not the upper quarter of any box. Actions that find no space are counted: ``+2``.
    """

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        """Return whether the sample has persons along a video without joints."""
        persons = sample.extra.get("persons")
        return isinstance(persons, Persons) and persons.points is None and persons.times is not None

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        persons, scores = sample.extra["persons"], sample.extra.get("person_scores")
        assert isinstance(persons, Persons)
        self._persons, self._canvas, self._face = persons, canvas, canvas.typeface
        self._within = 1.5 / (sample.fps or 10.0)
        self._by_track: dict[int, PersonScores] = {}
        if isinstance(scores, PersonScores):
            for track in np.unique(scores.tracks).tolist():
                self._by_track[track] = scores.select(scores.tracks == track)
        self._names = self._class_names(sample)
        self._width = max(2, round(min(canvas.size) / 300))
        self._layers: dict[tuple[str, ...], Layer] = {}

    def _class_names(self, sample: Sample) -> dict[int, str]:
        shown = sorted({label for own in self._by_track.values() for label in np.unique(own.labels).tolist()})
        names = [*(sample.class_names or ())]
        every = [*names, *(f"class {i}" for i in range(len(names), max(shown, default=-1) + 1))]
        return dict(zip(shown, self._face.names(every, self._canvas.size[1] // 3, shown=shown), strict=True))

    def draw(self, image: Array, time: float) -> Array:
        """Draw the persons in the frame at this time; those with the highest scores get the best places."""
        shown = self._persons.at(time, self._within)
        shown = shown.select(np.argsort(-shown.scores, kind="stable"))
        assert shown.tracks is not None
        tracks = shown.tracks.tolist()
        for box, track in zip(shown.boxes, tracks, strict=True):
            self._draw_box(image, box, _colour(track))
        for x1, y1, x2, y2 in shown.boxes.tolist():
            self._canvas.keep_free((x1, y1, x2, y1 + HEAD * (y2 - y1)))
        for box, track in zip(shown.boxes, tracks, strict=True):
            self._draw_label(image, box, shown.boxes, track, time)
        return image

    def _draw_box(self, image: Array, box: Array, colour: str) -> None:
        x1, y1, x2, y2 = np.clip(np.nan_to_num(box), -1e4, 1e4).round().astype(int).tolist()
        red, green, blue = (255 * rgb(colour)).round().astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), EDGE, self._width + 2)
        cv2.rectangle(image, (x1, y1), (x2, y2), (red, green, blue), self._width)

    def _draw_label(self, image: Array, box: Array, others: Array, track: int, time: float) -> None:
        """Draw as many lines as find a place near the box, at best beside all boxes; or else the first one anywhere."""
        actions = list(self._actions(track, time))
        for count in range(len(actions), 0 if actions else -1, -1):
            layer = self._label(track, actions[:count], len(actions))
            for avoid in (others, None):
                place = self._canvas.find(box, layer.size[::-1], avoid)
                anywhere = count <= 1 and avoid is None
                if place is not None and (anywhere or self._is_near(box, *place, layer)):
                    left, top = place
                    self._canvas.keep_free((left, top, left + layer.size[1], top + layer.size[0]))
                    layer.over(image, left, top)
                    return

    def _is_near(self, box: Array, left: int, top: int, layer: Layer) -> bool:
        height, width = layer.size
        gaps = (box[0] - left - width, left - box[2], box[1] - top - height, top - box[3])
        return max(gaps) <= NEAR * self._face.height

    def _actions(self, track: int, time: float) -> Iterator[str]:
        own = self._by_track.get(track)
        window = None if own is None else own.at(time)
        if own is None or window is None:
            return
        rows = zip(own.labels[window].tolist(), own.scores[window].tolist(), strict=True)
        for place, (label, score) in enumerate(rows):
            if place < self._canvas.top and (not place or score >= LEAST):
                yield f"{self._names[label]} {score:.2f}"

    def _label(self, track: int, actions: list[str], count: int) -> Layer:
        """Return the number of a person and lines of actions, and how many more there are."""
        lines = list(actions)
        if len(actions) < count:
            lines[-1] += f"  +{count - len(actions)}"
        lines = [f"{track}  {lines[0]}", *lines[1:]] if lines else [str(track)]
        key = (*lines, _colour(track))
        if key not in self._layers:
            if len(self._layers) >= CACHED:
                self._layers.clear()
            margin = self._canvas.margin
            width = max(self._face.width(line) for line in lines)
            layer = Layer(width + 2 * margin, len(lines) * self._face.height + margin)
            layer.fill(_colour(track), 0.85)
            layer.write(margin, margin // 2, "\n".join(lines), self._face)
            self._layers[key] = layer
        return self._layers[key]


def _colour(track: int) -> str:
    return LABELS[(track - 1) % len(LABELS)]
