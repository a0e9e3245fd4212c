"""The persons in a video, collected from a file: what all formats have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import define, evolve, field, frozen

from vid_skeleton.estimates.images import Images
from vid_skeleton.estimates.layouts import LAYOUTS
from vid_skeleton.estimates.linking import link
from vid_skeleton.estimates.values import MOST_FRAMES, as_numbers
from vid_skeleton.graphs import LAYOUTS as LAYOUTS_OF_MODELS
from vid_skeleton.graphs import Layout
from vid_skeleton.transforms.layouts import ConvertJoints
from vidcore.data.fields import finite_number
from vidcore.errors import AnnotationError
from vidcore.persons import Persons
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Coordinates", "Estimates", "Options", "Rows", "Source"]

MOST_PERSONS = 1000
"""Persons in a frame."""
FARTHEST = 1e6
"""Coordinates beyond it are taken for damage."""
BIGGEST = 1 << 31
"""Bytes that the tracks of a video may take."""
Coordinates = Literal["pixels", "0..1", "-1..1"]
SPANS: Mapping[str, tuple[float, float]] = {"0..1": (0, 1), "-1..1": (1, 2)}
"""Coordinates -> what is added to them, and their range: both in units of the file."""


@frozen
class Source:
    """The file of one or more videos, or the files of the frames of one."""

    name: str
    path: Path
    """File, or folder of the frames."""
    folder: str | None
    """First folder below the one that was searched, which may name the class."""
    frames: tuple[Path, ...] = ()


@frozen(kw_only=True)
class Options:
    """What the files do not say. ``None``: what the format says, or is seen in the numbers."""

    size: tuple[int, int] | None = None
    """Height and width of the frames in pixels."""
    coordinates: Coordinates | None = None
    fps: float | None = None
    relink: bool = False
    """Link persons by their joints, even if the file has ids."""
    images: Images | None = None
    """Images that the results of COCO are of."""


@frozen(eq=False, kw_only=True)
class Estimates:
    """The persons in the frames of one video."""

    name: str
    layout: str
    """Key of ``LAYOUTS``, or ``own`` if the file describes it."""
    joints: Layout
    persons: Persons
    """With points, joint scores, frames and tracks."""
    total: int
    """Number of frames."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the frames; 0: unknown."""
    fps: float | None = None
    label: str | int | None = None
    """Class that the file names, or its number."""
    notes: Mapping[str, int] = field(factory=Counter)
    """What was odd -> how often."""
    form: str = ""
    """What wrote the file."""

    def converted(self, layout: str) -> Estimates:
        """Return the persons with the joints of a layout of models, by name; see ``ConvertJoints``."""
        target = LAYOUTS_OF_MODELS[layout]
        if self.joints == target:
            return self
        convert = ConvertJoints(self.joints, target)
        points, scores = self.persons.points, self.persons.joint_scores
        assert points is not None and scores is not None
        if not len(points):
            shape = 0, target.num_node
            persons = evolve(self.persons, points=points.reshape(*shape, 2), joint_scores=scores.reshape(shape))
            return evolve(self, layout=layout, joints=target, persons=persons)
        given = Sample(index=0, key=self.name, joints=Joints(np.nan_to_num(points)[None], scores[None]))
        made = convert(given, np.random.default_rng(0)).joints
        assert made is not None and made.scores is not None
        found = made.points[0].any(-1)
        points = np.where(found[..., None], made.points[0], np.nan)
        persons = evolve(self.persons, points=points, joint_scores=np.where(found, made.scores[0], 0))
        return evolve(self, layout=layout, joints=target, persons=persons.select(found.any(-1)))


