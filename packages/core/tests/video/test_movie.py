"""Videos that browsers play, from any video: frames, times, sound and colours are kept."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest

from vidcore.errors import VideoError
from vidcore.video.footage import FileFootage, PartFootage, Picture, ReaderFootage
from vidcore.video.frames import ArrayReader
from vidcore.video.movie import write_movie

INEXACT = {"asdecoded.mkv", "cut.mp4", "damaged.ts", "edited.mp4", "h264.h264", "mpeg2.mpg", "uneven.mp4"}
"""Files whose headers state a different duration than that of their frames."""

Change = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def copy(source: Path, target: Path, change: Change = lambda image: image) -> Path:
    """Write a video again, with other pictures."""
    with (
        FileFootage(source) as footage,
        write_movie(target, footage.unit, footage.rate, footage.sound, footage.origin) as movie,
    ):
        for item in footage:
            if isinstance(item, Picture):
                movie.write(change(item.image), item.time, item.duration)
            else:
                movie.write_sound(item)
    return target


def pictures(path: Path) -> list[Picture]:
    with FileFootage(path) as footage:
        return [item for item in footage if isinstance(item, Picture)]


def boxes(path: Path) -> list[str]:
    """Return the names of the outermost parts of an MP4 file, in order."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def loud(path: Path) -> tuple[float, float]:
    """Return the time of the first loud sample and of the first white picture."""
    white = next(p.time for p in pictures(path) if p.image.mean() > 128)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(np.float32)).reshape(-1)
            samples /= 32768 if frame.format.name.startswith("s16") else 1
            above = np.flatnonzero(samples > 0.3)
            if above.size:
                assert frame.time is not None
                channels = 1 if frame.format.is_planar else frame.layout.nb_channels
                return frame.time + above[0] / channels / frame.sample_rate, float(white)
    raise AssertionError("is silent")


