"""From a Task to a trained and evaluated model: what ``vidcore run`` and ``vidcore test`` do."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, frozen

from vidcore.config.bind import Call, build
from vidcore.config.task import DataPart, Task, num_classes
from vidcore.config.toml import dumps
from vidcore.data.loader import Loader
from vidcore.engine import dist
from vidcore.engine.advice import LoadingAdvice
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.curves import draw_curves
from vidcore.engine.evaluate import Evaluation, evaluate
from vidcore.engine.fit import fit
from vidcore.engine.observers import Console, JsonLines, Observers
from vidcore.engine.optim import build_optimizer
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.prepare import prepare
from vidcore.engine.rundir import RunFolder
from vidcore.engine.seeds import be_deterministic, reseed
from vidcore.engine.weights import load_state, load_weights, read_weights
from vidcore.errors import ConfigError, DataError
from vidcore.files import write_json
from vidcore.predictions import DumpPredictions, PredictionFile

__all__ = ["evaluate_checkpoint", "score_predictions", "train"]

EVALUATING = ("early_stop", "best", "best_rule", "val_loss", "precise_bn")
"""Options of ``[train]`` that matter where the model is evaluated."""


@dist.then_leave
def train(task: Task, run_dir: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Train the model of a Task, evaluate the best weights, and write everything into a run folder.

    Args:
        task: with at least ``data.train`` and ``optimizer``.
        run_dir: where to write; else ``runtime.run_dir``, else ``runs/<task name>``.
        resume: continue the run in that folder; without it, a folder that holds a run is refused.

    Returns:
        What ``report.json`` holds.

    Raises:
        UserError: anything of the Task, its data or the folder is wrong.
    """
    task.require("data.train", "optimizer")
    setting = _Setting.of(task)
    folder = _run_folder(task, setting, run_dir, resume)
    options: TrainOptions = task.build("train")
    loaders = {part: setting.loader(part, folder) for part in ("train", "val", "test") if task.get(f"data.{part}")}
    also = {name: setting.loader(f"train_also.{name}", folder) for name in task.get("data.train_also") or ()}
    _check_names({part: loader.dataset.class_names for part, loader in loaders.items()})
    statistics = setting.loader("train", folder, "statistics") if options.precise_bn else None
    started = resume and folder.started
    model = _build_model(task, setting, options, started)
    scale = 1.0 if started else _scale(options, loaders["train"], setting)  # a checkpoint has the rates
    optimizer = _build_optimizer(task, setting, model, scale)
    metrics = task.build("metrics")
    validates = "val" in loaders and bool(metrics or options.val_loss)
    idle = [] if validates else _idle(options)
    console = Console()
    loading = LoadingAdvice(loaders["train"], console.say)
    observers = [console, JsonLines(), loading, *task.build("observers").values()]
    tell = Observers(observers if setting.rank == 0 else [])

    if setting.rank == 0:
        for notice in idle:
            print(f"note: {notice}", file=sys.stderr)

    def validate() -> Mapping[str, float]:
        precision = setting.runtime.precision
        return evaluate(model, loaders["val"], metrics, precision, tell.on_progress, losses=options.val_loss).scores

    schedules = (task.build("schedule") or {}).values()
    class_names = loaders["train"].dataset.class_names
    fitted = fit(
        model,
        loaders["train"],
        optimizer,
        schedules,
        options,
        setting.runtime,
        run=folder,
        also=also,
        statistics=statistics,
        validate=validate if validates else None,
        observers=observers,
        about={"task": task.name, "class_names": list(class_names) if class_names else None},
    )
    for loader in (loaders["train"], *also.values()):
        loader.close()
    if fitted.stopped_early and setting.rank == 0:
        best_so_far = f"{fitted.best['score']} {fitted.best['value']:.4g} of epoch {fitted.best['epoch']}"
        print(f"stopped early: {best_so_far} was not reached again", file=sys.stderr)
    training = asdict(fitted) | {"data": _coverage(loaders["train"]), "loading": loading.report()}
    report = _header(task, model) | {"training": training, "notices": idle + _notices(loaders)}
    part = next((p for p in ("test", "val") if p in loaders), None)
    best = Checkpoints(folder.checkpoints).best
    with tell.watching():
        if part and metrics:
            if best.exists():
                load_weights(model, best)
                report["weights"] = str(best)
            found = evaluate(model, loaders[part], metrics, setting.runtime.precision, tell.on_progress)
            report |= _evaluated(task, part, loaders[part], found)
        tell.on_end(report)
    if setting.rank == 0:
        curves = draw_curves(folder.metrics, folder.path / "curves.png")
        written = [folder.task, folder.metrics, *([curves] if curves else []), best]
        _finish(folder.path, report, metrics if part else {}, written)
    return report


