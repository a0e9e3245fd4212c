"""A run resumes beside damaged notes, and keeps the best weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vidcore.data.policy import BadSamples
from vidcore.engine.checkpoint import load
from vidcore.engine.history import EvaluationHistory
from vidcore.engine.options import TrainOptions
from vidcore.errors import CheckpointError


@pytest.fixture(scope="module")
def finished(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    toy.train(folder, epochs=2, bad=(2,))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("damage", ["", "[1]", '{"evaluated_step": 1, "sco', '{"evaluated_step": -1}', "\0\0", None])
def test_the_best_evaluation_is_known_without_its_note(run: Path, damage: str | None) -> None:
    path, best = run / "progress.json", run / "checkpoints" / "best.pt"
    before = EvaluationHistory(path, TrainOptions(), best)
    assert before.best["step"] == load(best)["step"]
    if damage is None:
        path.unlink()
        after = EvaluationHistory(path, TrainOptions(), best)
    else:
        path.write_text(damage)
        with pytest.warns(UserWarning, match=r"progress\.json: is damaged .* kept as progress\.json\.damaged"):
            after = EvaluationHistory(path, TrainOptions(), best)
    assert after.best == before.best
    assert after.evaluated_step == 0, "the last evaluation is repeated"


def test_best_weights_that_are_damaged_or_missing(run: Path) -> None:
    path, best = run / "progress.json", run / "checkpoints" / "best.pt"
    best.write_bytes(b"rotten")
    with pytest.raises(CheckpointError, match=r"best\.pt: is truncated, .*; replace it, or delete it to resume"):
        EvaluationHistory(path, TrainOptions(), best)
    best.unlink()
    with pytest.warns(UserWarning, match=r"best\.pt: is missing; the best evaluation from now on replaces it"):
        assert EvaluationHistory(path, TrainOptions(), best).best == {}


def test_a_run_resumes_with_all_notes_damaged(run: Path, toy: ModuleType) -> None:
    best = load(run / "checkpoints" / "best.pt")
    lines = (run / "metrics.jsonl").read_text()
    for name in ("progress.json", "bad_samples.jsonl"):
        (run / name).write_bytes(b"\xff\x00{")
    (run / "metrics.jsonl").write_text("\0\0\0\n" + lines + '{"kind": "st')
    with pytest.warns(UserWarning, match="is damaged"):
        result, _ = toy.train(run, epochs=3, bad=(2,))
    assert result.steps == 18
    assert result.best["value"] >= best["scores"][result.best["score"]]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "step"] == list(range(1, 19))
    assert [json.loads(line)["index"] for line in (run / "bad_samples.jsonl").read_text().splitlines()] == [2]


GOOD = {"index": 3, "epoch": 0, "path": "a.mp4", "reason": "is not a video"}


@pytest.mark.parametrize(
    "change",
    [
        {"index": {}},
        {"index": -1},
        {"index": True},
        {"index": 99},
        {"epoch": "x"},
        {"path": 3},
        {"reason": None},
        {"quarantined": 1},
        {"more": 1},
    ],
)
def test_damaged_rows_of_bad_samples_are_not_used(toy: ModuleType, tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "bad.jsonl").write_text(f"{json.dumps(GOOD | change)}\n7\nnull\n{json.dumps(GOOD | {'index': 4})}\n")
    assert list(BadSamples(toy.Points(10), 0.1, path=tmp_path / "bad.jsonl").failures) == [4]
