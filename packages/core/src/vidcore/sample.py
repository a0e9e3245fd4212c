"""The record that flows from a dataset through transforms into a model and back as a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import Attribute, evolve, field, fields, frozen

if TYPE_CHECKING:
    from vidcore.geometry import Geometry
    from vidcore.video.reader import VideoReader

__all__ = ["Sample"]

Array = np.ndarray[Any, np.dtype[Any]]


def _dims(*wanted: int | None) -> Any:
    """Validator: an array of that many dimensions whose lengths are as given (None: any)."""

    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if value is None:
            return
        shape = np.shape(value)
        if len(shape) != len(wanted) or any(w is not None and w != s for w, s in zip(wanted, shape, strict=True)):
            legend = ", ".join("*" if w is None else str(w) for w in wanted)
            raise ValueError(f"Sample.{attribute.name} must have shape ({legend}), got {shape}")

    return check


@frozen(eq=False, repr=False, kw_only=True)
class Sample:
    """One video (or clip, or skeleton, or feature file): where it is, what is known, what was predicted.

    Immutable; a transform returns ``sample.replace(field=value)``. Times are seconds, boxes
    absolute ``x1, y1, x2, y2`` in pixels of the current frames, frames RGB.

    >>> Sample(path="a.mp4", label=3)
    Sample(path='a.mp4', label=3)
    """

    index: int = -1
    """Position in the data set; -1 outside of one. Metrics count each index once."""
    path: str | None = None
    """Video file, image file, or folder of frames."""
    video: VideoReader | None = None
    """Open reader; ``OpenVideo`` sets it, ``Decode`` closes it and sets it back to None."""
    total_frames: int | None = None
    """Number of frames that can be asked for."""
    fps: float | None = None
    """Frames per second."""
    start_index: int = 0
    """Number of the first frame: 0 in videos, mostly 1 in folders of frames."""
    frame_offset: int = 0
    """Added to every number when frames are read from a folder (several videos in one folder)."""
    filename_tmpl: str = "img_{:05}.jpg"
    """Name of a frame file in a folder; for flow the first place is ``x`` or ``y``."""
    modality: str = "RGB"
    """``RGB`` or ``Flow`` (two channels: horizontal, vertical)."""

    frame_indices: Array | None = field(default=None, validator=_dims(None))
    """(num_clips * clip_len,) int64: frames to read, ``start_index`` included."""
    clip_len: int | None = None
    """Frames in a clip."""
    num_clips: int = 1
    """Clips of this sample."""
    frame_interval: int | None = None
    """Distance of neighbouring frames of a clip, in frames."""

    frames: Array | None = field(default=None, validator=_dims(None, None, None, None))
    """(views * clip_len, height, width, channels) uint8: the frames, or what ``geometry`` makes them from."""
    geometry: Geometry | None = None
    """What resizes, crops and flips have asked for and no step has needed yet, and the frame size they lead to.
    A transform that looks at ``frames`` calls ``vidcore.transforms.pixels.realize(sample)`` first."""
    num_crops: int = 1
    """Spatial crops of every clip; views = num_clips * num_crops, crop by crop."""
    boxes: Array | None = field(default=None, validator=_dims(None, 4))
    """(boxes, 4) float32: true boxes."""
    proposals: Array | None = field(default=None, validator=_dims(None, 4))
    """(proposals, 4) float32: candidate boxes."""
    relative_boxes: bool = False
    """Whether ``boxes`` and ``proposals`` are still fractions of width and height; ``Decode`` makes them pixels."""
    heatmaps: Array | None = field(default=None, validator=_dims(None, None, None, None))
    """(num_clips * frames, maps, height, width) float32: joints or limbs drawn as maps."""
    joints: Array | None = field(default=None, validator=_dims(None, None, None, None))
    """(person, time, joint, channel) float32."""
    segments: Array | None = field(default=None, validator=_dims(None, 2))
    """(segments, 2) float64: start and end in seconds."""
    segment_labels: Array | None = field(default=None, validator=_dims(None))
    """(segments,) int64: their classes; None for proposals, which have no class."""
    segment_scores: Array | None = field(default=None, validator=_dims(None))
    """(segments,) float64: how good each predicted segment is, best first."""
    proposal_segments: Array | None = field(default=None, validator=_dims(None, 2))
    """(proposals, 2) float64: candidate segments, start and end in seconds."""
    proposal_scores: Array | None = field(default=None, validator=_dims(None))
    """(proposals,) float64: how good each candidate segment is."""
    duration: float | None = None
    """Length of the video in seconds."""
    feature_duration: float | None = None
    """Seconds from the beginning that features of the video cover: the last frames may be too few for one more."""
    feature_times: Array | None = field(default=None, validator=_dims(None))
    """(features,) float64: middle of what each feature describes, in seconds; their number is that before padding."""
    inputs: Any = None
    """What the model gets: an array, or a mapping from modality to array (see ``FormatShape``)."""

    label: int | None = None
    """Class number of a single-label sample."""
    labels: Array | None = field(default=None, validator=_dims(None))
    """(num_classes,) float32: many-hot or soft label."""
    scores: Array | None = field(default=None, validator=_dims(None))
    """(num_classes,) float32: prediction."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where known; they travel with predictions."""
    meta: Mapping[str, Any] = field(factory=dict)
    """Anything else, under names of the package that put it there."""

    def replace(self, **changes: Any) -> Sample:
        """Return a copy with some fields changed."""
        return evolve(self, **changes)

    def __repr__(self) -> str:
        parts = []
        for a in fields(Sample):
            value = getattr(self, a.name)
            default = a.default.factory() if hasattr(a.default, "factory") else a.default  # type: ignore[union-attr]
            if isinstance(value, np.ndarray) or hasattr(value, "shape"):
                parts.append(f"{a.name}={value.dtype}{tuple(value.shape)}")
            elif value is not None and not (type(value) is type(default) and value == default):
                parts.append(f"{a.name}={value!r}")
        return f"Sample({', '.join(parts)})"