@define
class Rows:
    """Collects the persons of a video: rows in any order."""

    file: Path
    known: tuple[str, ...]
    """Layouts that the format may have."""
    own: Layout | None = None
    """The layout that the file describes."""
    rows: list[Array] = field(factory=list)
    places: list[str] = field(factory=list)
    frames: list[int] = field(factory=list)
    scores: list[float] = field(factory=list)
    boxes: list[Array] = field(factory=list)
    ids: list[Any] = field(factory=list)

    def add(
        self, where: str, frame: int, joints: Array, score: Any = None, box: Any = None, identity: Any = None
    ) -> None:
        """Add a person.

        Args:
            where: key of the person, for messages.
            frame: from 0.
            joints: (3V,): x, y, score of each joint.
            score: of the person.
            box: left, top, width, height.
            identity: of the person over time.
        """
        if self.rows and len(joints) != len(self.rows[0]):
            raise AnnotationError(
                f"{self.file}: {where}: has {len(joints)} numbers, but {self.places[0]} has {len(self.rows[0])}"
            )
        if not self.rows:
            self._check_count(where, len(joints))
        if box is None:
            self.boxes.append(np.full(4, np.nan))
        else:
            sides = as_numbers(f"{self.file}: {where}: box", box, 4)
            if not (np.abs(sides) <= FARTHEST).all() or sides[2:].min() < 0:
                raise AnnotationError(f"{self.file}: {where}: box {sides.tolist()} is not left, top, width, height")
            self.boxes.append(sides)
        sure = 1.0 if score is None else finite_number(f"{self.file}: {where}: score", score)
        self.scores.append(min(max(sure, 0.0), 100.0))
        self.rows.append(joints)
        self.places.append(where)
        self.frames.append(frame)
        self.ids.append(identity)

    def _check_count(self, where: str, numbers: int) -> None:
        if numbers % 3 or self.layout(numbers // 3) is None:
            counts = [str(3 * joints.num_node) for joints in self._layouts().values()]
            named = " or ".join(f"{n} ({name})" for n, name in zip(counts, self._layouts(), strict=True))
            raise AnnotationError(
                f"{self.file}: {where}: has {numbers} numbers, expected x, y, score of joints: {named}"
            )

    def _layouts(self) -> dict[str, Layout]:
        return {"own": self.own} if self.own else {name: LAYOUTS[name] for name in self.known}

    def layout(self, joints: int) -> str | None:
        return next((name for name, layout in self._layouts().items() if layout.num_node == joints), None)

    def finish(
        self,
        name: str,
        options: Options,
        total: int | None = None,
        size: tuple[int, int] | None = None,
        unit: Coordinates | None = None,
        fps: float | None = None,
        label: str | int | None = None,
        scored: bool = True,
        scale: float = 1,
        notes: Mapping[str, int] | None = None,
    ) -> Estimates:
        """Return what was collected.

        Args:
            name: of the video.
            options: of the user.
            total: number of frames; default: up to the last one with a person.
            size: height and width in the file.
            unit: of the coordinates, by the format; default: seen in the numbers.
            fps: of the format.
            label: class in the file.
            scored: whether the scores mean something; otherwise each joint that is not at 0, 0 has the score 1.
            scale: of the scores, which are at most 1 in the result.
            notes: what was odd so far.
        """
        count, counted = len(self.rows), Counter(notes or {})
        if options.size and size and options.size != size:
            height, width = size
            raise AnnotationError(f"{self.file}: has frames of {width}x{height}, not those of --size")
        size = options.size or size
        layout = self.layout(len(self.rows[0]) // 3) if count else next(iter(self._layouts()))
        assert layout is not None
        joints = self._layouts()[layout]
        values = np.stack(self.rows).reshape(count, -1, 3) if count else np.zeros((0, joints.num_node, 3))
        frames = np.array(self.frames, np.int64)
        self._check(values, frames, total)
        points, scores = values[..., :2], values[..., 2] if scored else np.ones(values.shape[:2])
        lost = np.isnan(values).any(-1)
        counted["joints with NaN, taken as missing"] += int(lost.sum())
        found = ~lost & (np.where(lost, 0, scores) > 0) & points.any(-1)
        boxes = np.stack(self.boxes) if count else np.zeros((0, 4))
        points, boxes = _in_pixels(self.file, points, boxes, found, size, options.coordinates or unit, counted)
        points = np.where(found[..., None], points, np.nan).astype(np.float32)
        scores = np.where(found, np.clip(np.where(lost, 0, scores) / scale, 0, 1), 0).astype(np.float32)
        kept = found.any(-1)
        counted["persons without a joint, left out"] += int((~kept).sum())
        with np.errstate(invalid="ignore"):
            boxes[:, 2:] += boxes[:, :2]
        none = kept & np.isnan(boxes).any(-1)
        boxes[none] = np.concatenate([np.nanmin(points[none], 1), np.nanmax(points[none], 1)], 1)
        persons = Persons(
            boxes=boxes.astype(np.float32),
            scores=np.array(self.scores, np.float32),
            points=points,
            joint_scores=scores,
            frames=frames,
        )
        rows = np.flatnonzero(kept)
        ids = [self.ids[row] for row in rows]
        persons = _linked(persons.select(rows), ids, options.relink, counted)
        total = max(int(frames.max(initial=-1)) + 1, 0) if total is None else total
        if not total:
            raise AnnotationError(f"{self.file}: {name} has no frames")
        self._check_memory(persons)
        return Estimates(
            name=name,
            layout=layout,
            joints=joints,
            persons=persons,
            total=total,
            size=size or (0, 0),
            fps=options.fps or fps,
            label=label,
            notes=+counted,
        )

    def _check(self, values: Array, frames: Array, total: int | None) -> None:
        """Raise ``AnnotationError`` for numbers that no estimator writes."""
        with np.errstate(invalid="ignore"):
            wrong = np.argwhere(np.abs(values) > FARTHEST)
        if len(wrong):
            row, joint, axis = wrong[0].tolist()
            what = ("x", "y", "score")[axis]
            raise AnnotationError(
                f"{self.file}: {self.places[row]}: {what} of joint {joint} is {values[row, joint, axis]:g}"
            )
        crowded, many = np.unique(frames, return_counts=True)
        if many.max(initial=0) > MOST_PERSONS:
            raise AnnotationError(
                f"{self.file}: frame {crowded[many.argmax()]} has {many.max()} persons, at most {MOST_PERSONS} are read"
            )
        if total is not None and len(frames) and frames.max() >= total:
            row = int(frames.argmax())
            raise AnnotationError(
                f"{self.file}: {self.places[row]}: is in frame {frames[row]}, but the video has {total} frames"
            )

    def _check_memory(self, persons: Persons) -> None:
        assert persons.tracks is not None and persons.frames is not None and persons.points is not None
        rows = 0
        if len(persons):
            last, first = np.zeros((2, int(persons.tracks.max()) + 1), np.int64)
            first[:] = MOST_FRAMES
            np.maximum.at(last, persons.tracks, persons.frames)
            np.minimum.at(first, persons.tracks, persons.frames)
            rows = int((last - first + 1).sum())
        if rows * persons.points.shape[1] * 12 > BIGGEST:
            raise AnnotationError(
                f"{self.file}: its {len(first)} tracks take more than 2 GiB ({rows:,} rows): is the video that long?"
            )


def _in_pixels(
    file: Path,
    points: Array,
    boxes: Array,
    found: Array,
    size: tuple[int, int] | None,
    unit: Coordinates | None,
    notes: Counter[str],
) -> tuple[Array, Array]:
    """Return joints and boxes (left, top, width, height) in pixels."""
    seen = points[found]
    if unit is None:
        unit = "pixels"
        if len(seen) and np.abs(seen).max() <= 1.5:  # nobody is that small
            unit = "-1..1" if seen.min() < -0.1 else "0..1"
            notes[f"videos with coordinates of {unit}"] += 1
    if unit == "pixels":
        return points, boxes
    if size is None:
        raise AnnotationError(f"{file}: has coordinates of {unit}, and no size of the frames: give --size WIDTHxHEIGHT")
    shift, span = SPANS[unit]
    if len(seen) and np.abs(seen).max() > 3:
        raise AnnotationError(f"{file}: has coordinates up to {np.abs(seen).max():g}, not of {unit}: see --coordinates")
    factor = np.array(size[::-1], np.float64) / span
    corner = np.array([shift, shift, 0, 0])
    return (points + shift) * factor, (boxes + corner) * np.tile(factor, 2)


def _linked(persons: Persons, ids: list[Any], relink: bool, notes: Counter[str]) -> Persons:
    """Return persons with ``tracks``: those of the file if each has one, and nobody is twice in a frame."""
    assert persons.frames is not None
    order = np.lexsort((*persons.boxes.T, -persons.scores, persons.frames))
    persons = persons.select(order)
    assert persons.frames is not None
    if not len(persons):
        return evolve(persons, tracks=np.zeros(0, np.int64))
    named = [ids[row] for row in order]
    if not relink and all(isinstance(n, int | str | float) and n != -1 for n in named):
        numbers: dict[Any, int] = {}
        tracks = np.array([numbers.setdefault(n, len(numbers)) for n in named], np.int64)
        pairs = np.stack([persons.frames, tracks], 1)
        if len(np.unique(pairs, axis=0)) == len(pairs):
            return evolve(persons, tracks=tracks)
        notes["videos with an id twice in a frame, linked by their joints instead"] += 1
    return link(persons)
