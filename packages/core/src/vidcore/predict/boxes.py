"""What persons do: one prediction for each person and window of a video, from the frames around a box.

A video is decoded twice, in order: to find persons, and for the clips of key frames. Only the frames of the clips of
two batches are in memory, whatever the length of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from attrs import evolve, frozen

from vidcore.errors import UserError
from vidcore.persons import Persons
from vidcore.predict.persons import FoundPersons, PersonWindow
from vidcore.predict.predictor import Predictor
from vidcore.predict.windows import WindowReader, made_ahead
from vidcore.randomness import sample_rng
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.transforms.loading import OpenVideo
from vidcore.transforms.views import chosen_frames
from vidcore.video.footage import RATE
from vidcore.video.window import ForwardReader, Span, Tiles

__all__ = ["predict_boxes"]


def predict_boxes(
    predictor: Predictor,
    found: FoundPersons,
    window: Span,
    stride: Span | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[PersonWindow]:
    """Yield the predictions for each person and window, by window and then by person.

    The middle of a window is the key frame: persons who are seen then get a prediction, from the clip around it.

    Args:
        predictor: its pipeline reads boxes.
        found: the persons in a video.
        window: length of a window.
        stride: from the start of a window to that of the next; default: ``window``.
        progress: called with the number of windows done, and of all windows.

    Raises:
        UserError: the model predicts no classes of boxes, or the pipeline chooses no frames around a time.
        VideoError: the video cannot be read, or has no frame rate and a length is in seconds.
    """
    tiles = Tiles.of(len(found.times), window, stride or window, found.fps, found.times, found.path)
    keys = [_key_window(found, tiles, number) for number in range(len(tiles))]
    shown = [key for key in keys if len(key.persons)]
    for ready in made_ahead(_prepared(predictor, found, shown)):
        samples = predictor.predict([sample for _, sample in ready])
        for (key, _), sample in zip(ready, samples, strict=True):
            boxes = sample.boxes
            if boxes is None or boxes.scores is None or boxes.scores.ndim != 2 or len(boxes) != len(key.persons):
                raise UserError(f"{predictor.task.name}: its model does not predict the classes of each box")
            for row, one in enumerate(key.windows):
                named = Sample(path=found.path, scores=boxes.scores[row], class_names=sample.class_names)
                yield evolve(one, sample=named)
            if progress:
                progress(key.number + 1, len(tiles))


@frozen(eq=False)
class _KeyWindow:
    """A window, and the persons in its middle."""

    number: int
    time: float
    """Seconds of the middle, by which the pipeline chooses frames."""
    persons: Persons
    windows: list[PersonWindow]
    """One for each of the persons."""


def _key_window(found: FoundPersons, tiles: Tiles, number: int) -> _KeyWindow:
    frames = int(tiles.first[number]), int(tiles.stop[number])
    start, end = (None, None) if tiles.seconds is None else tiles.seconds[number].tolist()
    middle = (frames[0] + frames[1]) // 2
    time = float(found.times[middle]) if start is None else (start + end) / 2
    persons = found.persons.at(time, 1.5 / (found.fps or RATE))
    height, width = found.size
    boxes = persons.boxes.astype(np.float64) / [width, height, width, height]
    assert persons.tracks is not None
    windows = [
        PersonWindow(track, start, end, frames, Sample(), box)
        for track, box in zip(persons.tracks.tolist(), np.clip(boxes, 0, 1), strict=True)
    ]
    return _KeyWindow(number, time, persons, windows)


def _prepared(
    predictor: Predictor, found: FoundPersons, keys: Sequence[_KeyWindow]
) -> Generator[list[tuple[_KeyWindow, Sample]], None, None]:
    """Yield key frames whose samples have inputs, a batch at a time."""
    steps = predictor.pipeline.steps.values()
    opener = next((step for step in steps if isinstance(step, OpenVideo)), OpenVideo())
    opened = opener(Sample(path=found.path), sample_rng(0, 0, 0))
    assert opened.video is not None
    with opened.video as video:
        samples = [_sample(found, key, opened) for key in keys]
        nothing = WindowReader(ForwardReader(video, np.empty(0, np.int64)), 0, len(video), video.fps)
        wanted = np.zeros(len(video), np.bool_)
        for sample in samples:
            chosen = chosen_frames(predictor.pipeline.steps, sample.replace(video=nothing))
            if chosen is None or chosen.clip is None:
                raise UserError(f"{predictor.task.name}: its pipeline chooses no frames of a video")
            wanted[chosen.clip.indices - chosen.start_index] = True
        forward = ForwardReader(video, np.flatnonzero(wanted))
        for first in range(0, len(keys), predictor.batch_size):
            ready = []
            batch = slice(first, first + predictor.batch_size)
            for key, sample in zip(keys[batch], samples[batch], strict=True):
                reader = WindowReader(forward, 0, len(video), video.fps)
                made = predictor.pipeline(sample.replace(video=reader), sample_rng(0, 0, key.number))
                if not reader.used:
                    raise UserError(f"{predictor.task.name}: its pipeline opens the file again (as Branches does)")
                ready.append((key, made))
            yield ready


def _sample(found: FoundPersons, key: _KeyWindow, opened: Sample) -> Sample:
    boxes = Boxes(
        np.array([one.box for one in key.windows], np.float32),
        scores=key.persons.scores,
        track=key.persons.tracks,
        relative=True,
    )
    return opened.replace(
        index=key.number,
        video=None,
        fps=found.fps or RATE,
        proposals=boxes,
        meta={"timestamp": key.time, "timestamp_start": 0.0},
    )
