"""Run the stages of a Task one after another; run a job, which writes files without training."""

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
from attrs import asdict, evolve, field, frozen

from vidcore.config.bind import Call
from vidcore.config.references import REFERENCE, references, stage_reference
from vidcore.config.toml import dumps
from vidcore.engine import dist
from vidcore.errors import UserError
from vidcore.files import write_json, write_text
from vidcore.locks import make_folder
from vidcore.mending import read_note
from vidcore.protocols import Observer
from vidcore.task.check import check_parts
from vidcore.task.report import report_scores
from vidcore.task.run_folder import RunFolder, identity
from vidcore.task.task import Task
from vidcore.task.train import train

__all__ = ["run_job", "run_stages"]

PATIENCE = timedelta(days=1)
"""How long the processes of a job wait for each other, since one may have far less work than another."""
COSMETIC_KEYS = ("checkpoint_interval", "checkpoint_steps", "keep", "log_interval")
"""Keys of ``[train]`` that do not change the result."""


def run_job(task: Task, run_dir: Path | None = None) -> None:
    """Run the job of a Task.

    Args:
        task: has a ``job``.
        run_dir: where the job writes; default: ``runtime.run_dir``, then ``runs/<task name>``.

    Raises:
        UserError: the Task, or the files that it reads, are not valid.
    """
    folder = run_dir or task.build("runtime").run_dir or Path("runs") / task.name
    with dist.process_group(torch.device("cpu"), PATIENCE) as world:
        make_folder(folder)
        task.build("job")(folder, world.rank, world.size, task.catalog)
        dist.gather(None)  # the next stage needs the files of all processes


def run_stages(
    task: Task, run_dir: Path | None = None, resume: bool = False, observers: Sequence[Observer] = ()
) -> dict[str, Any]:
    """Run the stages of a Task in order.

    Args:
        task: has ``stages``.
        run_dir: each stage writes to a folder of its name in it; default: ``runs/<task name>``.
        resume: resume the run in that folder. Finished stages are not run again.
        observers: called during the training of each stage.

    Returns:
        The content of ``report.json``.

    Raises:
        UserError: the Task, its data or the folder is not valid.
    """
    check_parts(task)  # to report a mistake in the last stage before the first one runs
    for stage in task.stages.values():
        stage.require(*(() if stage.get("job") else ("data.train", "optimizer")))
    folder = run_dir or Path("runs") / task.name
    first = int(os.environ.get("RANK", "0")) == 0
    if not first:
        return _run_stages(task, folder, first, observers)
    # other ranks may already see files of this run
    if not resume and any((folder / name / "stage.json").exists() for name in task.stages):
        raise UserError(f"{folder}: already holds a run; resume it, or choose another folder")
    with RunFolder(folder).claim():
        write_text(folder / "task.toml", dumps(task.table))
        return _run_stages(task, folder, first, observers)


def _run_stages(task: Task, folder: Path, first: bool, observers: Sequence[Observer]) -> dict[str, Any]:
    files = {name: _StageFile(folder / name / "stage.json") for name in task.stages}
    digests: dict[str, str] = {}
    for number, (name, stage) in enumerate(task.stages.items(), 1):
        uses = {other: digests[other] for other in sorted(references(stage.table))}
        digests[name] = _digest(stage.table, uses)
        wanted = _StageState(digests[name], uses, folder=str(folder.absolute()))
        found = files[name].read(mend=first)
        if found is not None and (found.uses != uses or (stage.get("job") and found.task != wanted.task)):
            raise UserError(
                f"{folder / name}: was made by a different job, or from stages that have changed; delete it to run the "
                "stage again, or choose another folder"
            )
        finished = found == evolve(wanted, done=True)
        if first:
            state = "is done" if finished else "starts"
            print(f"stage {number} of {len(task.stages)}, {name}: {state}", file=sys.stderr, flush=True)
        if finished:
            continue
        folders = {other: (folder / other).absolute() for other in uses}
        stage = _substitute_stages(stage, folders)
        if first:
            if not stage.get("job"):
                # refuses a folder of a different run
                RunFolder.prepare(folder / name, dumps(stage.table), resume=True, before=found.folder if found else "")
            files[name].write(wanted)
        if stage.get("job"):
            run_job(stage, folder / name)
        else:
            train(stage, folder / name, True, observers)
        if first:
            files[name].write(evolve(wanted, done=True))
    return _report(task, folder, first)


def _substitute_stages(stage: Task, folders: Mapping[str, Path]) -> Task:
    """Replace each ``{NAME}`` in a Task by the folder of that stage."""

    def substitute(value: Any) -> Any:
        if isinstance(value, str | Path):
            name = stage_reference(str(value), ("stages",))
            return value if name is None else type(value)(REFERENCE.sub(str(folders[name]), str(value), count=1))
        if isinstance(value, Mapping):
            return {k: substitute(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(substitute(v) for v in value)
        if isinstance(value, Call):  # not yet built
            return evolve(value, arguments=substitute(value.arguments))
        return value

    return evolve(stage, table=substitute(stage.table), bound=substitute(stage.bound))


def _report(task: Task, folder: Path, first: bool) -> dict[str, Any]:
    """Write the scores of all stages into one report."""
    files = {name: folder / name / "report.json" for name in task.stages}
    found = {name: read_note(file, report_scores, mend=first) for name, file in files.items()}
    scores = {name: of for name, of in found.items() if of is not None}
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
class _StageState:
    """State of a stage, written when it starts and when it is done."""

    task: str
    """Digest of the stage's Task."""
    uses: dict[str, str]
    """Digests of the stages it refers to."""
    done: bool = False
    folder: str = field(default="", eq=False)
    """Where all stages are. If they are moved, paths in the Task of the stage change."""

    @classmethod
    def parse(cls, row: Any) -> _StageState:
        """Raises ``TypeError``, ``ValueError`` or ``AttributeError`` if a row is something else."""
        state = cls(**row)
        if not all(isinstance(text, str) for text in (state.task, state.folder, *state.uses.values())):
            raise TypeError("digests and folder must be strings")
        if not isinstance(state.done, bool):
            raise TypeError(f"done is {state.done!r}")
        return state


@frozen
class _StageFile:
    """The file in the folder of a stage that holds its state."""

    path: Path

    def read(self, mend: bool) -> _StageState | None:
        """Return the state; None if the stage has not begun, or the file is damaged: it then resumes or runs again."""
        return read_note(self.path, _StageState.parse, mend)

    def write(self, state: _StageState) -> None:
        make_folder(self.path.parent)
        write_json(self.path, asdict(state))


def _digest(table: Mapping[str, Any], uses: Mapping[str, str]) -> str:
    """Fingerprint of everything the result of a stage depends on: its Task and the stages it refers to."""
    training = {k: v for k, v in table.get("train", {}).items() if k not in COSMETIC_KEYS}
    content = json.dumps([identity(table), training, uses], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
