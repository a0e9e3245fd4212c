"""Damaged copies of videos whose frames carry their numbers: no frame may be another than the one asked for.

Each copy is damaged at a random place: flipped bits, bytes that are zero, foreign or missing, the packet just before
a key frame, the header, or the end. Every frame of it is asked for, alone and together with one a few frames later.
The share at the end of a row is that of frames that are still read (alone) in groups (key frame to key frame) without
a changed byte. Copies with missing bytes or a damaged header do not count there: numbers behind missing bytes, and
what a header says, cannot be known.

A frame that shows another number than its own, or none that is clear, is counted as

- wrong, if it is equal to another frame of the whole video (numbered wrongly, or a neighbour instead of a damaged
  frame), or if no byte was changed that it can depend on (those from its key frame on up to its own end, and those
  outside of all packets);
- altered otherwise: bytes that it depends on were changed, and decoders accept the result without a complaint.
  Codecs have no checksums, so such a picture is as valid as the one before: no reader can know.

Exits with 1 if a frame is wrong, if more than one frame in 500 is altered, or if less than 90 % of the frames in
groups without a changed byte are read.

    python benchmarks/damage.py [--copies 1200] [--seed 0] [--processes 2] [--folder CODED] [--own] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from vidcore.errors import VideoError
from vidcore.video.open import open_video
from vidcore.video.reader import VideoReader

CODED = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data" / "coded"
BITS = 10
KINDS = ("flip", "zeros", "foreign", "before key frame", "header", "missing", "cut")
NUMBERED = ("flip", "zeros", "foreign", "before key frame")
"""Kinds after which everything else in the file is where it was."""
REMUXED = {"h264": (".mkv", ".ts", ".flv", ".avi"), "mpeg4": (".mkv", ".mp4")}
"""Codec: containers that files are copied into, beside their own."""
APART = 3
"""Distance of frames that are asked for together."""
ALTERED = 1 / 500
"""Largest share of pictures that are altered."""
SYSTEM_ERRORS = (OSError, MemoryError)


class Video(NamedTuple):
    """A video and what is in it."""

    path: Path
    packets: list[tuple[int, int, int]]
    """Place, size and frame of each, in the order of decoding."""
    keys: list[int]
    """Packets that are key frames."""

    @property
    def groups(self) -> list[tuple[int, int, list[int]]]:
        """First and last byte of each group (the latter not included), and its frames."""
        ends = [*self.keys[1:], len(self.packets)]
        found = []
        for first, end in zip(self.keys, ends, strict=True):
            start = self.packets[first][0]
            stop = self.packets[end][0] if end < len(self.packets) else self.path.stat().st_size
            found.append((start, stop, [frame for _, _, frame in self.packets[first:end]]))
        return found


class Result(NamedTuple):
    """What became of a copy."""

    name: str
    kind: str
    right: int
    wrong: list[tuple[int, int]]
    """Frame asked for, number of the frame that came (-1: none that can be read)."""
    altered: int
    """Pictures that are valid, but not those that were encoded."""
    untouched: int
    read: int
    """Of those that are not touched."""
    error: str


def number_of(frame: NDArray[np.uint8]) -> int:
    """Read the number off a frame; -1 where its bars are not clear."""
    frame = np.rot90(frame, 3) if frame.shape[0] > frame.shape[1] else frame  # one video is on its side
    height, width = frame.shape[:2]
    bar = width // BITS
    rows = frame[height // 8 : height * 3 // 8].astype(np.float32).mean((0, 2))
    values = [rows[k * bar + 3 : (k + 1) * bar - 3].mean() for k in range(BITS)]
    if not all(v < 60 or v > 190 for v in values):
        return -1
    return sum(int(v > 126) << (BITS - 1 - k) for k, v in enumerate(values))


def inspect(path: Path) -> Video:
    """Learn what is in a whole video."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        times = [p.pts if p.pts is not None else k for k, p in enumerate(packets)]
        frames = {k: i for i, k in enumerate(sorted(range(len(packets)), key=times.__getitem__))}
        places = [(p.pos, p.size, frames[k]) for k, p in enumerate(packets)]
        keys = [k for k, p in enumerate(packets) if p.is_keyframe]
    return Video(path, places, keys)


