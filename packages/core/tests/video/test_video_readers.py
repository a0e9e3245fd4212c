"""What all readers have in common: arguments, errors, sizes, handles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import av
import cv2
import decord
import numpy as np
import pytest

from vidcore.errors import UserError, VideoError
from vidcore.plugins.catalog import load_plugins
from vidcore.video.exact import read_motion_vectors
from vidcore.video.frames import ArrayReader, FrameFolderReader, ImageReader
from vidcore.video.open import DECODERS, open_video
from vidcore.video.reader import VideoReader


@pytest.mark.parametrize("decoder", ["auto", "pyav", "decord"])
def test_a_reader_has_path_size_and_rate(videos: dict[str, Path], decoder: str) -> None:
    with open_video(videos["wide.mp4"], decoder, threads=2) as reader:
        assert isinstance(reader, VideoReader)
        assert reader.decoder == ("pyav" if decoder == "auto" else decoder)
        assert reader.path == str(videos["wide.mp4"])
        assert reader.fps == 25
        assert reader.size == (64, 160)
        assert len(reader) == 40


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_indices(videos: dict[str, Path], make: ModuleType, decoder: str) -> None:
    with open_video(videos["wide.mp4"], decoder) as reader:
        assert reader.read([]).shape == (0, 64, 160, 3)
        for indices in ([3], range(3), np.array([5, 5, 1], np.int32), (np.int64(7), 2)):
            assert [make.number_of(f) for f in reader.read(indices)] == list(indices)
        for wrong in ([40], [-1], [0, 41]):
            with pytest.raises(
                VideoError, match=r"wide\.mp4: frame (40|-1|41) does not exist: the video has frames 0 to 39"
            ):
                reader.read(wrong)
        for wrong_kind in ([0.5], [[1, 2]]):
            with pytest.raises(ValueError, match="1-D sequence of integers"):
                reader.read(wrong_kind)


@pytest.mark.parametrize("decoder", ["auto", "pyav", "decord"])
def test_files_that_are_not_videos_are_refused_by_name(tmp_path: Path, videos: dict[str, Path], decoder: str) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "folder.mp4").mkdir()
    data = videos["wide.mp4"].read_bytes()
    (tmp_path / "header lost.mp4").write_bytes(data[: len(data) * 6 // 10])
    reasons = {"empty.mp4": "is empty", "missing.mp4": "does not exist", "folder.mp4": "is a folder"}
    for name in ("empty.mp4", "text.mp4", "folder.mp4", "header lost.mp4", "missing.mp4"):
        with pytest.raises(VideoError, match=f"{name}: {reasons.get(name, 'cannot be opened')}"):
            open_video(tmp_path / name, decoder)


@pytest.mark.skipif(sys.platform != "linux", reason="names that other systems do not allow")
@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_any_file_name_works(
    tmp_path: Path, videos: dict[str, Path], decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # FFmpeg parses the part before a colon as a protocol
    for name in ("12:30.mp4", "pipe:0", "-.mp4", "%03d.mp4", "100% ünï.mp4", "two\nlines.mp4", "noend"):
        shutil.copy(videos["wide.mp4"], name)
        with open_video(name, decoder) as reader:
            assert (reader.path, len(reader)) == (name, 40)
    no_text = os.fsdecode(b"\xff.mp4")
    shutil.copy(videos["wide.mp4"], no_text)
    if decoder == "auto":
        assert len(open_video(no_text)) == 40
    else:
        with pytest.raises(VideoError, match="cannot be opened as a video by decord"):
            open_video(no_text, decoder)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_paths_that_are_not_files_are_refused(tmp_path: Path, decoder: str) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in {
        "loop.mp4": "cannot be opened",
        "dangling.mp4": "does not exist",
        "pipe.mp4": "is a device or pipe",
        "x" * 300: r"cannot be opened \(File name too long",
        "pipe.mp4/x.mp4": r"cannot be opened \(Not a directory",
        "a\0b.mp4": "does not exist",
    }.items():
        with pytest.raises(VideoError, match=f"{name}: {reason}"):
            open_video(tmp_path / name, decoder)


def test_frames_garbled_by_decord_are_refused(videos: dict[str, Path]) -> None:
    """decord2 returns four channels if a row is shorter than its padding."""
    name = str(videos["h264.mp4"])
    if decord.VideoReader(name)[0].shape[-1] == 3:
        assert open_video(name, "decord").size == (64, 96)
    else:
        with pytest.raises(VideoError, match=r"h264\.mp4: decord returns frames with 4 channels"):
            open_video(name, "decord")


def test_audio_alone_is_not_a_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"sound\.mp4: has no video stream"):
        open_video(tmp_path / "sound.mp4")


def test_a_cover_image_is_not_a_video(tmp_path: Path, make: ModuleType) -> None:
    still = make.encode(tmp_path / "still.mp4", range(1), "mjpeg", "yuvj420p")
    with av.open(str(still)) as container, av.open(str(tmp_path / "song.mp4"), "w") as out:
        cover = out.add_stream_from_template(container.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        packet = next(container.demux(video=0))
        packet.stream = cover
        out.mux(packet)
    with pytest.raises(VideoError, match=r"song\.mp4: has no video, only sound with a cover"):
        open_video(tmp_path / "song.mp4")


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"rotation": 90}, lambda x: np.rot90(x, 1)),
        ({"rotation": 180}, lambda x: np.rot90(x, 2)),
        ({"rotation": -90}, lambda x: np.rot90(x, 3)),
        ({"mirrored": True}, lambda x: x[:, ::-1]),
        ({"rotation": 90, "mirrored": True}, lambda x: np.rot90(x, 1)[:, ::-1]),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_frames_are_rotated(make: ModuleType, tmp_path: Path, turn: dict, expected, suffix: str) -> None:
    path = make.encode(tmp_path / f"turned.{suffix}", range(6), **turn)
    with open_video(path) as reader:
        picture = expected(make.draw(3)).astype(int)
        assert reader.size == picture.shape[:2]
        frame = reader.read([3])[0]
        assert frame.flags.c_contiguous
        assert np.abs(frame - picture).mean() < 4


def test_frames_with_exif_are_rotated(make: ModuleType, tmp_path: Path) -> None:
    """PyAV 18 fails to list the side data of such frames, including the display matrix."""
    for rotation, turns in ((0, 0), (90, 1), (180, 2), (-90, 3)):
        path = make.encode(tmp_path / f"{rotation}.mov", range(3), "tiff", "rgb24", rotation=rotation)
        with open_video(path) as reader:
            assert np.array_equal(reader.read([2])[0], np.rot90(make.draw(2), turns))


def test_threads_reach_the_decoder(videos: dict[str, Path]) -> None:
    script = """
