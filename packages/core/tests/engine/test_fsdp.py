"""Two processes with sharded weights train like one, and write the same files."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from vidcore_toy import newest, records

from vidcore.data.options import LoaderOptions
from vidcore.engine import shard
from vidcore.engine.checkpoint import load
from vidcore.engine.evaluate import evaluate
from vidcore.engine.optim import build_optimizer
from vidcore.engine.options import RuntimeOptions
from vidcore.engine.weights import load_weights
from vidcore.errors import ConfigError

PLAIN = {"batch_size": 2, "size": 24, "noisy": False, "norm": False, "blocks": 2}
OPTIONS = {
    "batch_size": 2,
    "size": 24,
    "ema_decay": 0.8,
    "precise_bn": 2,
    "val_loss": True,
    "best": "val/loss",
    "blocks": 2,
}
FSDP = {"strategy": "fsdp"}
WEIGHTS = 8 * 16 + 16 + 2 * (16 * 16 + 16) + 16 * 3 + 3
"""Of the toy without a batch norm."""


@pytest.fixture(scope="module")
def pair(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes, one of them without sharding."""
    folder = tmp_path_factory.mktemp("fsdp")
    done = toy.torchrun(
        {"folder": folder / "ddp", **PLAIN},
        {"folder": folder / "plain", **PLAIN, "runtime": FSDP},
        {"folder": folder / "accumulated", **PLAIN, "batch_size": 1, "accumulate": 2, "runtime": FSDP},
        {"folder": folder / "several", **PLAIN, "extra": 24, "runtime": FSDP},
        {"folder": folder / "averaged", **PLAIN, "ema_decay": 0.7, "clip_value": 0.01, "runtime": FSDP},
        {"folder": folder / "bf16", **PLAIN, "runtime": {**FSDP, "precision": "bf16"}},
        {"folder": folder / "fp16", **PLAIN, "runtime": {**FSDP, "precision": "fp16"}},
        {"folder": folder / "norms", **PLAIN, "norm": True, "steps": 2, "runtime": {**FSDP, "precision": "bf16"}},
        {"folder": folder / "all", **OPTIONS, "runtime": FSDP},
    )
    assert done.returncode == 0, done.stderr
    return folder


def held(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_each_process_holds_a_shard(pair: Path) -> None:
    assert [h["weights"] for h in held(pair / "ddp")] == [WEIGHTS, WEIGHTS]
    shares = [h["weights"] for h in held(pair / "plain")]
    assert sum(shares) == WEIGHTS
    assert max(shares) < 0.6 * WEIGHTS


def test_large_blocks_are_gathered_one_by_one(pair: Path) -> None:
    assert [h["groups"] for h in held(pair / "ddp")] == [0, 0]
    assert [h["groups"] for h in held(pair / "plain")] == [3, 3], "two blocks and the rest"


def test_a_model_that_bypasses_its_layers_is_reported(toy: ModuleType, tmp_path: Path) -> None:
    fault = {"rank": 1, "step": 1, "how": "use weights"}
    done = toy.torchrun({"folder": tmp_path, **PLAIN, "runtime": FSDP, "fault": fault})
    assert done.returncode != 0
    assert 'ConfigError: runtime.strategy = "fsdp": Net uses the weights of a layer without calling it' in done.stderr


@pytest.mark.parametrize(
    ("name", "more", "tolerance"),
    [
        ("plain", {}, 1e-5),
        ("accumulated", {}, 1e-5),
        ("several", {"extra": 24}, 1e-5),
        ("averaged", {"ema_decay": 0.7, "clip_value": 0.01}, 1e-5),
        ("bf16", {"runtime": {"precision": "bf16"}}, 5e-3),
        ("fp16", {"runtime": {"precision": "fp16"}}, 5e-3),
    ],
)
def test_two_processes_equal_one_with_twice_the_batch(
    toy: ModuleType, pair: Path, tmp_path: Path, name: str, more: dict[str, Any], tolerance: float
) -> None:
    toy.train(tmp_path, batch_size=4, size=24, noisy=False, norm=False, blocks=2, **more)
    ours, theirs = records(tmp_path), records(pair / name)
    assert len(ours) == len(theirs) == 24
    for a, b in zip(ours, theirs, strict=True):
        assert a.pop("kind") == b.pop("kind")
        assert b == pytest.approx(a, rel=tolerance, abs=tolerance / 10, nan_ok=True)
    a, b = newest(tmp_path), newest(pair / name)
    for part in ("state_dict", "training_weights"):
        assert a[part].keys() == b[part].keys()
        for key, value in a[part].items():
            torch.testing.assert_close(b[part][key], value, rtol=10 * tolerance, atol=tolerance)
    assert a["model"] == b["model"] == "Net"
    for number, values in a["optimizer"]["state"].items():
        for key, value in values.items():
            torch.testing.assert_close(b["optimizer"]["state"][number][key], value, rtol=10 * tolerance, atol=tolerance)


def test_weights_are_gathered_in_the_precision_of_the_run_unless_norms_need_float32(pair: Path) -> None:
    formats = {name: held(pair / name)[1]["formats"] for name in ("plain", "bf16", "fp16", "norms")}
    assert formats == {
        "plain": ["torch.float32"],
        "bf16": ["torch.bfloat16"],
        "fp16": ["torch.float16"],
        "norms": ["torch.float32"],
    }


def test_checkpoints_load_in_one_process(toy: ModuleType, pair: Path) -> None:
    best = pair / "all/checkpoints/best.pt"
    model = toy.Net(blocks=2)
    load_weights(model, best)
    held_out = toy.Loader(toy.Points(13), [toy.Read()], LoaderOptions(batch_size=4), seed=7)
    alone = evaluate(model, held_out, {"acc": toy.Accuracy()}, losses=True).scores
    assert alone == pytest.approx(load(best)["scores"], rel=1e-6)


def test_a_run_resumes_exactly_after_a_process_was_killed(toy: ModuleType, pair: Path, tmp_path: Path) -> None:
    arguments = {"folder": tmp_path, **OPTIONS, "runtime": FSDP}
    killed = toy.torchrun(arguments | {"fault": {"rank": 0, "step": 10, "how": "kill"}})
    assert killed.returncode != 0
    assert newest(tmp_path)["step"] == 6
    resumed = toy.torchrun(arguments)
    assert resumed.returncode == 0, resumed.stderr
    a, b = newest(pair / "all"), newest(tmp_path)
    assert a["step"] == b["step"] == 18
    for part in ("state_dict", "training_weights"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    assert [r for r in records(tmp_path) if r["step"] > 6] == [r for r in records(pair / "all") if r["step"] > 6]


@pytest.mark.parametrize("name", ["channels_last", "find_unused_parameters"])
def test_incompatible_options(name: str) -> None:
    with pytest.raises(ValueError, match=f'^{name} = true does not work with strategy = "fsdp"'):
        RuntimeOptions(strategy="fsdp", **{name: True})


@pytest.mark.parametrize("name", ["Adafactor", "Rprop"])
def test_optimizers_that_need_full_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcore.engine.optim.is_sharded_tensor", lambda parameter: True)
    with pytest.raises(ConfigError, match=rf'^optimizer.type = "{name}" does not support runtime.strategy = "fsdp"'):
        build_optimizer(getattr(torch.optim, name), {"lr": 0.1}, torch.nn.Linear(2, 2))


def test_an_older_pytorch(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.distributed.fsdp.fully_shard")
    with pytest.raises(ConfigError, match=r'^runtime.strategy = "fsdp": requires PyTorch 2.6'):
        shard.shard(toy.Net(), None, torch.device("cpu"))
