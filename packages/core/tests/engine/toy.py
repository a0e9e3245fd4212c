"""A dataset, a model and a metric that are small enough for tests; as a script, processes to kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import nn

from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.data.pool.training import TrainingData
from vidcore.engine import dist, shard
from vidcore.engine.checkpoint import Checkpoints, load
from vidcore.engine.evaluate import evaluate
from vidcore.engine.fit import fit
from vidcore.engine.observers import JsonLines
from vidcore.engine.optim import build_optimizer
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.prepare import prepare
from vidcore.engine.schedules import CosineAnnealingLR, LinearLR
from vidcore.engine.shard import local_shard
from vidcore.engine.step import Step
from vidcore.errors import VideoError
from vidcore.nn import Model
from vidcore.protocols import Dataset, Metric, Observer
from vidcore.randomness import reseed
from vidcore.sample import Sample
from vidcore.task.run_folder import RunFolder

CLASSES = 3


@frozen
class Points(Dataset):
    """Samples named ``0.mp4``, ``1.mp4``, ...; those in ``bad`` do not open."""

    size: int = 22
    class_names = ("a", "b", "c")
    num_classes = CLASSES

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=f"{index}.mp4", label=index % CLASSES)


@frozen
class Read:
    """Eight random numbers around the label."""

    bad: frozenset[int] = frozenset()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.index in self.bad:
            raise VideoError(sample.path, "is not a video")
        point = rng.normal(size=(1, 8)) + 2 * np.eye(CLASSES, 8)[sample.label]
        return sample.with_inputs(x=point.astype(np.float32))


formats: set[torch.dtype] = set()
"""Of the weights with which a model computed."""


class Net(Model):
    """With everything that makes resuming hard: batch statistics, dropout, noise on the inputs."""

    def __init__(
        self, classes: int = CLASSES, noisy: bool = True, norm: bool = True, blocks: int = 0, pairs: bool = False
    ) -> None:
        super().__init__()
        self.pairs = pairs
        normalise = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.backbone = nn.Sequential(nn.Linear(8, 16), normalise, nn.ReLU(), nn.Dropout(0.3 * noisy))
        self.backbone.extend(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(blocks))
        self.fc = nn.Linear(16, classes)
        self.noise = 0.1 * noisy

    def preprocess(self, batch: Any) -> Any:
        if self.training and self.noise:
            batch = batch.replace(inputs=batch.inputs + self.noise * torch.randn_like(batch.inputs))
            batch = batch.replace(inputs=batch.inputs * np.random.uniform(0.9, 1.1))
        return batch

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        formats.add(self.fc.weight.dtype)
        return self.fc(self.backbone(inputs[:, 0]))

    def loss(self, outputs: torch.Tensor, batch: Any) -> dict[str, torch.Tensor]:
        loss = nn.functional.cross_entropy(outputs, batch.labels)
        right = (outputs.argmax(1) == batch.labels).float().mean()
        found = {"loss_cls": loss, "loss_size": 1e-3 * outputs.square().mean(), "top1_acc": right}
        if self.pairs:  # a loss over the samples of all processes
            rows = batch.collectives.all_gather(outputs)
            size = batch.collectives.all_reduce_mean(outputs.square().mean())
            found["loss_pairs"] = (rows @ rows.T).square().mean() / (1 + size)
        return found

    def predict(self, outputs: torch.Tensor, batch: Any) -> list[Sample]:
        scores = outputs.float().softmax(1).cpu().numpy()
        return [s.replace(scores=row) for s, row in zip(batch.samples, scores, strict=True)]


class Accuracy(Metric):
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.right: dict[int, bool] = {}

    def update(self, predictions: Any, targets: Any) -> None:
        for p, t in zip(predictions, targets, strict=True):
            self.right[t.index] = bool(p.scores.argmax() == t.label)

    def merge(self, others: Any) -> None:
        for other in others:
            self.right |= other.right

    def compute(self) -> dict[str, float]:
        return {"acc/top1": sum(self.right.values()) / len(self.right), "acc/count": len(self.right)}


class KillAt(Observer):
    """Kills the process as nothing else would: at a step, or in the middle of an evaluation."""

    def __init__(self, step: int | None = None, evaluation: int | None = None) -> None:
        self.step, self.evaluation, self.evaluations = step, evaluation, 0

    def on_step(self, epoch: int, step: int, values: Any) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_evaluation(self, epoch: int, step: int, scores: Any) -> None:
        self.evaluations += 1

    def on_progress(self, done: int, total: int) -> None:
        if self.evaluations + 1 == self.evaluation and done == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_save(call: int, moment: str) -> None:
    """Kill the process in the n-th file it makes durable: before the rename or right after it."""
    calls = 0
    original = Path.replace

    def replace(self: Path, target: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, target)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Path.replace = replace


def kill_while_writing(seconds: float) -> None:
    """Kill the process at a moment of its third checkpoint: while it is written, or soon after."""
    calls, original = 0, torch.save

    def save(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
        original(*arguments, **options)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    torch.save = save


def fail_at(step: int, how: str) -> None:
    """Let the n-th loss while training kill the process, raise, or use weights."""
    steps, original = 0, Net.loss

    def loss(self: Net, outputs: torch.Tensor, batch: Any) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += self.training
        if steps == step and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if steps == step and how == "raise":
            raise ValueError("the planets are wrong")
        if steps == step:  # weights that only forward may use
            outputs = outputs @ self.fc.weight
        return original(self, outputs, batch)

    Net.loss = loss


def train(
    folder: Path | str,
    *,
    workers: int = 0,
    bad: tuple[int, ...] = (),
    bad_budget: float = 0.5,
    observers: tuple[Observer, ...] = (),
    noisy: bool = True,
    norm: bool = True,
    batch_size: int = 4,
    size: int = 22,
    model: Any = None,
    runtime: dict[str, Any] | None = None,
    resume: bool = True,
    on_error: Any = None,
    validation: bool = True,
    extra: int = 0,
    blocks: int = 0,
    pairs: bool = False,
    idle: bool = False,
    schedules: Any = None,
    resume_from: Path | None = None,
    plugins: dict[str, str] | None = None,
    **options: Any,
) -> tuple[Any, nn.Module]:
    """Train for three epochs (or with ``options``) in a folder, resuming a run that is there."""
    here, machine = dist.world(), RuntimeOptions(**{"seed": 7, **(runtime or {})})
    options = {
        "epochs": 3,
        "log_interval": 1,
        "clip_norm": 5.0,
        **({"epochs": None} if "steps" in options else {}),
        **options,
    }
    reseed(7)
    training = TrainOptions(**options)
    model = model or Net(noisy=noisy, norm=norm, blocks=blocks, pairs=pairs)
    if idle:  # a parameter without a gradient
        model.idle = nn.Parameter(torch.ones(1))
    model = prepare(model, machine, torch.device("cpu"))
    loading = LoaderOptions(batch_size=batch_size, workers=workers, on_error=on_error, bad_budget=bad_budget)
    run = RunFolder.prepare(folder, "", resume=resume) if here.rank == 0 else RunFolder(Path(folder))
    place = {"seed": 7, "rank": here.rank, "world": here.size}
    steps = {"read": Read(frozenset(bad))}
    loader = Loader(Points(size), steps, loading, training=True, bad_list=run.bad_samples, **place)
    statistics = Loader(Points(size), steps, loading, training=True, **place) if training.precise_bn else None
    others = {"more": Loader(Points(extra), steps, loading, training=True, **place)} if extra else {}
    held_out = Loader(Points(13), steps, loading, **place)
    built = build_optimizer(torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.01}, model)
    warm_up = LinearLR(start_factor=0.1, end=1, convert_to_iter_based=True)
    schedules = schedules or [warm_up, CosineAnnealingLR(eta_min=1e-4, convert_to_iter_based=True)]

    def validate() -> dict[str, float]:
        def tell(done: int, total: int) -> None:
            for observer in observers:
                observer.on_progress(done, total)

        return evaluate(model, held_out, {"acc": Accuracy()}, machine.precision, tell, losses=training.val_loss).scores

    result = fit(
        Step(model, built, training, machine),
        TrainingData(loader, others, statistics),
        run.path,
        schedules,
        validate=validate if validation else None,
        observers=[JsonLines(), *observers],
        about={"class_names": list(Points.class_names)} | ({"plugins": plugins} if plugins else {}),
        resume_from=resume_from,
    )
    loader.close()
    return result, model


def records(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """What a run logged, of one kind or all, without the seconds it took."""
    lines = (folder / "metrics.jsonl").read_text().replace('"nan"', "NaN").splitlines()  # fp16 finds its scale
    found = [{k: v for k, v in json.loads(line).items() if not k.startswith("seconds/")} for line in lines]
    return [record for record in found if kind in (None, record["kind"])]


def newest(folder: Path) -> dict[str, Any]:
    """The last checkpoint of a run."""
    return load(Checkpoints(folder / "checkpoints").paths()[-1])


def _scenario(
    folder: str,
    kill: dict[str, int] | None = None,
    save: Any = None,
    kill_in_write: float | None = None,
    **arguments: Any,
) -> None:
    if save:
        kill_in_save(*save)
    if kill_in_write is not None:
        kill_while_writing(kill_in_write)
    train(folder, observers=(KillAt(**kill),) if kill else (), **arguments)


def torchrun(*runs: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Train in two processes, with the arguments of ``train`` for one run after another.

    A run may have ``fault``: the ``rank`` that fails, and the arguments of ``fail_at``. Each process leaves a
    ``rank0.json`` in the run's folder.
    """
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [__file__, json.dumps(runs, default=str)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def _among_others(runs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    shard.GROUP = 100  # so that a toy has several
    dist.join(torch.device("cpu"))
    for run in runs:
        fault = run.pop("fault", None)
        if fault and fault.pop("rank") == dist.world().rank:
            fail_at(**fault)
        formats.clear()
        _, model = train(**run)
        held = {
            "weights": sum(local_shard(p).numel() for p in model.parameters()),
            "formats": sorted(map(str, formats)),
        }
        held["groups"] = sum(map(shard.is_sharded, model.modules()))
        held["statistics"] = [float(value.sum()) for value in model.buffers()]
        (Path(run["folder"]) / f"rank{dist.world().rank}.json").write_text(json.dumps(held))
        del model
    dist.leave()
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]  # of Linux
    assert not any("gloo" in name for name in names), f"threads that outlive the group can abort the exit: {names}"


def serve() -> None:
    """Run each scenario that comes on a line of stdin in a fresh process, and answer its exit code."""
    import torch._dynamo  # the first optimizer imports it, which takes longer than training here

    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                _scenario(**json.loads(line))
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _among_others(json.loads(sys.argv[1]))
    else:
        serve()
