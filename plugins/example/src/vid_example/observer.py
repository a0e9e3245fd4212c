"""An observer: writes a log of the evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidcore.protocols import Observer


class Diary(Observer):
    """Writes one line per evaluation to a text file in the run directory.

    Args:
        file: name of the file.
    """

    def __init__(self, file: str = "diary.txt") -> None:
        self.file = file

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self.path = run_dir / self.file

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        line = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
        with self.path.open("a", encoding="utf-8") as diary:
            diary.write(f"After epoch {epoch}: {line}\n")
