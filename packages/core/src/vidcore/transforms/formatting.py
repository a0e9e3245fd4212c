"""From frames to what the model gets: FormatShape, Transpose, PackActionInputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.transforms.pixels import frame_count, render
from vidcore.validators import one_of

__all__ = ["FormatShape", "PackActionInputs", "Transpose"]

Array = np.ndarray[Any, np.dtype[Any]]
LAYOUTS = ("NCHW", "NCTHW", "NCTHW_Heatmap", "NPTCHW")


@frozen
class FormatShape:
    """Arrange frames for a model and set ``inputs``; ``frames`` are given up.

    ``NCHW``: (crops * clips * clip_len, channels, height, width) for 2D models; flow becomes
    (crops * clips, 2 * clip_len, height, width). ``NCTHW``: (crops * clips, channels, clip_len, height,
    width) for 3D models, without the first axis with ``collapse`` (one clip only). ``NPTCHW``:
    (proposals, clips * clip_len, channels, height, width). ``NCTHW_Heatmap``: ``heatmaps`` as
    (clips, maps, frames, height, width).

    A sample that has heatmaps beside frames gets both: ``{"imgs": ..., "heatmap_imgs": ...}``.
    This step makes the pixels that the steps before have only asked for, straight into the final array.
    """

    input_format: Literal["NCHW", "NCTHW", "NCTHW_Heatmap", "NPTCHW"] = field(validator=one_of(*LAYOUTS))
    collapse: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if self.input_format == "NCTHW_Heatmap":
            return sample.replace(inputs=self._collapsed(_heatmaps(sample, sample.clip_len)), heatmaps=None)
        geometry = current(sample)
        if sample.frames is None:
            raise UserError("FormatShape: the sample has no frames: put Decode before it")
        inputs: Any = self._collapsed(self._frames(sample))
        if sample.heatmaps is not None:
            heatmaps = _heatmaps(sample, len(sample.heatmaps) // sample.num_clips)
            inputs = {"imgs": inputs, "heatmap_imgs": self._collapsed(heatmaps)}
        return sample.replace(inputs=inputs, frames=None, heatmaps=None, geometry=geometry.done())

    def _frames(self, sample: Sample) -> Array:
        assert sample.frames is not None
        geometry = current(sample)
        count = frame_count(sample) * len(geometry.windows)
        clip_len = sample.clip_len or frame_count(sample)
        channels, dtype, size = sample.frames.shape[-1], sample.frames.dtype, geometry.size
        per_group = clip_len * sample.num_clips if self.input_format == "NPTCHW" else clip_len
        if count % per_group:
            raise UserError(f"FormatShape: {count} frames do not divide into groups of {per_group}")
        if self.input_format == "NCTHW":
            clips = np.empty((count // clip_len, channels, clip_len, *size), dtype)
            _fill(sample, lambda i: clips[i // clip_len, :, i % clip_len])
            return clips
        planes = np.empty((count, channels, *size), dtype)
        _fill(sample, lambda i: planes[i])
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


def _fill(sample: Sample, slot: Callable[[int], Array]) -> None:
    """Write every frame, channel by channel, into ``slot(position)``: (channels, height, width)."""
    for position, image in render(sample):
        cv2.split(image, list(slot(position)))  # several times faster than assigning a transposed view


def _heatmaps(sample: Sample, clip_len: int | None) -> Array:
    maps = sample.heatmaps
    if maps is None or not clip_len:
        raise UserError("FormatShape: the sample has no heatmaps")
    clips = maps.reshape(-1, clip_len, *maps.shape[1:])
    return np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4))


@frozen
class Transpose:
    """Reorder the axes of fields of the sample, or of named ``inputs``."""

    keys: Sequence[str]
    order: Sequence[int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        named = dict(sample.inputs) if isinstance(sample.inputs, Mapping) else {}
        changes: dict[str, Array] = {}
        for key in self.keys:
            array = named.get(key, getattr(sample, key, None))
            if not isinstance(array, np.ndarray):
                raise UserError(f"Transpose: the sample has no array {key!r}")
            if array.ndim != len(self.order):
                raise UserError(f"Transpose: order has {len(self.order)} axes, {key!r} has {array.ndim}")
            (named if key in named else changes)[key] = array.transpose(tuple(self.order))
        return sample.replace(**({"inputs": named} if named else {}), **changes)


@frozen
class PackActionInputs:
    """Choose what the model gets where several formatting steps have left arrays under their names.

    Without ``collect_keys``: the first there is of ``imgs``, ``heatmap_imgs``, ``keypoint``,
    ``audios``, ``text``. With them: a mapping of those. A pipeline with one formatting step does
    not need it.
    """

    collect_keys: Sequence[str] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.inputs is None:
            raise UserError("PackActionInputs: the sample has no inputs: put a formatting step before it")
        named = sample.inputs if isinstance(sample.inputs, Mapping) else {"imgs": sample.inputs}
        if self.collect_keys:
            missing = [k for k in self.collect_keys if k not in named]
            if missing:
                raise UserError(f"PackActionInputs: no {missing[0]!r} among the inputs: {', '.join(named)}")
            return sample.replace(inputs={k: named[k] for k in self.collect_keys})
        found = [k for k in ("imgs", "heatmap_imgs", "keypoint", "audios", "text") if k in named]
        if not found:
            raise UserError(f"PackActionInputs: name one of the inputs with collect_keys: {', '.join(named)}")
        return sample.replace(inputs=named[found[0]])
