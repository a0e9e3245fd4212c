"""A read returns exactly the requested frame, or an error that names the file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vidcore.errors import VideoError
from vidcore.video.exact.finder import FrameFinder
from vidcore.video.exact.packets import Packets, _Indexes
from vidcore.video.open import open_video

SHARED = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[4] / "shared"))
if not SHARED.exists():
    SHARED = Path(__file__).resolve().parents[5] / "shared"

# fmt: off
NAMES = [
    "h264.mp4", "h264.mkv", "h264.ts", "h264.flv", "h264.avi", "h264.wmv", "h264.h264", "fragments.mp4", "open.mp4",
    "open.ts", "refresh.mp4", "refresh.ts", "onekey.mkv", "references.mp4", "uneven.mp4", "uneven.mkv", "uneven.ts",
    "uneven.webm", "late.mp4", "late.ts", "lasthole.mp4", "edited.mp4", "edited2.mp4", "fast.mkv", "hevc.mp4",
    "hevc.ts", "hevc.flv", "vp8.webm", "vp9.mp4", "av1.mkv", "mpeg4.avi", "mpeg4.mp4", "mpeg2.mpg", "mpeg2.ts",
    "mpeg1.mpg",
    "wmv2.wmv", "flv1.flv", "h263.3gp", "mjpeg.avi", "ffv1.mkv", "gif.gif", "interlaced.mp4", "interlaced.ts",
    "tenbit.mp4", "grey.mp4", "full.mp4", "odd.webm", "odd.mp4", "two.mp4", "two.ts", "sound.mp4", "headless.mkv",
    "headless.ts", "beginning.ts", "cut.ts", "cut.mkv", "cut.avi", "cut.webm", "cut.mpg", "cut.mp4", "damaged.mp4",
    "damaged.ts", "twice.ts", "grown.ts", "asdecoded.mp4", "asdecoded.mkv", "uneven.avi", "split.mkv", "tiff.mov",
    "back.ts", "hole.ts", "clip.mkv", "cut264.avi", "ticks.avi", "wide.mp4", "live.webm", "hidden.webm",
]
# fmt: on

ENTIRE = {n for n in NAMES if n.partition(".")[0] not in {"cut", "cut264", "damaged", "hole", "headless", "beginning"}}


def decode_all(path: Path) -> list[np.ndarray]:
    """All frames of a decoding of the whole file in order."""
    import av

    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        context = stream.codec_context
        height, width = context.height, context.width
        for packet in container.demux(stream):
            try:
                shown = context.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue
            frames += [f.reformat(width, height, "rgb24").to_ndarray() for f in shown]
    return frames


def requests(length: int) -> list[Any]:
    """Single frames, scattered and repeated ones, all in reverse, and consecutive runs."""
    rng = np.random.default_rng(0)
    some = [rng.integers(0, length, 6) for _ in range(4)] + [[int(i)] for i in rng.integers(0, length, 5)]
    return [*some, range(length - 1, -1, -1), *(range(i, min(i + 7, length)) for i in range(0, length, 7))]


@pytest.mark.parametrize("name", NAMES)
def test_auto_returns_the_frames_of_a_full_decode(make: ModuleType, videos: dict[str, Path], name: str) -> None:
    expected = decode_all(videos[name])
    asked = refused = 0
    for half in range(2):  # opened again, a file that is intact is not indexed again
        with open_video(videos[name]) as reader:
            assert reader.decoder == "pyav"
            assert len(reader) == len(expected) or name not in ENTIRE
            for indices in requests(len(reader))[half::2]:
                asked += 1
                try:
                    frames = reader.read(indices)
                except VideoError as error:
                    if name in ENTIRE or str(videos[name]) not in str(error):
                        raise
                    refused += 1
                    continue
                assert frames.dtype == np.uint8
                assert frames.flags.c_contiguous
                for index, frame in zip(indices, frames, strict=True):
                    if name in {"damaged.mp4", "damaged.ts", "hole.ts"}:  # others keep their numbers if some are lost
                        assert make.number_of(frame) == index
                    else:
                        assert np.array_equal(frame, expected[index]), f"frame {index}"
    assert refused < asked


@pytest.mark.parametrize(
    "name", ["h264.mp4", "open.ts", "uneven.mkv", "mpeg4.avi", "vp9.mp4", "h264.h264", "edited.mp4"]
)
def test_packets_of_large_files_are_read_again(
    videos: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcore.video.exact.packets.KEPT_BYTES", 0)
    expected = decode_all(videos[name])
    with open_video(videos[name]) as reader:
        for indices in requests(len(reader)):
            for index, frame in zip(indices, reader.read(indices), strict=True):
                assert np.array_equal(frame, expected[index]), f"frame {index}"


def test_a_file_that_was_indexed_is_opened_without_reading_it(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = _Indexes()
    monkeypatch.setattr("vidcore.video.exact.packets._indexes", indexes)
    path = tmp_path / "a.mp4"
    shutil.copy(videos["h264.mp4"], path)
    first = Packets(path)
    again = Packets(path)
    assert first._at == len(first) - 1
    assert again._at == -1
    assert again.order is first.order
    shutil.copy(videos["open.mp4"], path)
    assert Packets(path).order is not first.order
    monkeypatch.setattr("vidcore.video.exact.packets.REMEMBERED", 100)
    for name in ("h264.mkv", "h264.ts", "hevc.mp4", "h264.flv"):  # of 40 packets each
        Packets(videos[name])
    assert [Path(str(key[0])).name for key in indexes._kept] == ["hevc.mp4", "h264.flv"]


def test_packets_ahead_are_reached_without_opening_the_file_again(
    videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = videos["mpeg4.avi"]  # cannot be sought, since its packets are unpacked
    kept = Packets(path)
    monkeypatch.setattr("vidcore.video.exact.packets.KEPT_BYTES", 0)
    monkeypatch.setattr("vidcore.video.exact.packets.NEAR", 2)
    packets = Packets(path)
    assert bytes(packets[0]) == bytes(kept[0])
    monkeypatch.setattr(Packets, "reopen", lambda self: pytest.fail("opened again"))
    for number in range(1, len(packets), 5):
        assert bytes(packets[number]) == bytes(kept[number])


def test_every_recipe_is_read(make: ModuleType) -> None:
    assert set(make.RECIPES) - set(NAMES) == {"headfirst.mp4", "headless.avi", "ponly.ts"}


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in sorted(ENTIRE)
        if n not in {"grown.ts", "twice.ts", "back.ts", "clip.mkv", "edited.mp4", "edited2.mp4"}
    ],
)
def test_frames_are_numbered_in_display_order(make: ModuleType, videos: dict[str, Path], name: str) -> None:
    with open_video(videos[name]) as reader:
        assert [make.number_of(f) for f in reader.read(range(len(reader)))] == list(range(40))


@pytest.mark.parametrize(("name", "first"), [("edited.mp4", 15), ("edited2.mp4", 10)])
def test_an_edit_list_removes_frames(make: ModuleType, videos: dict[str, Path], name: str, first: int) -> None:
    with open_video(videos[name]) as reader:
        assert [make.number_of(f) for f in reader.read(range(len(reader)))] == list(range(first, 40))


@pytest.mark.parametrize("name", ["cut.mp4", "cut.avi", "cut264.avi", "cut.mkv", "cut.ts", "cut.webm", "cut.mpg"])
def test_the_rest_of_a_truncated_file_has_no_gaps(make: ModuleType, videos: dict[str, Path], name: str) -> None:
    with open_video(videos[name]) as reader:
        length = len(reader)
        assert 5 < length < 40
        assert [make.number_of(f) for f in reader.read(range(length))] == list(range(length))
        with pytest.raises(VideoError, match=rf"{name}: frame 39 .* 0 to {length - 1}"):
            reader.read([0, 39])


def test_frames_around_damage_keep_their_numbers(make: ModuleType, videos: dict[str, Path]) -> None:
    with open_video(videos["damaged.mp4"]) as reader:
        good = {}
        for index in [39, *range(40)]:
            try:
                good[index] = make.number_of(reader.read([index])[0])
            except VideoError as error:
                if "is damaged at frame" not in str(error):
                    raise
        assert 20 < len(good) < 40
        assert good == {i: i for i in good}
        assert 39 in good


def test_frames_before_the_first_key_frame_are_refused(videos: dict[str, Path]) -> None:
    with open_video(videos["headless.avi"]) as reader:
        with pytest.raises(VideoError, match=r"headless\.avi: is damaged at frame 0"):
            reader.read([0])
        assert len(reader.read([len(reader) - 1])) == 1


# The reference files, where they are at hand.


@pytest.mark.skipif(not (SHARED / "data/coded").exists(), reason="needs the reference media")
def test_reference_files(make: ModuleType) -> None:
    folder = SHARED / "data/coded"
    for name, truth in json.loads((folder / "truth.json").read_text()).items():
        if truth.get("error"):
            with pytest.raises(VideoError, match=name):
                open_video(folder / name)
            continue
        with open_video(folder / name) as reader:
            length = len(reader)
            assert length == truth.get("frames", length), name
            for indices in requests(length):
                frames = reader.read(indices)
                if "shown_size" in truth:
                    frames = np.rot90(frames, -1, axes=(1, 2))  # the bars lie on their side
                assert [make.number_of(f) for f in frames] == list(indices), name
            assert reader.size == tuple(reversed(truth.get("shown_size", truth.get("size", (160, 96))))), name


def test_frames_that_nothing_refers_to_are_skipped(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = FrameFinder._decode

    def counted(self: FrameFinder, packet: Any) -> Any:
        decoded.append(str(self._context.skip_frame) != "NONREF")
        return decode(self, packet)

    monkeypatch.setattr(FrameFinder, "_decode", counted)
    finder = FrameFinder(videos["h264.mp4"])
    wanted = range(0, len(finder), 2)
    assert len([*finder.frames(wanted)]) == len(wanted)
    assert sum(decoded) < 1.25 * len(wanted)
    finder.close()
