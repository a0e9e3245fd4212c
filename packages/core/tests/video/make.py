"""Make videos whose frames show their number: ten bars, white 1, black 0, most significant first."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

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
    """Read the number in an upright frame."""
    height, width = image.shape[:2]
    rows = image[height // 8 : height * 3 // 8].mean((0, 2))
    edges = np.linspace(0, width, BITS + 1)
    number = 0
    for left, right in pairwise(edges.tolist()):
        margin = (right - left) / 4
        number = number * 2 + int(
            rows[int(left + margin) : max(int(right - margin), int(left + margin) + 1)].mean() > 128
        )
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
    rate: int = 25,
    as_decoded: bool = False,
    split: str = "",
    **container: str,
) -> Path:
    """Encode frames that carry ``numbers``.

    Args:
        times: when each is shown, in 1/rate seconds (default: one after the other).
        drop: packets at the beginning to leave out; ``shift``: added to every packet's times.
        streams: the further ones carry the numbers 500, 501, ... in smaller frames.
        audio: seconds of silence beside it.
        as_decoded: say that every frame is shown when it is decoded, as old containers do.
        split: name of a bitstream filter that puts frames that are not shown into separate packets.
        container: options of the muxer (``format`` is its name).
    """
    options = {"x265-params": "log-level=none", **(options or {})} if codec == "libx265" else options
    with av.open(str(path), "w", format=container.pop("format", None), options=container) as out:
        tracks = [_track(out, codec, pix_fmt, size, options or {}, rate, rotation, mirrored)]
        tracks += [_track(out, codec, pix_fmt, (32, 64), options or {}, rate, 0, False) for _ in range(streams - 1)]
        sound = out.add_stream("aac", rate=16000) if audio else None
        parts = BitStreamFilterContext(split, tracks[0]) if split else None
        count = written = 0
        for i, number in enumerate([*numbers, None]):
            for k, track in enumerate(tracks):
                frame = None
                if number is not None:
                    height, width = size if k == 0 else (32, 64)
                    image = draw(number if k == 0 else 500 + i, height, width)
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
                    frame.pts, frame.time_base = (times[i] if times else i), Fraction(1, rate)
                for packet in track.encode(frame):
                    count += k == 0
                    if k == 0 and count <= drop:
                        continue
                    if shift:
                        unit = Fraction(1, rate) / packet.time_base
                        packet.pts += int(shift * unit)
                        packet.dts += int(shift * unit)
                    if as_decoded:
                        packet.pts = packet.dts
                    for part in parts.filter(packet) if parts is not None else [packet]:
                        if parts is not None:
                            part.pts = part.dts = written  # one after the other
                            written += 1
                        out.mux(part)
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, int(16000 * audio)), np.float32), "fltp", "mono")
            silence.rate = 16000
            out.mux(sound.encode(silence))
            out.mux(sound.encode(None))
    if codec == "libsvtav1" and sys.platform == "linux":
        # SVT-AV1 gives root's processes real-time priority, in which spinning threads of later tests starve others.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def _track(
    out: Any,
    codec: str,
    pix_fmt: str,
    size: tuple[int, int],
    options: dict[str, str],
    rate: int,
    rotation: int,
    mirror: bool,
) -> Any:
    track = out.add_stream(codec, rate=rate, options=options)
    track.height, track.width, track.pix_fmt = *size, pix_fmt
    track.codec_context.time_base = Fraction(1, rate)
    track.codec_context.thread_count = 1
    if rotation or mirror:
        track.set_display_rotation(rotation, hflip=mirror)
    return track


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


def clip(source: Path, path: Path, entry: int) -> Path:
    """Keep everything from a key frame on (0 is the first), as tools that cut without re-encoding do."""
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = container.streams.video[0]
        track = out.add_stream_from_template(stream)
        for packet in container.demux(stream):
            entry -= packet.is_keyframe
            if entry < 0 and packet.size:
                packet.stream = track
                out.mux(packet)
    return path


def hide(source: Path, path: Path) -> Path:
    """Hide every second frame of an error-resilient VP9, and show it from its slot, in the same packet."""
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = container.streams.video[0]
        track = out.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in container.demux(stream) if p.size):
            data = bytes(packet)
            if not packet.is_keyframe and number % 2:
                length = _vp9_header(data)
                end = -(-length // 8)
                bits = f"{int.from_bytes(data[:end], 'big'):0{8 * end}b}"[:length]
                bits = f"{bits[:6]}010{bits[8:]}"  # not shown, error-resilient, not intra
                frame = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big") + data[end:]
                mark, sizes = b"\xc9", len(frame).to_bytes(2, "little") + b"\1\0"
                data = frame + b"\x88" + mark + sizes + mark
            copy = av.Packet(data)
            copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, track
            copy.is_keyframe = packet.is_keyframe
            out.mux(copy)
    return path


def _vp9_header(frame: bytes) -> int:
    """Return the number of bits of the uncompressed header of an inter frame. (VP9 bitstream specification, 6.2.)"""
    bits, at = f"{int.from_bytes(frame, 'big'):0{8 * len(frame)}b}", 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at] or "0", 2)

    assert take(8) == 0b10000111  # profile 0, inter frame, shown, error-resilient
    take(8 + 3 * 4)
    assert take(2) == 0b10  # as large as its reference
    take(1)
    take(0 if take(1) else 2)
    take(2 + 9)
    if take(1) and take(1):
        for _ in range(6):
            take(7 if take(1) else 0)
    take(8)
    for _ in range(3):
        take(5 if take(1) else 0)
    assert not take(1)  # no segments
    take(1 if take(1) else 0)
    take(16)
    return at


def hole(source: Path, path: Path, start: float, end: float, unit: int = 188) -> Path:
    """Leave out the bytes between two fractions of a file."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * start) // unit * unit] + data[int(len(data) * end) // unit * unit :])
    return path