@dist.then_leave
def evaluate_checkpoint(
    task: Task, checkpoint: Path, run_dir: Path | None = None, dump: Path | None = None
) -> dict[str, Any]:
    """Evaluate a checkpoint on the test data of a Task (its validation data where it has no other).

    Args:
        task: with ``data.test`` or ``data.val``, and ``metrics``.
        checkpoint: of a run, or published.
        run_dir: where to write the report and pictures; else beside ``runtime.run_dir`` or in
            ``runs/<task name>-test``.
        dump: file for the predictions (``.npz``), to be scored again or fused later.

    Returns:
        What ``report.json`` holds.
    """
    part = "test" if task.get("data.test") else "val"
    task.require(f"data.{part}", "metrics")
    setting = _Setting.of(task)
    path = run_dir or Path("runs") / f"{task.name}-test"
    path.mkdir(parents=True, exist_ok=True)
    loader = setting.loader(part, RunFolder(path))
    model = task.build("model")
    load_weights(model, checkpoint)
    model = prepare(model, setting.runtime, setting.device)
    metrics = task.build("metrics")
    if dump is not None:
        metrics = {**metrics, "dump": DumpPredictions(str(dump.absolute()))}
    console = Observers([Console()] if setting.rank == 0 else [])
    console.on_start(path, {"steps": 0, "steps_per_epoch": 1, "resumed_step": 0, "parameters": 0})
    with console.watching():
        found = evaluate(model, loader, metrics, setting.runtime.precision, console.on_progress)
    report = _header(task, model) | {"weights": str(checkpoint), "notices": _notices({part: loader})}
    report |= _evaluated(task, part, loader, found)
    console.on_end(report)
    if setting.rank == 0:
        _finish(path, report, metrics, [])
    return report


def score_predictions(task: Task, file: PredictionFile, folder: Path, source: str) -> dict[str, Any]:
    """Score predictions with the metrics of a Task, and write report and pictures.

    Args:
        task: with ``metrics``; nothing else of it is used.
        file: predictions and the truth.
        folder: where to write.
        source: where the predictions come from, for the report.

    Returns:
        What ``report.json`` holds.
    """
    task.require("metrics")
    metrics = task.build("metrics")
    scores: dict[str, float] = {}
    for metric in metrics.values():
        metric.update(file.predictions, file.targets)
        scores |= metric.compute()
    report = _header(task) | {
        "scores": scores,
        "protocol": {"data": source, "pipeline": [], "coverage": f"{len(file.predictions)} samples"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    _finish(folder, report, metrics, [])
    return report


@frozen
class _Setting:
    """The machine and this process's place in it."""

    task: Task
    runtime: RuntimeOptions
    device: torch.device
    rank: int
    world: int

    @classmethod
    def of(cls, task: Task) -> _Setting:
        runtime = task.build("runtime")
        device = dist.pick_device(runtime.device)
        world = dist.join(device)
        if runtime.deterministic:
            be_deterministic()
        return cls(task, runtime, device, world.rank, world.size)

    def loader(self, part: str, folder: RunFolder, name: str = "") -> Loader:
        options: DataPart = self.task.build(f"data.{part}")
        if not part.startswith("train_also."):  # their classes may be others
            _check_classes(self.task, part, options.dataset)
        name = name or part.removeprefix("train_also.")
        listed = folder.bad_samples.name if name == "train" else f"bad_samples_{name}.jsonl"
        loader = Loader(
            options.dataset,
            options.pipeline,
            options,
            training=part.startswith("train"),
            seed=self.runtime.seed,
            rank=self.rank,
            world=self.world,
            bad_list=folder.path / listed,
            pin_memory=self.device.type == "cuda",
            name=f"data.{part}",
        )
        if self.rank == 0 and name != "statistics":
            for notice in _notices({part: loader}):
                print(f"note: {notice}", file=sys.stderr)
        return loader


def _run_folder(task: Task, setting: _Setting, run_dir: Path | None, resume: bool) -> RunFolder:
    path = run_dir or setting.runtime.run_dir or Path("runs") / task.name
    if setting.rank == 0:
        RunFolder.prepare(path, dumps(task.table), resume)
    dist.broadcast(None)  # the others go on when the folder is there
    return RunFolder(path)


def _build_model(task: Task, setting: _Setting, options: TrainOptions, started: bool) -> Any:
    reseed(setting.runtime.seed)  # the same initial weights in every process and every run
    model = task.build("model")
    if options.weights and not started:
        weights, _ = read_weights(options.weights)
        ignore = list(options.weights_ignore)
        if hasattr(model, "adapt_weights"):  # of an image network, say
            adapted = model.adapt_weights(weights)
            if adapted is not None:
                weights = adapted
                ignore += [k for k in model.state_dict() if k not in weights]
        left_out = load_state(model, weights, new_classes=True, ignore=ignore, source=str(options.weights))
        if left_out and setting.rank == 0:
            print(f"not from {options.weights.name}, but new: {'; '.join(left_out)}", file=sys.stderr)
    return prepare(model, setting.runtime, setting.device)


def _build_optimizer(task: Task, setting: _Setting, model: torch.nn.Module, scale: float) -> torch.optim.Optimizer:
    call: Call = task.get("optimizer")
    arguments = build(call.arguments)
    if scale != 1:
        if "lr" not in arguments:
            raise ConfigError("train.base_batch_size: scales optimizer.lr, which must be given")
        if setting.rank == 0:
            new = arguments["lr"] * scale
            why = f"times {scale:g} for the samples in a step (train.base_batch_size)"
            print(f"learning rate {arguments['lr']:g} {why}: {new:g}", file=sys.stderr)
        arguments["lr"] *= scale
    return build_optimizer(call.component.load(), arguments, model, task.build("param_groups"))


def _scale(options: TrainOptions, loader: Loader, setting: _Setting) -> float:
    """Factor on the learning rate: samples in a step over those that it was chosen for."""
    samples = loader.options.batch_size * loader.options.num_repeats * options.accumulate * setting.world
    return samples / options.base_batch_size if options.base_batch_size else 1.0


def _check_classes(task: Task, part: str, dataset: Any) -> None:
    """More classes than the classifier has outputs must not wait for step 1 to be found."""
    wanted, names = num_classes(task.table["model"]), dataset.class_names
    known = len(names) if names else dataset.num_classes
    if wanted is not None and known is not None and known > wanted:
        raise DataError(
            f"data.{part}.dataset: has {known} classes, but the model's num_classes is {wanted}; set it to {known}"
        )


def _check_names(names: Mapping[str, tuple[str, ...] | None]) -> None:
    """Names inferred from two lists differ where one lacks a class: class 3 would be another in validation."""
    for part, theirs in names.items():
        if theirs != names["train"] and theirs and names["train"]:
            differ = sorted(set(theirs) ^ set(names["train"])) or ["their order"]
            raise DataError(
                f"data.{part}.dataset: its classes differ from those of data.train in {', '.join(differ[:5])}; "
                "list the classes of both in a file and name it in data.classes"
            )


def _header(task: Task, model: torch.nn.Module | None = None) -> dict[str, Any]:
    return {
        "task": task.name,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "parameters": sum(p.numel() for p in model.parameters()) if model else None,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "opencv-python-headless", "decord")}
        | {p.name: p.version for p in task.catalog.plugins if p.error is None},
    }


