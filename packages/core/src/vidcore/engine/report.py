"""What a run leaves behind for readers: scores with everything needed to believe them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch
from torch import nn

from vidcore.data.loader import Loader
from vidcore.engine.evaluate import Evaluation
from vidcore.interfaces import Dataset, Transform

__all__ = ["build_report", "fingerprint", "protocol"]

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "decord")


def build_report(
    task: str,
    model: nn.Module,
    *,
    plugins: Mapping[str, str],
    data: Mapping[str, Loader],
    evaluation: Evaluation | None = None,
    how: str = "",
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what ``report.json`` holds.

    Args:
        task: its name.
        plugins: version by name of all that are installed.
        data: loaders by part (``train``, ``val``, ``test``).
        evaluation: the final one.
        how: its protocol, from ``protocol``.
        training: steps, seconds, best score and the like.
    """
    report: dict[str, Any] = {
        "task": task,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "type": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        },
        "data": {
            part: {
                "samples": len(loader.dataset),
                "bad": loader.skipped,
                "fingerprint": fingerprint(loader.dataset),
            }
            for part, loader in data.items()
        },
        "versions": {"python": platform.python_version(), **_libraries(), **plugins},
        "device": _device(model),
    }
    if evaluation is not None:
        report["scores"] = evaluation.scores
        report["evaluation"] = {
            "protocol": how,
            "samples": evaluation.samples,
            "of": evaluation.total,
            "coverage": evaluation.samples / evaluation.total,
            "seconds": round(evaluation.seconds, 3),
        }
    if training is not None:
        report["training"] = dict(training)
    return report


def protocol(pipeline: Mapping[str, Transform] | Iterable[Transform]) -> str:
    """Say in one line what happens to a sample before the model sees it; scores without it mean little."""
    steps = pipeline.values() if isinstance(pipeline, Mapping) else pipeline
    return ", ".join(map(repr, steps))


def fingerprint(dataset: Dataset, most: int = 10_000) -> str:
    """Return 16 hexadecimal digits that change with the files named and the annotations.

    Independent of the folder that the data is in. Of more than ``most`` samples, that many are taken,
    evenly spaced, beside their number.
    """
    digest = hashlib.sha256(str(len(dataset)).encode())
    for index in range(0, len(dataset), max(1, len(dataset) // most)):
        sample = dataset[index]
        name = "/".join((sample.path or "").replace("\\", "/").split("/")[-2:])
        digest.update(f"{name}|{sample.label}|{sample.total_frames}".encode("utf-8", "surrogateescape"))
        for array in (sample.labels, sample.segments, sample.boxes, sample.joints):
            digest.update(b"-" if array is None else array.tobytes())
    return digest.hexdigest()[:16]


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # another build of OpenCV, say
            continue
    return found


def _device(model: nn.Module) -> str:
    device = next(model.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
