"""Damaged files: every frame that is returned is the requested one, and groups of frames without damage are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import av
import pytest

from vidcore.errors import VideoError
from vidcore.video.audio import open_audio
from vidcore.video.exact.structure import MOST_PARTS, damaged_parts
from vidcore.video.frames import ImageReader
from vidcore.video.open import open_video

LENGTH = 40
KEY = 24  # number of the packet, and frame, that begins the third group
CONTAINERS = [
    *("h264.mp4", "fragments.mp4", "h264.mkv", "h264.ts", "h264.flv", "h264.avi", "uneven.mp4", "uneven.mkv"),
    *("uneven.ts", "hevc.mp4", "vp8.webm", "vp9.mp4", "mpeg4.avi", "mpeg4.mp4"),
]


class Place(NamedTuple):
    """Where a packet begins with all that its container adds, and where the next one begins."""

    start: int
    end: int


def place_of(path: Path, number: int) -> Place:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        first, following = packets[number], packets[number + 1]
        starts = [p.pos for p in (first, following)]
        name = container.format.name
    if name == "matroska,webm":  # positions are those of the data, after identifier and size
        data = path.read_bytes()
        starts = [data.rfind(b"\xa3", at - 4, at) if data[at - 4 : at].rfind(b"\xa3") >= 0 else at for at in starts]
    return Place(starts[0], starts[1])


def erased(data: bytes, place: Place) -> bytes:
    """The whole frame is zero."""
    return data[: place.start] + bytes(place.end - place.start) + data[place.end :]


def beheaded(data: bytes, place: Place) -> bytes:
    """What the container says of the frame is damaged."""
    return data[: place.start] + b"\xff\xff\xff\xff" + data[place.start + 4 :]


def removed(data: bytes, place: Place) -> bytes:
    """The frame is gone, with all that the container says of it."""
    return data[: place.start] + data[place.end :]


def shortened(data: bytes, place: Place) -> bytes:
    """A few bytes in the middle of the frame are gone."""
    middle = (place.start + place.end) // 2
    return data[:middle] + data[middle + 7 :]


def numbers(make: ModuleType, path: Path) -> dict[int, int]:
    """Return the number in each frame that can be read; all errors name the file."""
    found = {}
    errors = []
    try:
        with open_video(path) as reader:
            for index in [*range(len(reader) - 1, -1, -7), *range(len(reader))]:
                try:
                    found[index] = make.number_of(reader.read([index])[0])
                except VideoError as error:
                    errors.append(str(error))
    except VideoError as error:
        errors.append(str(error))
    assert all(str(path) in error for error in errors)
    return found


@pytest.mark.parametrize("damage", [erased, beheaded, removed, shortened])
@pytest.mark.parametrize("number", [0, 5, KEY - 1, KEY], ids=["first", "middle", "before a key frame", "key frame"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_is_the_requested_one(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path, name: str, number: int, damage: Callable[..., bytes]
) -> None:
    if number == 0 and damage is removed and name.endswith((".ts", ".flv")):
        pytest.skip("a recording may begin with the second frame")
    path = tmp_path / name
    path.write_bytes(damage(videos[name].read_bytes(), place_of(videos[name], number)))
    found = numbers(make, path)
    assert found == {i: i for i in found}


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "h264.flv", "uneven.mp4", "hevc.mp4", "vp9.mp4", "mpeg4.mp4"])
def test_other_groups_are_read(make: ModuleType, videos: dict[str, Path], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(erased(videos[name].read_bytes(), place_of(videos[name], 14)))
    assert {*range(11), *range(26, LENGTH)} <= numbers(make, path).keys()


def test_an_avi_counts_the_frames_that_are_lost(make: ModuleType, videos: dict[str, Path], tmp_path: Path) -> None:
    """Its packets say no display times, but each has one frame; the headers of chunks are whole here."""
    path = tmp_path / "a.avi"
    for number in (3, 14, KEY - 1, KEY):
        place = place_of(videos["h264.avi"], number)
        path.write_bytes(erased(videos["h264.avi"].read_bytes(), Place(place.start, place.end - 8)))
        found = numbers(make, path)
        assert found == {i: i for i in found}
        assert {*range(number // 12 * 12 - 4)} <= found.keys(), "groups before"
        assert {*range((number // 12 + 1) * 12 + 2, LENGTH)} <= found.keys(), "groups after"


def test_frames_that_a_decoder_drops_keep_their_numbers(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path
) -> None:
    """The sequence parameter set of a Matroska file says that frames are shown as they are decoded."""
    data, path = videos["h264.mkv"].read_bytes(), tmp_path / "a.mkv"
    at = data.find(b"\x01\x64\x00") + 27  # in the VUI of the parameter set
    for bit in (1, 2):
        path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        found = numbers(make, path)
        assert found == {i: i for i in found}


def test_an_index_that_breaks_off_hides_frames(make: ModuleType, videos: dict[str, Path], tmp_path: Path) -> None:
    """FFmpeg stops reading an MP4 at a size that cannot be: frames shown before the last one are missing."""
    data, path = bytearray(videos["h264.mp4"].read_bytes()), tmp_path / "a.mp4"
    for number in (2, 3, 4, 5, 20):
        at = data.find(b"stsz") + 16 + 4 * number
        path.write_bytes(data[:at] + b"\x80" + data[at + 1 :])
        found = numbers(make, path)
        assert found == {i: i for i in found}


def test_a_frame_that_another_one_refers_to_is_awaited(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path
) -> None:
    """B-frames are shown before the damaged frame that they refer to, and returned by the decoder before it."""
    data, path = videos["h264.mp4"].read_bytes(), tmp_path / "a.mp4"
    first, second = place_of(videos["h264.mp4"], 1)
    for at in range(first + 12, second, 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
        with open_video(path) as reader:
            for index in (1, 2, 3):
                try:
                    found = make.number_of(reader.read([index])[0])
                except VideoError:
                    continue
                assert found == index


@pytest.mark.parametrize("name", ["h264.avi", "mpeg4.avi"])
def test_frames_that_ffmpeg_skips_in_an_avi_are_missed(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """A chunk in front of the frames that claims to reach into them, and an index that is out of order."""
    path, data = tmp_path / name, bytearray(videos[name].read_bytes())
    junk = data.rfind(b"JUNK", 0, data.find(b"movi"))
    reach = place_of(videos[name], 5).start - junk
    data[junk + 4 : junk + 8] = reach.to_bytes(4, "little")
    index = data.rfind(b"idx1") + 8
    data[index + 8 : index + 12] = (1 << 26).to_bytes(4, "little")
    path.write_bytes(data)
    found = numbers(make, path)
    assert found == {i: i for i in found}


def test_an_av1_packet_without_a_shown_frame_is_damaged(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(videos["av1.mkv"])) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    largest = max(packets[1:], key=lambda p: p.size)
    start = int(largest.pos or 0) + 4  # after the track, the time and the flags
    path.write_bytes(erased(videos["av1.mkv"].read_bytes(), Place(start, start + largest.size)))
    found = numbers(make, path)
    assert found == {i: i for i in found}


@pytest.mark.parametrize(("name", "packet", "end"), [("av1.mkv", 2, 1), ("av1.mkv", 20, 1), ("hidden.webm", 19, 7)])
@pytest.mark.parametrize("bit", range(8))
def test_a_frame_that_another_slot_keeps_is_not_shown(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path, name: str, packet: int, end: int, bit: int
) -> None:
    """Packets that only show a slot: each bit makes another slot, or something that is not such a packet."""
    path, data = tmp_path / name, bytearray(videos[name].read_bytes())
    with av.open(str(videos[name])) as container:
        found = [p for p in container.demux(container.streams.video[0]) if p.size][packet]
    data[int(found.pos or 0) + 4 + found.size - end] ^= 1 << bit  # after the track, the time and the flags
    path.write_bytes(data)
    shown = numbers(make, path)
    assert shown == {i: i for i in shown}
    assert {*range(packet - 1 & ~15), *range((packet | 15) + 1, LENGTH)} <= shown.keys()


@pytest.mark.parametrize(("name", "packet", "byte", "bit"), [
    ("vp9.mp4", 11, 0, 2), ("vp8.webm", 11, 0, 16), ("av1.mkv", 5, 0, 2), ("av1.mkv", 13, 1, 32), ("av1.mkv", 13, 1, 8),
    ("h264.mp4", 2, 6, 8),
])  # fmt: skip
def test_a_frame_that_damage_hides_or_displaces_keeps_its_number(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path, name: str, packet: int, byte: int, bit: int
) -> None:
    path, data = tmp_path / name, bytearray(videos[name].read_bytes())
    with av.open(str(videos[name])) as container:
        found = [p for p in container.demux(container.streams.video[0]) if p.size][packet]
    data[data.index(bytes(found), found.pos) + byte] ^= bit
    path.write_bytes(data)
    shown = numbers(make, path)
    assert shown == {i: i for i in shown}
    assert {0, 39} <= shown.keys()


def test_blocks_before_the_first_frame_are_missed(make: ModuleType, videos: dict[str, Path], tmp_path: Path) -> None:
    """After a block that FFmpeg cannot parse, it continues at the next cluster."""
    path = tmp_path / "a.mkv"
    with (
        av.open(str(videos["mpeg4.mp4"])) as source,
        av.open(str(path), "w", options={"cluster_size_limit": "1500"}) as out,
    ):
        track = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = track
                out.mux(packet)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        first = next(container.demux(container.streams.video[0]))
    data[int(first.pos or 0) : int(first.pos or 0) + 90] = bytes(90)
    path.write_bytes(data)
    found = numbers(make, path)
    assert found == {i: i for i in found}


def test_frames_of_another_size_than_the_container_states_are_refused(videos: dict[str, Path], tmp_path: Path) -> None:
    """AV1 has a sequence header in the container and in each key frame; readers scale to the size of the first."""
    path, data = tmp_path / "a.mkv", bytearray(videos["av1.mkv"].read_bytes())
    with av.open(str(videos["av1.mkv"])) as container:
        stored = container.streams.video[0].codec_context.extradata
    assert stored is not None
    data[data.index(stored) + 10] ^= 1  # a bit of the width
    path.write_bytes(data)
    with open_video(path) as reader, pytest.raises(VideoError, match="is damaged at frame 20"):
        reader.read([20])


def test_a_wrong_time_does_not_change_the_numbers_of_other_frames(
    make: ModuleType, videos: dict[str, Path], tmp_path: Path
) -> None:
    path, data = tmp_path / "a.mp4", bytearray(videos["h264.mp4"].read_bytes())
    entry = data.find(b"ctts") + 12 + 8 * 9 + 4  # of the tenth run of packets
    data[entry : entry + 4] = (40 * 512).to_bytes(4, "big")
    path.write_bytes(data)
    found = numbers(make, path)
    assert found == {i: i for i in found}


def test_an_edit_list_that_was_changed_is_refused(make: ModuleType, videos: dict[str, Path], tmp_path: Path) -> None:
    path, data = tmp_path / "a.mp4", bytearray(videos["h264.mp4"].read_bytes())
    at = data.find(b"elst") + 16
    time = int.from_bytes(data[at : at + 4], "big") + 5 * 512
    data[at : at + 4] = time.to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"a\.mp4: has timestamps that contradict its edit list"):
        open_video(path)


@pytest.mark.parametrize("factor", [2, 128])
def test_a_display_matrix_that_is_not_a_rotation_is_refused(
    videos: dict[str, Path], tmp_path: Path, factor: int
) -> None:
    path, data = tmp_path / "a.mp4", bytearray(videos["h264.mp4"].read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40  # nine numbers; the second is zero
    data[matrix + 4 : matrix + 8] = (factor << 16).to_bytes(4, "big")
    path.write_bytes(data)
    with open_video(path) as reader, pytest.raises(VideoError, match="display matrix is not a rotation"):
        reader.read([0])


@pytest.mark.parametrize(("rate", "codec", "suffix", "muxer"), [
    (10, "libx264", "h264", "h264"),
    (30, "libx265", "hevc", "hevc"),
    (10, "mpeg4", "m4v", "m4v"),
    (30, "mpeg2video", "mpg", "mpeg"),
])  # fmt: skip
def test_the_rate_of_a_stream_in_a_container_without_one(
    make: ModuleType, tmp_path: Path, rate: int, codec: str, suffix: str, muxer: str
) -> None:
    path = make.encode(tmp_path / f"a.{suffix}", range(12), codec=codec, options={"bf": "0"}, rate=rate, format=muxer)
    with open_video(path) as reader:
        assert reader.fps == rate


@pytest.mark.parametrize("name", [
    "http://127.0.0.1:9/a.mp4", "videos/https://host/a.mp4", "rtsp://host/a", "concat:h264.mp4|h264.mp4",
    "file:h264.mp4", "data:video/mp4;base64,AAAA", "subfile,,start,0,end,99,,:h264.mp4", "pipe:0", "cache:h264.mp4",
])  # fmt: skip
@pytest.mark.parametrize("opened", [open_video, open_audio, ImageReader])
def test_a_url_is_not_read(
    videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, opened: Callable[[str], object]
) -> None:
    monkeypatch.chdir(videos["h264.mp4"].parent)
    with pytest.raises(VideoError, match="does not exist"):
        opened(name)


def test_a_url_is_named_as_one() -> None:
    with pytest.raises(VideoError, match="URLs are not read: download the file"):
        open_video("videos/https://host/a.mp4")


@pytest.mark.parametrize(("container", "data"), [
    ("matroska,webm", b"\x1f\x43\xb6\x75\x81" * 100_000),
    ("avi", b"RIFF    AVI " + b"LIST\0\0\0\0movi00dc----" * 100_000),
    ("flv", b"FLV\1\5\0\0\0\x09\0\0\0\0" + b"\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\x0b\xff" * 100_000),
])  # fmt: skip
def test_a_file_that_is_nothing_but_damage_takes_no_time(tmp_path: Path, container: str, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    parts = damaged_parts(str(path), container, 0, frozenset())
    assert parts is not None
    assert 0 < len(parts) <= 2 * MOST_PARTS


@pytest.mark.parametrize("count", range(9, 17))
def test_the_copied_beginning_of_a_video_is_not_damaged(tmp_path: Path, make: ModuleType, count: int) -> None:
    """The first packets of a longer video may lack frames that are shown before the last one."""
    source = tmp_path / "whole.mp4"
    make.encode(source, range(30), options={"g": "30", "bf": "2", "b_strategy": "0", "x264-params": "scenecut=0"})
    path = tmp_path / "part.mp4"
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = container.streams.video[0]
        track = out.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in container.demux(stream) if p.size):
            if number < count:
                packet.stream = track
                out.mux(packet)
    with av.open(str(path)) as container:
        expected = [make.number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    with open_video(path) as reader:
        assert [make.number_of(image) for image in reader.read(range(len(reader)))] == expected
