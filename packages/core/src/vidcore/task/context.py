"""Objects of one training process, built from a Task: folder, loaders, model, optimizer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from attrs import field, frozen

from vidcore.config.bind import Call, build
from vidcore.config.toml import dumps
from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.optim import build_optimizer, given_or_default
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.prepare import prepare
from vidcore.errors import ConfigError, DataError
from vidcore.nn import Model
from vidcore.protocols import Dataset
from vidcore.randomness import be_deterministic, reseed
from vidcore.task.classes import num_classes
from vidcore.task.initial import load_initial_weights
from vidcore.task.label_checks import check_dataset_labels
from vidcore.task.log import LOGGER
from vidcore.task.notes import Notes
from vidcore.task.run_folder import RunFolder
from vidcore.task.schema import DataPart
from vidcore.task.task import Task

__all__ = ["RunContext", "check_class_count"]


@frozen
class RunContext:
    """A Task, with the device, rank and number of processes."""

    task: Task
    runtime: RuntimeOptions
    device: torch.device
    rank: int
    world: int
    notes: Notes = field(init=False)
    """Notes of the run so far."""

    @notes.default
    def _no_notes(self) -> Notes:
        return Notes(self.say)

    @classmethod
    @contextmanager
    def open(cls, task: Task) -> Iterator[RunContext]:
        """Join the process group for the block, if torchrun started several processes.

        No model may be referenced at its end: see ``dist.leave``.
        """
        runtime = task.build("runtime")
        device = dist.pick_device(runtime.device)
        with dist.process_group(device) as world:
            if runtime.cudnn_benchmark:
                torch.backends.cudnn.benchmark = True
            if runtime.deterministic:
                be_deterministic()
            yield cls(task, runtime, device, world.rank, world.size)

    def say(self, line: str) -> None:
        """Print and log a line for the user, on rank 0 only."""
        if self.rank == 0:
            print(line, file=sys.stderr)
            LOGGER.info(line)

    def run_folder(self, path: Path | None, resume: bool) -> RunFolder:
        """Create (on rank 0) and return the run folder: ``path``, ``runtime.run_dir`` or ``runs/<task name>``."""
        path = path or self.runtime.run_dir or Path("runs") / self.task.name
        if self.rank == 0:
            run = RunFolder.prepare(path, dumps(self.task.table), resume)
            dist.broadcast(run.changed)
        else:
            run = RunFolder(path, changed=dist.broadcast(()))  # waits until the folder exists
        if run.changed:
            one = len(run.changed) == 1
            changes = f" {run.changed[0]}" if one else "".join(f"\n  {change}" for change in run.changed)
            self.notes.add(f"the run in {path} resumes with changed settings:{changes}")
        return run

    def loader(self, part: str, folder: RunFolder, model: Model, name: str = "") -> Loader:
        """Return this process's loader of ``data.<part>`` for a model.

        Bad samples are listed in the folder, under ``name`` (default: the name of the part).
        """
        options: DataPart = self.task.build(f"data.{part}")
        if not part.startswith("train_extra."):  # their classes may differ
            note = check_class_count(self.task, f"data.{part}", options.dataset)
            if note and name != "statistics":
                self.say(f"note: {note}")
            check_dataset_labels(self.task, f"data.{part}", options.dataset)
        name = name or part.removeprefix("train_extra.")
        listed = folder.bad_samples.name if name == "train" else f"bad_samples_{name}.jsonl"
        return Loader(
            options.dataset,
            model.pipeline(options.pipeline),
            options,
            training=part.startswith("train"),
            seed=self.runtime.seed,
            rank=self.rank,
            world=self.world,
            bad_list=folder.path / listed,
            pin_memory=self.device.type == "cuda",
            name=f"data.{part}",
        )

    def model(self, options: TrainOptions, resumed: bool) -> Model:
        """Build the model to train, with ``train.weights`` unless a checkpoint of the run replaces them."""
        reseed(self.runtime.seed)  # for the same initial weights on every rank and in every run
        model: Model = self.task.build("model")
        if options.weights and not resumed:
            skipped = load_initial_weights(model, options, self.task.catalog, self.notes.add)
            if skipped:
                source = "weights of parts"
                if isinstance(options.weights, Path):
                    source = f"initialised at random, not from {options.weights.name}"
                self.notes.add(f"{source}: {'; '.join(skipped)}")
        model.train()  # backbones freeze weights in it, which the optimizer leaves out
        return prepare(model, self.runtime, self.device)

    def optimizer(
        self, model: torch.nn.Module, options: TrainOptions, loader: Loader, resumed: bool
    ) -> torch.optim.Optimizer:
        """Build the optimizer of a model, its learning rate scaled to the samples per step.

        A resumed run has the rates of its checkpoint.
        """
        call: Call = self.task.get("optimizer")
        factory, arguments = call.component.load(), build(call.arguments)
        samples = loader.options.batch_size * loader.options.num_repeats * options.accumulate * self.world
        scale = 1.0 if resumed else options.lr_scale(samples)
        lr = given_or_default(factory, arguments, "lr")
        if lr is not None and not resumed:
            self.say(options.lr_note(float(lr), samples))
        if scale != 1:
            if "lr" not in arguments:
                raise ConfigError("train.base_batch_size: scales optimizer.lr, which must be given")
            arguments["lr"] *= scale
        return build_optimizer(factory, arguments, model, self.task.build("param_groups"))


def check_class_count(task: Task, part: str, dataset: Dataset) -> str | None:
    """Return a note if the dataset of ``part`` (``"data.train"``) has fewer classes than the model has outputs.

    Raises ``DataError`` if it has more.
    """
    wanted, names = num_classes(task.table.get("model")), dataset.class_names
    known = len(names) if names else dataset.num_classes
    if wanted is None or known is None or known == wanted:
        return None
    found = f"{part}.dataset: has {known} classes, but the model's num_classes is {wanted}; set it to {known}"
    if known > wanted:
        raise DataError(found)
    return found if part == "data.train" else None