def join(path: Path, *sources: Path) -> Path:
    """Concatenate files."""
    path.write_bytes(b"".join(s.read_bytes() for s in sources))
    return path


def _way(**settings: Any) -> Callable[[Path], Path]:
    return lambda path: encode(path, **settings)


def _from(source: str, change: Callable[..., Path], *args: Any, **settings: Any) -> Callable[[Path], Path]:
    """Make a different file first, and change a copy of it."""

    def make(path: Path) -> Path:
        first = path.with_name(f"of_{path.stem}_{source}")
        return change(RECIPES[source](first), path, *args, **settings)

    return make


P = {"bf": "0", "g": "12"}
B = {"bf": "3", "g": "12"}
OPEN = {"x264-params": "open-gop=1:keyint=12:scenecut=0:bframes=3:b-adapt=0"}
HEVC = {"x265-params": "keyint=12:bframes=3:b-adapt=0:scenecut=0:open-gop=1:log-level=none"}
TWO = {"g": "12", "bf": "2"}
LIVE = {"g": "16", "error-resilient": "default", "lag-in-frames": "0", "deadline": "realtime"}
VPX = {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}
UNEVEN = [i + i // 3 * 2 for i in range(40)]

RECIPES: dict[str, Callable[[Path], Path]] = {
    # One codec in many containers.
    "h264.mp4": _way(options=B),
    "wide.mp4": _way(options=B, size=(64, 160)),
    "h264.mkv": _way(options=B),
    "h264.ts": _way(options=B),
    "h264.flv": _way(options=B),
    "h264.avi": _way(options=B),
    "h264.wmv": _way(options=B, format="asf"),
    "h264.h264": _way(options=B, format="h264"),
    "fragments.mp4": _way(options=B, movflags="frag_keyframe+empty_moov"),
    # Where decoding may begin.
    "open.mp4": _way(options=OPEN),
    "open.ts": _way(options=OPEN),
    "refresh.mp4": _way(options={"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "refresh.ts": _way(options={"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "onekey.mkv": _way(options={"x264-params": "keyint=infinite:scenecut=0:bframes=3"}),
    "references.mp4": _way(options={"x264-params": "keyint=250:ref=8:bframes=8:b-pyramid=normal:b-adapt=2"}),
    # Time.
    "uneven.mp4": _way(options=B, times=UNEVEN),
    "uneven.mkv": _way(options=B, times=UNEVEN),
    "uneven.ts": _way(options=B, times=UNEVEN),
    "uneven.webm": _way(codec="libvpx-vp9", options=VPX, times=UNEVEN),
    "late.mp4": _way(options=B, shift=50),
    "late.ts": _way(options=B, shift=5000),
    "lasthole.mp4": _way(options=B, times=[*range(39), 44]),
    "edited.mp4": _way(options=B, shift=-15, avoid_negative_ts="disabled", use_editlist="1"),
    "edited2.mp4": _way(options=B, shift=-10, avoid_negative_ts="disabled", movflags="+negative_cts_offsets"),
    "fast.mkv": _way(options=B, rate=1200),
    "asdecoded.mp4": _way(options=B, as_decoded=True, shift=2),
    "asdecoded.mkv": _way(codec="mpeg4", options=TWO, as_decoded=True),
    "ticks.avi": _way(codec="mpeg4", options=TWO, times=range(0, 1600, 40), rate=1000),
    "uneven.avi": _way(codec="mpeg4", options=TWO, times=UNEVEN),
    # Other codecs.
    "hevc.mp4": _way(codec="libx265", options=HEVC),
    "hevc.ts": _way(codec="libx265", options=HEVC),
    "hevc.flv": _way(codec="libx265", options=HEVC),
    "vp8.webm": _way(codec="libvpx", options=VPX),
    "vp9.mp4": _way(codec="libvpx-vp9", options=VPX),
    "live.webm": _way(codec="libvpx-vp9", options=LIVE),
    "hidden.webm": _from("live.webm", hide),
    "av1.mkv": _way(codec="libsvtav1", options={"g": "16", "preset": "12"}),
    "split.mkv": _way(codec="libsvtav1", options={"g": "16", "preset": "12"}, split="av1_frame_split"),
    "mpeg4.avi": _way(codec="mpeg4", options=TWO),
    "mpeg4.mp4": _way(codec="mpeg4", options=TWO),
    "mpeg2.mpg": _way(codec="mpeg2video", options=TWO, format="mpeg"),
    "mpeg2.ts": _way(codec="mpeg2video", options=TWO),
    "mpeg1.mpg": _way(codec="mpeg1video", options=TWO, format="mpeg"),
    "wmv2.wmv": _way(codec="wmv2", options={"g": "12"}),
    "flv1.flv": _way(codec="flv", options={"g": "12"}),
    "h263.3gp": _way(codec="h263", size=(96, 128), options={"g": "12"}),
    "mjpeg.avi": _way(codec="mjpeg", pix_fmt="yuvj420p"),
    "ffv1.mkv": _way(codec="ffv1", pix_fmt="yuv444p"),
    "tiff.mov": _way(codec="tiff", pix_fmt="rgb24"),
    "gif.gif": _way(codec="gif", pix_fmt="rgb8"),
    # Pictures.
    "interlaced.mp4": _way(options={"x264-params": "tff=1:keyint=12:bframes=3"}),
    "interlaced.ts": _way(codec="mpeg2video", options={**TWO, "flags": "+ildct+ilme"}),
    "tenbit.mp4": _way(options=B, pix_fmt="yuv422p10le"),
    "grey.mp4": _way(options=B, pix_fmt="gray"),
    "full.mp4": _way(options=B, pix_fmt="yuvj420p"),
    "odd.webm": _way(codec="libvpx-vp9", size=(67, 101), options=VPX),
    "odd.mp4": _way(options=B, pix_fmt="yuv444p", size=(67, 101)),
    # More than one stream.
    "two.mp4": _way(options=B, streams=2),
    "two.ts": _way(options=B, streams=2),
    "sound.mp4": _way(options=B, audio=4.0),
    # Beginnings, ends and damage.
    "headless.mkv": _way(options=B, drop=5),
    "headless.ts": _way(options=OPEN, drop=12),
    "headless.avi": _way(codec="mpeg4", options=TWO, drop=12),
    "beginning.ts": _from("h264.ts", cut, 1.0, start=0.37),
    "cut.ts": _from("h264.ts", cut, 0.5),
    "hole.ts": _from("h264.ts", hole, 0.32, 0.4),
    "clip.mkv": _from("refresh.ts", clip, 1),
    "cut264.avi": _from("h264.avi", cut, 0.82),
    "cut.mkv": _from("h264.mkv", cut, 0.77),
    "cut.avi": _from("mpeg4.avi", cut, 0.7),
    "cut.webm": _from("uneven.webm", cut, 0.6),
    "cut.mpg": _from("mpeg2.mpg", cut, 0.6),
    "cut.mp4": _from("headfirst.mp4", cut, 0.8),
    "headfirst.mp4": _way(options=B, movflags="faststart"),
    "damaged.mp4": _from("h264.mp4", damage, 0.5),
    "damaged.ts": _from("h264.ts", damage, 0.5),
    "twice.ts": _from("h264.ts", lambda one, path: join(path, one, one)),
    "back.ts": _from(
        "ponly.ts",
        lambda one, path: join(
            path, one, encode(path.with_name("b.ts"), range(40, 60), options=P, rate=50, times=range(69, 109, 2))
        ),
    ),
    "ponly.ts": _way(options=P),
    "grown.ts": _from(
        "h264.ts", lambda one, path: join(path, one, encode(path.with_name("b.ts"), range(40, 60), size=(96, 160)))
    ),
}
"""What can be made, by file name."""
