"""Several modalities of one video, each prepared by its own steps."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from vidcore.config.bind import build_component
from vidcore.errors import UserError
from vidcore.records import Clip, Cut
from vidcore.sample import Sample
from vidcore.transforms.branches import Branches
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.transforms.sampling import SampleFrames
from vidcore.transforms.sound import DecodeAudio
from vidcore.video.frames import ArrayReader

RATE = 1000


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Three seconds whose samples count from 0."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.arange(3 * RATE, dtype="<i2").tobytes())
    return path


def test_audio_is_that_of_the_clip(sound: Path) -> None:
    whole = DecodeAudio()(Sample(path=str(sound)), rng()).audio
    assert whole is not None
    assert (whole.rate, whole.samples.shape, whole.start) == (RATE, (1, 3 * RATE), 0.0)
    clip = Clip(np.array([10, 12, 14, 20]), 2, 2)
    part = DecodeAudio()(Sample(path=str(sound), clip=clip, fps=10.0), rng()).audio
    assert part is not None
    assert (part.samples[0] * 2**15).round().astype(int).tolist() == list(range(1000, 2100))
    assert part.start == 1.0
    with pytest.raises(UserError, match="requires the frame rate, which is not known"):
        DecodeAudio()(Sample(path=str(sound), clip=clip), rng())


def test_audio_of_a_part_of_a_video_is_that_of_the_part(sound: Path) -> None:
    def heard(sample: Sample) -> list[int]:
        audio = DecodeAudio()(sample, rng()).audio
        assert audio is not None
        return (audio.samples[0] * 2**15).round().astype(int).tolist()

    part = Sample(path=str(sound), cut=Cut(1.0, 1.5))
    assert heard(part) == list(range(1000, 1500))
    frames = Sample(path=str(sound), cut=Cut(5, 6, in_seconds=False), fps=5.0)
    assert heard(frames) == list(range(1000, 1200))
    clip = Clip(np.array([2, 3]), 2)
    assert heard(part.replace(first_frame=10, fps=10.0, clip=clip)) == list(range(1200, 1400))
    with pytest.raises(UserError, match="has no frame rate, which the part from frame 5 needs"):
        heard(frames.replace(fps=None))


class Level:
    """The loudest sample, as an input."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        assert sample.audio is not None
        return sample.with_inputs(level=np.array(np.abs(sample.audio.samples).max()))


def test_branches_share_the_choice_of_frames(sound: Path) -> None:
    frames = rng().integers(0, 256, (30, 8, 8, 3), np.uint8)
    steps = [OpenVideo(), SampleFrames(4, 2, test_mode=True)]
    sample = Sample(path=str(sound), video=ArrayReader(frames), fps=10.0, label=1)
    for step in steps:
        sample = step(sample, rng())
    chosen = sample.clip
    assert chosen is not None

    class Again:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            assert sample.video is None, "the reader is closed: each branch opens its own"
            return sample.replace(video=ArrayReader(frames))

    both = Branches(
        {
            "imgs": {"open": Again(), "decode": Decode(), "format": FormatShape("NCTHW")},
            "audios": {"decode": DecodeAudio(), "level": Level()},
        }
    )(sample, rng())
    assert list(both.inputs) == ["imgs", "audios"]
    assert (both.inputs["imgs"][0, :, 1] == frames[chosen.indices[1]].transpose(2, 0, 1)).all()
    last = (int(chosen.indices.max()) + 1) * RATE // 10 - 1
    assert both.inputs["audios"] == pytest.approx(last / 2**15)
    assert (both.label, both.frames, both.audio) == (1, None, None)


def test_a_branch_without_input_is_refused(sound: Path) -> None:
    with pytest.raises(UserError, match="Branches: 'audios' makes no inputs"):
        Branches({"audios": {"decode": DecodeAudio()}})(Sample(path=str(sound)), rng())


def test_branches_are_checked_as_pipelines_of_a_task() -> None:
    table = {"type": "Branches", "branches": {"imgs": {"decode": {"type": "Decode"}}}}
    made = build_component(table, "transforms")
    assert isinstance(made.branches["imgs"]["decode"], Decode)
    with pytest.raises(UserError, match=r"branches\.imgs\.decode\.type: .*'Decod'.* did you mean 'Decode'"):
        build_component({"type": "Branches", "branches": {"imgs": {"decode": {"type": "Decod"}}}}, "transforms")