import sys
from pathlib import Path
from vidcore.video.open import open_video
with open_video(sys.argv[1], threads=int(sys.argv[2])) as reader:
    before = len(list(Path("/proc/self/task").iterdir()))
    reader.read([0])
    print(len(list(Path("/proc/self/task").iterdir())) - before)
"""
    if sys.platform != "linux":
        pytest.skip("counts threads in /proc")
    for threads in (1, 3):
        command = [sys.executable, "-c", script, str(videos["h264.mp4"]), str(threads)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert int(output) == (0 if threads == 1 else threads)


@pytest.mark.parametrize("name", ["hevc.mp4", "open.mp4", "refresh.mp4"])
def test_frames_around_open_gops_are_found_without_counting(videos: dict[str, Path], name: str) -> None:
    rng = np.random.default_rng(0)
    with open_video(videos[name]) as reader:
        for _ in range(40):
            reader.read(rng.integers(0, 40, 3))
        assert reader._finder._packets.order is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_can_read(videos: dict[str, Path]) -> None:
    """It has no decoder threads, and shares the file position with its parent."""
    script = """
import os, signal, sys
import vidcore.video.exact.packets
vidcore.video.exact.packets.KEPT_BYTES = 0
from vidcore.video.open import open_video
readers = [open_video(sys.argv[1], threads=n) for n in (1, 2)]
expected = [r.read(range(40)) for r in readers]
child = os.fork()
for k in range(8):
    for reader, frames in zip(readers, expected):
        indices = [7 * k % 40, 11 * k % 40, 3]
        assert (reader.read(indices) == frames[indices]).all()
while readers:
    readers.pop().close()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(videos["h264.mp4"])], check=True, timeout=60)


