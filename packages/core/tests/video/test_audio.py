"""Audio equals that of a decoding of the whole file, sample by sample, or the file is refused by name."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest

from vidcore.errors import VideoError
from vidcore.video import audio as audio_module
from vidcore.video.audio import open_audio
from vidcore.video.open import open_video
from vidcore.video.reader import AudioReader

RATE = 16000
FILES = {
    "pcm.wav": "pcm_s16le",
    "pcm.mkv": "pcm_s16le",
    "float.wav": "pcm_f32le",
    "wide.wav": "pcm_s32le",
    "bytes.wav": "pcm_u8",
    "double.wav": "pcm_f64le",
    "lossless.flac": "flac",
    "layer.mp3": "libmp3lame",
    "aac.mp4": "aac",
    "aac.mkv": "aac",
    "aac.ts": "aac",
    "opus.webm": "libopus",
}
LOSSLESS = {"pcm.wav", "pcm.mkv", "float.wav", "wide.wav", "bytes.wav", "double.wav", "lossless.flac"}


def tone(samples: int, channels: int = 2) -> np.ndarray:
    """(channels, samples) float64: a rising tone for each channel, the second quieter."""
    time = np.arange(samples) / RATE
    wave = np.sin(2 * np.pi * (200 * time + 300 * time**2))
    return np.stack([wave * 0.5 / (k + 1) for k in range(channels)])


def encode(path: Path, codec: str, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    """Write (channels, samples) with values from -1 to 1."""
    with av.open(str(path), "w", options=options) as out:
        add_audio(out, out.add_stream(codec, rate=rate, layout=layout_of(samples)), samples, rate)
    return path


def layout_of(samples: np.ndarray) -> str:
    return {1: "mono", 2: "stereo"}[len(samples)]


def add_audio(out: Any, stream: Any, samples: np.ndarray, rate: int = RATE, delay: float = 0.0) -> None:
    layout, codec = layout_of(samples), stream.codec_context.name
    kind = av.AudioFormat("flt" if codec == "libopus" else stream.format.name)
    whole = np.round(samples * 0.999 * 2.0 ** (kind.bytes * 8 - 1))
    if kind.name.startswith(("flt", "dbl")):
        whole = samples
    values = (whole + 128 * (kind.name == "u8")).astype({"u8": "u1", "s16": "i2", "s32": "i4"}.get(
        kind.name.rstrip("p"), "f8" if kind.name.startswith("dbl") else "f4"
    ))  # fmt: skip
    for at in range(0, samples.shape[1], 1152):
        part = values[:, at : at + 1152]
        if not kind.is_planar:
            part = part.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), kind.name, layout)
        frame.rate, frame.pts = rate, at + round(delay * rate)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def decode_all(path: Path) -> np.ndarray:
    """The whole file, converted by FFmpeg."""
    resampler = av.AudioResampler("fltp")
    with av.open(str(path)) as container:
        frames = [new for frame in container.decode(audio=0) for new in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("audio")
    made = {}
    for name, codec in FILES.items():
        rate = 48000 if codec == "libopus" else RATE
        made[name] = encode(folder / name, codec, tone(3 * RATE), rate)
    return made


@pytest.mark.parametrize("name", FILES)
def test_any_range_is_what_a_full_decode_gives(files: dict[str, Path], name: str) -> None:
    whole = decode_all(files[name])
    rng = np.random.default_rng(0)
    with open_audio(files[name]) as reader:
        assert isinstance(reader, AudioReader)
        assert (reader.channels, reader.rate, len(reader)) == (2, 48000 if "opus" in name else RATE, whole.shape[1])
        assert reader.duration == whole.shape[1] / reader.rate
        ranges = [sorted(rng.integers(0, whole.shape[1], 2).tolist()) for _ in range(12)]  # forwards and back
        ranges += [(at, at + 4000) for at in range(0, 12000, 1000)]  # windows that overlap
        ranges += [(0, whole.shape[1]), (7, 7), (whole.shape[1], whole.shape[1])]
        for start, stop in ranges:
            samples = reader.read(start, stop)
            assert (samples.dtype, samples.flags.c_contiguous) == (np.float32, True)
            assert np.array_equal(samples, whole[:, start:stop]), f"{start} to {stop}"
        assert np.array_equal(reader.read(20000), whole[:, 20000:])
        assert np.array_equal(reader.read(), whole)


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_lossless_samples_have_their_values_and_positions(files: dict[str, Path], name: str) -> None:
    wanted = tone(3 * RATE)
    with open_audio(files[name]) as reader:
        assert len(reader) == 3 * RATE
        error = np.abs(reader.read(30000, 40000) - wanted[:, 30000:40000]).max()
    assert error < (0.02 if name == "bytes.wav" else 0.002)


@pytest.mark.parametrize("name", ["layer.mp3", "aac.mp4", "aac.mkv", "aac.ts"])
def test_lossy_samples_are_at_their_time(files: dict[str, Path], name: str) -> None:
    """Delays that an encoder adds at the beginning are in ``start`` or removed."""
    wanted = tone(3 * RATE)[0]
    with open_audio(files[name]) as reader:
        got = reader.read(20000, 24000)[0]
    places = range(20000 - 4000, 20000 + 4000)
    best = max(places, key=lambda at: float(got @ wanted[at : at + 4000]))
    assert 20000 - best in (0, 1024, 1105, 2048)  # delays of encoders that the container does not record


def test_forward_windows_are_decoded_once(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    container = audio_module.open_container
    monkeypatch.setattr(audio_module, "open_container", lambda *a, **k: opened.append(a) or container(*a, **k))
    with open_audio(files["aac.mp4"]) as reader:
        for start in range(0, 40000, 500):
            reader.read(start, start + 2000)
            assert sum(part.shape[1] for part in reader._kept) < 5000, "what is behind is let go"
        assert len(opened) == 1
        reader.read(0, 10)
        assert len(opened) == 2


def test_wav_is_read_directly_from_any_position(files: dict[str, Path]) -> None:
    with open_audio(files["pcm.wav"]) as reader:
        reader.read(40000, 40010)
        reader.read(30000, 30010)
        assert reader._at - reader._kept_from < 3000
        assert reader._kept_from > 25000


def test_samples_that_do_not_exist_are_refused(files: dict[str, Path]) -> None:
    with open_audio(files["aac.mp4"]) as reader:
        length = len(reader)
        for start, stop in ((length - 5, length + 1), (length + 7, None), (length + 7, length + 7)):
            with pytest.raises(VideoError, match=rf"aac\.mp4: sample \d+ does not exist: there are {length} samples"):
                reader.read(start, stop)
        for start, stop in ((-1, 5), (5, 4)):
            with pytest.raises(ValueError, match="start must be at least 0, and stop at least start"):
                reader.read(start, stop)
        assert reader.read(length - 5).shape == (2, 5)


def test_hours_of_silence_do_not_fill_the_memory(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_module, "READ_BYTES", 8 * 20000)
    with open_audio(files["lossless.flac"]) as reader:
        assert reader.read(10000, 30000).shape == (2, 20000)
        for start, stop in ((10000, 30001), (0, None), (0, 10**12)):
            with pytest.raises(VideoError, match=r"lossless\.flac: \d+ samples of audio are too many at once"):
                reader.read(start, stop)


def test_no_audio_and_no_file(tmp_path: Path, videos: dict[str, Path]) -> None:
    with pytest.raises(VideoError, match=r"h264\.mp4: has no audio"):
        open_audio(videos["h264.mp4"])
    (tmp_path / "text.wav").write_text("nothing like audio\n" * 50)
    (tmp_path / "empty.wav").touch()
    for name, reason in {
        "text.wav": "cannot be opened as a file with audio",
        "empty.wav": "is empty",
        "missing.wav": "does not exist",
    }.items():
        with pytest.raises(VideoError, match=f"{name}: {reason}"):
            open_audio(tmp_path / name)
    with wave.open(str(tmp_path / "header.wav"), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
    with pytest.raises(VideoError, match=r"header\.wav: has audio, but none of it can be decoded"):
        open_audio(tmp_path / "header.wav")


def test_samples_before_damage_are_read_and_later_ones_refused(files: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(files["aac.ts"].read_bytes())
    middle = len(data) // 2 // 188 * 188
    del data[middle : middle + 6 * 188]  # FFmpeg reports nothing, but timestamps jump
    (tmp_path / "hole.ts").write_bytes(data)
    whole = decode_all(files["aac.ts"])
    with open_audio(tmp_path / "hole.ts") as reader:
        assert np.array_equal(reader.read(0, 5000), whole[:, :5000])
        with pytest.raises(VideoError, match=r"hole\.ts: is damaged at sample \d+ of its audio"):
            reader.read()
        with pytest.raises(VideoError, match=r"hole\.ts: is damaged"):
            len(reader)


@pytest.mark.parametrize("name", ["pcm.wav", "aac.mkv", "layer.mp3", "lossless.flac"])
def test_the_rest_of_a_truncated_file_is_read(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    data = files[name].read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    whole = decode_all(files[name])
    with open_audio(tmp_path / name) as reader:
        length = len(reader)
        assert 10000 < length < whole.shape[1]
        sure = length - 2 * 4608  # the last frames are cut themselves
        assert np.array_equal(reader.read(0, sure), whole[:, :sure])


def test_audio_of_a_video_has_its_start_time(tmp_path: Path, make: ModuleType) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        track = out.add_stream("libx264", rate=25, options={"bf": "2"})
        track.width, track.height, track.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for k in range(50):
            frame = av.VideoFrame.from_ndarray(make.draw(k), format="rgb24")
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
        add_audio(out, audio, tone(RATE, 1), delay=0.48)
    with open_audio(path) as reader, open_video(path) as video:
        assert reader.start == pytest.approx(0.48, abs=0.0015)  # Matroska counts in milliseconds
        assert (reader.channels, len(reader), len(video)) == (1, RATE, 50)
    with open_audio(encode(tmp_path / "alone.mp4", "aac", tone(RATE))) as reader:
        assert reader.start == 0


def test_a_change_of_channels_is_refused(tmp_path: Path) -> None:
    one = encode(tmp_path / "one.mp3", "libmp3lame", tone(RATE, 1), write_xing="0").read_bytes()
    two = encode(tmp_path / "two.mp3", "libmp3lame", tone(RATE, 2), write_xing="0", id3v2_version="0").read_bytes()
    (tmp_path / "both.mp3").write_bytes(one + two)
    with open_audio(tmp_path / "both.mp3") as reader:
        assert reader.channels == 1
        with pytest.raises(VideoError, match=r"both\.mp3: changes to 2 channels at 16000 samples per second at sample"):
            reader.read()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_files_are_closed(files: dict[str, Path]) -> None:
    script = """
import os, sys
from vidcore.video.audio import open_audio
def once():
    with open_audio(sys.argv[1]) as reader:
        len(reader), reader.read(5, 10), reader.read(0, 10)
once()
before = len(os.listdir("/proc/self/fd"))
once()
assert len(os.listdir("/proc/self/fd")) == before
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(files["aac.mp4"])], check=True, timeout=60)
