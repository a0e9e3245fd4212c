"""Persons along videos, and one prediction for each person and window.

``vidcore.predict.boxes`` makes predictions from the frames around a box; those from joints are made here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from vidcore.config.bind import build_component
from vidcore.config.load import parse_value
from vidcore.errors import UserError, VideoError
from vidcore.geometry import Geometry
from vidcore.persons import PersonDetector, Persons, PersonScores, PoseEstimator, Tracker
from vidcore.plugins.catalog import Catalog
from vidcore.predict.inputs import as_sample
from vidcore.randomness import sample_rng
from vidcore.records import EPSILON, Joints
from vidcore.sample import Sample
from vidcore.transforms.loading import OpenVideo
from vidcore.transforms.views import chosen_frames
from vidcore.typing import Array
from vidcore.video.checks import ReaderBase
from vidcore.video.footage import RATE
from vidcore.video.reader import VideoReader
from vidcore.video.window import Span, Tiles

if TYPE_CHECKING:
    from vidcore.predict.predictor import Predictor

__all__ = [
    "FoundPersons",
    "PersonFinder",
    "PersonWindow",
    "odd_lengths",
    "person_windows",
    "predict_persons",
    "scores_of",
    "smoothed",
]

CHUNK = 8
"""Frames in memory."""
JOINED = 1024
SHORT, LONG = 0.5, 4
"""Frames of a window, relative to those of a clip, below and above which a notice says so."""


@frozen(eq=False)
class FoundPersons:
    """The persons in a video."""

    path: str
    persons: Persons
    """With ``tracks``, ``frames`` and ``times``."""
    layout: str | None
    """Name of the layout of joints; None: boxes only."""
    size: tuple[int, int]
    """Height and width of the frames."""
    times: Array
    """(frames,) float64: seconds at which all frames of the video appear, from 0."""
    fps: float | None


@frozen
class PersonFinder:
    """Finds the persons in videos, who is who, and with an estimator their joints.

    Raises ``UserError`` if neither an estimator nor a detector is given, or the estimator needs a detector.
    """

    estimator: PoseEstimator | None
    tracker: Tracker
    detector: PersonDetector | None = None

    def __attrs_post_init__(self) -> None:
        if self.estimator is None:
            if self.detector is None:
                raise UserError("name what finds persons: a detector (vidcore list person_detectors)")
            return
        name = type(self.estimator).__name__
        if self.estimator.needs_boxes and self.detector is None:
            raise UserError(f"{name} finds joints in boxes of persons: name a detector (vidcore list person_detectors)")
        if self.detector is not None and not self.estimator.needs_boxes:
            raise UserError(f"{name} finds persons itself: leave the detector {type(self.detector).__name__} out")

    @property
    def layout(self) -> str | None:
        """Name of the layout of joints; None without an estimator."""
        return None if self.estimator is None else self.estimator.layout

    @classmethod
    def named(cls, catalog: Catalog, estimator: str | None, detector: str | None, tracker: str) -> PersonFinder:
        """Return a finder of components that are named as ``NAME=WEIGHTS``, or only as ``NAME``.

        Arguments may follow: ``OnnxDetector=yolox.onnx,normalize=false``.
        """
        return cls(
            None if estimator is None else _component(catalog, "pose_estimators", estimator),
            _component(catalog, "trackers", tracker),
            None if detector is None else _component(catalog, "person_detectors", detector),
        )

    def __call__(self, path: str | Path, progress: Callable[[int, int], None] | None = None) -> FoundPersons:
        """Return the persons in a video; ``progress`` is called with the number of frames done, and of all frames.

        Raises ``VideoError`` if the video cannot be read, or has no frames.
        """
        opened = OpenVideo()(as_sample(path), sample_rng(0, 0, 0)).video
        assert opened is not None
        with opened as video:
            if not len(video):
                raise VideoError(path, "has no frames")
            times = video.times() if isinstance(video, ReaderBase) else None
            times = np.arange(len(video)) / (video.fps or RATE) if times is None else times
            rows: list[Persons] = []
            for number, persons in enumerate(self._tracked(video)):
                if progress:
                    progress(number + 1, len(video))
                frames = np.full(len(persons), number)
                rows.append(evolve(persons, frames=frames, times=times[frames]))
                if len(rows) == JOINED:  # one array for many frames takes less memory
                    rows = [Persons.join(rows)]
            found = Persons.join(rows)
            return FoundPersons(str(path), found, self.layout, video.size, times, video.fps)

    def _tracked(self, video: VideoReader) -> Iterator[Persons]:
        """Yield the persons in each frame."""
        for part in (self.detector, self.estimator, self.tracker):
            if part is not None:
                part.begin()
        for first in range(0, len(video), CHUNK):
            frames = video.read(range(first, min(first + CHUNK, len(video))))
            found = None if self.detector is None else self.detector(frames)
            if self.estimator is not None:
                found = self.estimator(frames, found)
            assert found is not None
            yield from map(self.tracker, found)


def _component(catalog: Catalog, kind: str, text: str) -> Any:
    first, *options = re.split(r",(?=\w+=)", text)
    name, _, weights = first.partition("=")
    component = catalog.get(name, kind)
    given = dict(option.split("=", 1) for option in options)
    table = {**({"weights": weights} if weights else {}), **{key: parse_value(value) for key, value in given.items()}}
    try:
        return build_component({"type": component.name, **table}, kind, catalog)
    except UserError as error:
        missing = "" if weights else f"; weights are named as {name}=FILE"
        raise UserError(f"{str(error).removeprefix('task: ')}{missing}") from error


@frozen(eq=False)
class PersonWindow:
    """A person in a window of a video."""

    track: int
    """Identity of the person."""
    start: float | None
    """Seconds from the beginning of the video; None if its frame rate is not known."""
    end: float | None
    frames: tuple[int, int]
    """First frame, and the frame after the last one."""
    sample: Sample
    """With ``joints``, or with ``scores`` after the prediction."""
    box: Array | None = None
    """(4,) float64: where the person is in the middle of the window, as fractions of width and height."""

    @property
    def middle(self) -> float:
        """Middle of the window in seconds, or in frames if the frame rate is not known."""
        first, last = self.frames if self.start is None or self.end is None else (self.start, self.end)
        return (first + last) / 2


def person_windows(
    found: FoundPersons, window: Span | None = None, stride: Span | None = None
) -> Iterator[PersonWindow]:
    """Yield a sample for each person in each window, with the joints of this person only.

    Windows begin at the same times for all persons. A sample has the frames of a window from the first to the last one
    that shows the person; missing joints, and all joints in frames without the person, are 0 with a score of 0.

    Args:
        found: the persons in a video.
        window: length of a window; default: all frames that show a person.
        stride: from the start of a window to that of the next; default: ``window``.

    Raises ``VideoError`` if a length is in seconds, and the frame rate is not known.
    """
    rows = found.persons
    assert rows.frames is not None and rows.tracks is not None
    spans = np.array([[0, len(found.times)]])
    if window is not None:
        tiles = Tiles.of(len(found.times), window, stride or window, found.fps, found.times, found.path)
        spans = np.stack([tiles.first, tiles.stop], 1)
    edges = np.append(found.times, found.times[-1] + 1 / (found.fps or RATE))
    number = 0
    for first, stop in spans.tolist():
        inside = rows.select(slice(*np.searchsorted(rows.frames, [first, stop]).tolist()))
        assert inside.tracks is not None and inside.frames is not None
        for track in np.unique(inside.tracks).tolist():
            person = inside.select(inside.tracks == track)
            assert person.frames is not None
            begin, end = int(person.frames[0]), int(person.frames[-1]) + 1
            sample = Sample(
                index=number,
                path=found.path,
                total_frames=end - begin,
                fps=found.fps,
                joints=_joints(person, begin, end),
                geometry=Geometry.whole(found.size),
            )
            place = (begin, end) if window is None else (first, stop)
            start, stopped = (float(edges[place[0]]), float(edges[place[1]])) if found.fps else (None, None)
            yield PersonWindow(track, start, stopped, place, sample)
            number += 1


def _joints(person: Persons, begin: int, end: int) -> Joints:
    assert person.points is not None and person.joint_scores is not None and person.frames is not None
    points = np.zeros((1, end - begin, *person.points.shape[1:]), np.float32)
    scores = np.zeros(points.shape[:3], np.float32)
    seen = np.asarray(np.isfinite(person.points).all(-1))
    points[0, person.frames - begin] = np.where(seen[..., None], person.points, 0)
    scores[0, person.frames - begin] = np.where(seen, person.joint_scores, 0)
    return Joints(points, scores)


def predict_persons(predictor: Predictor, windows: Sequence[PersonWindow]) -> Iterator[PersonWindow]:
    """Yield the windows of persons with the predictions for them, in order.

    Raises ``UserError`` if the model predicts no classes.
    """
    for window, sample in zip(windows, predictor.iter([one.sample for one in windows]), strict=True):
        if sample.scores is None:
            raise UserError(f"{predictor.task.name}: its model predicts no classes, which windows require")
        yield evolve(window, sample=sample)


def odd_lengths(predictor: Predictor, windows: Sequence[PersonWindow]) -> dict[str, str]:
    """Return a notice about the shortest and the longest window, ``short`` and ``long``, if the model looks at far more
    or far fewer frames in a clip: weights were trained on other lengths then.
    """
    if not windows:
        return {}
    chosen = chosen_frames(predictor.pipeline.steps, windows[0].sample)
    if chosen is None or chosen.clip is None:
        return {}
    taken = chosen.clip.length
    shortest, longest = (pick(windows, key=lambda one: one.sample.total_frames or 0) for pick in (min, max))
    found = {}
    for kind, one in (("short", shortest), ("long", longest)):
        frames = one.sample.total_frames or 0
        seen = f"{one.sample.path}: person {one.track} is seen in {frames} frame{'s' * (frames != 1)} of a window"
        if kind == "short" and frames < SHORT * taken:
            found[kind] = f"{seen}, and the model looks at {taken}: it repeats frames, and scores may mean little"
        elif kind == "long" and frames > LONG * taken:
            found[kind] = f"{seen}, and the model looks at {taken}: it skips most, and a shorter --window may suit it"
    return found


def smoothed(windows: Iterable[PersonWindow], length: float) -> Iterator[PersonWindow]:
    """Yield predicted windows with the mean scores of the same person's windows whose middles are near.

    Args:
        windows: in order of time; as few as possible are kept in memory.
        length: from the first to the last middle that may count, in the unit of the middles; 0 changes nothing.
    """
    near: list[PersonWindow] = []
    waiting: deque[PersonWindow] = deque()
    for window in windows:
        while waiting and window.middle - waiting[0].middle > length / 2 + EPSILON:
            yield _averaged(waiting.popleft(), near, length)
        oldest = waiting[0].middle if waiting else window.middle
        near = [one for one in near if oldest - one.middle <= length / 2 + EPSILON]
        near.append(window)
        waiting.append(window)
    for window in waiting:
        yield _averaged(window, near, length)


def _averaged(window: PersonWindow, near: Sequence[PersonWindow], length: float) -> PersonWindow:
    scores = [
        one.sample.scores
        for one in near
        if one.track == window.track and abs(one.middle - window.middle) <= length / 2 + EPSILON
    ]
    return evolve(window, sample=window.sample.replace(scores=np.asarray(scores).mean(0)))


def scores_of(predicted: Sequence[PersonWindow], top: int) -> PersonScores:
    """Return the best classes of predicted windows; times are those of frames if the frame rate is not known."""
    spans = [window.frames if window.start is None else (window.start, window.end) for window in predicted]
    every = [window.sample.scores for window in predicted if window.sample.scores is not None]
    best = [np.argsort(-scores, kind="stable")[:top] for scores in every]
    return PersonScores(
        np.array(spans, np.float64).reshape(-1, 2),
        np.stack(best),
        np.stack([scores[order] for scores, order in zip(every, best, strict=True)]),
        tracks=np.array([window.track for window in predicted], np.int64),
        boxes=np.stack(boxes) if (boxes := [one.box for one in predicted if one.box is not None]) else None,
    )
