"""Observers that a Task may ask for: tables for a spreadsheet, TensorBoard, Weights & Biases."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vidcore.engine.observers import Recorder
from vidcore.errors import UserError
from vidcore.files import write_text

__all__ = ["CSVLog", "TensorBoard", "WandB"]


class CSVLog(Recorder):
    """Writes ``steps.csv``, ``epochs.csv`` and ``evaluations.csv`` into the run folder, with a column for each name.

    When a run resumes, the lines of steps that are done again are dropped.
    """

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        last = {"step": self._step, "epoch": self._step, "evaluation": int(info.get("evaluated_step", 0))}
        self._tables = {kind: _Table(run_dir / f"{kind}s.csv", done) for kind, done in last.items()}

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._tables[kind].add({"epoch": epoch, "step": step, **values})


class _Table:
    """A CSV file with a column ``step``; new columns may come at any time."""

    def __init__(self, path: Path, last: int) -> None:
        """Keep what is there of steps up to ``last``."""
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            self._write([row for row in self._read() if int(row["step"]) <= last])

    def _read(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if None not in row.values()]  # without the line that a kill cut off

    def _write(self, rows: list[dict[str, str]]) -> None:
        self.columns = list(dict.fromkeys([*self.columns, *(name for row in rows for name in row)]))
        write_text(self.path, _lines([self.columns, *([row.get(c, "") for c in self.columns] for row in rows)]))

    def add(self, row: Mapping[str, float]) -> None:
        if not row.keys() <= set(self.columns):
            rows = self._read() if self.path.exists() else []
            self.columns = list(dict.fromkeys([*self.columns, *row]))
            self._write(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(_lines([[row.get(c, "") for c in self.columns]]))


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


class TensorBoard(Recorder):
    """Writes curves for TensorBoard: ``tensorboard --logdir runs`` shows them. Needs ``vidcore[tensorboard]``.

    Args:
        folder: where to write, in the run folder.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: str = "tensorboard") -> None:
        try:
            import tensorboard  # noqa: F401  what PyTorch's writer writes with
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("TensorBoard is not installed: pip install 'vidcore[tensorboard]'") from error
        self._open = SummaryWriter
        self._writer: Any = None
        self.folder = folder

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        # hides what was written of steps that are done again
        self._writer = self._open(str(run_dir / self.folder), purge_step=self._step + 1)

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)
        if kind == "evaluation":
            self._writer.flush()

    def on_failure(self, error: BaseException) -> None:
        self._close()

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WandB(Recorder):
    """Sends a run to Weights & Biases, or keeps it for ``wandb sync``. Needs ``vidcore[wandb]``.

    A run that resumes goes on under the same name there: its identity is in ``wandb_id.txt`` of the run folder.

    Args:
        project: where it appears.
        name: of the run; the name of the Task where not given.
        mode: ``offline`` keeps everything in the run folder.
        tags: to find it again.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(
        self,
        project: str,
        name: str | None = None,
        mode: Literal["online", "offline"] = "online",
        tags: list[str] | None = None,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UserError("wandb is not installed: pip install 'vidcore[wandb]'") from error
        self._wandb = wandb
        self._run: Any = None
        self.project, self.name, self.mode, self.tags = project, name, mode, tags

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        identity = run_dir / "wandb_id.txt"
        if not identity.exists():
            write_text(identity, uuid.uuid4().hex[:8])
        self._run = self._wandb.init(
            project=self.project,
            name=self.name or info.get("task"),
            id=identity.read_text(encoding="utf-8"),
            resume="allow",
            dir=run_dir,
            mode=self.mode,
            tags=self.tags,
            config=dict(info),
            settings=self._wandb.Settings(silent=True),
        )
        self._run.define_metric("*", step_metric="at")  # its own count of steps cannot go back when a run resumes

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()} | {"at": step})

    def on_failure(self, error: BaseException) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1)

    def on_end(self, report: Mapping[str, Any]) -> None:
        for name, score in report.get("scores", {}).items():
            self._run.summary[f"final/{name}"] = score
        self._run.finish()
