"""Observers for a Task, and the curves of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from vidcore.errors import UserError
from vidcore.protocols import Observer, StepValues
from vidcore.tools.curves import Curves, draw_curves
from vidcore.tools.draw import Axes, save_figure
from vidcore.tools.loggers import TensorBoard, WandB

START = {"steps": 4, "steps_per_epoch": 2, "resumed_step": 0, "evaluated_step": 0, "parameters": 10, "task": "tiny"}


def tell(observer: Observer, folder: Path, *, resumed: int = 0, steps: int = 4) -> None:
    """Make the calls of ``fit`` for a run of two epochs."""
    observer.on_start(folder, {**START, "resumed_step": resumed, "evaluated_step": resumed})
    for step in range(resumed + 1, steps + 1):
        others = {} if step < 3 else {"grad_norm": 2.0}
        observer.on_step((step + 1) // 2, step, StepValues(losses={"loss": 1 / step}, others=others, lr=0.1))
        if step % 2 == 0:
            observer.on_epoch(step // 2, StepValues(losses={"loss": 0.5}))
            observer.on_evaluation(step // 2, step, {"acc/top1": step / 4})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_of_a_run_that_started_over(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as accumulator

    for steps in (1, 4):
        observer = TensorBoard(folder="board")
        tell(observer, tmp_path, steps=steps)
        observer.on_end({})
    found = accumulator.EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    assert [e.step for e in found.Scalars("step/loss")] == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path: Path) -> None:
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
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    identities = []
    for resumed in (0, 2):
        observer = WandB("videos", name="first-try", mode="offline", tags=["from-home"])
        tell(observer, tmp_path, resumed=resumed)
        observer.on_end({"scores": {"acc/top1": 0.75}})
        identities.append((tmp_path / "wandb_id.txt").read_text())
    assert identities[0] == identities[1], "the same W&B run"
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
def test_missing_extras_are_named(module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'vidcore\[{extra}\]'"):
        make()


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def values(axes: Axes) -> dict[str, list[float]]:
    """Return the values of the curves of a panel, by the texts of its legend."""
    legend = axes.get_legend()
    assert legend is not None
    curves = [line for line in axes.lines if len(set(line.get_xdata())) > 1 or line.get_marker() not in ("None", "")]
    return {t.get_text(): [float(v) for v in c.get_ydata()] for t, c in zip(legend.get_texts(), curves, strict=True)}


def test_the_picture_of_a_run(tmp_path: Path) -> None:
    same = {"kind": "step", "epoch": 1, "lr": 0.1, "seconds/data": 9.0}
    records: list[dict[str, Any]] = [same | {"step": s, "loss": 3 - s / 400} for s in range(1, 1001)]
    records[500]["loss"] = "inf"
    records += [{"kind": "evaluation", "epoch": 1, "step": s, "acc": s / 2000, "AR@100": 70.0} for s in (500, 1000)]
    records += [{"kind": "epoch", "epoch": 1, "step": 1000, "loss": 9.0}]
    best = {"score": "acc", "value": 0.5, "epoch": 1, "step": 1000}
    figure = draw_curves(lines(tmp_path / "m.jsonl", records), best)
    assert figure is not None
    loss, rate, evaluation, recall = figure.axes
    titles = ["loss", "learning rate", "evaluation", "evaluation: AR@100"]
    assert [axes.get_title("left") for axes in figure.axes] == titles, "AR@100 would flatten what is below 1"
    (curve,) = values(loss).values()
    assert list(values(loss)) == ["loss = 0.5"]
    assert len(curve) == 300 and curve[0] == pytest.approx(3 - 2.5 / 400) and curve[-1] == 0.5
    assert np.isfinite(curve).all(), "one step without a number is not missed among a thousand"
    assert values(rate)["lr = 0.1"] == pytest.approx([0.1] * 300)
    assert values(evaluation) == {"acc = 0.5": [0.25, 0.5], "best, epoch 1 = 0.5": [0.5]}
    assert values(recall) == {"AR@100 = 70": [70.0, 70.0]}
    assert [next(iter(set(axes.lines[-1 - (axes is evaluation)].get_xdata()))) for axes in figure.axes] == [1000] * 4
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 1010)}
    assert {axes.get_yscale() for axes in figure.axes} == {"linear"}


def test_losses_that_span_decades_get_a_logarithmic_axis(tmp_path: Path) -> None:
    def drawn(name: str, found: list[float]) -> Axes:
        records = [{"kind": "step", "epoch": 1, "step": s, name: value} for s, value in enumerate(found, 1)]
        figure = draw_curves(lines(tmp_path / "m.jsonl", records))
        assert figure is not None
        return figure.axes[0]

    assert drawn("loss", [200.0, 1.0]).get_yscale() == "log"
    assert drawn("loss", [99.0, 1.0]).get_yscale() == "linear"
    assert drawn("loss", [200.0, 1.0, 0.0]).get_yscale() == "linear", "the logarithm of zero is undefined"
    assert drawn("lr", [0.2, 0.001]).get_yscale() == "linear"


def test_lines_break_at_nan(tmp_path: Path) -> None:
    found = [1.0, "nan", "inf", 2.0]
    records = [{"kind": "step", "epoch": 1, "step": s, "loss": v, "loss_x": "nan"} for s, v in enumerate(found, 1)]
    figure = draw_curves(lines(tmp_path / "m.jsonl", records))
    assert figure is not None
    np.testing.assert_array_equal(list(values(figure.axes[0]).values()), [[1.0, np.nan, np.nan, 2.0]])


def test_many_curves_are_distinguishable(tmp_path: Path) -> None:
    record = {"kind": "evaluation", "epoch": 1, "step": 5} | {f"_acc{i} $x$": i / 100 for i in range(70)}
    figure = draw_curves(lines(tmp_path / "m.jsonl", [record]))
    assert figure is not None
    (axes,) = figure.axes
    looks = {(line.get_color(), str(line._dash_pattern), line.get_marker()) for line in axes.lines}
    assert len(looks) == 70
    assert len({line.get_color() for line in axes.lines}) == 8
    assert list(values(axes))[69] == "_acc69 $x$ = 0.69"
    save_figure(figure, tmp_path / "c.png")
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_window_extent().height < axes.get_window_extent().height + 20, "all of it is beside the panel"


def test_identical_curves_are_all_visible(tmp_path: Path) -> None:
    records = [{"kind": "step", "epoch": 1, "step": s, "loss_cls": s, "loss": s} for s in (1, 2)]
    figure = draw_curves(lines(tmp_path / "m.jsonl", records))
    assert figure is not None
    below, above = figure.axes[0].lines
    assert below.get_linewidth() > above.get_linewidth() + 2


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-9, 3e12])
def test_a_constant_is_drawn(value: float, tmp_path: Path) -> None:
    records = [{"kind": "step", "epoch": 1, "step": s, "loss": value} for s in (1, 2)]
    figure = draw_curves(lines(tmp_path / "m.jsonl", records))
    assert figure is not None
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low < value < high and high - low > 1e-3 * abs(value)
    save_figure(figure, tmp_path / "c.png")
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(shown)) == len(shown) and f"{value:.6g}".removesuffix("0") in " ".join(shown)


def test_one_point_is_drawn(tmp_path: Path) -> None:
    figure = draw_curves(lines(tmp_path / "m.jsonl", [{"kind": "evaluation", "epoch": 0, "step": 0, "acc": 0.5}]))
    assert figure is not None
    assert figure.axes[0].lines[0].get_marker() == "o"
    save_figure(figure, tmp_path / "c.png")


def test_a_truncated_line_is_not_drawn(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "step", "epoch": 1, "step": step, "loss": 1.0}) for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text(f"{lines[0]}\n{lines[1][:20]}\n{lines[1]}\n")
    figure = draw_curves(tmp_path / "metrics.jsonl")
    assert figure is not None
    assert values(figure.axes[0]) == {"loss = 1": [1.0, 1.0]}


def test_nothing_to_draw(tmp_path: Path) -> None:
    assert draw_curves(tmp_path / "missing.jsonl") is None
    assert draw_curves(lines(tmp_path / "m.jsonl", [])) is None
    record = {"kind": "step", "epoch": 1, "step": 1, "loss": "nan"}
    assert draw_curves(lines(tmp_path / "m.jsonl", [record])) is None
    curves = Curves()
    curves.on_start(tmp_path, {})
    curves.on_end({})
    assert curves.files() == []


def test_curves_of_a_real_run(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=1)
    curves = Curves()
    curves.on_start(tmp_path, {})
    curves.on_end({"training": {"best": {}}})
    assert curves.files() == [tmp_path / "curves.png"]
    height, width, _ = cv2.imread(str(tmp_path / "curves.png")).shape
    assert 800 < width < 1400 and height > 6 * 200