def _notices(loaders: Mapping[str, Loader]) -> list[str]:
    """What data sets want a reader of the scores to know."""
    return [f"data.{part}: {n}" for part, one in loaders.items() for n in getattr(one.dataset, "notices", ())]


def _idle(options: TrainOptions) -> list[str]:
    """What a run without evaluations does not heed."""
    asked = [n for n in EVALUATING if getattr(options, n) != getattr(TrainOptions(), n)]
    return [
        f"train.{name}: does nothing without evaluations while training: give data.val and metrics" for name in asked
    ]


def _coverage(loader: Loader) -> dict[str, Any]:
    """What of the data was used, and its fingerprint."""
    fingerprint = getattr(loader.dataset, "fingerprint", None)
    size = len(loader.dataset)
    return {
        "samples": size,
        "used": size - loader.skipped,
        "fingerprint": fingerprint() if fingerprint else None,
    }


def _evaluated(task: Task, part: str, loader: Loader, found: Evaluation) -> dict[str, Any]:
    steps = task.table["data"][part].get("pipeline", {})
    return {
        "scores": found.scores,
        "protocol": {
            "data": f"data.{part}",
            "pipeline": [_call_text(step) for step in steps.values()],
            "coverage": f"{found.samples} of {found.total} samples",
            "seconds": round(found.seconds, 3),
        },
        "evaluation_data": _coverage(loader),
    }


def _call_text(step: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{k}={v}" for k, v in step.items() if k != "type")
    return f"{step['type']}({arguments})"


def _finish(folder: Path, report: dict[str, Any], metrics: Mapping[str, Any], written: list[Path]) -> None:
    """Write report and pictures, and say what came out and where it is."""
    for metric in metrics.values():
        if hasattr(metric, "write"):
            written += metric.write(folder)
    report.setdefault("notices", []).extend(n for m in metrics.values() for n in getattr(m, "notices", ()))
    report["files"] = [str(p) for p in written if p.exists()]
    write_json(folder / "report.json", report)
    _print(report, folder / "report.json", [m.table() for m in metrics.values() if hasattr(m, "table")])


def _print(report: Mapping[str, Any], path: Path, tables: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    from rich.console import Console as Terminal
    from rich.table import Table

    terminal = Terminal(soft_wrap=True, highlight=False)
    for rows in tables:
        if 0 < len(rows) <= 30:  # longer ones are for files
            table = Table(*rows[0])
            for row in rows:
                table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
            terminal.print(table)
    if report.get("scores"):
        table = Table("score", "value", title=f"{report['task']}: {report['protocol']['coverage']}")
        for name, value in report["scores"].items():
            table.add_row(name, f"{value:.4f}")
        terminal.print(table)
        steps = ", ".join(report["protocol"]["pipeline"])
        terminal.print(f"on {report['protocol']['data']}{': ' if steps else ''}{steps}", markup=False)
    for notice in report["notices"]:
        terminal.print(f"note: {notice}", markup=False)
    for file in (*report["files"], str(path)):
        terminal.print(f"wrote {file}", markup=False)
