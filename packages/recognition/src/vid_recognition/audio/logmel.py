"""Log-mel features of sound, equal to those that MMAction2's published networks were trained on, in NumPy.

Sound is mixed to one channel (the mean), resampled to 16 kHz and scaled to a level (RMS) of 0.1. Each row describes the
32 ms around its time, 16 ms after the row before: a sine window, magnitudes of the FFT, 80 triangular filters of area 1
from 125 to 7600 Hz on the mel scale of Slaney's Auditory Toolbox, and levels of -80 to 20 dB as 0 to 1.

Shapes: S samples, T rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vidcore.errors import VideoError
from vidcore.typing import Array
from vidcore.video.audio import open_audio

__all__ = ["BANDS", "CONVENTION", "HOP", "RATE", "ROWS_PER_SECOND", "exactly", "log_mel", "read_log_mel", "resample"]

RATE, HOP, BANDS = 16000, 256, 80
WINDOW = 2 * HOP
LOW, HIGH = 125.0, 7600.0
ROWS_PER_SECOND = RATE / HOP
CONVENTION = {
    "rate": RATE,
    "window": WINDOW,
    "hop": HOP,
    "bands": BANDS,
    "low_hz": LOW,
    "high_hz": HIGH,
    "rows_per_second": ROWS_PER_SECOND,
    "mel_scale": "slaney",
    "level_rms": 0.1,
    "decibels": [-80, 20],
}
"""What features depend on, for files beside them."""

SLOWEST, FASTEST = 4000, 768000
"""Sampling rates that are read: a lower one has no band for most features."""
LONGEST = 12 * 3600
"""Seconds of sound: a few bytes of a file can encode months of silence."""
BLOCK = 1 << 19
"""Samples to read at once."""
ZEROS, ROLLOFF, BETA = 32, 0.95, 10.0
"""The filter for resampling: zero crossings on each side, cut-off frequency relative to the highest, and the shape of
its Kaiser window, which attenuates the rest by 100 dB."""


def read_log_mel(path: str, start: float = 0.0, seconds: float | None = None) -> Array:
    """Return the log-mel features of a video or an audio file: (T, BANDS) float32 from 0 to 1.

    Row i describes the time ``start + i / ROWS_PER_SECOND`` of the video, also if its sound begins later or earlier.

    Args:
        path: the file; if it has several audio streams, the one that a player would choose is read.
        start: time in the video, in seconds, at which the features begin.
        seconds: time that they cover; zeros (silence) after the end of the sound. Default: all of the sound.

    Raises:
        VideoError: the file has no sound (``NoAudioError``) or none at this time, cannot be read, contains NaN or Inf,
            or is too long.
    """
    with open_audio(path) as audio:
        if not SLOWEST <= audio.rate <= FASTEST:
            raise VideoError(path, f"has {audio.rate} samples per second; from {SLOWEST} to {FASTEST} can be read")
        if abs(audio.start) > LONGEST:
            raise VideoError(path, f"its sound begins {audio.start:.0f} seconds after the first frame")
        late = audio.start - start
        blocks = _checked(path, audio.blocks(BLOCK), audio.rate, None if seconds is None else seconds - late, -late)
        features = log_mel(blocks, audio.rate, late)
    return features if seconds is None else exactly(features, seconds)


def exactly(features: Array, seconds: float) -> Array:
    """Return features for this time from their beginning: cut, or padded with zeros."""
    rows = max(ceil(seconds * ROWS_PER_SECOND), 1)
    return np.pad(features[:rows], ((0, max(rows - len(features), 0)), (0, 0)))


def _checked(
    path: str, blocks: Iterable[Array], rate: int, stop: float | None = None, first: float = 0.0
) -> Iterator[Array]:
    """Yield the sound before the second ``stop``, which must reach beyond the second ``first``."""
    count = 0
    for block in blocks:
        if not np.isfinite(block).all():
            first = count + int(np.argmin(np.isfinite(block).all(0)))
            raise VideoError(path, f"its sound contains NaN or Inf, first at sample {first}")
        count += block.shape[1]
        if count > LONGEST * rate:
            raise VideoError(path, f"has more than {LONGEST // 3600} hours of sound")
        if stop is not None and count >= stop * rate:
            yield block[:, : max(block.shape[1] - count + ceil(stop * rate), 0)]
            break
        yield block
    if not count:
        raise VideoError(path, "its sound has no samples")
    if count <= first * rate:
        raise VideoError(path, f"its sound ends before {first:.3f} s, where this part begins")


def log_mel(blocks: Iterable[Array], rate: int, start: float = 0.0) -> Array:
    """Return the features of sound: (T, BANDS) float32, T = 1 + S / HOP, rounded up, for S samples at ``RATE``.

    Silence gives zeros. Sound shorter than a window is padded with silence.

    Args:
        blocks: (channels, samples) each, full scale from -1 to 1, one after the other.
        rate: samples per second.
        start: seconds of silence to put before the sound; if negative, seconds of sound to leave out.

    >>> log_mel([np.zeros((2, 8000))], 16000).shape
    (33, 80)
    """
    count, energy = 0, 0.0

    def measured() -> Iterator[Array]:
        nonlocal count, energy
        skipped = max(-round(start * RATE), 0)
        for at in range(0, lead := round(start * RATE), BLOCK):
            yield np.zeros(min(BLOCK, lead - at))
        for block in resample((block.mean(0, dtype=np.float64) for block in blocks), rate):
            block, skipped = block[skipped:], max(skipped - len(block), 0)
            count, energy = count + len(block), energy + float(block @ block)
            yield block

    bands = np.concatenate(list(_bands(measured())))
    bands *= 0.1 / max((energy / max(count, 1)) ** 0.5, 1e-4)
    features: Array = np.clip(0.8 + 0.2 * np.log10(np.maximum(bands, 1e-5)), 0, 1).astype(np.float32)
    return features


def resample(blocks: Iterable[Array], rate: int) -> Iterator[Array]:
    """Yield sound at ``RATE``: S * RATE / rate samples, rounded up, in blocks.

    Sample i of the result is the band-limited sound at the time i / RATE; silence is assumed before and after it.

    Args:
        blocks: (samples,) float64 each, one after the other.
        rate: samples per second.
    """
    if rate == RATE:
        yield from blocks
        return
    filters, offsets, step = _filters(rate)
    phases, width = filters.shape
    waiting, read, made = np.zeros(width // 2 - 1), 0, 0

    def ready() -> Array:
        """Apply the filters to whole periods of input; ``step`` samples of it give ``phases`` of the result."""
        nonlocal waiting
        periods = max((len(waiting) - width - int(offsets[-1])) // step + 1, 0)
        out = np.empty((periods, phases))
        if periods:
            windows = sliding_window_view(waiting, width)
            for phase, offset in enumerate(offsets.tolist()):
                out[:, phase] = windows[offset : offset + (periods - 1) * step + 1 : step] @ filters[phase]
        waiting = waiting[periods * step :]
        return out.reshape(-1)

    for block in blocks:
        read += len(block)
        waiting = np.concatenate((waiting, block))
        done = ready()
        made += len(done)
        yield done
    waiting = np.concatenate((waiting, np.zeros(width + step)))
    yield ready()[: -(-read * RATE // rate) - made]


@cache
def _filters(rate: int) -> tuple[Array, Array, int]:
    """Return filters that compute samples of the result from samples of the source, for one period of both.

    Returns:
        (phases, width) float64: weights of neighbouring samples, for each sample of the result; (phases,) int64: the
        first of these neighbours; and the samples of the source in a period.
    """
    shared = gcd(rate, RATE)
    phases, step = RATE // shared, rate // shared
    cutoff = ROLLOFF * min(1, RATE / rate)  # in samples of the source
    half = ceil(ZEROS / cutoff)
    several = ceil(2 * half / step)  # periods that do not overlap can be multiplied fast
    phases, step = phases * several, step * several
    offsets, rest = np.divmod(np.arange(phases) * rate, RATE)
    distance = np.arange(1 - half, half + 1) - (rest / RATE)[:, None]
    shape = np.i0(BETA * np.sqrt(np.maximum(1 - (distance / half) ** 2, 0)))
    weights = np.sinc(cutoff * distance) * shape
    return weights / weights.sum(1, keepdims=True), offsets, step


def _bands(blocks: Iterable[Array]) -> Iterator[Array]:
    """Yield the magnitudes in each band, (rows, BANDS) float64 each, of sound at ``RATE``."""
    window = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    filters = mel_filters().T
    waiting, total = np.zeros(HOP), 0
    for block in chain(blocks, [None]):
        if block is None:  # the end: complete the last hop, and let its window reach beyond
            block = np.zeros(-total % HOP + HOP)
        total += len(block)
        waiting = np.concatenate((waiting, block))
        rows = len(waiting) // HOP - 1
        if rows > 0:
            frames = sliding_window_view(waiting, WINDOW)[::HOP][:rows] * window
            yield np.abs(np.fft.rfft(frames)) @ filters
            waiting = waiting[rows * HOP :]


@cache
def mel_filters() -> Array:
    """Return the weights of frequencies in each band: (BANDS, 1 + WINDOW / 2) float64."""
    low, high = _mel(np.array([LOW, HIGH]))
    edges = _hertz(np.linspace(low, high, BANDS + 2))
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    weights: Array = np.maximum(np.minimum(rising, falling), 0) * area[:, None]
    return weights


def _mel(hertz: Array) -> Array:
    """Convert frequencies to Slaney's mels: linear up to 1000 Hz (15 mels), then 27 for each factor of 6.4."""
    mels: Array = np.where(hertz < 1000, hertz * 0.015, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))
    return mels


def _hertz(mels: Array) -> Array:
    hertz: Array = np.where(mels < 15, mels / 0.015, 1000 * 6.4 ** ((mels - 15) / 27))
    return hertz
