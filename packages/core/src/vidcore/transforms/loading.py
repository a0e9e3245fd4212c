"""Steps that read frames: OpenVideo, Decode, DecodeMotionVectors, BuildPseudoClip."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from attrs import evolve, field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.geometry import Geometry
from vidcore.records import Clip
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.transforms.pixels import frame_count
from vidcore.typing import Named
from vidcore.validators import at_least
from vidcore.video.checks import ReaderBase
from vidcore.video.frames import FrameFolderReader
from vidcore.video.open import open_video
from vidcore.video.part import PartReader
from vidcore.video.reader import Decoder, VideoReader

__all__ = ["BuildPseudoClip", "Decode", "DecodeMotionVectors", "OpenVideo"]


@frozen
class OpenVideo:
    """Open the file (or folder) of a sample, and set its length and frame rate for the sampling step.

    ``decoder``: ``auto`` or one of ``vidcore list decoders``. ``threads``: of the decoder; 1 is best with several
    workers.
    """

    decoder: Literal["auto"] | Named[Decoder] = "auto"
    threads: int = field(default=1, validator=at_least(0))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample, video = _opened(sample, self.decoder, self.threads)
        return sample.replace(video=video, total_frames=len(video), fps=video.fps or sample.fps)


@frozen
class Decode:
    """Read the frames of ``clip`` (default: all frames) and close the video.

    Each distinct frame is read, and later resized, once. Relative boxes are converted to pixels.
    ``decoder`` and ``threads`` are used only without ``OpenVideo`` before this step.
    """

    decoder: Literal["auto"] | Named[Decoder] = "auto"
    threads: int = field(default=1, validator=at_least(0))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample, video = _opened(sample, self.decoder, self.threads)
        try:
            indices = np.arange(len(video)) if sample.clip is None else sample.clip.indices - sample.start_index
            distinct, order = np.unique(indices, return_inverse=True)
            frames = video.read(distinct)
        finally:
            video.close()
        size = (frames.shape[1], frames.shape[2])
        in_order = np.array_equal(order, np.arange(len(frames)))
        geometry = Geometry.whole(size, None if in_order else order.reshape(-1))
        return sample.map_records(lambda r: r.in_pixels(size), video=None, frames=frames, geometry=geometry)


def _opened(sample: Sample, decoder: Decoder | str, threads: int) -> tuple[Sample, VideoReader]:
    """Return the open video of a sample; if only a part of it is the sample, a reader of that part."""
    if sample.video is not None:
        return sample, sample.video
    video = _open(sample, decoder, threads)
    if sample.cut is None:
        return sample, video
    times = video.times() if isinstance(video, ReaderBase) else None
    try:
        first, stop = sample.cut.frames(video.path, len(video), video.fps or sample.fps, times)
    except VideoError:
        video.close()
        raise
    return sample.replace(first_frame=first), PartReader(video, first, stop)


def _open(sample: Sample, decoder: Decoder | str, threads: int) -> VideoReader:
    if sample.path is None:
        raise UserError("the sample has neither a path nor an open video")
    if not Path(sample.path).is_dir():
        return open_video(sample.path, decoder=decoder, threads=threads)
    return FrameFolderReader(
        sample.path,
        template=sample.filename_tmpl,
        modality="Flow" if sample.modality == "Flow" else "RGB",
        start_index=sample.start_index,
        offset=sample.frame_offset,
        total_frames=sample.total_frames,
        fps=sample.fps,
    )


@frozen
class DecodeMotionVectors:
    """Read the motion vectors of the codec instead of frames, as flow: (n, height, width, 2) uint8.

    For H.264, MPEG-4 and similar codecs. Values are the displacement in whole pixels, plus 128.
    """

    threads: int = field(default=1, validator=at_least(0))
    """Threads of the decoder; 0 lets it choose."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        from vidcore.video.exact import read_motion_vectors  # PyAV is slow to import

        if sample.path is None or sample.clip is None:
            raise UserError("DecodeMotionVectors needs the path of a video and a sampling step before it")
        if sample.video is not None:
            sample.video.close()
        vectors = read_motion_vectors(sample.path, sample.clip.indices + sample.first_frame, self.threads)
        frames = (vectors.astype(np.int16) + 128).astype(np.uint8)
        geometry = Geometry.whole((frames.shape[1], frames.shape[2]))
        return sample.replace(video=None, frames=frames, geometry=geometry, modality="Flow")


@frozen
class BuildPseudoClip:
    """Make a clip of ``clip_len`` frames by repeating one image."""

    clip_len: int = field(validator=at_least(1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        geometry = current(sample)
        if sample.frames is None or frame_count(sample) != 1:
            raise UserError("BuildPseudoClip repeats a single image: put Decode of one before it")
        order = np.zeros(self.clip_len, np.int64)
        return sample.replace(geometry=evolve(geometry, order=order), clip=Clip(order, self.clip_len))
