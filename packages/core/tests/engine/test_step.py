"""One step, with its options."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from vidcore.batch import Batch, collate
from vidcore.engine.meters import Clock
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.step import Step
from vidcore.sample import Sample


def batch(numbers: range) -> Batch:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(100, 1, 8)).astype(np.float32)
    return collate([Sample(index=i, label=i % 3, inputs={"x": points[i]}) for i in numbers])


def net(toy: ModuleType) -> Any:
    torch.manual_seed(0)
    model = toy.Net(noisy=False)
    model.backbone[1] = torch.nn.Identity()  # batch statistics would differ between batches
    return model.train()


def stepped(toy: ModuleType, *batches: Batch, precision: Any = "fp32", **options: Any) -> tuple[Any, dict[str, Any]]:
    model = net(toy)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = Step(model, optimizer, TrainOptions(**options), RuntimeOptions(precision=precision))
    values = step(batches)
    return model, {k: float(v) for k, v in {**values.losses, **values.others}.items()}


def change(toy: ModuleType, model: Any) -> torch.Tensor:
    pairs = zip(model.parameters(), net(toy).parameters(), strict=True)
    return torch.cat([(a - b).detach().flatten() for a, b in pairs])


def test_losses_are_summed_and_other_values_only_reported(toy: ModuleType) -> None:
    _, values = stepped(toy, batch(range(8)))
    assert values["loss"] == pytest.approx(values["loss_cls"] + values["loss_size"])
    assert 0 <= values["top1_acc"] <= 1
    assert "grad_norm" not in values


def test_accumulation_equals_one_large_batch(toy: ModuleType) -> None:
    whole, values = stepped(toy, batch(range(11)))
    parts, means = stepped(toy, batch(range(4)), batch(range(4, 8)), batch(range(8, 11)), accumulate=3)
    torch.testing.assert_close(change(toy, parts), change(toy, whole), rtol=1e-5, atol=1e-6)
    assert means == pytest.approx(values, rel=1e-5)


def test_clipping_by_norm(toy: ModuleType) -> None:
    free, _ = stepped(toy, batch(range(8)))
    clipped, values = stepped(toy, batch(range(8)), clip_norm=0.01)
    assert values["grad_norm"] == pytest.approx(float(change(toy, free).norm()), rel=1e-4)
    assert float(change(toy, clipped).norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("kind", "order"), [(1.0, 1), ("inf", float("inf"))])
def test_clipping_by_another_norm(toy: ModuleType, kind: Any, order: float) -> None:
    free, _ = stepped(toy, batch(range(8)))
    clipped, values = stepped(toy, batch(range(8)), clip_norm=0.01, clip_norm_type=kind)
    assert values["grad_norm"] == pytest.approx(float(change(toy, free).norm(order)), rel=1e-4)
    assert float(change(toy, clipped).norm(order)) == pytest.approx(0.01, rel=1e-3)


def test_the_norm_of_gradients_is_logged_without_clipping(toy: ModuleType) -> None:
    free, values = stepped(toy, batch(range(8)))
    assert "grad_norm" not in values
    logged, values = stepped(toy, batch(range(8)), log_grad_norm=True)
    assert values["grad_norm"] == pytest.approx(float(change(toy, free).norm()), rel=1e-4)
    assert torch.equal(change(toy, logged), change(toy, free))


def test_clipping_by_value(toy: ModuleType) -> None:
    clipped, _ = stepped(toy, batch(range(8)), clip_value=1e-3)
    assert float(change(toy, clipped).abs().max()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_precision_of_the_forward_pass(toy: ModuleType, precision: str, dtype: torch.dtype) -> None:
    seen = []
    model = net(toy)
    model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    options = TrainOptions(clip_norm=1e9)
    step = Step(model, optimizer, options, RuntimeOptions(precision=precision))
    step.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=precision == "fp16")  # the first would overflow
    values = step([batch(range(8))])
    assert seen == [dtype]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    reference, exact = stepped(toy, batch(range(8)), clip_norm=1e9)
    assert float(values.others["grad_norm"]) == pytest.approx(exact["grad_norm"], rel=0.02), "the scale was left in"
    torch.testing.assert_close(change(toy, model), change(toy, reference), rtol=0.05, atol=5e-3)


def test_fp16_scales_the_loss_and_skips_steps_that_overflow(toy: ModuleType) -> None:
    model = net(toy)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = Step(model, optimizer, TrainOptions(), RuntimeOptions(precision="fp16"))
    scale = step.scaler.get_scale()
    assert scale > 1
    huge = batch(range(8))
    step([huge.replace(inputs=huge.inputs * 1e6)])
    assert not change(toy, model).any()
    assert step.scaler.get_scale() == scale / 2
    assert not Step(model, optimizer, TrainOptions(), RuntimeOptions()).scaler.is_enabled()


def test_every_second_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcore.engine.meters.time.perf_counter", iter([0.0, 1.0, 3.0, 6.0, 10.0]).__next__)
    clock = Clock()
    for phase in ("data", "forward", None, "data"):
        clock.lap(phase)
    assert clock.take() == {"data": 5.0, "forward": 2.0}
    assert clock.take() == {}
