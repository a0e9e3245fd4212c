"""Extra training data in the same steps."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vidcore.batch import Batch
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.data.pool.training import TrainingData
from vidcore.engine.checkpoint import Checkpoints, load, save
from vidcore.engine.observers import Observers
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.step import Step
from vidcore.errors import CheckpointError
from vidcore.plugins.catalog import load_plugins
from vidcore.task.task import Task


def loader(toy: ModuleType, size: int, batch_size: int) -> Loader:
    return Loader(toy.Points(size), [toy.Read()], LoaderOptions(batch_size=batch_size), training=True)


def numbers(batch: Batch) -> list[int]:
    return [s.index for s in batch.samples]


def test_extra_data_has_its_own_epochs(toy: ModuleType) -> None:
    joint = list(TrainingData(loader(toy, 8, 2), {"more": loader(toy, 6, 3)}).batches_between(0, 8))
    alone = list(loader(toy, 6, 3).batches_between(0, 8))
    assert [numbers(b.extra["more"]) for b in joint] == [numbers(b) for b in alone]
    assert sorted(i for b in joint[:4] for i in numbers(b)) == list(range(8))
    later = list(TrainingData(loader(toy, 8, 2), {"more": loader(toy, 6, 3)}).batches_between(5, 8))
    assert [numbers(b.extra["more"]) for b in later] == [numbers(b) for b in alone[5:]]


def test_a_step_adds_the_losses(toy: ModuleType) -> None:
    def gradients(batch: Batch) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model = toy.Net(noisy=False, norm=False)
        step = Step(model, torch.optim.SGD(model.parameters(), lr=0.0), TrainOptions(), RuntimeOptions())
        losses = step([batch]).losses
        return [p.grad for p in model.parameters() if p.grad is not None], losses

    first, second = next(iter(loader(toy, 8, 4))), next(iter(loader(toy, 9, 3)))
    both, values = gradients(first.replace(extra={"more": second}))
    alone, alone_values = gradients(first)
    other, other_values = gradients(second)
    for ours, a, b in zip(both, alone, other, strict=True):
        torch.testing.assert_close(ours, a + b)
    assert values["loss"] == pytest.approx(float(alone_values["loss"] + other_values["loss"]))
    assert values["loss_cls"] == alone_values["loss_cls"]
    assert values["more/loss_cls"] == other_values["loss_cls"]


class Interrupted(Observers):
    """Ctrl-C in step 9."""

    def on_step(self, epoch: int, step: int, values: Any) -> None:
        super().on_step(epoch, step, values)
        if step == 9:
            raise KeyboardInterrupt


def test_a_run_resumes_at_the_position_of_each_loader(toy: ModuleType, tmp_path: Path) -> None:
    _, straight = toy.train(tmp_path / "straight", extra=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidcore.engine.fit.Observers", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            toy.train(tmp_path / "cut", extra=10)
    result, resumed = toy.train(tmp_path / "cut", extra=10)
    assert result.resumed_step == 6
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
    lines = [json.loads(line) for line in (tmp_path / "cut/metrics.jsonl").read_text().splitlines()]
    assert all("more/loss_cls" in line for line in lines if line["kind"] == "step")
    newest = load(Checkpoints(tmp_path / "cut/checkpoints").paths()[-1])
    assert newest["position"]["samples of data.train_extra.more"] == 10
    with pytest.raises(CheckpointError, match=r"samples of data.train_extra.more was 10 and is 11"):
        toy.train(tmp_path / "cut", extra=11, epochs=4)


def as_format_1(path: Path) -> None:
    """Rewrite a checkpoint as it was written before ``train_also`` became ``train_extra``."""
    content = load(path)

    def renamed(table: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("train_extra", "train_also"): value for name, value in table.items()}

    position = renamed(content["position"])
    position["samples in a step"] = renamed(position["samples in a step"])
    sums = {("seconds/" if kind == "seconds" else "") + name: v for (kind, name), v in content["epoch_sums"].items()}
    assert "data.train_also.more.batch_size" in position
    assert {"loss", "more/loss_cls", "top1_acc", "seconds/data"} <= sums.keys()
    save(path, content | {"format": 1, "position": position, "epoch_sums": sums})


def test_a_checkpoint_of_format_1_resumes_exactly(toy: ModuleType, tmp_path: Path) -> None:
    options: dict[str, Any] = {"extra": 10, "checkpoint_steps": 2, "ema_decay": 0.9}
    toy.train(tmp_path / "straight", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidcore.engine.fit.Observers", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            toy.train(tmp_path / "old", **options)
    as_format_1(Checkpoints(tmp_path / "old/checkpoints").paths()[-1])
    result, _ = toy.train(tmp_path / "old", **options)
    assert result.resumed_step == 8, "within an epoch"
    a, b = toy.newest(tmp_path / "straight"), toy.newest(tmp_path / "old")
    for part in ("state_dict", "training_weights"):
        assert all(torch.equal(value, b[part][name]) for name, value in a[part].items())
    assert toy.records(tmp_path / "straight") == toy.records(tmp_path / "old")


def test_extra_data_in_a_task(tmp_path: Path) -> None:
    table: dict[str, Any] = {"model": {"type": "Recognizer3D"}, "data": {"train_extra": {"more": {"batch_sise": 2}}}}
    with pytest.raises(Exception, match=r"data.train_extra.more.batch_sise: unknown key"):
        Task.from_table(table, load_plugins())


def test_the_main_data_defines_an_epoch(toy: ModuleType) -> None:
    data = TrainingData(loader(toy, 4, 2), {"more": loader(toy, 100, 2)})
    assert len(data) == len(list(islice(data.batches_between(0, 2), 10))) == 2
