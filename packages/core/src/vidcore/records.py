"""Annotations and media of a sample as small records, which check their shapes and follow the geometry of the frames.

``vidcore.record`` has their base class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from attrs import evolve, field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.geometry import Box
from vidcore.record import Record, same_length, shape
from vidcore.typing import Array

__all__ = [
    "Audio",
    "Boxes",
    "Clip",
    "Cut",
    "Heatmaps",
    "Joints",
    "Record",
    "Segments",
    "Text",
    "Varying",
    "WindowScores",
    "shape",
]


@frozen(eq=False)
class Clip:
    """The frames to read: ``count`` clips of ``length`` frames, one after the other."""

    indices: Array = field(validator=shape(None))
    """(count * length,) int64: numbers of the frames, which include the sample's ``start_index``."""
    length: int
    """Frames of a clip."""
    count: int = 1
    """Number of clips."""
    interval: int | None = None
    """Distance between neighbouring frames of a clip, if it is fixed."""

    def __attrs_post_init__(self) -> None:
        if len(self.indices) != self.length * self.count:
            raise ValueError(
                f"Clip: {self.count} clips of {self.length} frames need {self.length * self.count} indices, "
                f"got {len(self.indices)}"
            )


@frozen
class Cut:
    """A part of a video that is a sample of its own: from ``start`` up to, but not including, ``end``."""

    start: float
    end: float
    in_seconds: bool = True
    """Whether they are seconds; otherwise numbers of frames, counted from 0."""

    def frames(self, path: str, total: int, fps: float | None, times: Array | None = None) -> tuple[int, int]:
        """Return the first frame, and the one after the last: of seconds, all that are on the screen at some time.

        Args:
            path: of the video, for messages.
            total: frames of the video.
            fps: frames per second.
            times: (total,) float64 seconds at which frames appear; default: regular ones.

        Raises ``VideoError`` if the part starts after the end of the video, or the frame rate is not known.
        """
        if not self.in_seconds:
            first, stop = int(self.start), int(self.end)
        else:
            if not fps:
                raise VideoError(path, f"has no frame rate, which the part from {self.start:g} s needs")
            edges = np.append(np.arange(total) / fps if times is None else times, np.inf)
            edges[-1] = edges[-2] + 1 / fps if total else 0
            first = int(np.searchsorted(edges, self.start + EPSILON, "right")) - 1
            stop = int(np.searchsorted(edges, self.end - EPSILON, "left"))
        if first >= total:
            start = f"{self.start:g} s" if self.in_seconds else f"frame {self.start:g}"
            raise VideoError(path, f"ends before its part from {start} begins: it has {total} frames")
        return first, min(stop, total)

    def seconds(self, path: str, fps: float | None) -> tuple[float, float]:
        """Return start and end in seconds. Raises ``VideoError`` if that needs a frame rate that is not known."""
        if self.in_seconds:
            return self.start, self.end
        if not fps:
            raise VideoError(path, f"has no frame rate, which the part from frame {self.start:g} needs")
        return self.start / fps, self.end / fps


EPSILON = 1e-6
"""Seconds that rounding may move a time by."""


