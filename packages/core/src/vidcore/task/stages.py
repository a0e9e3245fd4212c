"""Running a Task of any kind: one that trains, a step, or stages of both."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, evolve, frozen

from vidcore.config.bind import Call
from vidcore.config.references import REFERENCE, references, referred
from vidcore.config.toml import dumps
from vidcore.engine import dist
from vidcore.errors import UserError
from vidcore.files import write_json, write_text
from vidcore.protocols import Observer
from vidcore.task.run_folder import RunFolder, identity
from vidcore.task.task import Task
from vidcore.task.train import train

__all__ = ["run"]

NO_MATTER = ("checkpoint_interval", "checkpoint_steps", "keep", "log_interval")
"""Keys of ``[train]`` that do not change what comes out."""


def run(
    task: Task, run_dir: Path | None = None, resume: bool = False, observers: Sequence[Observer] = ()
) -> dict[str, Any]:
    """Run a Task.

    Args:
        task: trains a model, or has a ``step`` or ``stages``.
        run_dir: where to write; else ``runtime.run_dir``, else ``runs/<task name>``. A stage has a folder of its
            name there.
        resume: continue what is there. Stages that are done are not run again.
        observers: told what happens while a model is trained, one stage after the other.

    Returns:
        What ``report.json`` holds; nothing for a step.

    Raises:
        UserError: anything of the Task, its data or the folder is wrong.
    """
    if task.stages:
        task.try_parts()  # a mistake in the last must not wait for the others
        for stage in task.stages.values():
            stage.require(*(() if stage.get("step") else ("data.train", "optimizer")))
        return _run_stages(task, run_dir or Path("runs") / task.name, resume, observers)
    if task.get("step"):
        return _run_step(task, run_dir or task.build("runtime").run_dir or Path("runs") / task.name)
    return train(task, run_dir, resume, observers)


def _run_step(task: Task, folder: Path) -> dict[str, Any]:
    world = dist.join(torch.device("cpu"), timedelta(days=1))  # a process may have far less to do than another
    folder.mkdir(parents=True, exist_ok=True)
    task.build("step")(folder, world.rank, world.size)
    dist.gather(None)  # what comes next needs the files of all
    dist.leave()
    return {}


def _run_stages(task: Task, folder: Path, resume: bool, observers: Sequence[Observer]) -> dict[str, Any]:
    stages = task.stages
    first = int(os.environ.get("RANK", "0")) == 0
    notes = {name: _Note(folder / name / "stage.json") for name in stages}
    if first:  # processes that were started together see what it has written already
        if not resume and any(note.file.exists() for note in notes.values()):
            raise UserError(f"{folder}: already holds a run; resume it, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "task.toml", dumps(task.table))
    digests: dict[str, str] = {}
    for number, (name, stage) in enumerate(stages.items(), 1):
        uses = {other: digests[other] for other in sorted(references(stage.table))}
        digests[name] = _digest(stage.table, uses)
        wanted, found = _State(digests[name], uses), notes[name].read()
        if found is not None and (found.uses != uses or (stage.get("step") and found.task != wanted.task)):
            raise UserError(
                f"{folder / name}: was made by another step, or from other stages than there are now; delete it to "
                "have it made again, or choose another folder"
            )
        finished = found == evolve(wanted, done=True)
        if first:
            state = "is done" if finished else "begins"
            print(f"stage {number} of {len(stages)}, {name}: {state}", file=sys.stderr, flush=True)
        if finished:
            continue
        places = {other: (folder / other).absolute() for other in uses}
        here = evolve(stage, table=resolved(stage.table, places), bound=resolved(stage.bound, places))
        if first:
            if not stage.get("step"):
                RunFolder.prepare(folder / name, dumps(here.table), resume=True)  # before anything is noted
            notes[name].write(wanted)
        if stage.get("step"):
            _run_step(here, folder / name)
        else:
            train(here, folder / name, True, observers)
        if first:
            notes[name].write(evolve(wanted, done=True))
    return _report(task, folder, first)


def resolved(value: Any, folders: Mapping[str, Path]) -> Any:
    """A table, or what the binder made of it, with folders in place of references."""
    if isinstance(value, str | Path):
        name = referred(str(value), ("stages",))
        return value if name is None else type(value)(REFERENCE.sub(str(folders[name]), str(value), count=1))
    if isinstance(value, Mapping):
        return {k: resolved(v, folders) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolved(v, folders) for v in value)
    if isinstance(value, Call):  # still to be made
        return evolve(value, arguments=resolved(value.arguments, folders))
    return value


def _report(task: Task, folder: Path, first: bool) -> dict[str, Any]:
    """Put the scores of all stages into one file."""
    files = {name: folder / name / "report.json" for name in task.stages}
    reports = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    scores = {name: report.get("scores", {}) for name, report in reports.items()}
    report = {
        "task": task.name,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "scores": next((s for s in reversed(scores.values()) if s), {}),
        "stages": scores,
    }
    if first:
        write_json(folder / "report.json", report)
    return report


@frozen
class _State:
    """What a run notes of a stage when it begins, and again when it is done."""

    task: str
    """Digest of the stage's Task."""
    uses: dict[str, str]
    """Digests of the stages it refers to."""
    done: bool = False


@frozen
class _Note:
    """The file in a stage's folder that holds its state."""

    file: Path

    def read(self) -> _State | None:
        return _State(**json.loads(self.file.read_text(encoding="utf-8"))) if self.file.exists() else None

    def write(self, state: _State) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, asdict(state))


def _digest(table: Mapping[str, Any], uses: Mapping[str, str]) -> str:
    """A fingerprint of what a stage comes out as: its Task, as far as it matters, and the stages it refers to."""
    training = {k: v for k, v in table.get("train", {}).items() if k not in NO_MATTER}
    content = json.dumps([identity(table), training, uses], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
