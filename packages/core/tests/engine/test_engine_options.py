"""Options of ``[train]`` and ``[runtime]``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from vidcore_toy import newest, records

from vidcore.data.options import LoaderOptions
from vidcore.engine.average import precise_statistics
from vidcore.engine.checkpoint import load
from vidcore.engine.evaluate import evaluate
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.prepare import prepare
from vidcore.engine.step import Step
from vidcore.errors import CheckpointError, ConfigError

CPU = torch.device("cpu")


def test_average_of_the_weights(toy: ModuleType) -> None:
    torch.manual_seed(0)
    model = toy.Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    step = Step(model, optimizer, TrainOptions(ema_decay=0.75), RuntimeOptions())
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    loader = toy.Loader(toy.Points(8), [toy.Read()], LoaderOptions(batch_size=4), training=True)
    for batch in loader.batches_between(0, 5):
        step([batch])
        for name, value in model.state_dict().items():
            wanted[name] = wanted[name] * 0.75 + value * 0.25 if value.is_floating_point() else value.clone()
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    with step.average.swapped():
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, wanted[name])
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


def test_the_average_is_evaluated_kept_and_resumed(toy: ModuleType, tmp_path: Path) -> None:
    result, model = toy.train(tmp_path / "a", ema_decay=0.9, val_loss=True)
    plain, _ = toy.train(tmp_path / "plain", val_loss=True)
    assert [r["loss"] for r in records(tmp_path / "a", "step")] == [
        r["loss"] for r in records(tmp_path / "plain", "step")
    ]
    assert result.scores["val/loss"] != plain.scores["val/loss"]
    saved = newest(tmp_path / "a")
    assert torch.equal(saved["state_dict"]["fc.weight"], model.fc.weight)
    assert torch.equal(saved["training_weights"]["fc.weight"], newest(tmp_path / "plain")["state_dict"]["fc.weight"])
    best = load(tmp_path / "a/checkpoints/best.pt")
    if best["step"] == saved["step"]:
        assert torch.equal(best["state_dict"]["fc.weight"], saved["state_dict"]["fc.weight"])
    toy.train(tmp_path / "b", ema_decay=0.9, val_loss=True, epochs=1)
    with pytest.raises(CheckpointError, match=r"train.ema_decay was 0.9 and is None"):
        toy.train(tmp_path / "b")


def test_a_resumed_run_has_the_same_average(toy: ModuleType, tmp_path: Path) -> None:
    more = {"ema_decay": 0.9, "val_loss": True, "precise_bn": 2, "best": "val/loss", "validation": False}
    toy.train(tmp_path / "a", steps=12, checkpoint_interval=6, keep=0, **more)
    first = tmp_path / "a/checkpoints/epoch0001-step00000006.pt"
    (tmp_path / "b/checkpoints").mkdir(parents=True)
    first.rename(tmp_path / "b/checkpoints" / first.name)
    result, _ = toy.train(tmp_path / "b", steps=12, checkpoint_interval=6, keep=0, **more)
    assert result.resumed_step == 6
    a, b = newest(tmp_path / "a"), newest(tmp_path / "b")
    for part in ("state_dict", "training_weights"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])


class Statistics(nn.Module):
    """A batch norm of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.fixed = nn.BatchNorm1d(8)

    def train(self, mode: bool = True) -> Statistics:
        super().train(mode)
        self.fixed.eval()
        return self

    def preprocess(self, batch: Any) -> Any:
        return batch

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fixed(self.norm(inputs[:, 0]))
        return out


