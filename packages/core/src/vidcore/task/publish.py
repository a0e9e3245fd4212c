"""Publish the weights of a run as one file: ``vidcore publish``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.weights import read_weights
from vidcore.errors import UserError
from vidcore.files import dump_json, parse_json, sha256
from vidcore.task.run_folder import RunFolder

__all__ = ["publish"]


def publish(run: RunFolder, folder: Path, checkpoint: Path | None = None) -> Path:
    """Write the weights of a run, without the state of training, as a release file.

    The safetensors file is called ``<task>-<first 8 hex digits of its SHA-256>.safetensors``; readers check that hash.
    Its metadata has, as JSON under ``vidcore``: the model's table, the class names, the input contract (the test
    pipeline and the normalisation), the scores and how they were obtained.

    Args:
        run: a finished run.
        folder: where to write the file.
        checkpoint: weights of that run; default: the best, or else the newest.

    Raises:
        UserError: the run is not finished, or its checkpoint cannot be read.
    """
    if not run.task.exists() or not run.report.exists():
        raise UserError(f"{run.path}: does not hold a finished run (with task.toml and report.json)")
    checkpoints = Checkpoints(run.checkpoints)
    candidates = [checkpoint] if checkpoint else [checkpoints.best, *reversed(checkpoints.paths())]
    source = next((path for path in candidates if path.exists()), None)
    if source is None:
        raise UserError(f"{checkpoint or run.checkpoints}: there is no checkpoint to publish")
    weights, about = read_weights(source)
    task = run.table()
    try:
        report = parse_json(run.report.read_text(encoding="utf-8"))
        name = str(report["task"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{run.report}: is not the report of a run: {error}") from None
    described = {
        "task": name,
        "vidcore": version("vidcore"),
        "model": task["model"],
        "class_names": about.get("class_names"),
        "contract": _contract(task),
        "scores": about.get("scores") or report.get("scores"),
        "protocol": report.get("protocol"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    try:
        tensors = {name: value.contiguous().clone() for name, value in weights.items()}  # none may share memory
        save_file(tensors, temporary, metadata={"vidcore": dump_json(described)})
        return temporary.replace(folder / f"{name}-{sha256(temporary)[:8]}.safetensors")
    finally:
        temporary.unlink(missing_ok=True)


def _contract(task: dict[str, Any]) -> dict[str, Any]:
    """Return how a video must be sampled, resized, cropped and normalised for the model."""
    data = task.get("data", {})
    part = data.get("test") or data.get("val") or {}
    return {"pipeline": part.get("pipeline", {}), "data_preprocessor": task["model"].get("data_preprocessor", {})}
