"""From a video to what each person does, with a made-up detector and a model whose answers are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcore.typing import Array
from vidcore.video.open import open_video
from vidcore.video.synthetic import FPS, SIZE, write_video
from vidcore.video.window import ForwardReader

SECONDS = 4
PLUGIN = '''
import numpy as np
import torch

from vidcore.nn import Model
from vidcore.persons import Persons
from vidcore.plugins.hooks import hookimpl
from vidcore.protocols import Dataset, ReadsBoxes
from vidcore.records import Boxes, Varying


@hookimpl
def vidcore_components():
    here = "colours_of_persons"
    names = {"person_detectors": "Bars", "datasets": "NoBoxes", "models": "Colours"}
    return {kind: {name: f"{here}:{name}"} for kind, name in names.items()}


class NoBoxes(Dataset):
    num_classes = 2

    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError


class Bars:
    """Bright bars are persons."""

    def begin(self):
        pass

    def __call__(self, frames):
        return [self.find(frame) for frame in frames]

    def find(self, frame):
        edges = np.flatnonzero(np.diff(np.pad((frame.max(-1).mean(0) > 60).astype(int), 1)))
        boxes = [(left, 4, right, len(frame) - 4) for left, right in edges.reshape(-1, 2) if right - left > 4]
        return Persons(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


class Step(ReadsBoxes):
    def __call__(self, sample, rng):
        return sample.with_inputs(boxes=Varying(np.asarray(sample.proposals.xyxy, np.float32)))


class Colours(Model):
    """Scores are the shares of red and of blue in a box."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def sample_step(self):
        return Step()

    def forward(self, inputs):
        found = []
        for clip, boxes in zip(inputs["imgs"], inputs["boxes"]):
            for x1, y1, x2, y2 in boxes.round().long().tolist():
                part = clip[0, [0, 2], :, y1:y2, x1:x2].float().mean((1, 2, 3))
                found.append(torch.nan_to_num(part / part.sum()))
        return torch.stack(found).reshape(len(inputs["imgs"]), -1, 2)

    def predict(self, outputs, batch):
        made = []
        for sample, rows, count in zip(batch.samples, outputs, batch.lengths["boxes"].tolist()):
            boxes = Boxes(sample.proposals.xyxy, scores=rows[:count].numpy())
            made.append(sample.replace(boxes=boxes))
        return made
