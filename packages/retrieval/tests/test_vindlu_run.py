"""The published Tasks of VindLU, small, on rendered videos: training, evaluation and prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vidcore.predict.predictor import Predictor
from vidcore.training import train

WORDS = ("[PAD] [UNK] [CLS] [SEP]", "a red blue green square what colour has the it")
COLOURS = {"red": (0, 0, 255), "blue": (255, 0, 0), "green": (0, 255, 0)}
TASK = """
[model.vision_encoder]
num_frames = 2
image_size = 32
hidden_size = 16
num_layers = 1
num_heads = 2
mlp_size = 16

[model.text_encoder]
vocab_size = 14
hidden_size = 16
num_hidden_layers = 2
num_heads = 2
mlp_size = 16
encoder_width = 16
fusion_layer = 1

[data.all.pipeline.sample]
num_clips = 2

[data.all.pipeline.resize]
scale = [32, 32]

[train]
epochs = 1
weights = false

[runtime]
device = "cpu"
precision = "fp32"
"""
DECODER = """
[model]
answer_list = "answers.json"

[model.text_decoder]
vocab_size = 14
hidden_size = 16
num_hidden_layers = 1
num_heads = 2
mlp_size = 16
encoder_width = 16
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three videos, each with a square, their captions and questions, and a vocabulary."""
    for name, colour in COLOURS.items():
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (32, 32))
        for shift in range(8):
            writer.write(cv2.rectangle(np.zeros((32, 32, 3), np.uint8), (shift, 4), (shift + 20, 24), colour, -1))
        writer.release()
    (tmp_path / "vocab.txt").write_text("\n".join(" ".join(WORDS).split()))
    (tmp_path / "answers.json").write_text(json.dumps(list(COLOURS)))
    question = {"question": "What colour has it?"}
    rows = [{"video": f"{name}.mp4", "caption": f"a {name} square", "answer": name, **question} for name in COLOURS]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, recipe: str, more: str = "") -> dict[str, Any]:
    data = "".join(
        f'[data.{part}]\nworkers = 0\n\n[data.{part}.dataset]\nann_file = "list.json"\ndata_root = "."\n\n'
        for part in ("train", "val", "test")
    )
    (folder / "task.toml").write_text(f'extends = "{recipe}"\n{more}{TASK}{data}')
    return train(folder / "task.toml", folder / "run")


def test_retrieval_is_trained_and_ranks_by_matching(folder: Path) -> None:
    report = run(folder, "vindlu_beit-base_8x16_retrieval_msrvtt-9k")
    assert {"t2v/R1", "t2v/R5", "t2v/R10", "v2t/R1"} <= report["scores"].keys()
    assert report["scores"]["t2v/R5"] == 100, "among three videos"
    assert any("3 texts and 3 videos match their 128 most similar candidates" in note for note in report["notes"])


def test_questions_are_trained_and_answered(folder: Path) -> None:
    report = run(folder, "vindlu_beit-base_8x8_vqa_msrvtt-qa", DECODER)
    assert 0 <= report["scores"]["VQA/acc"] <= 100
    table = (folder / "run" / "predictions.csv").read_text().splitlines()
    assert table[0] == "path,true,predicted,accuracy" and len(table) == 4
    sentence = "What colour has the square?"
    with Predictor("task.toml", folder / "run" / "checkpoints" / "best.pt", sentence=sentence) as predictor:
        (found,) = predictor(["red.mp4"])
    answers = found.extra["answers"]
    assert set(answers.strings) == set(COLOURS) and sum(answers.weights) == pytest.approx(1)
