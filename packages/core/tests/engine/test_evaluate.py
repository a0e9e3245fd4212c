"""Evaluation without training."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.engine.evaluate import evaluate
from vidcore.errors import ConfigError, DataError


def held_out(toy: ModuleType, bad: tuple[int, ...] = (), **options: Any) -> Loader:
    return Loader(toy.Points(13), [toy.Read(frozenset(bad))], LoaderOptions(batch_size=4, **options))


def test_every_sample_is_scored_once(toy: ModuleType) -> None:
    model, told = toy.Net(), []
    model.train()
    found = evaluate(
        model, held_out(toy), {"acc": toy.Accuracy()}, on_progress=lambda done, total: told.append((done, total))
    )
    assert (found.samples, found.total, found.skipped) == (13, 13, 0)
    assert found.scores["acc/count"] == 13
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert model.training
    assert evaluate(model, held_out(toy), {"acc": toy.Accuracy()}).scores == found.scores


def test_the_model_is_in_evaluation_mode(toy: ModuleType) -> None:
    modes = []
    model = toy.Net().eval()
    model.register_forward_hook(lambda *_: modes.append(model.training))
    evaluate(model, held_out(toy), {})
    assert modes == [False] * 4
    assert not model.training


def test_coverage_counts_skipped_samples(toy: ModuleType) -> None:
    found = evaluate(toy.Net(), held_out(toy, bad=(0, 5), bad_budget=0.2), {"acc": toy.Accuracy()})
    assert (found.samples, found.total, found.skipped) == (11, 13, 2)
    with pytest.raises(
        DataError, match=r"none of 13 samples could be loaded, for example sample 0, step Read: 0.mp4: is not a vid"
    ):
        evaluate(toy.Net(), held_out(toy, bad=tuple(range(13)), bad_budget=1.0), {"acc": toy.Accuracy()})


def test_metrics_are_reset(toy: ModuleType) -> None:
    metric = toy.Accuracy()
    metric.right = {100: True}
    assert evaluate(toy.Net(), held_out(toy), {"acc": metric}).scores["acc/count"] == 13


def test_two_metrics_with_the_same_score_are_refused(toy: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"metrics.b: another metric already returns a score 'acc/top1'"):
        evaluate(toy.Net(), held_out(toy), {"a": toy.Accuracy(), "b": toy.Accuracy()})


def test_precision(toy: ModuleType) -> None:
    seen = []
    model = toy.Net()
    model.register_forward_hook(lambda module, args, output: seen.append(str(output.dtype)))
    evaluate(model, held_out(toy), {}, precision="bf16")
    assert set(seen) == {"torch.bfloat16"}


def test_a_metric_may_need_more_than_the_first_batch(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(metric: Any) -> dict[str, float]:
        if len(metric.right) < 13:
            raise DataError("there is no true segment in any video")
        return {"auc": 1.0}

    monkeypatch.setattr(toy.Accuracy, "compute", compute)
    metrics = {"auc": toy.Accuracy()}
    with pytest.warns(UserWarning, match=r"metrics\.auc cannot be computed from the first samples alone: there is no"):
        assert evaluate(toy.Net(), held_out(toy), metrics, losses=True, batches=1).scores == {}
    assert evaluate(toy.Net(), held_out(toy), metrics).scores == {"auc": 1.0}
    with pytest.raises(DataError, match="no true segment"):
        evaluate(toy.Net(), held_out(toy, bad=(0,)), metrics)


class Overflows:
    """A model whose scores (or only outputs) for sample 5 are not finite."""

    def __init__(self, toy: ModuleType, monkeypatch: pytest.MonkeyPatch, value: float, drops: bool = False) -> None:
        self.net, predict = toy.Net(), toy.Net.predict

        def predicted(net: Any, outputs: torch.Tensor, batch: Any) -> list[Any]:
            at = [i for i, sample in enumerate(batch.samples) if sample.index == 5]
            found = predict(net, outputs, batch)
            for i in at:
                outputs[i] = value
                if not drops:
                    found[i] = found[i].replace(scores=np.full(3, value, np.float32))
            return found

        monkeypatch.setattr(toy.Net, "predict", predicted)


@pytest.mark.parametrize(
    ("value", "drops", "reason"),
    [
        (float("nan"), False, "its scores contain NaN"),
        (float("inf"), False, "its scores contain Inf"),
        (float("nan"), True, "the outputs of the model contain NaN"),
    ],
)
def test_scores_that_are_not_finite_are_a_bad_sample(
    toy: ModuleType, monkeypatch: pytest.MonkeyPatch, value: float, drops: bool, reason: str
) -> None:
    model, loader = Overflows(toy, monkeypatch, value, drops).net, held_out(toy)
    found = evaluate(model, loader, {"acc": toy.Accuracy()}, losses=True)
    assert (found.samples, found.scores["acc/count"]) == (12, 12)
    assert np.isfinite(found.scores["val/loss"])
    assert str(loader.bad.failures[5]) == f"sample 5 (5.mp4), model: {reason}"
    with pytest.raises(DataError, match=rf"^sample 5 \(5.mp4\), model: {reason}$"):
        evaluate(model, held_out(toy, on_error="raise"), {"acc": toy.Accuracy()})


def test_a_model_that_only_predicts_nan_gets_no_score(toy: ModuleType) -> None:
    model = toy.Net()
    torch.nn.init.constant_(model.fc.weight, float("nan"))
    with pytest.raises(DataError, match=r"2 of 13 samples are bad, 1 is allowed; the first is sample 0.*contain NaN"):
        evaluate(model, held_out(toy), {"acc": toy.Accuracy()})
