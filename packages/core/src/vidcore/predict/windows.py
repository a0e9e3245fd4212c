"""Predictions along a video: a window slides over it, and the model sees each window as a video of its own.

A video is decoded once and in order, however much its windows overlap. Only the frames of the windows of two batches
are in memory, whatever the length of the video.

Example::

    with Predictor("release.safetensors") as predictor:
        for window in predict_windows(predictor, "match.mp4", "2s", "1s"):
            print(window.start, window.end, top_classes(window.sample, 1))
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from attrs import define, field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.predict.inputs import Video, as_sample
from vidcore.predict.predictor import Predictor
from vidcore.protocols import ReadsFiles
from vidcore.randomness import sample_rng
from vidcore.records import Cut, WindowScores
from vidcore.sample import Sample
from vidcore.transforms.loading import OpenVideo
from vidcore.transforms.views import chosen_frames
from vidcore.typing import Array
from vidcore.video.checks import ReaderBase
from vidcore.video.footage import RATE
from vidcore.video.reader import VideoReader
from vidcore.video.window import ForwardReader, Span, Tiles

__all__ = ["BestOfWindows", "Window", "WindowReader", "made_ahead", "predict_windows"]

Made = TypeVar("Made")


@frozen(eq=False)
class Window:
    """The prediction for a window of a video."""

    number: int
    """From 0."""
    count: int
    """Number of windows of the video."""
    start: float | None
    """Seconds from the beginning of the video; None if its frame rate is not known."""
    end: float | None
    frames: tuple[int, int]
    """First frame, and the frame after the last one."""
    sample: Sample
    """With ``scores``, or what else the model predicts."""


@define
class BestOfWindows:
    """Collects the best classes of the windows of a video."""

    top: int
    _spans: list[tuple[float, float]] = field(factory=list, init=False)
    _labels: list[Array] = field(factory=list, init=False)
    _scores: list[Array] = field(factory=list, init=False)

    def add(self, window: Window) -> None:
        """Add a window; without a frame rate, it is shown at ``vidcore.video.footage.RATE`` frames per second."""
        assert window.sample.scores is not None
        best = np.argsort(-window.sample.scores, kind="stable")[: self.top]
        first, end = window.frames
        start, stop = (first / RATE, end / RATE) if window.start is None else (window.start, window.end or 0.0)
        self._spans.append((start, stop))
        self._labels.append(best)
        self._scores.append(window.sample.scores[best])

    def sample(self, path: str, class_names: tuple[str, ...] | None) -> Sample:
        """Return a sample with ``WindowScores`` in ``extra["windows"]``."""
        windows = WindowScores(np.array(self._spans), np.stack(self._labels), np.stack(self._scores))
        return Sample(path=path, class_names=class_names).with_extra(windows=windows)


def predict_windows(
    predictor: Predictor,
    video: Video,
    window: Span | str | int,
    stride: Span | str | int | None = None,
    need_classes: bool = True,
) -> Iterator[Window]:
    """Yield the predictions for windows over a whole video, in order.

    Args:
        predictor: its pipeline chooses frames of each window as if that were the whole video.
        video: a path, a folder of frames, or an array.
        window: length of a window: seconds (``"2s"``) or frames (``"32f"`` or ``32``). A window that reaches beyond the
            end of the video is shorter.
        stride: from the start of a window to that of the next; default: ``window``. If it is longer than a window,
            there are gaps.
        need_classes: refuse a model that predicts no classes, but an embedding, for example.

    Raises:
        UserError: a length is not valid, or the model does not predict (classes) from the frames of a video.
        VideoError: the video cannot be read, or has no frame rate and a length is in seconds.
    """
    if not predictor.reads_videos:
        raise UserError(f"{predictor.task.name}: cannot predict along a video: its pipeline reads features")
    length, step = _span(window, "window"), _span(window if stride is None else stride, "stride")
    windows = _Windows(predictor, as_sample(video, 0, predictor.names), length, step)
    for ready in made_ahead(windows.batches() if predictor.reads_frames else windows.of_sound()):
        yield from _predicted(predictor, ready, need_classes)


def made_ahead(batches: Generator[Made, None, None]) -> Iterator[Made]:
    """Yield what a generator yields, while a thread makes the next one; it is closed at the end."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        try:
            while (ready := coming.result()) is not None:
                coming = pool.submit(next, batches, None)
                yield ready
        finally:
            coming.exception()  # waits until the reader is no longer used
            batches.close()


def _span(given: Span | str | int, name: str) -> Span:
    return given if isinstance(given, Span) else Span.parse(str(given), name)


def _predicted(predictor: Predictor, windows: Sequence[Window], need_classes: bool) -> Iterator[Window]:
    for window, sample in zip(windows, predictor.predict([w.sample for w in windows]), strict=True):
        if sample.scores is None and need_classes:
            raise UserError(f"{predictor.task.name}: its model predicts no classes, which windows require")
        yield Window(window.number, window.count, window.start, window.end, window.frames, sample)