def flash(path: Path, codec: str, seconds: float = 3.0, late: float = 0.0, rate: int = 16000) -> Path:
    """Write a video that becomes white and loud at the same time, half way; its sound may start late."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=20)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream(codec, rate=rate)
        for i in range(round(seconds * 20)):
            image = np.full((48, 64, 3), 255 if i >= seconds * 10 else 0, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 20)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        times = late + np.arange(round((seconds - late) * rate)) / rate
        wave = np.where(times >= seconds / 2, np.sin(times * 2 * np.pi * 440) * 0.8, 0)
        form = sound.codec_context.format.name if sound.codec_context.format else "fltp"
        values = wave.astype(np.float32)[None] if form.startswith("flt") else (wave * 32767).astype(np.int16)[None]
        made = av.AudioFrame.from_ndarray(values, form if values.dtype == np.float32 else "s16", "mono")
        made.rate, made.pts, made.time_base = rate, round(late * rate), Fraction(1, rate)
        out.mux(sound.encode(made))
        out.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_a_part_keeps_its_sound(codec: str, tmp_path: Path) -> None:
    source = flash(tmp_path / "a.mkv", codec)
    with (
        FileFootage(source) as whole,
        write_movie(tmp_path / "b.mp4", whole.unit, whole.rate, whole.sound, whole.origin) as movie,
    ):
        for item in PartFootage(whole, 1.0, 2.5):
            if isinstance(item, Picture):
                movie.write(item.image, item.time, item.duration)
            else:
                movie.write_sound(item)
    assert len(pictures(tmp_path / "b.mp4")) == 30
    heard, seen = loud(tmp_path / "b.mp4")
    assert seen == pytest.approx(0.5, abs=0.051)
    assert heard == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    "name",
    [
        *("h264.mp4", "h264.ts", "uneven.mkv", "uneven.mp4", "late.ts", "edited.mp4", "fast.mkv", "vp9.mp4"),
        *("odd.webm", "mpeg4.avi", "h264.h264", "full.mp4", "tenbit.mp4", "gif.gif", "cut.mp4", "damaged.ts"),
        *("mpeg4.mp4", "mpeg2.mpg", "asdecoded.mkv", "hevc.ts"),
    ],
)
def test_browsers_play_what_is_written(name: str, videos: dict[str, Path], make: ModuleType, tmp_path: Path) -> None:
    before = pictures(videos[name])
    path = copy(videos[name], tmp_path / "ü n.mp4")
    order = boxes(path)
    assert order[0] == "ftyp" and order.index("moov") < order.index("mdat"), "players need the index first"
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.color_range, context.colorspace) == ("h264", "yuv420p", 1, 1)
        assert context.width % 2 == context.height % 2 == 0
        assert stream.start_time == 0
    after = pictures(path)
    assert [make.number_of(p.image) for p in after] == [make.number_of(p.image) for p in before]
    moved = [float((b.time - before[0].time) - (a.time - after[0].time)) for b, a in zip(before, after, strict=True)]
    assert np.abs(moved).max() < 1e-4, "pictures keep their times"
    height, width = before[0].image.shape[:2]
    with av.open(str(videos[name])) as old, av.open(str(path)) as new:
        if name not in INEXACT:
            assert old.duration and new.duration and abs(new.duration - old.duration) <= 2000
    difference = after[5].image[:height, :width].astype(int) - before[5].image
    assert np.abs(difference.mean((0, 1))).max() < 3, "colours are kept"
    assert [p.name for p in tmp_path.iterdir()] == ["ü n.mp4"]


@pytest.mark.parametrize("turns", [0, 90, 180, 270])
def test_pictures_are_upright(turns: int, make: ModuleType, tmp_path: Path) -> None:
    source = make.encode(tmp_path / "a.mp4", range(3), size=(64, 96), rotation=turns)
    from vidcore.video.open import open_video

    with open_video(source) as reader:
        exact = reader.read([2])[0]
    after = pictures(copy(source, tmp_path / "b.mp4"))[2]
    assert after.image.shape == exact.shape
    assert np.abs(after.image.astype(int) - exact).mean() < 4


def test_the_shape_of_pixels_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 72, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(8, 9)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 72, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    with FileFootage(path) as footage:
        list(footage)
        assert footage.aspect == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    ("name", "codec", "late"),
    [
        ("a.mp4", "aac", 0.0),
        ("b.mkv", "aac", 0.7),
        ("c.ts", "aac", 0.0),
        ("d.avi", "pcm_s16le", 0.0),
        ("e.mkv", "libopus", 0.5),
        ("f.mkv", "flac", 0.0),
    ],
)
def test_sound_is_kept_and_in_time(name: str, codec: str, late: float, tmp_path: Path) -> None:
    rate = 48000 if codec == "libopus" else 16000
    source = flash(tmp_path / name, codec, late=late, rate=rate)
    path = copy(source, tmp_path / "out.mp4")
    with av.open(str(path)) as container, av.open(str(source)) as before:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac" and sound.profile == "LC"
        assert sound.codec_context.sample_rate == rate
        assert container.duration is not None and before.duration is not None
        assert container.duration / 1e6 == pytest.approx(before.duration / 1e6, abs=0.1)
    heard, seen = loud(path)
    heard_before, seen_before = loud(source)
    assert heard - seen == pytest.approx(heard_before - seen_before, abs=0.03)


def test_an_interrupted_video_leaves_nothing(videos: dict[str, Path], tmp_path: Path) -> None:
    def fail(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise KeyboardInterrupt

    (tmp_path / "a.mp4").write_text("an older one")
    with pytest.raises(KeyboardInterrupt):
        copy(videos["sound.mp4"], tmp_path / "a.mp4", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "an older one"


def test_a_full_disk_is_named(videos: dict[str, Path]) -> None:
    with pytest.raises(OSError, match=r"/proc/a\.mp4"):
        copy(videos["h264.mp4"], Path("/proc/a.mp4"))


def test_files_without_pictures_are_refused(videos: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video at all")
    for name in ("a.mp4", "missing.mp4"):
        with pytest.raises(VideoError, match=name):
            copy(tmp_path / name, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("name", ["cut.mp4", "damaged.mp4"])
def test_damage_is_counted_and_the_rest_is_shown(name: str, videos: dict[str, Path]) -> None:
    with FileFootage(videos[name]) as footage:
        shown = len([item for item in footage if isinstance(item, Picture)])
        assert 20 <= shown <= 40
        assert footage.damaged > 0
    with FileFootage(videos["h264.mp4"]) as footage:
        assert len(list(footage)) == 40 and footage.damaged == 0


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX")
def test_names_need_not_be_utf8(videos: dict[str, Path], tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 %d: 1.mp4"))
    assert len(pictures(copy(videos["h264.mp4"], path))) == 40


def test_frames_of_other_readers_have_times() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    with ReaderFootage(ArrayReader(images, fps=10.0)) as footage:
        assert [float(p.time) for p in footage if isinstance(p, Picture)] == [0, 0.1, 0.2, 0.3]
        assert footage.duration == 0.4
    with ReaderFootage(ArrayReader(images[:0])) as footage, pytest.raises(VideoError, match="has no frames"):
        list(footage)
