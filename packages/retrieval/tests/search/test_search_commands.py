"""``vidcore embed`` and ``vidcore search``, with small towers that were not trained."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from vid_retrieval.demo import combinations, render
from vid_retrieval.search.command import embed, search
from vid_retrieval.search.embedding import Searcher
from vidcore.cli import Context
from vidcore.cli.predict import predict
from vidcore.config.bind import build_component
from vidcore.errors import UserError
from vidcore.task.task import Task
from vidcore.video.synthetic import write_video

MERGES = Path(__file__).parents[1] / "merges.txt"
CONTEXT = Context()
TASK = """
[model]
type = "CLIPSimilarity"
adapter = { type = "SimpleMeanAdapter" }

[model.clip]
type = "CLIP"
image_size = 32
patch_size = 16
embed_dim = 8
image_width = 16
image_layers = 1
image_heads = 2
context_length = 9
vocab_size = 600
text_width = 16
text_layers = 1
text_heads = 2

[data.test]
dataset = { type = "VideoTextDataset", ann_file = "test.csv" }

[data.test.pipeline]
open = { type = "OpenVideo" }
sample = { type = "UniformSample", clip_len = 2, test_mode = true }
decode = { type = "Decode" }
resize = { type = "Resize", scale = [32, 32], keep_ratio = false }
format = { type = "FormatShape", input_format = "NCHW" }
text = { type = "CLIPTokenize", vocabulary = "merges.txt", context_length = 9 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Task, weights and two videos of 32 frames at 16 frames per second."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(MERGES, "merges.txt")
    Path("task.toml").write_text(TASK)
    Path("test.csv").write_text("video,text\na.mp4,the door\n")
    save_weights(0)
    Path("videos").mkdir()
    for i, name in enumerate("ab"):
        scenes = combinations()[0][7 * i : 7 * i + 2]
        write_video(Path("videos", f"{name}.mp4"), render(np.random.default_rng(i), scenes))
    return tmp_path


def save_weights(seed: int) -> None:
    torch.manual_seed(seed)
    model = build_component(Task.load("task.toml", CONTEXT.catalog).table["model"], kind="models")
    torch.save(model.state_dict(), "a.pt")


def call(command: Any, *words: str) -> Result:
    return CliRunner().invoke(command, words, obj=CONTEXT)


def make(*words: str) -> Result:
    return call(embed, "videos", "-o", "index", "--task", "task.toml", "-c", "a.pt", "--window", "0.5s", *words)


def error(result: Result) -> str:
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


def test_videos_are_added_once_and_found_with_their_times(folder: Path) -> None:
    first = make()
    assert first.exit_code == 0, first.output
    assert "index: an index of 2 videos: 2 new" in first.output
    assert "2 already there" in make().output
    found = json.loads(call(search, "index", "the open door", "--json", "--top", "3").output)
    assert found["windows"] == 8
    assert [m["end"] - m["start"] for m in found["matches"]] == [0.5] * 3
    table = call(search, "index", "the open door", "--one-per-video").output
    assert len([line for line in table.splitlines() if "videos/" in line]) == 2
    result = call(search, "index", "the open door", "-o", "sheet.png")
    assert result.exit_code == 0, result.output
    assert Path("sheet.png").read_bytes().startswith(b"\x89PNG")


def test_python_gives_the_embedding_of_the_model(folder: Path) -> None:
    make("--stride", "1s")
    search_in = Searcher("index")
    assert search_in.index.windows == 4
    (query,) = search_in.embedder.texts(["the door"])
    model = search_in.embedder.model
    with torch.no_grad():
        wanted = model.text_features(torch.tensor([[520, 513, 519, 521]]))
    np.testing.assert_allclose(query, wanted[0], rtol=1e-5)
    vectors, _ = search_in.index.arrays()
    found = search_in("the door", top=4)
    np.testing.assert_allclose(sorted(m.cosine for m in found.matches), sorted(vectors @ query), rtol=1e-4)


def test_an_index_grows_shrinks_and_keeps_its_settings(folder: Path) -> None:
    make()
    shutil.copyfile("videos/a.mp4", "c.mp4")
    os.remove("videos/b.mp4")
    more = call(embed, "c.mp4", "-o", "index")
    assert more.exit_code == 0, more.output
    assert "1 videos of the index no longer exist" in more.stderr
    assert Searcher("index").index.windows == 12
    assert call(embed, "-o", "index", "--remove-missing").exit_code == 0
    assert sorted(Path(v).name for v in Searcher("index").index.videos) == ["a.mp4", "c.mp4"]


def test_a_bad_video_does_not_stop_the_others(folder: Path) -> None:
    Path("videos/aa.mp4").write_bytes(b"no video")
    result = make()
    assert result.exit_code == 2
    assert "1 of 3 videos cannot be read" in result.stderr
    assert Searcher("index").index.windows == 8
    assert "aa.mp4" in Path("index/failures.jsonl").read_text()


def test_other_weights_are_refused(folder: Path) -> None:
    make()
    save_weights(1)
    assert "were made with different weights than" in error(call(search, "index", "the door"))
    assert "was made with different settings: sha256 was" in error(make())
    assert make("--overwrite").exit_code == 0
    assert call(search, "index", "the door").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("index", " "), "query: the text is empty"),
        (("index", os.fsdecode(b"caf\xe9")), "query: the text is not UTF-8"),
        (("nothing", "door"), "nothing: is not an index: index.jsonl is missing"),
        (("index", "door", "-o", "sheet.jpg"), "sheet.jpg: a contact sheet ends in .png"),
    ],
)
def test_bad_queries(folder: Path, words: tuple[str, ...], message: str) -> None:
    make()
    assert message in error(call(search, *words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("videos", "-o", "index"), "is a new index: name the model with --task"),
        (("-o", "index"), "name videos to add, or use --remove-missing"),
        (("videos", "-o", "index", "--window", "2s"), "--window: requires --task"),
        (("videos", "-o", "index", "--task", "task.toml", "-c", "a.pt", "--window", "x"), "--window 'x': must be"),
    ],
)
def test_bad_options(folder: Path, words: tuple[str, ...], message: str) -> None:
    assert message in error(call(embed, *words))


def test_classes_are_named_on_the_command_line(folder: Path) -> None:
    model = 'type = "ActionClip"\nvocabulary = "merges.txt"\nlabels = ["open", "door"]\ntemplates = ["{}"]'
    Path("words.toml").write_text(TASK.replace('type = "CLIPSimilarity"', model))
    result = call(predict, "words.toml", "videos/a.mp4", "-c", "a.pt", "--json", "--labels", "the door, open, do")
    assert result.exit_code == 0, result.output
    assert all(f'"{name}"' in result.stdout for name in ("the door", "open", "do"))
    assert "does not recognise by words" in error(call(predict, "task.toml", "videos/a.mp4", "--labels", "a, b"))
