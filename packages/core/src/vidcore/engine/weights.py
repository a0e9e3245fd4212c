"""Load weights from files into models, strictly or except for what a Task allows to differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidcore.engine.checkpoint import load
from vidcore.engine.shard import shard_like
from vidcore.errors import CheckpointError
from vidcore.files import sha256

__all__ = ["check_hash", "load_state", "load_weights", "read_weights"]


def read_weights(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return (weights, everything else) from a checkpoint, a published file or bare weights.

    If the file name ends in a hash, as in ``slowonly_...-f6a40d08.pth``, the file must match it.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or without weights.
    """
    path = Path(path)
    content = load(path)
    check_hash(path)
    key = next((k for k in ("state_dict", "model_state", "model") if isinstance(content.get(k), Mapping)), None)
    state = content if key is None else content[key]
    weights = {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)}
    if not weights:
        raise CheckpointError(f"{path}: holds no weights (a table of tensors, or one under 'state_dict')")
    if all(k.startswith("module.") for k in weights):  # left by DDP
        weights = {k.removeprefix("module."): v for k, v in weights.items()}
    return weights, {} if key is None else {k: v for k, v in content.items() if k != key}


def check_hash(path: Path) -> None:
    """Raise ``CheckpointError`` if the file name ends in a hash that does not match the file."""
    stated = re.search(r"-([0-9a-f]{8})\.(?:pth|pt|safetensors)$", path.name)
    if not stated:
        return
    actual = sha256(path)
    if not actual.startswith(stated[1]):
        raise CheckpointError(
            f"{path}: is damaged or was changed: its SHA-256 begins with {actual[:8]}, but its name has {stated[1]}"
        )


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load all weights of a file into a model. Raises ``CheckpointError`` if any do not fit."""
    load_state(model, read_weights(path)[0], source=str(path))


def load_state(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    new_classes: bool = False,
    ignore: Sequence[str] = (),
    source: str = "weights",
) -> tuple[str, ...]:
    """Load a state dictionary of tensors or arrays into a model.

    Everything must fit, except that counters (integer buffers, like a batch norm's number of batches)
    may be missing.

    Args:
        new_classes: whether tensors that differ in their first dimension only (a classifier for different classes)
            keep their initial values.
        ignore: prefixes of keys that may be missing, surplus, or of a different shape.
        source: where the weights come from, for messages.

    Returns:
        A line for each tensor that was not loaded, to be shown to the user.

    Raises:
        CheckpointError: the weights belong to a different model; names the first few differences.
    """
    own = model.state_dict()
    given = {k: torch.as_tensor(v) for k, v in state.items()}
    lines: list[str] = []
    wrong: list[str] = []
    fitting = {}
    for key, value in given.items():
        mine = own.get(key)
        if mine is None or mine.shape == value.shape:
            fitting[key] = value if mine is None else shard_like(value, mine)
            continue
        line = f"{key} is {tuple(value.shape)} in the file and {tuple(mine.shape)} in the model"
        other_classes = new_classes and value.ndim == mine.ndim > 0 and value.shape[1:] == mine.shape[1:]
        (lines if other_classes or key.startswith(tuple(ignore)) else wrong).append(line)
    try:
        result = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # shapes under keys that the model renames
        raise CheckpointError(f"{source}: belongs to a different model: {' '.join(str(error).split())}") from error
    mismatched = given.keys() - fitting.keys()
    missing = [k for k in result.missing_keys if k not in mismatched and not _is_counter(model, own, k)]
    for keys, what in ((missing, "is missing from the file"), (result.unexpected_keys, "is not in the model")):
        for key in keys:
            (lines if key.startswith(tuple(ignore)) else wrong).append(f"{key} {what}")
    if wrong:
        shown = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise CheckpointError(f"{source}: belongs to a different model: {shown}")
    return tuple(lines)


def _is_counter(model: nn.Module, own: Mapping[str, torch.Tensor], key: str) -> bool:
    return key in own and not own[key].is_floating_point() and key not in dict(model.named_parameters())
