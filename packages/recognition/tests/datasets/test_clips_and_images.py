"""Parts of long videos, long videos in clips, and images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vid_recognition.datasets.clips import ClipDataset
from vid_recognition.datasets.folder import FolderDataset
from vid_recognition.datasets.raw import RawVideoDataset
from vid_recognition.datasets.video import VideoDataset
from vid_recognition.transforms.raw import PickClip
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.errors import AnnotationError, DataError
from vidcore.records import Cut
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import BuildPseudoClip, Decode, OpenVideo
from vidcore.transforms.sampling import SampleFrames
from vidcore.video.synthetic import write_video


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


FORMATS = {
    "parts.txt": "a b.mp4 0.5 2 1\na b.mp4 12 13.25 0\n",
    "parts.csv": "label,end,path,start\n1,2,a b.mp4,0.5\n0,13.25,a b.mp4,12\n",
    "parts.jsonl": '{"path": "a b.mp4", "start": 0.5, "end": 2, "label": 1}\n'
    '{"path": "a b.mp4", "start": 12, "end": 13.25, "label": 0}\n',
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_list_of_parts(tmp_path: Path, name: str) -> None:
    data = ClipDataset(written(tmp_path / name, FORMATS[name]), Path("root"), num_classes=2)
    assert [(s.path, s.cut, s.label) for s in data] == [
        ("root/a b.mp4", Cut(0.5, 2.0), 1),
        ("root/a b.mp4", Cut(12.0, 13.25), 0),
    ]
    assert [s.key for s in data] == ["a b_0.5_2", "a b_12_13.25"]
    assert data.notes() == (), "one file may have several parts"
    other = ClipDataset(written(tmp_path / f"other_{name}", FORMATS[name].replace("0.5", "0.75")), num_classes=2)
    assert other.fingerprint() != data.fingerprint()


def test_parts_in_frames_and_with_several_labels(tmp_path: Path) -> None:
    data = ClipDataset(written(tmp_path / "a.txt", "a.mp4 3 9 0\nb.mp4 0 5 2\n"), unit="frames")
    assert [s.cut for s in data] == [Cut(3, 9, False), Cut(0, 5, False)]
    many = ClipDataset(written(tmp_path / "b.txt", "a.mp4 0.5 2 0 3\n"), multi_class=True, num_classes=4)
    assert many[0].labels is not None and many[0].labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("name", "text", "unit", "problem"),
    [
        ("a.txt", "a.mp4 1 2 0\na.mp4 3 3 0\n", "seconds", r"a.txt:2: end must be after start, got \[3, 3\]"),
        ("a.txt", "a.mp4 -1 2 0\n", "seconds", "a.txt:1: start, end must not be negative"),
        ("a.txt", "a.mp4 0 2 1.5\n", "seconds", "a.txt:1: .* a line must be 'path start end label'"),
        ("a.txt", "a.mp4 0.5 2.5 1\n", "frames", "a.txt:1: .* a line must be 'path start end label'"),
        ("a.txt", "a.mp4 2\n", "seconds", "a.txt:1: .* a line must be 'path start end label'"),
        ("a.csv", "path,start,end,label\na.mp4,x,2,0\n", "seconds", "a.csv:2: start must be a number, got 'x'"),
        ("a.csv", "path,start,end,label\na.mp4,0.5,2,0\n", "frames", "a.csv:2: start must be an integer"),
        ("a.jsonl", '{"path": "a", "start": NaN, "end": 2}\n', "seconds", "a.jsonl:1: "),
        ("a.jsonl", '{"path": "a", "start": true, "end": 2}\n', "seconds", "a.jsonl:1: start must be a number"),
    ],
)
def test_mistakes_in_a_list_of_parts(tmp_path: Path, name: str, text: str, unit: str, problem: str) -> None:
    with pytest.raises(AnnotationError, match=problem):
        ClipDataset(written(tmp_path / name, text), unit=unit)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_reads_parts(tmp_path: Path, workers: int) -> None:
    levels = np.arange(0, 240, 8, np.uint8)  # 30 frames, 16 per second
    write_video(tmp_path / "long.mp4", np.repeat(levels, 3 * 96 * 96).reshape(30, 96, 96, 3))
    data = ClipDataset(written(tmp_path / "parts.txt", "long.mp4 0.25 0.5 0\nlong.mp4 1 1.25 1\n"), tmp_path)
    steps = {
        "open": OpenVideo(),
        "sample": SampleFrames(4, test_mode=True),
        "decode": Decode(),
        "format": FormatShape("NCTHW"),
    }
    (batch,) = Loader(data, steps, LoaderOptions(batch_size=2, workers=workers))
    found = batch.inputs.float().mean(dim=(1, 2, 4, 5))
    assert (found - torch.tensor([[32.0, 40, 48, 56], [128, 136, 144, 152]])).abs().max() < 4
    assert [sample.total_frames for sample in batch.samples] == [4, 4]


RAW = [("some/D32", 66, 10, [0, 1, 2]), ("some/T4h", 33, 1, [0])]


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_long_videos_in_clips(tmp_path: Path, suffix: str) -> None:
    keys = ("video_path", "label", "num_clips", "positive_clip_inds")
    lines = [" ".join(map(str, (name, label, count, *numbers))) for name, label, count, numbers in RAW]
    text = json.dumps([dict(zip(keys, r, strict=True)) for r in RAW]) if suffix == ".json" else "\n".join(lines)
    data = RawVideoDataset(written(tmp_path / f"raw{suffix}", text), Path("root"))
    assert [(s.path, s.label) for s in data] == [("root/some/D32", 66), ("root/some/T4h", 33)]
    drawn = Counter(PickClip()(data[0], rng(seed)).path for seed in range(90))
    assert set(drawn) == {f"root/some/D32/part_{k}.mp4" for k in range(3)}
    assert min(drawn.values()) > 15
    everything = {PickClip("random")(data[0], rng(seed)).path for seed in range(200)}
    assert everything == {f"root/some/D32/part_{k}.mp4" for k in range(10)}
    assert not PickClip()(data[0], rng()).extra
    assert PickClip()(RawVideoDataset(tmp_path / f"raw{suffix}", indices=[1])[0], rng()).path == "some/T4h/part_0.mp4"
    video = Sample(path="a.mp4")
    assert PickClip()(video, rng()) is video
    other = written(tmp_path / f"other{suffix}", text.replace("2", "3"))
    assert RawVideoDataset(other).fingerprint() != data.fingerprint()


LARGE = {"video_path": "a", "label": 99_999_999, "num_clips": 2, "positive_clip_inds": [0]}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", "a 0 3 0\nb 0 3\n", r"a.txt:2: must be 'path label clips positive...', got 'b 0 3'"),
        ("a.txt", "a 0 3 3\n", r"a.txt:1: the positive clips of 'a' must be some of its 3 clips, 0 to 2, got \[3\]"),
        (
            "a.json",
            '[{"video_path": "a", "label": 0, "num_clips": 2, "positive_clip_inds": []}]',
            "a.json: entry 0: the pos",
        ),
        ("a.json", json.dumps([LARGE]), "a.json: entry 0: label 99999999 is out of range"),
        ("a.json", '[{"label": 0}]', "a.json: entry 0: must be an object with a video_path"),
        ("a.json", '[{"video_path": "a"}]', "entry 0: positive_clip_inds must be a list"),
    ],
)
def test_mistakes_in_a_list_of_long_videos(tmp_path: Path, name: str, text: str, problem: str) -> None:
    with pytest.raises(AnnotationError, match=problem):
        RawVideoDataset(written(tmp_path / name, text))
    with pytest.raises(DataError, match="has no entries"):
        RawVideoDataset(written(tmp_path / "b.json", "[]"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("cats/1.png", "cats/2.png", "dogs/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((8, 10, 3), 40 * int(Path(name).stem), np.uint8))
    return tmp_path


def test_images_are_videos_of_one_frame(pictures: Path) -> None:
    folders = FolderDataset(pictures, images=True)
    listed = VideoDataset(written(pictures / "list.txt", "cats/1.png 0\ncats/2.png 0\ndogs/3.png 1\n"), pictures)
    for data in (folders, listed):
        assert [s.label for s in data] == [0, 0, 1]
        images = Pipeline([Decode(), FormatShape("NCHW", collapse=True)])
        assert images(data[2], rng()).inputs["imgs"].shape == (3, 8, 10)
        clips = Pipeline([Decode(), BuildPseudoClip(4), FormatShape("NCTHW")])
        made = clips(data[2], rng()).inputs["imgs"]
        assert isinstance(made, np.ndarray) and made.shape == (1, 3, 4, 8, 10) and (made == 120).all()


def test_a_folder_of_images_says_that_it_is_one(pictures: Path) -> None:
    with pytest.raises(DataError, match=r"no videos .*; set images = true to use the others"):
        FolderDataset(pictures)
    with pytest.raises(DataError, match=r"no videos \(\.mkv\) in"):
        FolderDataset(pictures, suffixes=[".mkv"])
