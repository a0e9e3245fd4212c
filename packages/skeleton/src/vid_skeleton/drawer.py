"""Skeletons on video: the joints of each person, and what the person does."""

from __future__ import annotations

import cv2
import numpy as np
from attrs import frozen

from vid_skeleton.graphs import LAYOUTS, Layout
from vidcore.persons import Persons, PersonScores
from vidcore.sample import Sample
from vidcore.tools.draw import COLOURS, rgb
from vidcore.tools.drawers import Canvas, Drawer, Layer
from vidcore.typing import Array

__all__ = ["SkeletonDrawer"]

LEFT, RIGHT, MIDDLE = "#56b4e9", "#e69f00", "#f5f5f5"
"""Of the person's own sides: a mirrored video is seen by them."""
SEEN = 0.3
"""Score from which a joint is drawn."""
HEAD = 0.15
"""From the eyes to the top of the hair, as a part of the height of the joints."""
EDGE = (16, 16, 16)
"""Colour around limbs, so that they stand out on any background."""
LABELS = [colour for colour in COLOURS if colour != "#000000"]


@frozen(eq=False)
class Limb:
    """A line between two joints."""

    joints: tuple[int, int]
    colour: tuple[int, int, int]


class SkeletonDrawer(Drawer):
    """Draws the joints of persons, and writes the best class of each person beside it.

    The two sides of a body have two colours. Joints that were not found, or are doubtful, are left out.
    """

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        """Return whether the sample has persons with joints of a known layout."""
        persons = sample.extra.get("persons")
        layout = LAYOUTS.get(str(sample.meta.get("layout")))
        if not isinstance(persons, Persons) or layout is None or persons.points is None:
            return False
        return persons.points.shape[1] == layout.num_node and persons.times is not None

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        persons, scores = sample.extra["persons"], sample.extra.get("person_scores")
        assert isinstance(persons, Persons)
        self._persons, self._canvas, self._face = persons, canvas, canvas.typeface
        self._within = 1.5 / (sample.fps or 10.0)
        self._scores = scores if isinstance(scores, PersonScores) else None
        self._limbs = limbs(LAYOUTS[str(sample.meta["layout"])])
        self._width = max(2, round(min(canvas.size) / 240))
        self._names = self._class_names(sample)
        self._layers: dict[tuple[str, str], Layer] = {}

    def _class_names(self, sample: Sample) -> dict[int, str]:
        shown = [] if self._scores is None else np.unique(self._scores.labels).tolist()
        names = [*(sample.class_names or ())]
        every = [*names, *(f"class {i}" for i in range(len(names), max(shown, default=-1) + 1))]
        texts = self._face.names(every, self._canvas.size[1] // 4, shown=shown)
        return dict(zip(shown, texts, strict=True))

    def draw(self, image: Array, time: float) -> Array:
        """Draw the persons in the frame at this time."""
        shown = self._persons.at(time, self._within)
        points, scores, tracks = shown.points, shown.joint_scores, shown.tracks
        assert points is not None and tracks is not None
        seen = np.asarray(np.isfinite(points).all(-1))
        if scores is not None:
            seen &= scores >= SEEN
        for person, found in zip(points, seen, strict=True):
            self._draw_limbs(image, person, found)
        labels = [self._label(track, time) for track in tracks.tolist()]
        sizes = np.array([layer.size[::-1] for layer in labels]).reshape(-1, 2)
        outlines = np.array([_outline(*one) for one in zip(points, seen, shown.boxes, strict=True)]).reshape(-1, 4)
        for outline in outlines:
            self._canvas.keep_free(outline.tolist())
        for layer, (left, top) in zip(labels, self._canvas.place(outlines, sizes).tolist(), strict=True):
            if left >= 0:
                layer.over(image, left, top)
        return image

    def _draw_limbs(self, image: Array, points: Array, seen: Array) -> None:
        places = [tuple(np.clip(point, -1e4, 1e4).round().astype(int).tolist()) for point in np.nan_to_num(points)]
        drawn = [limb for limb in self._limbs if seen[limb.joints[0]] and seen[limb.joints[1]]]
        for wider, plain in ((2, True), (0, False)):
            for limb in drawn:
                ends = places[limb.joints[0]], places[limb.joints[1]]
                cv2.line(image, *ends, EDGE if plain else limb.colour, self._width + wider, cv2.LINE_AA)
        for joint in np.flatnonzero(seen).tolist():
            cv2.circle(image, places[joint], self._width, EDGE, -1, cv2.LINE_AA)
            cv2.circle(image, places[joint], max(self._width - 1, 1), (255, 255, 255), -1, cv2.LINE_AA)

    def _label(self, track: int, time: float) -> Layer:
        """Return the number of a person, and the best class at this time."""
        text = str(track)
        if self._scores is not None:
            own = self._scores.select(self._scores.tracks == track)
            window = own.at(time)
            if window is not None:
                text += f"  {self._names[int(own.labels[window, 0])]} {own.scores[window, 0]:.2f}"
        colour = LABELS[(track - 1) % len(LABELS)]
        if (text, colour) not in self._layers:
            margin = self._canvas.margin
            layer = Layer(self._face.width(text) + 2 * margin, self._face.height + margin)
            layer.fill(colour, 0.85)
            layer.write(margin, margin // 2, text, self._face)
            self._layers[text, colour] = layer
        return self._layers[text, colour]


def limbs(layout: Layout) -> list[Limb]:
    """Return the lines to draw for a layout: its edges, and lines across shoulders and hips, coloured by side."""
    edges = [tuple(sorted(edge)) for edge in layout.inward]
    if layout.num_node == 17:  # edges of COCO's graph join shoulders to the nose
        edges = [edge for edge in edges if edge not in ((0, 5), (0, 6))] + [(5, 6), (11, 12)]
    left, right = {*layout.left}, {*layout.right}
    made = []
    for first, second in edges:
        both = {first, second}
        only_left, only_right = both & left and not both & right, both & right and not both & left
        colour = LEFT if only_left else RIGHT if only_right else MIDDLE
        red, green, blue = (255 * rgb(colour)).round().astype(int).tolist()
        made.append(Limb((first, second), (red, green, blue)))
    return made


def _outline(points: Array, seen: Array, box: Array) -> Array:
    """Return the box around a person: from the hair, which is above the highest joints, to the lowest joint."""
    if not seen.any():
        return box
    (left, top), (right, bottom) = points[seen].min(0), points[seen].max(0)
    return np.array([left, top - HEAD * (bottom - top), right, bottom])