@frozen(eq=False)
class Boxes(Record):
    """Boxes around people or objects: ``x1, y1, x2, y2`` in pixels of the current frames."""

    xyxy: Array = field(validator=shape(None, 4))
    """(n, 4) float32."""
    labels: Array | None = None
    """(n,) int64 classes, or (n, classes) float32 multi-hot."""
    scores: Array | None = None
    """(n,) float32 confidence, or (n, classes) float32."""
    track: Array | None = field(default=None, validator=shape(None))
    """(n,) int64: identity of the person or object, the same in every frame."""
    relative: bool = False
    """Whether ``xyxy`` still is in fractions of width and height; ``Decode`` makes pixels of them."""

    follows_crops = True
    cell_names = ("x1", "y1", "x2", "y2", "track", "class", "score")

    def __attrs_post_init__(self) -> None:
        same_length(self)

    def resized(self, factors: tuple[float, float]) -> Self:
        return evolve(self, xyxy=np.asarray(self.xyxy, np.float32) * np.tile(np.array(factors, np.float32), 2))

    def cropped(self, box: Box) -> Self:
        """Clip to ``[0, size - 1]`` of the crop; boxes outside of it are kept."""
        left, top, right, bottom = box
        origin = np.array([left, top] * 2, np.float32)
        limit = np.array([right - left - 1, bottom - top - 1] * 2, np.float32)
        moved = np.asarray(self.xyxy, np.float32) - origin
        return evolve(self, xyxy=np.minimum(np.maximum(moved, 0), limit))  # faster than np.clip

    def flipped(self, size: tuple[int, int], direction: str, swaps: Sequence[tuple[int, int]] = ()) -> Self:
        before = np.asarray(self.xyxy, np.float32)
        moved = before.copy()
        first = 1 if direction == "vertical" else 0
        extent = size[0] if direction == "vertical" else size[1]
        moved[:, [first, first + 2]] = extent - before[:, [first + 2, first]]
        return evolve(self, xyxy=moved)

    def warped(self, matrix: Array, size: tuple[int, int]) -> Self:
        """Return boxes around the moved corners, clipped to ``[0, size - 1]``."""
        x, y = self.xyxy[:, [0, 2, 0, 2]], self.xyxy[:, [1, 1, 3, 3]]
        moved = _moved(np.stack([x, y], axis=-1), matrix)
        corners = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
        limit = np.array([size[1] - 1, size[0] - 1] * 2, np.float32)
        return evolve(self, xyxy=np.clip(corners, 0, limit))

    def in_pixels(self, size: tuple[int, int]) -> Self:
        if not self.relative:
            return self
        height, width = size
        pixels = (self.xyxy * np.array([width, height, width, height])).astype(np.float32)
        return evolve(self, xyxy=pixels, relative=False)

    def rows(self, class_names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return one row for each box and each class with a score."""
        found: list[dict[str, Any]] = []
        for i, box in enumerate(self.xyxy.tolist()):
            row: dict[str, Any] = {"box": [round(v, 2) for v in box]}
            if self.track is not None:
                row["track"] = int(self.track[i])
            if self.scores is not None and self.scores.ndim == 2:
                best = np.flatnonzero(self.scores[i] > 0)
                found += [
                    row | {"score": round(float(self.scores[i, k]), 6), "class": _name(k, class_names)} for k in best
                ]
                continue
            if self.scores is not None:
                row["score"] = round(float(self.scores[i]), 6)
            if self.labels is not None and self.labels.ndim == 1:
                row["class"] = _name(self.labels[i], class_names)
            found.append(row)
        return sorted(found, key=lambda row: -row.get("score", 0.0))

    def cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row of ``rows`` with a column for each coordinate."""
        return super().cells({**row, **dict(zip(self.cell_names, row["box"], strict=False))})


@frozen(eq=False)
class Joints(Record):
    """Skeletons: joints of people over time, in pixels of the current frames (in metres if 3-D)."""

    points: Array = field(validator=shape(None, None, None, None))
    """(people, frames, joints, 2 or 3) float32: x, y and z if 3-D; an x of 0 means a missing joint."""
    scores: Array | None = field(default=None, validator=shape(None, None, None))
    """(people, frames, joints) float32: confidence of the estimator."""

    follows_crops = True

    def __attrs_post_init__(self) -> None:
        if self.scores is not None and self.scores.shape != self.points.shape[:3]:
            raise ValueError(
                f"Joints: scores must have one number for each joint, shape {self.points.shape[:3]}, "
                f"got {self.scores.shape}"
            )

    def resized(self, factors: tuple[float, float]) -> Self:
        points = self.points.copy()
        points[..., :2] *= np.array(factors, np.float32)
        return evolve(self, points=points)

    def cropped(self, box: Box) -> Self:
        points = self.points.copy()
        points[..., :2] -= np.array(box[:2], np.float32)
        return evolve(self, points=points)

    def flipped(self, size: tuple[int, int], direction: str, swaps: Sequence[tuple[int, int]] = ()) -> Self:
        """Mirror x if it is not 0, and exchange the joints of ``swaps``."""
        if direction == "vertical":
            raise UserError("vertical flipping is not defined for joints")
        points = self.points.copy()
        x = points[..., 0]
        x[x != 0] = size[1] - x[x != 0]
        order = np.arange(points.shape[2])
        for left, right in swaps:
            order[left], order[right] = right, left
        scores = None if self.scores is None else self.scores[:, :, order]
        return evolve(self, points=points[:, :, order], scores=scores)

    def warped(self, matrix: Array, size: tuple[int, int]) -> Self:
        points = self.points.copy()
        known = points[..., 0] != 0
        points[known, :2] = _moved(points[known, :2], matrix)
        return evolve(self, points=points)


@frozen(eq=False)
class Heatmaps(Record):
    """Joints or limbs drawn as maps, after all geometry: they cannot be resized, cropped or flipped."""

    maps: Array = field(validator=shape(None, None, None, None))
    """(frames of all clips, maps, height, width) float32."""

    follows_crops = True

    def resized(self, factors: tuple[float, float]) -> Self:
        raise UserError(_AFTER_GEOMETRY)

    def cropped(self, box: Box) -> Self:
        raise UserError(_AFTER_GEOMETRY)

    def flipped(self, size: tuple[int, int], direction: str, swaps: Sequence[tuple[int, int]] = ()) -> Self:
        raise UserError(_AFTER_GEOMETRY)

    def warped(self, matrix: Array, size: tuple[int, int]) -> Self:
        raise UserError(_AFTER_GEOMETRY)


_AFTER_GEOMETRY = "heatmaps cannot follow the frames: put the step that draws them after resizes, crops and flips"


@frozen(eq=False)
class Segments(Record):
    """Intervals of time."""

    spans: Array = field(validator=shape(None, 2))
    """(n, 2) float64: start and end in seconds."""
    labels: Array | None = field(default=None, validator=shape(None))
    """(n,) int64 classes; None for proposals."""
    scores: Array | None = field(default=None, validator=shape(None))
    """(n,) float64: confidence; None for annotated segments."""

    cell_names = ("start", "end", "class", "score")

    def __attrs_post_init__(self) -> None:
        same_length(self)

    def rows(self, class_names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return ``segment``, ``score`` and ``class`` (None without classes) of each segment, best first.

        >>> Segments(np.array([[1.0, 3.0], [2.0, 9.0]]), scores=np.array([0.2, 0.5])).rows()[0]
        {'segment': [2.0, 9.0], 'score': 0.5, 'class': None}
        """
        scores = np.ones(len(self.spans)) if self.scores is None else self.scores
        return [
            {
                "segment": [round(second, 3) for second in self.spans[i].tolist()],
                "score": round(float(scores[i]), 6),
                "class": None if self.labels is None else _name(self.labels[i], class_names),
            }
            for i in np.argsort(-scores, kind="stable")
        ]

    def compared(self, truth: Segments) -> tuple[float, dict[str, Any]]:
        """Find each true segment among the 100 best predicted ones, of its class if both have classes.

        ``found`` counts those with an overlap (intersection over union) of at least 0.5, and ``overlap`` is the mean of
        the best overlaps, by which samples are ordered.
        """
        scores = np.zeros(len(self)) if self.scores is None else np.nan_to_num(self.scores)
        best = self.select(np.argsort(-scores, kind="stable")[:100])
        start = np.maximum(truth.spans[:, None, 0], best.spans[None, :, 0])
        end = np.minimum(truth.spans[:, None, 1], best.spans[None, :, 1])
        shared = np.maximum(end - start, 0)
        union = np.ptp(truth.spans, axis=1)[:, None] + np.ptp(best.spans, axis=1)[None] - shared
        overlaps = shared / np.maximum(union, 1e-9)
        if truth.labels is not None and best.labels is not None:
            overlaps = np.where(truth.labels[:, None] == best.labels[None], overlaps, 0)
        reached = overlaps.max(axis=1, initial=0)
        overlap = float(reached.mean()) if len(reached) else 1.0  # nothing to find
        found = int(np.count_nonzero(reached >= 0.5))
        return 1 - overlap, {
            "true": len(truth),
            "predicted": len(self),
            "found": found,
            "overlap": round(overlap, 4),
        }

    def line(self, row: Mapping[str, Any]) -> str:
        start, end = row["segment"]
        return f"{row['score']:8.4f}  {start:9.2f} to {end:9.2f} s  {row['class'] or ''}".rstrip()

    def cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row of ``rows`` with columns for start and end."""
        return super().cells({**row, **dict(zip(self.cell_names, row["segment"], strict=False))})


@frozen(eq=False)
class WindowScores(Record):
    """The best classes in each window of a video, in ``Sample.extra["windows"]``."""

    spans: Array = field(validator=shape(None, 2))
    """(n, 2) float64: start and end of each window in seconds, by start."""
    labels: Array = field(validator=shape(None, None))
    """(n, k) int64: the best classes of each window, best first."""
    scores: Array = field(validator=shape(None, None))
    """(n, k) float32."""

    def __attrs_post_init__(self) -> None:
        same_length(self)

    def at(self, time: float) -> int | None:
        """Return the window around this time whose middle is nearest; None if there is none.

        >>> windows = WindowScores(np.array([[0, 2], [1, 3], [8, 9]]), np.zeros((3, 1)), np.zeros((3, 1)))
        >>> windows.at(0.5), windows.at(1.8), windows.at(5.0), windows.at(8.9)
        (0, 1, None, 2)
        """
        inside = np.flatnonzero((self.spans[:, 0] <= time) & (time < self.spans[:, 1]))
        if not len(inside):
            return None
        return int(inside[np.abs(self.spans[inside].mean(1) - time).argmin()])


@frozen(eq=False)
class Audio(Record):
    """Sound."""

    samples: Array = field(validator=shape(None, None))
    """(channels, samples) float32 in [-1, 1]."""
    rate: int = 0
    """Samples per second."""
    start: float = 0.0
    """Time in the video at which the samples start, in seconds."""

    def arrays(self) -> dict[str, Array]:
        """Return nothing: sound is not saved with predictions."""
        return {}


@frozen(eq=False)
class Text(Record):
    """Sentences about a video."""

    strings: tuple[str, ...]
    tokens: Array | None = field(default=None, validator=shape(None))
    """(tokens,) int64: the first sentence as numbers in a vocabulary."""

    def __len__(self) -> int:
        return len(self.strings)

    def arrays(self) -> dict[str, Array]:
        return {"strings": np.array(self.strings, np.str_)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        return cls(tuple(arrays["strings"].tolist()))


@frozen(eq=False)
class Varying:
    """An input or a target whose length along an axis differs from sample to sample.

    Inputs are padded with zeros to the longest of the batch, and ``Batch.lengths`` has the lengths. Targets become a
    ``vidcore.batch.Ragged``: the rows of all samples, one after the other. Arrays that are not wrapped must have one
    shape in all samples of a batch.
    """

    array: Array
    axis: int | tuple[int, ...] = 0
    """The axis, or axes, along which lengths differ; negative numbers count from the end. Targets: 0."""


def _moved(points: Array, matrix: Array) -> Array:
    """Return points (..., 2) moved as ``Record.warped`` says; 0 is the edge of the first pixel."""
    return np.asarray((points - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5, np.float32)


def _name(number: Any, class_names: Sequence[str] | None) -> str:
    return class_names[int(number)] if class_names and int(number) < len(class_names) else str(int(number))