@define(eq=False)
class WindowReader(ReaderBase):
    """The frames of a window as a video; closing it does nothing, because the next window needs the file."""

    forward: ForwardReader
    first: int
    count: int
    fps: float | None
    keep_from: int | None = None
    """First frame that the next windows may read; default: the first that this one reads."""
    used: bool = False

    @property
    def path(self) -> str:
        return self.forward.path

    @property
    def decoder(self) -> str:
        return self.forward.decoder

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.forward.size

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return frames of the window: (n, height, width, channels) uint8."""
        self.used = True
        distinct, places = np.unique(np.asarray(indices, np.int64), return_inverse=True)
        frames: Array = self.forward.read(self.first + distinct, self.keep_from)
        return frames if len(places) == len(distinct) and (np.diff(places) > 0).all() else frames[places]

    def close(self) -> None:
        """Do nothing."""


@frozen(eq=False)
class _Windows:
    """The windows of one video, prepared for the model."""

    predictor: Predictor
    video: Sample
    length: Span
    stride: Span

    def batches(self) -> Generator[list[Window], None, None]:
        """Yield windows whose samples have inputs, a batch at a time."""
        steps = self.predictor.pipeline.steps.values()
        opener = next((step for step in steps if isinstance(step, OpenVideo)), OpenVideo())
        opened = opener(self.video, sample_rng(0, 0, 0))
        assert opened.video is not None
        with opened.video as reader:
            times = reader.times() if isinstance(reader, ReaderBase) else None
            if not len(reader):
                raise VideoError(reader.path, "has no frames")
            tiles = Tiles.of(len(reader), self.length, self.stride, opened.fps, times, reader.path)
            forward = ForwardReader(reader, self._wanted(tiles, opened, reader))
            ready = []
            for number in range(len(tiles)):
                ready.append(self._prepared(tiles, number, opened, forward))
                if len(ready) == self.predictor.batch_size or number + 1 == len(tiles):
                    yield ready
                    ready = []

    def of_sound(self) -> Generator[list[Window], None, None]:
        """Yield what ``batches`` does, of a video whose sound a step of the pipeline reads, once for all windows."""
        whole, steps = self.video, self.predictor.pipeline.steps
        for step in steps.values():
            whole = step(whole, sample_rng(0, 0, 0))
            if isinstance(step, ReadsFiles):
                break
        tiles = Tiles.of(whole.total_frames or 1, self.length, self.stride, whole.fps, None, whole.path)
        assert tiles.seconds is not None
        ready = []
        for number, (start, end) in enumerate(tiles.seconds.tolist()):
            sample = whole.replace(index=number, cut=Cut(start, end), total_frames=None)
            made = self.predictor.pipeline(sample, sample_rng(0, 0, number))
            frames = int(tiles.first[number]), int(tiles.stop[number])
            ready.append(Window(number, len(tiles), start, end, frames, made))
            if len(ready) == self.predictor.batch_size or number + 1 == len(tiles):
                yield ready
                ready = []

    def _wanted(self, tiles: Tiles, opened: Sample, reader: VideoReader) -> Array:
        """Return the frames that the pipeline chooses in all windows, ascending."""
        wanted = np.zeros(len(reader), np.bool_)
        for number in range(len(tiles)):
            sample = self._sample(tiles, number, opened, ForwardReader(reader, np.empty(0, np.int64)))
            try:
                chosen = chosen_frames(self.predictor.pipeline.steps, sample)
            except UserError as error:
                raise self._refused(str(error)) from error
            if chosen is None or chosen.clip is None:
                raise self._refused("its pipeline chooses no frames of a video")
            wanted[tiles.first[number] + chosen.clip.indices - sample.start_index] = True
        return np.flatnonzero(wanted)

    def _sample(self, tiles: Tiles, number: int, opened: Sample, forward: ForwardReader) -> Sample:
        """Return a window as the sample of a video without a path, so that no step can read the whole file."""
        first, stop = int(tiles.first[number]), int(tiles.stop[number])
        reader = WindowReader(forward, first, stop - first, opened.fps, first)
        return opened.replace(index=number, path=None, video=reader, total_frames=stop - first)

    def _prepared(self, tiles: Tiles, number: int, opened: Sample, forward: ForwardReader) -> Window:
        sample = self._sample(tiles, number, opened, forward)
        made = self.predictor.pipeline(sample, sample_rng(0, 0, number))
        assert isinstance(sample.video, WindowReader)
        if not sample.video.used:
            raise self._refused("its pipeline opens the file again (a step such as Branches)")
        start, end = (None, None) if tiles.seconds is None else tiles.seconds[number].tolist()
        frames = int(tiles.first[number]), int(tiles.stop[number])
        return Window(number, len(tiles), start, end, frames, made.replace(path=self.video.path))

    def _refused(self, why: str) -> UserError:
        return UserError(f"{self.predictor.task.name}: cannot predict along a video: {why}")
