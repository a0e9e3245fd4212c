"""Steps from sound to the input of a network: LoadAudioFeature, AudioFeatureSelector, FormatAudioShape."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import field, frozen

from vid_recognition.audio.logmel import BANDS, ROWS_PER_SECOND, exactly, read_log_mel
from vidcore.errors import NoAudioError, UserError, VideoError
from vidcore.features.files import read_features
from vidcore.protocols import ReadsFiles
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least, one_of
from vidcore.video.open import AUDIO_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["AudioFeatureSelector", "FormatAudioShape", "LoadAudioFeature"]

PADDING = (640, BANDS)
"""Shape of the zeros for a file without sound, as published."""


@frozen
class LoadAudioFeature(ReadsFiles):
    """Read the log-mel features of a sample into the input ``audios``: (rows, 80) float32, 62.5 rows per second.

    A ``.npy`` file holds features that ``vidcore audio``, or MMAction2's script, has made. Those of any other file are
    computed from its sound, with the same result; if number and rate of the frames are known, they cover as much time.
    An input ``audios`` replaces the file. If the sample is a part of a video (``cut``), only its rows are taken.

    A clip is chosen by frames. If the dataset gives no number of frames, there are ``fps`` per second.
    """

    pad_method: Literal["none", "zero"] = field(default="none", validator=one_of("none", "zero"))
    """A file that is missing or has no sound is refused with ``none``, and replaced by zeros with ``zero``."""
    fps: float = field(default=30.0, validator=at_least(0, above=True))
    suffixes: ClassVar = (".npy", *VIDEO_SUFFIXES, *AUDIO_SUFFIXES)
    """Suffixes of the files that this transform reads."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if there is no path, ``VideoError`` for a bad file or features of a different width."""
        path = sample.audio_path or sample.path
        if path is None:
            raise UserError("LoadAudioFeature needs the path of a video, an audio file, or features")
        cut = None if sample.cut is None else sample.cut.seconds(path, sample.fps)
        given = sample.inputs.get("audios")
        if isinstance(given, np.ndarray):
            features = _part(path, given, cut)
        elif self.pad_method == "zero" and not Path(path).exists():
            features = np.zeros(PADDING, np.float32)
        elif Path(path).suffix.lower() == ".npy":
            features = _part(path, _stored(path), cut)
        elif cut is not None:
            features = self._computed(path, cut[0], cut[1] - cut[0])
        else:
            features = self._computed(path, 0, _duration(sample))
        if sample.total_frames is None:
            frames = round(len(features) / ROWS_PER_SECOND * self.fps)
            sample = sample.replace(total_frames=max(frames, 1), fps=self.fps)
        return sample.with_inputs(audios=features)

    def _computed(self, path: str, start: float, seconds: float | None) -> Array:
        try:
            return read_log_mel(path, start, seconds)
        except NoAudioError:
            if self.pad_method == "zero":
                return np.zeros(PADDING, np.float32)
            raise


def _duration(sample: Sample) -> float | None:
    return sample.total_frames / sample.fps if sample.total_frames and sample.fps else None


def _stored(path: str) -> Array:
    features = read_features(Path(path))
    if features.shape[1] != BANDS:
        raise VideoError(path, f"has features of {features.shape[1]} bands; there must be {BANDS}")
    return features


def _part(path: str, features: Array, cut: tuple[float, float] | None) -> Array:
    if cut is None:
        return features
    rest = features[round(cut[0] * ROWS_PER_SECOND) :]
    if not len(rest):
        raise VideoError(path, f"its sound ends before {cut[0]:.3f} s, where this part begins")
    return exactly(rest, cut[1] - cut[0])


@frozen
class AudioFeatureSelector:
    """Select the rows of the input ``audios`` during each clip: (clips, ``fixed_length``, bands).

    Rows and frames, counted from 1 as in published training, are mapped to each other by their share of the whole: from
    the first frame of a clip to its last. Longer selections are cut, shorter ones are padded with zeros.
    """

    fixed_length: int = field(default=128, validator=at_least(1))
    """Rows of each clip."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if features or clips are missing."""
        features = sample.inputs.get("audios")
        if not isinstance(features, np.ndarray) or features.ndim != 2:
            raise UserError("AudioFeatureSelector: the sample has no features: put LoadAudioFeature before it")
        if sample.clip is None or not sample.total_frames:
            raise UserError("AudioFeatureSelector: the sample has no clips: put SampleFrames before it")
        frames = sample.clip.indices.reshape(sample.clip.count, -1)[:, [0, -1]] - sample.start_index
        bounds = np.round((frames + 1) / sample.total_frames * len(features)).astype(np.int64)
        selected = np.zeros((len(bounds), self.fixed_length, features.shape[1]), np.float32)
        for clip, (start, stop) in zip(selected, bounds, strict=True):
            rows = features[start:stop][: self.fixed_length]
            clip[: len(rows)] = rows
        return sample.with_inputs(audios=selected)


@frozen
class FormatAudioShape:
    """Add the axis of channels to the input ``audios``."""

    input_format: Literal["NCTF"] = field(validator=one_of("NCTF"))
    """``NCTF``: (clips, 1, rows, bands)."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if there are no selected features."""
        selected = sample.inputs.get("audios")
        if not isinstance(selected, np.ndarray) or selected.ndim != 3:
            raise UserError("FormatAudioShape: the sample has no features of clips: put AudioFeatureSelector before it")
        return sample.with_inputs(audios=selected[:, None])
