"""Log-mel features equal the published ones, at their time, whatever file the sound is in; bad sound is refused."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vid_recognition.audio import logmel
from vid_recognition.audio.logmel import BANDS, HOP, RATE, ROWS_PER_SECOND, log_mel, read_log_mel, resample
from vidcore.errors import NoAudioError, VideoError

PUBLISHED = [
    [0.5699, 0.5868, 0.5775, 0.5678, 0.5259, 0.3273, 0.0, 0.0],
    [0.3981, 0.4878, 0.5297, 0.5622, 0.5806, 0.5915, 0.5718, 0.2765],
    [0.0, 0.0, 0.0, 0.0, 0.0461, 0.2938, 0.5487, 0.591],
    [0.0, 0.0, 0.0, 0.0017, 0.0324, 0.0742, 0.1302, 0.357],
]
"""Every tenth band of ``test_published_values``, from the published script with lws 1.2.8 and librosa 0.11."""


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> str:
    """Write (channels, samples) with values from -1 to 1 as 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setparams((len(samples), 2, rate, 0, "NONE", ""))
        file.writeframes(np.round(samples.T * 32767).astype("<i2").tobytes())
    return str(path)


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_published_values() -> None:
    sound = 0.3 * np.sin(np.arange(700) ** 2 / 500)
    features = log_mel([sound[None]], RATE)
    assert (features.shape, features.dtype) == ((4, BANDS), np.float32)
    np.testing.assert_allclose(features[:, ::10], PUBLISHED, atol=1e-4)
    halves = log_mel([sound[None, :333], sound[None, 333:]], RATE)
    np.testing.assert_array_equal(halves, features)
    quiet = log_mel([sound[None] * 0.01], RATE)
    np.testing.assert_allclose(quiet, features, atol=1e-5, err_msg="the level does not matter")
    two = np.stack([2 * sound, np.zeros(700)])
    np.testing.assert_allclose(log_mel([two], RATE), features, atol=1e-6, err_msg="channels are averaged")


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, 2000])
def test_short_sound_and_silence_have_finite_features(samples: int) -> None:
    assert not log_mel([np.zeros((1, samples))], RATE).any()
    features = log_mel([np.full((1, samples), 0.5)], RATE)
    assert features.shape == (1 - -samples // HOP, BANDS)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 32000, 44100, 48000, 96000])
def test_resampling(rate: int) -> None:
    source = tone(1.1, rate)
    source[-1] += 0.4
    parts = np.split(source, [1, 5000 % len(source), len(source) - 7])
    made = np.concatenate(list(resample(parts, rate)))
    assert len(made) == -(-len(source) * RATE // rate), "the end is there"
    wanted = tone(1.2)[: len(made)]
    np.testing.assert_allclose(made[500:-500], wanted[500:-500], atol=1e-5)
    assert abs(made - wanted)[-3:].max() > 0.01, "also the last impulse"
    whole = np.concatenate(list(resample([source], rate)))
    np.testing.assert_allclose(made, whole, atol=1e-12)


def test_what_is_above_half_the_new_rate_is_gone() -> None:
    made = np.concatenate(list(resample([tone(1, 48000, 9000)], 48000)))
    assert abs(made[1000:-1000]).max() < 1e-4


def burst(at: float, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A tone that begins at a time."""
    sound = tone(seconds, rate)
    sound[: round(at * rate)] = 0
    return sound


def onset(features: np.ndarray) -> float:
    """The time of the first row with sound, in seconds."""
    return float(np.argmax(features.max(1) > 0.5)) / ROWS_PER_SECOND


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mp4"), ("aac", "mkv"), ("mp2", "ts"), ("pcm_s16le", "mkv")])
@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_rows_have_the_time_of_the_video(
    tmp_path: Path, with_sound: Callable[..., Path], codec: str, suffix: str, delay: float
) -> None:
    path = with_sound(tmp_path / f"a.{suffix}", burst(1.5 - delay), RATE, codec=codec, delay=delay)
    features = read_log_mel(str(path))
    assert abs(onset(features) - 1.5) <= 0.033
    assert len(features) == pytest.approx((2 + delay) * ROWS_PER_SECOND, abs=6)
    assert read_log_mel(str(path), seconds=1.0).shape == (63, BANDS)
    longer = read_log_mel(str(path), seconds=4.0)
    assert longer.shape == (250, BANDS)
    assert not longer[-60:].any()
    np.testing.assert_array_equal(longer[: len(features)], features)


def test_wav_and_video_agree(tmp_path: Path, with_sound: Callable[..., Path]) -> None:
    sound = burst(0.4, 1.0, 48000)
    wav = read_log_mel(write_wav(tmp_path / "a.wav", np.stack([sound, sound]), 48000))
    video = read_log_mel(str(with_sound(tmp_path / "a.mkv", sound, 48000, codec="pcm_s16le")))
    np.testing.assert_allclose(video, wav, atol=0.02)


def test_a_sound_that_begins_before_the_picture_is_cut() -> None:
    sound = burst(0.8)
    assert abs(onset(log_mel([sound[None]], RATE, -0.3)) - 0.5) <= 1 / ROWS_PER_SECOND
    assert len(log_mel([sound[None]], RATE, -9.0)) == 1


def test_bad_sound_is_refused_by_name(tmp_path: Path, with_sound: Callable[..., Path]) -> None:
    slow = write_wav(tmp_path / "slow.wav", tone(1, 1000)[None], 1000)
    with pytest.raises(VideoError, match=r"slow\.wav: has 1000 samples per second; from 4000 to 768000 can be read"):
        read_log_mel(slow)
    bad = tone(0.2).astype(np.float32)
    bad[1500] = np.nan
    with pytest.raises(VideoError, match=r"nan\.wav: its sound contains NaN or Inf, first at sample 1500"):
        read_log_mel(str(with_sound(tmp_path / "nan.wav", bad, RATE, codec="pcm_f32le", picture=False)))
    empty = write_wav(tmp_path / "empty.wav", np.zeros((1, 0)))
    with pytest.raises(VideoError, match=r"empty\.wav: "):
        read_log_mel(empty)
    with pytest.raises(NoAudioError, match=r"mute\.mp4: has no audio"):
        read_log_mel(str(with_sound(tmp_path / "mute.mp4", None, RATE)))
    (tmp_path / "broken.wav").write_bytes(b"RIFF" + bytes(99))
    with pytest.raises(VideoError, match=r"broken\.wav: cannot be opened"):
        read_log_mel(str(tmp_path / "broken.wav"))


def test_too_much_sound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "long.wav", np.zeros((1, 4 * 4000)), 4000)
    monkeypatch.setattr(logmel, "LONGEST", 3)
    monkeypatch.setattr(logmel, "BLOCK", 1000)
    with pytest.raises(VideoError, match=r"long\.wav: has more than 0 hours of sound"):
        read_log_mel(path)


def test_the_best_of_several_streams_is_read(tmp_path: Path, with_sound: Callable[..., Path]) -> None:
    path = with_sound(tmp_path / "two.mkv", burst(0.5), RATE, codec="pcm_s16le", streams=2)
    assert abs(onset(read_log_mel(str(path))) - 0.5) <= 0.02