def test_threads_may_share_a_reader(make: ModuleType, videos: dict[str, Path]) -> None:
    with open_video(videos["h264.mp4"]) as reader, ThreadPoolExecutor(4) as pool:
        requests = [[7 * k % 40, 11 * k % 40, 3] for k in range(60)]
        for indices, frames in zip(requests, pool.map(reader.read, requests), strict=True):
            assert [make.number_of(f) for f in frames] == indices


def test_reading_forwards_does_not_decode_again(videos: dict[str, Path]) -> None:
    with open_video(videos["onekey.mkv"]) as reader:
        context = reader._finder._context
        restarts = []

        class Counting:
            def __getattr__(self, name: str) -> object:
                restarts.extend([name] if name == "flush_buffers" else [])
                return getattr(context, name)

            def __setattr__(self, name: str, value: object) -> None:
                setattr(context, name, value)

        reader._finder._context = Counting()
        for start in range(0, 40, 5):
            reader.read(range(start, start + 5))
        assert not restarts
        reader.read([0])
        assert restarts


def test_unneeded_frames_are_not_decoded(videos: dict[str, Path]) -> None:
    """Otherwise the finder would be slow, and no other test would notice."""

    with open_video(videos["onekey.mkv"]) as reader:
        finder = reader._finder
        decoded = 0
        decode = finder._decode

        def counting(packet: object) -> list[av.VideoFrame]:
            nonlocal decoded
            frames: list[av.VideoFrame] = decode(packet)
            decoded += len(frames)
            return frames

        finder._decode = counting
        reader.read([39])
        assert decoded < 30
    with open_video(videos["h264.mp4"]) as reader:
        reader.read([39])
        assert reader._finder._began >= 30


def test_a_closed_file_can_be_removed_and_its_handle_is_free(videos: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(videos["h264.mp4"], tmp_path / "with a space.mp4"))
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with open_video(path) as reader:
        reader.read([1])
    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) == before
    path.unlink()


def test_metadata_in_an_unknown_encoding_is_ignored(videos: dict[str, Path], tmp_path: Path) -> None:
    """PyAV before 19 would raise."""
    with av.open(str(videos["h264.mkv"])) as container, av.open(str(tmp_path / "titled.mkv"), "w") as out:
        out.metadata["title"] = "a title"
        track = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = track
                out.mux(packet)
    data = (tmp_path / "titled.mkv").read_bytes()
    assert data.count(b"a title") == 1
    (tmp_path / "titled.mkv").write_bytes(data.replace(b"a title", b"\xff \xe9\xfc\xf1\x80"))
    with open_video(tmp_path / "titled.mkv") as reader:
        assert reader.read([39]).shape == (1, 64, 96, 3)


def test_decoders_are_given_by_name_or_as_a_class(videos: dict[str, Path]) -> None:
    assert open_video(videos["h264.mp4"], Mine, threads=3).fps == 3
    with pytest.raises(UserError, match="there is no decoder 'decrod'; did you mean 'decord'"):
        open_video(videos["h264.mp4"], "decrod")
    with pytest.raises(UserError, match="there is no decoder 'x'; vidcore has 'auto', 'decord'"):
        open_video(videos["h264.mp4"], "x")
    with pytest.raises(UserError, match=r"decoder 'opencv' was removed: .*; use 'pyav'"):
        open_video(videos["h264.mp4"], "opencv")


def test_every_decoder_of_the_core_has_the_same_name_in_a_task() -> None:
    catalog = load_plugins()
    if not catalog.plugins:
        pytest.skip("vidcore is not installed, only importable")
    listed = {name: c.target for name, c in catalog.of_kind("decoders").items() if c.plugin == "vidcore"}
    assert listed == DECODERS


