"""Observers for a Task: TensorBoard, Weights & Biases."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vidcore.engine.observers import Recorder
from vidcore.errors import UserError
from vidcore.files import write_text
from vidcore.locks import guard

__all__ = ["TensorBoard", "WandB"]


class TensorBoard(Recorder):
    """Writes curves for TensorBoard: ``tensorboard --logdir runs`` shows them. Requires ``vidcore[tensorboard]``.

    Args:
        folder: where to write, within the run folder.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: str = "tensorboard") -> None:
        try:
            import tensorboard  # noqa: F401  used by PyTorch's writer
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("TensorBoard is not installed: pip install 'vidcore[tensorboard]'") from error
        self._open = SummaryWriter
        self._writer: Any = None
        self.folder = folder

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        # hides the values of repeated steps
        self._writer = self._open(str(guard(run_dir / self.folder)), purge_step=self._step + 1)

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
    """Sends a run to Weights & Biases, or keeps it for ``wandb sync``. Requires ``vidcore[wandb]``.

    A resumed run continues the same W&B run, whose id is in ``wandb_id.txt`` in the run folder.

    Args:
        project: W&B project.
        name: of the run; default: the name of the Task.
        mode: ``offline`` keeps everything in the run folder.
        tags: W&B tags.

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
        known = re.fullmatch(rb"[\w-]{1,64}", identity.read_bytes().strip()) if identity.exists() else None
        name = known[0].decode() if known else uuid.uuid4().hex[:8]
        write_text(identity, name)
        self._run = self._wandb.init(
            project=self.project,
            name=self.name or info.get("task"),
            id=name,
            resume="allow",
            dir=run_dir,
            mode=self.mode,
            tags=self.tags,
            config=dict(info),
            settings=self._wandb.Settings(silent=True),
        )
        self._run.define_metric("*", step_metric="at")  # W&B's own step cannot go back when a run resumes

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()} | {"at": step})

    def on_failure(self, error: BaseException) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1)

    def on_end(self, report: Mapping[str, Any]) -> None:
        for name, score in report.get("scores", {}).items():
            self._run.summary[f"final/{name}"] = score
        self._run.finish()