def copies_of(path: Path, folder: Path, own: bool) -> list[Path]:
    """Copy the packets of a video into other containers."""
    made = [path]
    if own:
        return made
    with av.open(str(path)) as source:
        suffixes = [s for s in REMUXED.get(source.streams.video[0].codec_context.name, ()) if s != path.suffix]
    for suffix in suffixes:
        target = folder / f"{path.stem}{path.suffix.replace('.', '_')}{suffix}"
        try:
            with av.open(str(path)) as source, av.open(str(target), "w") as out:
                stream = out.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(source.streams.video[0]):
                    if packet.dts is not None:
                        packet.stream = stream
                        out.mux(packet)
        except av.FFmpegError:  # the container cannot hold it
            continue
        if not check(target, range(len(inspect(target).packets)))[1]:
            made.append(target)
    return made


class Other(NamedTuple):
    """A frame that does not show the number asked for."""

    asked: int
    came: int
    picture: bytes
    """Digest of its pixels."""


def digest(frame: NDArray[np.uint8]) -> bytes:
    """Identify a picture."""
    return hashlib.blake2b(frame.tobytes(), digest_size=16).digest()


@cache
def pictures_of(path: Path) -> frozenset[bytes]:
    """Return the pictures of a whole video."""
    with open_video(path) as reader:
        return frozenset(digest(reader.read([k])[0]) for k in range(len(reader)))


def check(path: Path, wanted: Sequence[int] | None = None) -> tuple[list[int], list[Other], str]:
    """Ask for every frame: which came right, which are others, and the message of the last that was refused."""
    right, wrong, message = [], [], ""
    try:
        with open_video(path) as reader:
            for index in range(len(reader)) if wanted is None else wanted:
                try:
                    frame = reader.read([index])[0]
                except VideoError as error:
                    message = str(error)
                    continue
                found = number_of(frame)
                if found == index:
                    right.append(index)
                else:
                    wrong.append(Other(index, found, digest(frame)))
            if wanted is None:
                wrong += apart(reader)
    except VideoError as error:
        message = str(error)
    return right, wrong, message


def apart(reader: VideoReader) -> list[Other]:
    """Ask for frames with others between them, which are not decoded if nothing refers to them: which are others."""
    wrong = []
    for index in range(0, len(reader) - APART, 2):
        try:
            frames = reader.read([index, index + APART])
        except VideoError:
            continue
        pairs = zip((index, index + APART), frames, strict=True)
        wrong += [Other(k, number_of(f), digest(f)) for k, f in pairs if number_of(f) != k]
    return wrong


