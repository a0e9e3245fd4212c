"""The record that flows from a dataset through transforms into a model and back as a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import Attribute, field, fields, frozen

from vidcore.records import Audio, Boxes, Clip, Cut, Heatmaps, Joints, Record, Segments, Text, Varying, shape
from vidcore.typing import Array

if TYPE_CHECKING:
    from vidcore.geometry import Geometry
    from vidcore.video.reader import VideoReader

__all__ = ["Sample"]

EMPTY: Mapping[str, Any] = {}

RECORDS = ("audio", "text", "boxes", "proposals", "joints", "heatmaps", "segments")
"""Fields of ``Sample`` that hold a ``Record``."""


def _own_names(sample: Sample, attribute: Attribute[Any], extra: Mapping[str, Record]) -> None:
    """Geometry and files of predictions identify records by name."""
    for name in extra:
        if name in RECORDS:
            raise ValueError(f"Sample.extra[{name!r}]: a field has this name: use the field, or a different name")


@frozen(eq=False, repr=False, kw_only=True)
class Sample:
    """One video (or clip, skeleton, feature file) with its location, annotations and predictions.

    Immutable; a transform returns ``sample.replace(field=value)``. Fields that belong together are records
    (``vidcore.records``). Times are in seconds, frames are RGB.

    >>> Sample(path="a.mp4", label=3)
    Sample(path='a.mp4', label=3)
    """

    index: int = -1
    """Position in the dataset; -1 if there is none. Metrics count each index once."""
    part: int = 0
    """Position of its dataset in a ``ConcatDataset``."""
    key: str | None = None
    """Name of the sample in annotations and result files; None: the name of its file without suffix."""
    path: str | None = None
    """Video file, image file, or folder of frames."""
    audio_path: str | None = None
    """File with the sound; default: ``path``."""
    cut: Cut | None = None
    """The part of the video that is this sample; default: all of it. Frames are counted from its first."""
    first_frame: int = 0
    """Frame of the file that is the first of the part; known when the video has been opened."""
    video: VideoReader | None = None
    """Open reader: ``OpenVideo`` sets it, ``Decode`` closes it and resets it to None."""
    total_frames: int | None = None
    """Number of frames that can be read."""
    fps: float | None = None
    """Frames per second."""
    duration: float | None = None
    """Length of the video in seconds."""
    start_index: int = 0
    """Number of the first frame: 0 in videos, usually 1 in folders of frames."""
    frame_offset: int = 0
    """Added to every number when frames are read from a folder (several videos in one folder)."""
    filename_tmpl: str = "img_{:05}.jpg"
    """Name of a frame file in a folder; for flow the first field is ``x`` or ``y``."""
    modality: str = "RGB"
    """``RGB``, ``Flow`` (two channels: horizontal, vertical) or ``Audio``."""

    clip: Clip | None = None
    """The frames to read; set by sampling steps."""
    frames: Array | None = field(default=None, validator=shape(None, None, None, None))
    """(views * clip length, height, width, channels) uint8; ``geometry`` may still have to be applied."""
    geometry: Geometry | None = None
    """Resizes, crops and flips that are recorded but not yet applied, and the resulting frame size.
    A transform that reads ``frames`` calls ``vidcore.transforms.pixels.realize(sample)`` first."""
    num_crops: int = 1
    """Spatial crops of every clip; views = clips * num_crops, crop by crop."""
    feature_duration: float | None = None
    """Seconds of video, from its beginning, that its features cover; the last frames may be too few for a feature."""
    feature_times: Array | None = field(default=None, validator=shape(None))
    """(features,) float64: middle of the time each feature describes, in seconds; padding is not counted."""

    audio: Audio | None = None
    text: Text | None = None
    boxes: Boxes | None = None
    """Annotated or predicted boxes."""
    proposals: Boxes | Segments | None = None
    """Candidates: boxes of a key frame, or segments of a video."""
    joints: Joints | None = None
    heatmaps: Heatmaps | None = None
    segments: Segments | None = None
    """Annotated segments, or predicted ones, best first."""
    extra: Mapping[str, Record] = field(default=EMPTY, validator=_own_names)
    """Records of other packages, by name, which must not be that of a field."""

    label: int | None = None
    """Class number of a sample with one label."""
    labels: Array | None = field(default=None, validator=shape(None))
    """(num_classes,) float32: multi-hot or soft label."""
    scores: Array | None = field(default=None, validator=shape(None))
    """(num_classes,) float32: prediction."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, if known; kept with predictions."""

    inputs: Mapping[str, Array | Varying] = EMPTY
    """Inputs of the model by name (``imgs``, ``text``, ...). Each formatting step adds its own."""
    targets: Mapping[str, Array | Varying] = EMPTY
    """Targets of the loss by name, in addition to ``label``; made by transforms in a worker."""
    error: str | None = None
    """Why there is no prediction, if a predictor skipped a bad file."""
    meta: Mapping[str, Any] = EMPTY
    """Facts for people and tools, under names that their package chooses. Models do not read it."""

    def replace(self, **changes: Any) -> Sample:
        """Return a copy with some fields changed. Only these are validated, which makes it fast."""
        copy = object.__new__(Sample)
        for put, value in zip(_PUT.values(), _VALUES(self), strict=True):
            put(copy, value)
        for name, value in changes.items():
            if name not in _PUT:
                raise TypeError(f"Sample has no field {name!r}")
            _PUT[name](copy, value)
            if name in _VALIDATED:
                _VALIDATED[name].validator(copy, _VALIDATED[name], value)  # type: ignore[misc]
        return copy

    def with_inputs(self, **arrays: Array | Varying) -> Sample:
        """Return a copy with more named inputs."""
        return self.replace(inputs={**self.inputs, **arrays})

    def with_targets(self, **arrays: Array | Varying) -> Sample:
        """Return a copy with more named targets."""
        return self.replace(targets={**self.targets, **arrays})

    def with_extra(self, **records: Record) -> Sample:
        """Return a copy with more records in ``extra``."""
        return self.replace(extra={**self.extra, **records})

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield every record and its name: fields first, then ``extra``."""
        for name in RECORDS:
            record = getattr(self, name)
            if record is not None:
                yield name, record
        yield from self.extra.items()

    def map_records(self, change: Callable[[Record], Record], **changes: Any) -> Sample:
        """Return a copy with ``change(record)`` in place of every record, and ``changes`` of other fields."""
        extra: dict[str, Record] = {}
        for name, record in self.records():
            (extra if name in self.extra else changes)[name] = change(record)
        if extra:
            changes["extra"] = extra
        return self.replace(**changes)

    def __repr__(self) -> str:
        parts = []
        for a in fields(Sample):
            value = getattr(self, a.name)
            if isinstance(value, np.ndarray):
                parts.append(f"{a.name}={value.dtype}{value.shape}")
            elif isinstance(value, Record | Clip) or (isinstance(value, Mapping) and value and a.name != "meta"):
                parts.append(f"{a.name}={_brief(value)}")
            elif value is not None and not (type(value) is type(a.default) and value == a.default):
                parts.append(f"{a.name}={value!r}")
        return f"Sample({', '.join(parts)})"


_PUT = {a.name: vars(Sample)[a.name].__set__ for a in fields(Sample)}
"""Setters of the fields, which pass by the immutability of a sample."""
_VALUES = attrgetter(*_PUT)
_VALIDATED = {a.name: a for a in fields(Sample) if a.validator is not None}


def _brief(value: Any) -> str:
    """Return a record or a mapping of arrays as a string without its numbers."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_brief(item)}" for name, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    if isinstance(value, Varying):
        return f"Varying({_brief(value.array)}, axis={value.axis})"
    if isinstance(value, Record):
        return f"{type(value).__name__}({len(value)})"
    if isinstance(value, Clip):
        return f"Clip({value.count} x {value.length})"
    return repr(value)
