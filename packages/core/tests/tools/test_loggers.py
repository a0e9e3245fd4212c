"""Observers that a Task may ask for, and the picture of a run."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from vidcore.errors import UserError
from vidcore.protocols import Observer
from vidcore.tools.curves import draw_curves
from vidcore.tools.loggers import CSVLog, TensorBoard, WandB

START = {"steps": 4, "steps_per_epoch": 2, "resumed_step": 0, "evaluated_step": 0, "parameters": 10, "task": "tiny"}


def tell(observer: Observer, folder: Path, *, resumed: int = 0, steps: int = 4) -> None:
    """What ``fit`` tells of a run of two epochs."""
    observer.on_start(folder, {**START, "resumed_step": resumed, "evaluated_step": resumed})
    for step in range(resumed + 1, steps + 1):
        values = {"loss": 1 / step, "lr": 0.1}
        observer.on_step((step + 1) // 2, step, values if step < 3 else values | {"grad_norm": 2.0})
        if step % 2 == 0:
            observer.on_epoch(step // 2, {"loss": 0.5})
            observer.on_evaluation(step // 2, step, {"acc/top1": step / 4})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables(tmp_path: Path) -> None:
    tell(CSVLog(), tmp_path)
    steps = read(tmp_path / "steps.csv")
    assert [float(row["loss"]) for row in steps] == [1 / s for s in range(1, 5)]
    assert [row["grad_norm"] for row in steps] == ["", "", "2.0", "2.0"], "a column that came later"
    assert [row["step"] for row in read(tmp_path / "epochs.csv")] == ["2", "4"]
    assert read(tmp_path / "evaluations.csv")[1] == {"epoch": "2", "step": "4", "acc/top1": "1.0"}


def test_tables_of_a_run_that_was_killed(tmp_path: Path) -> None:
    tell(CSVLog(), tmp_path, steps=3)
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("2,4,0.")
    tell(CSVLog(), tmp_path, resumed=2)
    assert [row["step"] for row in read(tmp_path / "steps.csv")] == ["1", "2", "3", "4"]
    assert [row["step"] for row in read(tmp_path / "evaluations.csv")] == ["2", "4"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_of_a_run_that_began_anew(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps in (1, 4):
        observer = TensorBoard(folder="board")
        tell(observer, tmp_path, steps=steps)
        observer.on_end({})
    found = accumulator.EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    assert [e.step for e in found.Scalars("step/loss")] == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TensorBoard(folder="board")
    tell(first, tmp_path, steps=3)
    first.on_failure(KeyboardInterrupt())
    second = TensorBoard(folder="board")
    tell(second, tmp_path, resumed=2)
    second.on_end({})
    found = EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("step/loss")] == [
        (s, pytest.approx(1 / s)) for s in (1, 2, 3, 4)
    ], "step 3 was done twice"
    assert [(e.step, e.value) for e in found.Scalars("evaluation/acc/top1")] == [(2, 0.5), (4, 1.0)]
    assert [e.step for e in found.Scalars("epoch/loss")] == [2, 4]


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    identities = []
    for resumed in (0, 2):
        observer = WandB("videos", name="first-try", mode="offline", tags=["from-home"])
        tell(observer, tmp_path, resumed=resumed)
        observer.on_end({"scores": {"acc/top1": 0.75}})
        identities.append((tmp_path / "wandb_id.txt").read_text())
    assert identities[0] == identities[1], "one run there, too"
    runs = sorted((tmp_path / "wandb").glob(f"offline-run-*-{identities[0]}/*.wandb"))
    assert runs
    content = b"".join(run.read_bytes() for run in runs)
    logged = (b"step/loss", b"epoch/loss", b"evaluation/acc/top1", b"final/acc/top1", b"0.75")
    for wanted in (b"videos", b"first-try", b"from-home", b"tiny", *logged):
        assert wanted in content


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [("tensorboard", TensorBoard, "tensorboard"), ("wandb", lambda: WandB("p"), "wandb")],
)
def test_what_is_not_installed_is_named(module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'vidcore\[{extra}\]'"):
        make()


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def colours(image: np.ndarray) -> set[tuple[int, ...]]:
    packed = np.unique(image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)).tolist()
    return {(c >> 16, c >> 8 & 255, c & 255) for c in packed}  # rows of an array are compared a hundred times slower


BLUE, VERMILION = (178, 114, 0), (0, 94, 213)


def test_the_picture_of_a_run(tmp_path: Path) -> None:
    same = {"kind": "step", "epoch": 1, "lr": 0.1, "seconds/data": 9.0}
    records: list[dict[str, Any]] = [same | {"step": s, "loss": 3 - s / 400} for s in range(1, 1001)]
    records[500]["loss"] = "inf"
    records += [{"kind": "evaluation", "epoch": 1, "step": s, "acc": 0.5, "AR@100": 70.0} for s in (500, 1000)]
    records += [{"kind": "epoch", "epoch": 1, "step": 1000, "loss": 9.0}]
    path = draw_curves(lines(tmp_path / "m.jsonl", records), tmp_path / "ü.png")
    assert path == tmp_path / "ü.png"
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (4 * 280, 1000, 3), "loss, learning rate, evaluation, and AR@100, which is of another size"
    for panel in np.split(image, 4):
        assert BLUE in colours(panel[:, 90:770])
        assert VERMILION not in colours(panel)
    loss = np.argwhere((image[:280, 95:765] == BLUE).all(-1))
    left, right = (loss[loss[:, 1] == column][:, 0].mean() for column in (loss[:, 1].min(), loss[:, 1].max()))
    assert left < 40 and right > 205, "the loss falls from 3, at the top, to 0.5"
    rate = np.argwhere((image[280:560, 95:765] == BLUE).all(-1))
    assert np.ptp(rate[:, 0]) <= 4, "a constant is a horizontal line"
    assert loss[:, 1].max() > 660, "it goes on to the last step"


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-9, 3e12])
def test_a_constant_is_drawn(value: float, tmp_path: Path) -> None:
    records = [{"kind": "step", "epoch": 1, "step": s, "loss": value} for s in (1, 2)]
    path = draw_curves(lines(tmp_path / "m.jsonl", records), tmp_path / "c.png")
    assert path is not None
    assert BLUE in colours(cv2.imread(str(path))[:, 90:770])


def test_a_line_that_a_full_disk_cut_off_is_not_drawn(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "step", "epoch": 1, "step": step, "loss": 1.0}) for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text(f"{lines[0]}\n{lines[1][:20]}\n{lines[1]}\n")
    assert draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png") == tmp_path / "curves.png"


def test_nothing_to_draw(tmp_path: Path) -> None:
    picture = tmp_path / "c.png"
    assert draw_curves(tmp_path / "missing.jsonl", picture) is None
    assert draw_curves(lines(tmp_path / "m.jsonl", []), picture) is None
    record = {"kind": "step", "epoch": 1, "step": 1, "loss": "nan"}
    assert draw_curves(lines(tmp_path / "m.jsonl", [record]), picture) is None
    assert not picture.exists()


def test_it_can_draw_what_a_run_logs(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=1)
    assert draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png") is not None
    assert math.prod(cv2.imread(str(tmp_path / "curves.png")).shape) == 1000 * 280 * 6 * 3