def damage(video: Video, kind: str, rng: np.random.Generator) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the damaged bytes, and where they are: (first, end)."""
    data = bytearray(video.path.read_bytes())
    first, last = video.packets[0][0], max(place + size for place, size, _ in video.packets)
    size = min(int(2 ** rng.uniform(4, 12)), last - first)
    at = int(rng.integers(first, last - size + 1))
    if kind == "header":
        outside = [*range(first), *range(last, len(data))]
        spots = rng.choice(outside, min(len(outside), int(rng.integers(1, 4))), replace=False).tolist()
    elif kind == "before key frame":
        key = int(rng.choice(video.keys[1:])) if len(video.keys) > 1 else len(video.packets)
        place, length, _ = video.packets[key - 1]
        spots = [int(rng.integers(place, place + length))]
    else:
        spots = [at, *rng.integers(at, at + size, rng.integers(0, 3)).tolist()]
    if kind in ("flip", "header", "before key frame"):
        for spot in spots:
            data[spot] ^= 1 << int(rng.integers(8))
        return bytes(data), [(s, s + 1) for s in spots]
    if kind == "missing":
        del data[at : at + size]
    elif kind == "cut":
        del data[at:]
    else:
        data[at : at + size] = bytes(size) if kind == "zeros" else rng.bytes(size)
    return bytes(data), [(at, at + size)]


def depends(video: Video, frame: int, spots: Sequence[tuple[int, int]]) -> bool:
    """Return whether a changed byte can have an effect on the picture of a frame."""
    start = next((start for start, _, frames in video.groups if frame in frames), 0)
    place, size = next(((p, s) for p, s, f in video.packets if f == frame), (0, 0))
    following = min((p for p, _, _ in video.packets if p > place), default=place + size)
    payload = [(p, p + s) for p, s, _ in video.packets]
    outside = [(a, b) for a, b in spots if not any(a < stop and b > begin for begin, stop in payload)]
    return bool(outside) or any(a < following and b > start for a, b in spots)


def measure(video: Video, kind: str, seed: Sequence[int], keep: Path | None) -> Result:
    """Damage a copy and ask for all of its frames."""
    data, spots = damage(video, kind, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{'-'.join(map(str, seed))}-{video.path.name}")
        path.write_bytes(data)
        try:
            right, others, error = check(path)
        except SYSTEM_ERRORS as found:
            right, others, error = [], [], f"{type(found).__name__}: {found}"
        known = pictures_of(video.path)
        wrong = [(o.asked, o.came) for o in others if o.picture in known or not depends(video, o.asked, spots)]
        if keep is not None and wrong:
            keep.joinpath(path.name).write_bytes(data)
    whole = [
        frames for start, stop, frames in video.groups if not any(first < stop and end > start for first, end in spots)
    ]
    untouched = {f for frames in whole for f in frames} if kind in NUMBERED else set()
    altered, read = len(others) - len(wrong), len(untouched.intersection(right))
    return Result(path.name, kind, len(right), wrong, altered, len(untouched), read, error)


def main() -> int:
    """Measure and print; 1 if a frame was wrong, too many were altered or too few were read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=CODED)
    parser.add_argument("--own", action="store_true", help="leave out copies in other containers")
    parser.add_argument("--keep", type=Path, help="folder for the copies with a wrong frame")
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    truth = json.loads((args.folder / "truth.json").read_text())
    names = [n for n, about in truth.items() if about.get("frames", 0) > 1]
    with tempfile.TemporaryDirectory() as made:
        videos = [inspect(copy) for name in names for copy in copies_of(args.folder / name, Path(made), args.own)]
        tasks = [(k % len(videos), KINDS[k // len(videos) % len(KINDS)], (args.seed, k)) for k in range(args.copies)]
        with ProcessPoolExecutor(args.processes) as pool:
            jobs = [pool.submit(measure, videos[v], kind, seed, args.keep) for v, kind, seed in tasks]
            results = [job.result() for job in jobs]
    rows: dict[str, Counter[str]] = {}
    for result, (v, _, _) in zip(results, tasks, strict=True):
        for row in (result.kind, videos[v].path.name, "all"):
            rows.setdefault(row, Counter()).update(
                copies=1,
                right=result.right,
                wrong=len(result.wrong),
                untouched=result.untouched,
                read=result.read,
                altered=result.altered,
            )
        for asked, came in result.wrong[:3]:
            print(f"{result.name} ({result.kind}): frame {asked} came as {came}")
        if not result.error.startswith(tuple("/")) and result.error:
            print(f"{result.name} ({result.kind}): {result.error}")
    print(f"{'':27} {'copies':>7} {'right':>8} {'wrong':>6} {'altered':>8} {'untouched':>10} {'of them read':>13}")
    for row, counts in rows.items():
        share = f"{counts['read'] / counts['untouched']:.1%}" if counts["untouched"] else "-"
        print(
            f"{row:27} {counts['copies']:7} {counts['right']:8} {counts['wrong']:6} {counts['altered']:8}"
            f" {counts['untouched']:10} {share:>13}"
        )
    total = rows["all"]
    many = total["altered"] > ALTERED * (total["right"] + total["altered"])
    return int(total["wrong"] > 0 or many or total["read"] < 0.9 * total["untouched"])


if __name__ == "__main__":
    sys.exit(main())
