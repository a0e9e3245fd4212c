"""Clips at regular distances: the right frames, each decoded once, whatever else goes wrong."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from attrs import define, field

from vidcore.batch import Batch
from vidcore.errors import UserError, VideoError
from vidcore.features import extract
from vidcore.features.extract import Extractor, Features
from vidcore.features.files import FeatureInfo, read_features, write_features
from vidcore.features.folder import FeatureFolder, alike_but_for_case, feature_names
from vidcore.nn import FeatureModel
from vidcore.predict.inputs import FrameNames
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import ThreeCrop
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.transforms.sampling import SampleFrames, UniformSample
from vidcore.video.window import Span


class Mean(FeatureModel):
    """Says which frames it saw: every frame of a clip is of one grey."""

    def preprocess(self, batch: Batch) -> Batch:
        return batch.replace(inputs=batch.inputs.float())

    def clip_features(self, inputs: torch.Tensor) -> torch.Tensor:
        assert inputs.shape[-1] == inputs.shape[-2]
        seen = inputs.mean((1, 2, -1, -2))  # (clips, frames)
        assert torch.equal(seen, inputs[:, 0, 0, :, 0, 0]), "views of one clip must be of the same frames"
        return seen


def extractor(stride: str, *steps: Any, model: Any = None, fps: float | None = None, **options: Any) -> Extractor:
    crops = ThreeCrop(4)
    steps = steps or (OpenVideo(), SampleFrames(4, 3, num_clips=7), Decode(), crops, FormatShape("NCTHW"))
    predictor: Any = SimpleNamespace(
        model=model or Mean(),
        pipeline=Pipeline(steps),
        task=SimpleNamespace(name="toy"),
        device=torch.device("cpu"),
        precision="fp32",
        names=FrameNames(),
    )
    return Extractor(predictor, Span.parse(stride, "stride"), **options)


def video(length: int) -> np.ndarray:
    """Frames whose grey is their number (modulo 256)."""
    return np.broadcast_to(np.arange(length)[:, None, None, None] % 256, (length, 4, 12, 3)).astype(np.uint8)


@pytest.mark.parametrize("length", [100, 97, 40, 9, 8, 3, 1])
@pytest.mark.parametrize("stride", [1, 4, 8, 16])
def test_clips_are_centred_on_their_positions(length: int, stride: int) -> None:
    ((number, found),) = extractor(str(stride), batch_size=3)([video(length)])
    assert isinstance(found, Features)
    wanted = []
    step = min(stride, length)
    for middle in np.arange(step / 2, length, step):
        first = int(np.floor(middle - 10 / 2 + 0.5))  # frames 0, 3, 6, 9: the clip is ten frames long
        wanted.append([min(max(first + offset, 0), length - 1) for offset in (0, 3, 6, 9)])
    np.testing.assert_array_equal(found.values, wanted)
    assert (number, found.frames, found.fps, found.duration) == (0, length, None, None)


@define
class Counting:
    """A reader that records its calls."""

    frames: np.ndarray
    fps: float | None = 25.0
    bad_from: int = 10**9
    path = "counted.mp4"
    decoder = "counting"
    asked: list[int] = field(factory=list)
    closed: int = 0

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        self.asked += map(int, indices)
        if max(indices) >= self.bad_from:
            raise VideoError(self.path, "is damaged")
        return self.frames[np.asarray(indices)]

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "as_sample", lambda reader, *_: Sample(path=reader.path, video=reader))


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize("stride", ["1", "2", "5", "0.1s", "40"])
def test_every_frame_is_decoded_once_and_in_order(stride: str) -> None:
    reader = Counting(video(200))
    ((_, found),) = extractor(stride, batch_size=4)([reader])
    assert isinstance(found, Features)
    assert (np.diff(reader.asked) > 0).all()
    assert reader.closed == 1
    step = 2.5 if stride == "0.1s" else float(stride)
    assert len(found.values) == 200 / step
    assert (found.duration, found.feature_duration) == (8.0, 8.0)


@pytest.mark.usefixtures("readers")
def test_a_bad_video_does_not_stop_the_others() -> None:
    many = [Counting(video(50 + 10 * i), bad_from=60 if i in (2, 3) else 10**9) for i in range(6)]
    for workers in (1, 3):
        found = dict(extractor("8", batch_size=2, workers=workers)(many))
        assert sorted(found) == list(range(6))
        assert [number for number, made in found.items() if isinstance(made, VideoError)] == [2, 3]
        assert [type(s) for s in extractor("8", workers=workers).samples(many)] == [Sample] * 2 + [VideoError] * 2 + [
            Sample
        ] * 2


@pytest.mark.usefixtures("readers")
def test_features_of_a_video_do_not_depend_on_other_videos() -> None:
    lengths = (64, 10, 333, 90)
    alone = [next(iter(extractor("4")([Counting(video(n))])))[1] for n in lengths]
    together = dict(extractor("4", workers=3)([Counting(video(n)) for n in lengths]))
    for number, made in together.items():
        assert isinstance(made, Features)
        np.testing.assert_array_equal(made.values, alone[number].values)


@pytest.mark.usefixtures("readers")
def test_fixed_lengths_and_frame_rates() -> None:
    ((_, found),) = extractor("0.4s", length=7)([Counting(video(103))])
    assert isinstance(found, Features)
    assert found.values.shape == (7, 4)
    assert found.feature_duration == pytest.approx(4.0)  # ten positions of 0.4 s, of 4.12 s
    assert found.duration == pytest.approx(4.12)
    ((_, error),) = extractor("0.4s")([Counting(video(103), fps=None)])
    assert isinstance(error, VideoError)
    assert "has no frame rate" in str(error)
    seconds = SampleFrames(4, clip_seconds=0.4)  # ten frames at 25 per second
    ((_, timed),) = extractor("20", OpenVideo(), seconds, Decode(), ThreeCrop(4), FormatShape("NCTHW"))(
        [Counting(video(100))]
    )
    assert isinstance(timed, Features)
    np.testing.assert_array_equal(timed.values[0], [5, 8, 11, 14])


class Classes(Mean):
    def clip_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        return -self.clip_features(inputs)[:, :2]


def test_class_scores_instead_of_features() -> None:
    plain, logits = (extractor("4", model=Classes(), logits=logits) for logits in (False, True))
    ((_, features), (_, scores)) = (next(one([video(20)])) for one in (plain, logits))
    np.testing.assert_array_equal(scores.values, -features.values[:, :2])
    with pytest.raises(UserError, match="Mean has no class scores"):
        next(extractor("4", logits=True)([video(20)]))


def test_unsuitable_models_and_pipelines_are_refused() -> None:
    with pytest.raises(UserError, match="toy: model: Linear provides no features"):
        extractor("8", model=torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match=r"one step that defines clips .* and has 0"):
        extractor("8", OpenVideo(), UniformSample(8), Decode())
    for text in ("0", "-3", "1.5", "fast", "0s", ""):
        with pytest.raises(UserError, match="must be a number of frames like 16, or of seconds"):
            Span.parse(text, "stride")


def test_feature_files_with_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    write_features(tmp_path / "a.csv", features, "csv", seconds=8.0)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "time,f0,f1,f2"
    assert [line.partition(",")[0] for line in lines[1:]] == ["1", "3", "5", "7"]
    np.testing.assert_array_equal(read_features(tmp_path / "a.csv"), features)
    write_features(tmp_path / "a.npy", features, "npy", seconds=8.0)
    np.testing.assert_array_equal(read_features(tmp_path / "a.npy"), features)
    assert FeatureInfo.read(tmp_path / "a.npy") is None
    (tmp_path / "a.json").write_text('{"v_1": {"annotations": []}}')
    assert FeatureInfo.read(tmp_path / "a.npy") is None, "an annotation file is not a FeatureInfo"
    for name, text in (("b.csv", "a\nx\n"), ("c.npy", "x"), ("d.mp4", ""), ("e.npy", None)):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match=name):
            read_features(tmp_path / name)
    np.save(tmp_path / "f.npy", np.array([[0.0, 1.0], [2.0, np.nan]]))
    with pytest.raises(VideoError, match=r"f\.npy: channel 1 of position 1 is nan"):
        read_features(tmp_path / "f.npy")

    def denied(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np.lib.format, "open_memmap", denied)
    with pytest.raises(VideoError, match="cannot be read: Permission denied"):
        read_features(tmp_path / "f.npy")
    (tmp_path / "g.csv").write_text("f0,f1\n0,1e300\n")
    with pytest.raises(VideoError, match=r"g\.csv: channel 1 of position 0 is inf"):
        read_features(tmp_path / "g.csv")


def test_two_videos_with_the_same_name_are_refused() -> None:
    assert feature_names([Path("x/a.b.mp4"), Path("c.avi")]) == ["a.b", "c"]
    with pytest.raises(UserError, match=r"y/a\.mkv and x/a\.mp4: .* the same name"):
        feature_names([Path("x/a.mp4"), Path("y/a.mkv")])
    assert alike_but_for_case(["a", "b"]) is None
    assert alike_but_for_case(["a", "Ab", "aB", "A"]) == ("Ab", "aB")


def test_unrelated_files_beside_features_are_left_alone(tmp_path: Path) -> None:
    video, made = tmp_path / "a.mp4", Features(np.ones((2, 3), np.float32), 8, 4.0, 2.0, 2.0)
    video.touch()
    folder = FeatureFolder(tmp_path, {"format": "npy"})
    (tmp_path / "a.csv").write_text("not,ours")
    folder.save("a", video, made)
    assert (tmp_path / "a.csv").read_text() == "not,ours"
    FeatureFolder(tmp_path, {"format": "csv"}).save("a", video, made)
    assert not (tmp_path / "a.npy").exists(), "one note stands for one file"
    (tmp_path / "b.json").write_text('{"fps": 4}')
    with pytest.raises(UserError, match=r"b\.json: was not written by vidcore features"):
        folder.save("b", video, made)
    assert (tmp_path / "b.json").read_text() == '{"fps": 4}'
    assert not (tmp_path / "b.npy").exists()