def test_decord_may_be_missing(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.delitem(sys.modules, "vidcore.video.decord", raising=False)
    assert open_video(videos["h264.mp4"]).decoder == "pyav"
    with pytest.raises(UserError, match=r"decoder 'decord' needs decord: pip install 'vidcore\[decord\]'"):
        open_video(videos["h264.mp4"], "decord")


class Mine(ArrayReader):
    """A reader of a plugin."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(np.zeros((2, 4, 4, 3), np.uint8), fps=threads, path=str(path))


# Pictures.


def test_array() -> None:
    frames = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
    with ArrayReader(frames, fps=10) as reader:
        assert (len(reader), reader.size, reader.fps) == (4, (2, 3), 10)
        got = reader.read([2, 0, 2])
        assert np.array_equal(got, frames[[2, 0, 2]])
        got[:] = 0
        assert frames[2].any()
        with pytest.raises(VideoError, match="frame 4"):
            reader.read([4])
    with pytest.raises(VideoError, match=r"uint8, got float64\(2, 2\)"):
        ArrayReader(np.zeros((2, 2)))


def test_image(tmp_path: Path) -> None:
    picture = np.zeros((5, 7, 3), np.uint8)
    picture[..., 0] = 200  # blue, as OpenCV has it
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    with open_video(tmp_path / "one.png") as reader:
        assert isinstance(reader, ImageReader)
        assert (reader.decoder, len(reader), reader.size) == ("image", 1, (5, 7))
        assert reader.read([0, 0])[1, 2, 3].tolist() == [0, 0, 200]
    (tmp_path / "broken.jpg").write_bytes(b"nothing like a picture")
    with pytest.raises(VideoError, match=r"broken\.jpg: is not an image"):
        open_video(tmp_path / "broken.jpg")


def test_folder_of_frames(tmp_path: Path) -> None:
    for number in range(1, 8):
        cv2.imwrite(str(tmp_path / f"img_{number:05}.png"), np.full((4, 6, 3), number * 10, np.uint8))
    with FrameFolderReader(tmp_path, "img_{:05}.png") as reader:
        assert (len(reader), reader.size, reader.fps) == (7, (4, 6), None)
        assert reader.read([6, 0, 6])[:, 0, 0, 0].tolist() == [70, 10, 70]
        assert reader.read([]).shape == (0, 4, 6, 3)
    with FrameFolderReader(tmp_path, "img_{:05}.png", offset=4) as later:
        assert len(later) == 3
        assert later.read([0])[0, 0, 0, 0] == 50
    with FrameFolderReader(tmp_path, "img_{:05}.png", total_frames=9) as promised:
        assert len(promised) == 9
        with pytest.raises(VideoError, match=r"img_00009\.png: does not exist"):
            promised.read([8])
    cv2.imwrite(str(tmp_path / "img_00002.png"), np.zeros((5, 6, 3), np.uint8))
    with (
        FrameFolderReader(tmp_path, "img_{:05}.png") as mixed,
        pytest.raises(VideoError, match=r"img_00002\.png is \(5, 6\)"),
    ):
        mixed.read([0, 1])
    with pytest.raises(VideoError, match="does not exist"):
        FrameFolderReader(tmp_path / "nowhere")


def test_folder_of_flow(tmp_path: Path) -> None:
    for axis, value in (("x", 100), ("y", 150)):
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{axis}_{number:05}.png"), np.full((4, 6), value + number, np.uint8))
    with FrameFolderReader(tmp_path, "{}_{:05}.png", "Flow", start_index=0) as reader:
        assert len(reader) == 3
        frames = reader.read([2, 0])
        assert frames.shape == (2, 4, 6, 2)
        assert frames[:, 0, 0].tolist() == [[102, 152], [100, 150]]


# Motion.


def test_motion_vectors_follow_motion(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (16, 40, 3), np.uint8), (400, 160), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "moving.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0", "g": "50", "refs": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for k in range(10):  # the view moves 4 to the right, so what is seen comes from 4 to the right
            image = np.ascontiguousarray(texture[20:116, 4 * k : 4 * k + 160])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    maps = read_motion_vectors(path, [5, 0, 5])
    assert maps.shape == (3, 96, 160, 2)
    assert maps.dtype == np.int8
    assert not maps[1].any()
    assert np.array_equal(maps[0], maps[2])
    inner = maps[0, 16:64, 16:128]
    assert np.median(inner[..., 0]) == -4
    assert np.median(inner[..., 1]) == 0
    assert not maps[0, -1].any()
    with pytest.raises(VideoError, match=r"moving\.mp4: frame 10"):
        read_motion_vectors(path, [10])


@pytest.mark.parametrize("name", ["recording.webm", "recording.mkv", "recording.mp4"])
def test_timestamps_override_a_wrong_rate_in_the_header(tmp_path: Path, make: ModuleType, name: str) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    uneven = [40 * i + i % 7 for i in range(50)]  # like a browser recording, whose header states 1000 frames per second
    path = make.encode(tmp_path / name, range(50), codec, times=uneven, rate=1000)
    with open_video(path) as reader:
        assert reader.fps == pytest.approx(25, rel=0.02)
        assert len(reader) == 50
