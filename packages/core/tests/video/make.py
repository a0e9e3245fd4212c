"""Make videos whose frames say which frame they are: ten bars, white 1, black 0, most significant first."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 10


def draw(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A frame (height, width, 3) RGB: the bars above, something that moves below."""
    image = np.full((height, width, 3), 96, np.uint8)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for bit in range(BITS):
        image[: height // 2, edges[bit] : edges[bit + 1]] = 235 if number >> (BITS - 1 - bit) & 1 else 16
    x = number * 5 % (width - 12)
    image[height * 5 // 8 : height * 7 // 8, x : x + 12] = (220, 60, 40)
    return image


def number_of(image: np.ndarray) -> int:
    """Read the number off a frame, upright."""
    height, width = image.shape[:2]
    rows = image[height // 8 : height * 3 // 8].mean((0, 2))
    edges = np.linspace(0, width, BITS + 1)
    number = 0
    for left, right in zip(edges[:-1], edges[1:], strict=True):
        margin = (right - left) / 4
        number = number * 2 + int(rows[int(left + margin) : max(int(right - margin), int(left + margin) + 1)].mean() > 128)
    return number


def encode(
    path: Path,
    numbers: Sequence[int] = range(40),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 96),
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    drop: int = 0,
    shift: int = 0,
    streams: int = 1,
    audio: float = 0,
    interlaced: bool = False,
    rate: int = 25,
    **container: str,
) -> Path:
    """Encode frames that carry ``numbers``.

    :param times: when each is shown, in 1/rate seconds (default: one after the other).
    :param drop: packets at the beginning to leave out; ``shift``: added to every packet's times.
    :param streams: the further ones carry the numbers 500, 501, ... in smaller frames.
    :param audio: seconds of silence beside it.
    :param container: options of the muxer (``format`` is its name).
    """
    with av.open(str(path), "w", format=container.pop("format", None), options=container) as out:
        tracks = [_track(out, codec, pix_fmt, size, options or {}, rate, rotation, mirrored)]
        tracks += [_track(out, codec, pix_fmt, (32, 64), options or {}, rate, 0, False) for _ in range(streams - 1)]
        sound = out.add_stream("aac", rate=16000) if audio else None
        count = 0
        for i, number in enumerate([*numbers, None]):
            for k, track in enumerate(tracks):
                frame = None
                if number is not None:
                    height, width = size if k == 0 else (32, 64)
                    image = draw(number if k == 0 else 500 + i, height, width)
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
                    frame.pts, frame.time_base = (times[i] if times else i), Fraction(1, rate)
                    if interlaced:
                        frame = _interlaced(frame)
                for packet in track.encode(frame):
                    count += k == 0
                    if k == 0 and count <= drop:
                        continue
                    if shift:
                        unit = Fraction(1, rate) / packet.time_base
                        packet.pts += int(shift * unit)
                        packet.dts += int(shift * unit)
                    out.mux(packet)
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, int(16000 * audio)), np.float32), "fltp", "mono")
            silence.rate = 16000
            out.mux(sound.encode(silence))
            out.mux(sound.encode(None))
    return path


def _track(
    out: Any, codec: str, pix_fmt: str, size: tuple[int, int], options: dict[str, str], rate: int, rotation: int, mirror: bool
) -> Any:
    track = out.add_stream(codec, rate=rate, options=options)
    track.height, track.width, track.pix_fmt = *size, pix_fmt
    track.codec_context.time_base = Fraction(1, rate)
    track.codec_context.thread_count = 1
    if rotation or mirror:
        track.set_display_rotation(rotation, hflip=mirror)
    return track


def _interlaced(frame: Any) -> Any:
    return frame


def cut(source: Path, path: Path, end: float, start: float = 0.0, unit: int = 1) -> Path:
    """Keep the bytes between two fractions of a file."""
    data = source.read_bytes()
    path.write_bytes(data[int(len(data) * start) // unit * unit : int(len(data) * end)])
    return path


def damage(source: Path, path: Path, where: float, length: int = 40) -> Path:
    """Overwrite some bytes."""
    data = bytearray(source.read_bytes())
    at = int(len(data) * where)
    data[at : at + length] = bytes((37 * k + 11) % 256 for k in range(length))
    path.write_bytes(data)
    return path