'''
TASK = """
[model]
type = "Colours"

[data]
classes = "classes.txt"

[data.test]
batch_size = 2
dataset = { type = "NoBoxes" }

[data.test.pipeline]
open = { type = "OpenVideo" }
sample = { type = "SampleAVAFrames", clip_len = 4, frame_interval = 2, test_mode = true }
decode = { type = "Decode" }
resize = { type = "Resize", scale = [48, 48], keep_ratio = false }
format = { type = "FormatShape", input_format = "NCTHW" }
"""
RED, BLUE = (250, 10, 10), (10, 10, 250)


def bars() -> Iterator[Array]:
    """Yield frames with a red bar that turns blue after two seconds, and a blue one from 1 s to 3 s."""
    for t in range(SECONDS * FPS):
        frame = np.full((SIZE, SIZE, 3), 10, np.uint8)
        frame[4:-4, 10:30] = RED if t < 2 * FPS else BLUE
        if FPS <= t < 3 * FPS:
            frame[4:-4, 60:80] = BLUE
        yield frame


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "colours_of_persons.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def vidcore(vidcore: Callable[..., Any], plugin: Path) -> Callable[..., Any]:
    return lambda *arguments: vidcore("--plugin", str(plugin), *arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.toml").write_text(TASK)
    torch.save({"state_dict": {"unused": torch.zeros(1)}}, tmp_path / "model.pth")
    (tmp_path / "classes.txt").write_text("red\nblue\n")
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "two.mp4", bars())
    return tmp_path


START = ("predict", "task.toml", "videos", "-c", "model.pth")
PREDICT = (*START, "--detector", "Bars")


def rows_of(file: Path) -> dict[tuple[int, float], dict[str, Any]]:
    return {(row["person"], row["start"]): row for row in json.loads(file.read_text()) if row.get("person")}


def best(rows: dict[tuple[int, float], dict[str, Any]]) -> dict[tuple[int, float], str]:
    return {key: row["classes"][0]["class"] for key, row in rows.items()}


def test_each_person_gets_actions_in_each_second(vidcore: Callable[..., Any], folder: Path) -> None:
    files = ("-o", "a.json", "-o", "a.csv", "-o", "a.png", "-o", "a.txt")
    answer = vidcore(*PREDICT, *files, "--smooth", "0", "--draw", "drawn")
    assert answer.code == 0, answer
    rows = rows_of(folder / "a.json")
    assert best(rows) == {
        (1, 0): "red", (1, 1): "red", (1, 2): "blue", (1, 3): "blue", (2, 1): "blue", (2, 2): "blue"
    }  # fmt: skip
    assert rows[1, 0]["classes"][0]["score"] > 0.85
    assert np.abs(np.array(rows[2, 1]["box"]) - [60, 4, 80, SIZE - 4]).max() < 2, "pixels of the video"
    assert (folder / "a.png").exists() and "person  2" in (folder / "a.txt").read_text()
    with (folder / "a.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["video", "person", "start", "end", "x1", "y1", "x2", "y2", "class", "score", "error"]
    assert len(table) == 2 * len(rows)
    with open_video("drawn/two.mp4") as drawn:
        assert len(drawn) == SECONDS * FPS


def test_scores_are_averaged_over_time_by_default(vidcore: Callable[..., Any], folder: Path) -> None:
    assert vidcore(*PREDICT, "-o", "plain.json", "--smooth", "0").code == 0
    assert vidcore(*PREDICT, "-o", "smooth.json").code == 0
    plain, smooth = (
        {key: {c["class"]: c["score"] for c in row["classes"]}["red"] for key, row in rows_of(folder / name).items()}
        for name in ("plain.json", "smooth.json")
    )
    assert smooth[1, 1] == pytest.approx((plain[1, 0] + plain[1, 1] + plain[1, 2]) / 3, abs=1e-5)
    assert smooth[2, 1] == pytest.approx((plain[2, 1] + plain[2, 2]) / 2, abs=1e-5), "only of the same person"


def test_frames_are_decoded_once_and_dropped(
    vidcore: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, read = 0, ForwardReader.read

    def counted(self: ForwardReader, *arguments: Any) -> Array:
        nonlocal most
        frames = read(self, *arguments)
        most = max(most, len(self._kept))
        return frames

    monkeypatch.setattr(ForwardReader, "read", counted)
    assert vidcore(*PREDICT, "-o", "a.json", "--window", "4f").code == 0
    assert len(best(rows_of(folder / "a.json"))) == 16 + 8 and 4 <= most <= 8


def test_videos_without_persons_are_written_as_they_are(vidcore: Callable[..., Any], folder: Path) -> None:
    (folder / "videos" / "two.mp4").unlink()
    write_video(folder / "videos" / "empty.mp4", (np.full((SIZE, SIZE, 3), 10, np.uint8) for _ in range(8)))
    answer = vidcore(*PREDICT, "-o", "a.json", "-o", "a.png", "--draw", "drawn")
    assert answer.code == 0, answer
    assert json.loads((folder / "a.json").read_text())[0]["person"] is None
    assert (folder / "drawn" / "empty.mp4").exists() and not (folder / "a.png").exists()


@pytest.mark.usefixtures("folder")
def test_options_that_do_not_fit(vidcore: Callable[..., Any]) -> None:
    vidcore(*START).refuses("task: reads boxes of persons; --detector NAME=WEIGHTS finds them in videos")
    vidcore(*START, "--estimator", "BlazePose=x").refuses("task: does not read the joints of persons")
    vidcore(*PREDICT[:-1], "Bar").refuses("no installed plugin offers a person_detectors component named 'Bar'")
    vidcore(*PREDICT, "--smooth", "long").refuses("--smooth 'long': must be a number of frames like 16")
