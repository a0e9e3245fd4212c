"""Steps that make the inputs of a model: FormatShape, Transpose, Pad, PackActionInputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.transforms.pixels import fill, frame_count
from vidcore.typing import Array
from vidcore.validators import one_of

__all__ = ["FormatShape", "PackActionInputs", "Pad", "Transpose"]

LAYOUTS = ("NCHW", "NCTHW", "NCTHW_Heatmap", "NPTCHW")


@frozen
class FormatShape:
    """Arrange frames for a model, as the input ``imgs``; ``frames`` is removed.

    ``NCHW``: (crops * clips * clip_len, channels, height, width) for 2D models; flow becomes
    (crops * clips, 2 * clip_len, height, width). ``NCTHW``: (crops * clips, channels, clip_len, height,
    width) for 3D models, without the first axis with ``collapse`` (one clip only). ``NPTCHW``:
    (proposals, clips * clip_len, channels, height, width). ``NCTHW_Heatmap``: ``heatmaps`` as
    (clips, maps, frames, height, width), the input ``heatmap_imgs``.

    A sample that has frames and heatmaps gets both inputs.
    Pending geometry is applied here, directly into the final array.
    """

    input_format: Literal["NCHW", "NCTHW", "NCTHW_Heatmap", "NPTCHW"] = field(validator=one_of(*LAYOUTS))
    """One of the layouts above."""
    collapse: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if self.input_format == "NCTHW_Heatmap":
            length = sample.clip.length if sample.clip else None
            heatmaps = self._collapsed(_heatmaps(sample, length))
            return sample.replace(heatmaps=None).with_inputs(heatmap_imgs=heatmaps)
        geometry = current(sample)
        if sample.frames is None:
            raise UserError("FormatShape: the sample has no frames: put Decode before it")
        inputs = {"imgs": self._collapsed(self._frames(sample))}
        if sample.heatmaps is not None:
            count = sample.clip.count if sample.clip else 1
            inputs["heatmap_imgs"] = self._collapsed(_heatmaps(sample, len(sample.heatmaps) // count))
        return sample.replace(frames=None, heatmaps=None, geometry=geometry.done()).with_inputs(**inputs)

    def _frames(self, sample: Sample) -> Array:
        assert sample.frames is not None
        geometry = current(sample)
        count = frame_count(sample) * len(geometry.windows)
        clip_len, num_clips = (sample.clip.length, sample.clip.count) if sample.clip else (frame_count(sample), 1)
        channels, dtype, size = sample.frames.shape[-1], sample.frames.dtype, geometry.size
        per_group = clip_len * num_clips if self.input_format == "NPTCHW" else clip_len
        if count % per_group:
            raise UserError(f"FormatShape: {count} frames cannot be divided into groups of {per_group}")
        if self.input_format == "NCTHW":
            clips = np.empty((count // clip_len, channels, clip_len, *size), dtype)
            fill(sample, lambda i: clips[i // clip_len, :, i % clip_len])
            return clips
        planes = np.empty((count, channels, *size), dtype)
        fill(sample, lambda i: planes[i])
        if self.input_format == "NPTCHW":
            return planes.reshape(-1, per_group, channels, *size)
        return planes.reshape(-1, clip_len * channels, *size) if sample.modality == "Flow" else planes

    def _collapsed(self, array: Array) -> Array:
        if not self.collapse:
            return array
        if len(array) != 1:
            raise UserError(f"FormatShape: only a single clip can be collapsed, got {len(array)}")
        collapsed: Array = array[0]
        return collapsed


def _heatmaps(sample: Sample, clip_len: int | None) -> Array:
    if sample.heatmaps is None or not clip_len:
        raise UserError("FormatShape: the sample has no heatmaps")
    maps = sample.heatmaps.maps
    clips = maps.reshape(-1, clip_len, *maps.shape[1:])
    return np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4))


@frozen
class Transpose:
    """Reorder the axes of named inputs, or of ``frames``."""

    keys: Sequence[str]
    """Names of the inputs."""
    order: Sequence[int]
    """Numbers of the axes in their new order."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        arrays = dict(sample.inputs) if sample.frames is None else {**sample.inputs, "frames": sample.frames}
        changed: dict[str, Array] = {}
        for key in self.keys:
            array = arrays.get(key)
            if not isinstance(array, np.ndarray):
                raise UserError(f"Transpose: the sample has no array {key!r}; it has {', '.join(arrays) or 'none'}")
            if array.ndim != len(self.order):
                raise UserError(f"Transpose: order has {len(self.order)} axes, {key!r} has {array.ndim}")
            changed[key] = array.transpose(tuple(self.order))
        frames = changed.pop("frames", sample.frames)
        return sample.replace(frames=frames).with_inputs(**changed)


@frozen
class Pad:
    """Allow samples of a batch to differ in the length of an input along some axes: shorter ones are padded with zeros.

    ``Batch.lengths`` has the lengths without padding; scores of a model that does not use them may depend on the
    other samples of the batch.
    """

    axis: int | Sequence[int]
    """One or several axes of a sample (without the batch axis); negative numbers count from the end."""
    key: str = "imgs"
    """Name of the input."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        array = sample.inputs.get(self.key)
        if not isinstance(array, np.ndarray):
            raise UserError(f"Pad: the sample has no input {self.key!r}; it has {', '.join(sample.inputs) or 'none'}")
        axis = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        for number in (axis,) if isinstance(axis, int) else axis:
            if not -array.ndim <= number < array.ndim:
                raise UserError(f"Pad: {self.key!r} has {array.ndim} axes; there is no axis {number}")
        return sample.with_inputs(**{self.key: Varying(array, axis)})


@frozen
class PackActionInputs:
    """Choose the inputs of the model from those that formatting steps have made.

    ``collect_keys``: their names; default: the first that exists of ``imgs``, ``heatmap_imgs``, ``joints``,
    ``audios``, ``text``. A pipeline with one formatting step does not need this step.
    """

    collect_keys: Sequence[str] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        named = sample.inputs
        if not named:
            raise UserError("PackActionInputs: the sample has no inputs: put a formatting step before it")
        if self.collect_keys:
            missing = [k for k in self.collect_keys if k not in named]
            if missing:
                raise UserError(f"PackActionInputs: there is no input {missing[0]!r}; there are {', '.join(named)}")
            return sample.replace(inputs={k: named[k] for k in self.collect_keys})
        found = [k for k in ("imgs", "heatmap_imgs", "joints", "audios", "text") if k in named]
        if not found:
            raise UserError(f"PackActionInputs: collect_keys must name one of the inputs: {', '.join(named)}")
        return sample.replace(inputs={found[0]: named[found[0]]})
