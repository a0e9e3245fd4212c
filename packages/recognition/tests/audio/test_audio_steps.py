"""From a file to the input of a network: the steps, AudioDataset, and a whole recognizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_recognition.audio.beside import AudioVisualDataset
from vid_recognition.audio.dataset import AudioDataset
from vid_recognition.audio.logmel import read_log_mel
from vid_recognition.audio.recognizer import RecognizerAudio, TSNAudioHead
from vid_recognition.audio.resnet import ConvAudio, ResNetAudio
from vid_recognition.audio.steps import AudioFeatureSelector, FormatAudioShape, LoadAudioFeature
from vid_recognition.datasets.rawframe import RawframeDataset
from vid_recognition.datasets.video import VideoDataset
from vidcore.batch import collate
from vidcore.data.wrappers import ConcatDataset
from vidcore.errors import AnnotationError, DataError, NoAudioError, UserError, VideoError
from vidcore.features.extract import Extractor, Features
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.predictor import Predictor
from vidcore.predict.windows import predict_windows
from vidcore.records import Clip, Cut
from vidcore.sample import Sample
from vidcore.task.task import Task
from vidcore.transforms.branches import Branches
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.transforms.sampling import SampleFrames
from vidcore.video.window import Span

RNG = np.random.default_rng(0)
SOUND = 0.3 * np.sin(np.arange(32000) ** 1.5 / 200)


@pytest.fixture
def video(tmp_path: Path, with_sound: Callable[..., Path]) -> Path:
    """Two seconds with sound, ten frames per second."""
    return with_sound(tmp_path / "a.mp4", SOUND, 16000)


def load(path: Path, pad_method: Any = "none", **fields: Any) -> Sample:
    return LoadAudioFeature(pad_method)(Sample(path=str(path), **fields), RNG)


def test_features_on_the_fly_equal_those_of_a_file(video: Path) -> None:
    made = load(video)
    features = made.inputs["audios"]
    np.testing.assert_array_equal(features, read_log_mel(str(video)))
    np.save(video.with_suffix(".npy"), features)
    cached = load(video.with_suffix(".npy"))
    np.testing.assert_array_equal(cached.inputs["audios"], features)
    assert (made.total_frames, made.fps) == (cached.total_frames, cached.fps) == (round(len(features) / 62.5 * 30), 30)
    assert load(video, total_frames=7).total_frames == 7, "that of the dataset"


def test_known_frames_set_the_length_of_the_features(video: Path) -> None:
    opened = OpenVideo()(Sample(path=str(video)), RNG)
    assert (opened.total_frames, opened.fps) == (20, 10)
    assert LoadAudioFeature()(opened, RNG).inputs["audios"].shape == (125, 80)
    twice = LoadAudioFeature()(opened.replace(total_frames=40), RNG).inputs["audios"]
    assert twice.shape == (250, 80)
    assert not twice[140:].any()


def test_files_without_sound(tmp_path: Path, with_sound: Callable[..., Path]) -> None:
    mute = with_sound(tmp_path / "mute.mp4", None, 16000)
    with pytest.raises(NoAudioError, match="has no audio"):
        load(mute)
    with pytest.raises(VideoError, match=r"gone\.wav: does not exist"):
        load(tmp_path / "gone.wav")
    for path in (mute, tmp_path / "gone.npy"):
        zeros = load(path, "zero").inputs["audios"]
        assert zeros.shape == (640, 80)
        assert not zeros.any()
    (tmp_path / "bad.wav").write_bytes(bytes(99))
    with pytest.raises(VideoError, match=r"bad\.wav: "):
        load(tmp_path / "bad.wav", "zero")
    with pytest.raises(UserError, match="LoadAudioFeature: pad_method must be one of none, zero, got 'random'"):
        LoadAudioFeature("random")


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((9, 64)), r"a\.npy: has features of 64 bands; there must be 80"),
        (np.full((9, 80), np.nan), r"a\.npy: channel 0 of position 0 is nan"),
        (np.zeros((2, 9, 80)), r"a\.npy: must hold numbers of shape"),
        (np.array([None]), r"a\.npy: is damaged, or not an array of numbers"),
    ],
)
def test_bad_features_are_refused_by_name(tmp_path: Path, array: np.ndarray, problem: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(VideoError, match=problem):
        load(tmp_path / "a.npy")


def test_a_clip_gets_the_rows_of_its_time() -> None:
    features = np.repeat(np.arange(100, dtype=np.float32)[:, None], 80, 1)
    sample = Sample(total_frames=50, start_index=1, clip=Clip(np.array([11, 12, 13, 46, 48, 50]), 3, 2))
    clips = AudioFeatureSelector(6)(sample.with_inputs(audios=features), RNG).inputs["audios"]
    assert clips[..., 0].tolist() == [[22, 23, 24, 25, 0, 0], [92, 93, 94, 95, 96, 97]]
    assert FormatAudioShape("NCTF")(Sample(inputs={"audios": clips}), RNG).inputs["audios"].shape == (2, 1, 6, 80)
    for step, text in (
        (AudioFeatureSelector(), "put LoadAudioFeature before"),
        (FormatAudioShape("NCTF"), "put Audio"),
    ):
        with pytest.raises(UserError, match=text):
            step(Sample(), RNG)
    with pytest.raises(UserError, match="put SampleFrames before"):
        AudioFeatureSelector()(Sample(inputs={"audios": features}), RNG)
    with pytest.raises(UserError, match="input_format must be one of NCTF; did you mean 'NCTF'"):
        FormatAudioShape("NTF")


def recognizer(**options: Any) -> RecognizerAudio:
    torch.manual_seed(0)
    net = ResNetAudio(50, base_channels=4, num_stages=2, **options)
    return RecognizerAudio(net, TSNAudioHead(3, 32)).eval()


def test_a_video_with_sound_gets_scores(video: Path) -> None:
    steps = {
        "load": LoadAudioFeature(),
        "sample": SampleFrames(clip_len=30, num_clips=3, test_mode=True),
        "select": AudioFeatureSelector(64),
        "format": FormatAudioShape("NCTF"),
    }
    batch = collate([Pipeline(steps)(Sample(path=str(video)), RNG)])
    assert batch.inputs.shape == (1, 3, 1, 64, 80)
    model = recognizer()
    with torch.inference_mode():
        scores = model(batch.inputs)
        (predicted,) = model.predict(scores, batch)
        features = model.clip_features(batch.inputs)
    assert scores.shape == (1, 3, 3)
    np.testing.assert_allclose(predicted.scores, scores.softmax(-1).mean(1)[0], rtol=1e-5)
    assert features.shape == (1, 32)
    with pytest.raises(UserError, match="axes batch clips channels time frequency, got shape"):
        model(batch.inputs[0])


def test_frames_and_sound_of_one_video(video: Path) -> None:
    both = Branches(
        {
            "imgs": {"decode": Decode(), "format": FormatShape("NCTHW")},
            "audios": {
                "load": LoadAudioFeature(),
                "select": AudioFeatureSelector(48),
                "format": FormatAudioShape("NCTF"),
            },
        }
    )
    pipeline = Pipeline({"open": OpenVideo(), "sample": SampleFrames(clip_len=4, frame_interval=2), "both": both})
    made = pipeline(Sample(path=str(video)), RNG)
    assert {name: value.shape for name, value in made.inputs.items()} == {
        "imgs": (1, 3, 4, 48, 64),
        "audios": (1, 1, 48, 80),
    }
    np.save(video.parent / "other.npy", np.full((125, 80), 0.25, np.float32))
    other = pipeline(Sample(path=str(video), audio_path=str(video.parent / "other.npy")), RNG)
    assert set(np.unique(other.inputs["audios"])) <= {0, 0.25}

    (video.parent / "list.txt").write_text("a.mp4 1\n")
    (video.parent / "sound").mkdir()
    np.save(video.parent / "sound/a.npy", np.full((125, 80), 0.5, np.float32))
    videos = VideoDataset(video.parent / "list.txt", video.parent)
    data = AudioVisualDataset(videos, video.parent / "sound")
    made = pipeline(data[0], RNG)
    assert set(np.unique(made.inputs["audios"])) <= {0, 0.5} and made.inputs["imgs"].any()
    assert (made.label, data.labels.tolist(), len(data)) == (1, [1], 1)
    assert list(data.sample_paths()) == list(videos.sample_paths())
    assert data.fingerprint() != videos.fingerprint()
    frames = written_frames(video.parent)
    assert AudioVisualDataset(frames, Path("sound"), ".wav")[0].audio_path == "sound/some.folder.wav"
    with pytest.raises(DataError, match="AudioVisualDataset: ConcatDataset is not a dataset of videos with classes"):
        AudioVisualDataset(ConcatDataset([videos]), Path("sound"))


def written_frames(folder: Path) -> RawframeDataset:
    (folder / "frames.txt").write_text("some.folder 8 0\n")
    return RawframeDataset(folder / "frames.txt", folder)


def test_split_convolutions_double_or_keep_the_channels() -> None:
    x = torch.rand(2, 3, 9, 8)
    assert ConvAudio(3, 4, (5, 3), stride=2)(x).shape == (2, 8, 5, 4)
    assert ConvAudio(3, 4, 3, "sum", dilation=2)(x).shape == (2, 4, 9, 8)
    with pytest.raises(ValueError, match="op must be concat or sum, got 'mean'"):
        ConvAudio(3, 4, 3, "mean")
    with pytest.raises(ValueError, match=r"depth must be one of \[50, 101, 152\], got 18"):
        ResNetAudio(18)
    whole = recognizer(factorize=(0, 0)).backbone
    assert not any(isinstance(module, ConvAudio) for module in whole.layer1.modules())


def test_a_list_of_sounds(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("my clip 300 1\nb.npy 20 0\n")
    data = AudioDataset(tmp_path / "list.txt", Path("root"), suffix=".npy", num_classes=2)
    assert [(s.path, s.total_frames, s.label, s.modality, s.start_index) for s in data] == [
        (str(Path("root/my clip.npy")), 300, 1, "Audio", 0),
        (str(Path("root/b.npy")), 20, 0, "Audio", 0),
    ]
    (tmp_path / "list.txt").write_text("a.npy 300\n")
    with pytest.raises(AnnotationError, match=r"list.txt:1: no label for 'a.npy'; a line must be 'path total_frames"):
        AudioDataset(tmp_path / "list.txt")


def test_a_part_of_a_video_has_its_own_rows(tmp_path: Path, with_sound: Callable[..., Path]) -> None:
    sound = np.concatenate((SOUND[:16000], np.zeros(16000)))
    path = with_sound(tmp_path / "a.wav", sound, 16000, codec="pcm_s16le", picture=False)
    whole = load(path).inputs["audios"]
    part = load(path, cut=Cut(0.512, 1.512))
    assert (part.inputs["audios"].shape, part.total_frames) == ((63, 80), 30)
    heard = part.inputs["audios"].max(1) > 0.2
    assert heard[:29].all()
    assert not heard[32:].any()
    np.testing.assert_allclose(part.inputs["audios"][1:29], whole[33:61], atol=0.05)  # of another level
    given = LoadAudioFeature()(Sample(path=str(path), inputs={"audios": whole}, cut=Cut(0.512, 1.512)), RNG)
    np.testing.assert_array_equal(given.inputs["audios"], whole[32:95])
    frames = load(path, cut=Cut(15, 45, in_seconds=False), fps=30.0)
    assert frames.inputs["audios"].shape == (63, 80)
    np.save(tmp_path / "a.npy", whole)
    stored = load(tmp_path / "a.npy", cut=Cut(0.512, 1.512))
    np.testing.assert_array_equal(stored.inputs["audios"], whole[32:95])
    for file in (path, tmp_path / "a.npy"):
        with pytest.raises(VideoError, match=r"its sound ends before 3.000 s, where this part begins"):
            load(file, cut=Cut(3, 4))


TASK = """
[model]
type = "RecognizerAudio"
backbone = { type = "ResNetAudio", depth = 50, base_channels = 4, num_stages = 1 }
cls_head = { type = "TSNAudioHead", num_classes = 2, in_channels = 16 }
[data.val]
dataset = { type = "FolderDataset", data_root = "." }
[data.val.pipeline]
load = { type = "LoadAudioFeature" }
sample = { type = "SampleFrames", clip_len = 30, test_mode = true, num_clips = 2 }
select = { type = "AudioFeatureSelector", fixed_length = 62 }
format = { type = "FormatAudioShape", input_format = "NCTF" }
"""


def test_windows_and_features_along_a_sound(tmp_path: Path, with_sound: Callable[..., Path]) -> None:
    (tmp_path / "task.toml").write_text(TASK)
    path = with_sound(tmp_path / "a.wav", SOUND, 16000, codec="pcm_s16le", picture=False)
    task = Task.load(tmp_path / "task.toml", load_plugins())
    torch.save({"state_dict": task.build("model").state_dict()}, tmp_path / "a.pth")
    predictor = Predictor(task, tmp_path / "a.pth")
    assert (predictor.reads_videos, predictor.reads_frames) == (True, False)
    found = list(predict_windows(predictor, path, "1s", "0.5s"))
    assert [(w.start, w.end) for w in found][:3] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    features = read_log_mel(str(path))
    for window, first in zip(found, (0, 31, 62), strict=False):
        rows = Sample(path=str(path), total_frames=30, fps=30, inputs={"audios": features[first:][:63]})
        (wanted,) = predictor.predict([predictor.pipeline(rows, RNG)])
        np.testing.assert_allclose(window.sample.scores, wanted.scores, rtol=1e-5)
    ((_, made),) = Extractor(predictor, Span(0.5, True))([path])
    assert isinstance(made, Features)
    assert made.values.shape == (4, 16)
    assert (made.fps, made.duration) == (30, pytest.approx(2, abs=0.05))
