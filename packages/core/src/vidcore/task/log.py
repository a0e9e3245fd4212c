"""The log of a run: what it printed and more, with the time, for each process. Uses the logger ``vidcore``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidcore.engine.observers import Recorder
from vidcore.locks import guard

__all__ = ["LOGGER", "RunLog", "logging_to"]

LOGGER = logging.getLogger("vidcore")


class RunLog(Recorder):
    """Logs the events of a run."""

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        start = f"resumes at step {self._step}" if self._step else "starts"
        LOGGER.info(f"{start}: {info['steps']} steps, {info['steps_per_epoch']} in an epoch")
        for note in info.get("notes", ()):
            LOGGER.info(f"note: {note}")

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        LOGGER.info(f"saved {path.name}")

    def on_end(self, report: Mapping[str, Any]) -> None:
        self.record("end", report["training"]["epochs"], report["training"]["steps"], report.get("scores", {}))

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        LOGGER.info("  ".join([f"{kind}: epoch {epoch}", f"step {step}", *(f"{n} {v:.4g}" for n, v in values.items())]))


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Append what is logged in the block, warnings, and the traceback of an error that ends it, to a file."""
    handler = logging.FileHandler(guard(path), encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level, show = LOGGER.level, warnings.showwarning

    def show_and_log(message: Warning | str, *place: Any, **options: Any) -> None:
        LOGGER.warning(str(message))
        show(message, *place, **options)

    LOGGER.addHandler(handler)
    LOGGER.setLevel(min(level or logging.INFO, logging.INFO))
    warnings.showwarning = show_and_log
    try:
        yield
    except BaseException as error:
        LOGGER.error(f"ended by {type(error).__name__}: {error}", exc_info=error)
        raise
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        warnings.showwarning = show
        handler.close()