def test_precise_batch_statistics(toy: ModuleType) -> None:
    model = Statistics()
    model(torch.randn(5, 1, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loader = toy.Loader(toy.Points(24), [toy.Read()], LoaderOptions(batch_size=8), training=True)
    points = np.concatenate([batch.inputs[:, 0].numpy() for batch in loader.batches_between(0, 3)])
    with precise_statistics(model, loader.batches_between(0, 3), "fp32"):
        np.testing.assert_allclose(model.norm.running_mean, points.mean(0), rtol=1e-5)
        within = np.mean([part.var(0, ddof=1) for part in np.split(points, 3)], 0)
        between = np.stack([part.mean(0) for part in np.split(points, 3)]).var(0)
        np.testing.assert_allclose(model.norm.running_var, within + between, rtol=1e-4)
        assert torch.equal(model.fixed.running_mean, before["fixed.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.norm.momentum == 0.1


def test_precise_statistics_are_kept_with_the_best_weights_and_do_not_change_training(
    toy: ModuleType, tmp_path: Path
) -> None:
    toy.train(tmp_path / "plain", epochs=1)
    toy.train(tmp_path / "precise", epochs=1, precise_bn=4)
    a, b = newest(tmp_path / "plain")["state_dict"], newest(tmp_path / "precise")["state_dict"]
    assert all(torch.equal(a[name], b[name]) for name in a)
    best = load(tmp_path / "precise/checkpoints/best.pt")["state_dict"]
    assert torch.equal(best["fc.weight"], b["fc.weight"])
    assert not torch.allclose(best["backbone.1.running_mean"], b["backbone.1.running_mean"])


def test_loss_of_the_validation_data(toy: ModuleType) -> None:
    torch.manual_seed(0)
    model = toy.Net()
    whole = toy.Loader(toy.Points(13), [toy.Read()], LoaderOptions(batch_size=13))
    parts = toy.Loader(toy.Points(13), [toy.Read()], LoaderOptions(batch_size=4))
    wanted = evaluate(model, whole, {}, losses=True).scores
    batch = next(iter(whole))
    with torch.no_grad():
        losses = {k: float(v) for k, v in model.eval().loss(model(batch.inputs), batch).items()}
    assert wanted == pytest.approx(
        {
            "val/loss": losses["loss_cls"] + losses["loss_size"],
            "val/loss_cls": losses["loss_cls"],
            "val/loss_size": losses["loss_size"],
        }
    )
    assert evaluate(model, parts, {}, losses=True).scores == pytest.approx(wanted, rel=1e-6)
    assert "val/loss" not in evaluate(model, parts, {"acc": toy.Accuracy()}).scores


def test_a_run_stops_early(toy: ModuleType, tmp_path: Path) -> None:
    # the number of samples never changes: the first evaluation is the best
    result, _ = toy.train(tmp_path, epochs=10, best="acc/count", early_stop=3)
    assert (result.steps, result.epochs, result.stopped_early) == (24, 4, True)
    again, _ = toy.train(tmp_path, epochs=10, best="acc/count", early_stop=3)
    assert (again.resumed_step, again.steps) == (24, 24), "it stays finished"
    longer, _ = toy.train(tmp_path, epochs=10, best="acc/count", early_stop=5)
    assert (longer.resumed_step, longer.steps) == (24, 36)
    free, _ = toy.train(tmp_path / "free", epochs=5, best="acc/count")
    assert (free.steps, free.stopped_early) == (30, False)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.space = nn.Conv2d(3, 4, 3)
        self.time = nn.Conv3d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.time(self.space(x).unflatten(0, (-1, 4)).transpose(1, 2))
        return out


def test_channels_last() -> None:
    torch.manual_seed(0)
    model, x = Convolutions(), torch.randn(8, 3, 9, 9)
    wanted = model(x)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model = prepare(model, RuntimeOptions(channels_last=True), CPU)
    assert model.space.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.time.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert model.space(x).is_contiguous(memory_format=torch.channels_last), "the outputs follow the weights"
    torch.testing.assert_close(model(x), wanted)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    plain = prepare(Convolutions(), RuntimeOptions(), CPU)
    assert not plain.space.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_model_is_compiled(toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:  # the default backend needs a C++ compiler
        seen.append(graph)
        return graph.forward

    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend=backend))
        _, compiled = toy.train(tmp_path / "a", epochs=2, noisy=False, runtime={"compile": True})
    assert seen, "nothing was compiled"
    operations = {str(node.target) for graph in seen for node in graph.graph.nodes}
    assert any("linear" in o for o in operations) and not any("cross_entropy" in o for o in operations), operations
    found = len(seen)
    _, plain = toy.train(tmp_path / "b", epochs=2, noisy=False)
    assert len(seen) == found
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in compiled.state_dict().items())


def test_synchronised_batch_norm_requires_gpus(toy: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"runtime.sync_batchnorm: requires GPUs"):
        prepare(toy.Net(), RuntimeOptions(sync_batchnorm=True), CPU)
    model = prepare(toy.Net(), RuntimeOptions(sync_batchnorm=True), torch.device("meta"))
    assert isinstance(model.backbone[1], nn.SyncBatchNorm)


@pytest.mark.parametrize("options", [{"ema_decay": 1.0}, {"ema_decay": -0.1}, {"early_stop": 0}, {"precise_bn": -1}])
def test_values_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TrainOptions(**options)
