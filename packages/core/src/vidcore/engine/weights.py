"""Load weights from files into models, strictly or except for what a Task allows to differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vidcore.engine.checkpoint import load
from vidcore.engine.content import shown
from vidcore.engine.shard import shard_like
from vidcore.errors import CheckpointError, nearest, some
from vidcore.files import sha256
from vidcore.weights.published import digest_in

__all__ = ["check_hash", "check_used", "foreign_names", "load_state", "load_weights", "read_weights"]


SHOWN = 4
"""Differences that an error lists."""
PLACES = ("state_dict", "model_state", "model_state_dict", "model", "module")
"""Keys under which tools keep the weights of a model."""


def read_weights(
    path: str | Path, prefix: str = "", published: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return (weights, everything else) from a checkpoint, a published file or bare weights.

    If the file name ends in a hash, as in ``slowonly_...-f6a40d08.pth``, the file must match it.

    Args:
        path: the file.
        prefix: only weights whose names begin with it are returned, without it; if none do, all are.
        published: leave out what else is in the file, as in many published ones, instead of refusing it. No code runs
            in either case.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or without weights.
    """
    path = Path(path)
    content = load(path, keep_unknown=published)
    check_hash(path)
    key = next((k for k in PLACES if isinstance(content.get(k), Mapping)), None)
    state = content if key is None else content[key]
    weights = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    if not weights:
        raise CheckpointError(f"{path}: holds no weights (a table of tensors, or one under 'state_dict')")
    if unnamed := [k for k in weights if not isinstance(k, str)]:
        raise CheckpointError(f"{path}: the names of weights must be strings, and one is {shown(unnamed[0])}")
    while wrapper := next((w for w in ("module.", "_orig_mod.") if all(k.startswith(w) for k in weights)), None):
        weights = {k.removeprefix(wrapper): v for k, v in weights.items()}  # left by DDP or torch.compile
    if any(k.startswith(prefix) for k in weights):
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    return weights, {} if key is None else {k: v for k, v in content.items() if k != key}


def check_hash(path: Path) -> None:
    """Raise ``CheckpointError`` if the file name ends in a hash that does not match the file."""
    stated = digest_in(path.name)
    if stated and not (actual := sha256(path)).startswith(stated):
        raise CheckpointError(
            f"{path}: is damaged or was changed: its SHA-256 begins with {actual[:8]}, but its name has {stated}"
        )


def check_used(ignore: Iterable[str], keys: Iterable[str]) -> None:
    """Raise ``CheckpointError`` if an entry of ``train.weights_ignore`` is the beginning of none of the keys."""
    keys = list(keys)
    for entry in ignore:
        if not any(key.startswith(entry) for key in keys):
            parts = {".".join(key.split(".")[: n + 1]) for key in keys for n in range(key.count("."))}
            hint = nearest(entry, parts)
            raise CheckpointError(f"train.weights_ignore: no key of the file or the model begins with {entry!r}{hint}")


def _check_finite(weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Raise ``CheckpointError``, naming the keys, if weights contain NaN or Inf."""
    wrong = {k: v.numel() - int(v.isfinite().sum()) for k, v in weights.items() if not _is_finite(v)}
    if wrong:
        named = some([f"{key} ({count} of {weights[key].numel()} numbers)" for key, count in wrong.items()], 4)
        raise CheckpointError(f"{source}: weights contain NaN or Inf: {named}; use an earlier checkpoint")


def _is_finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def load_weights(model: nn.Module, path: str | Path, prefix: str = "", published: bool = False) -> dict[str, Any]:
    """Load all weights of a file into a model (see ``read_weights``), and return everything else in it.

    Raises ``CheckpointError`` if any do not fit.
    """
    weights, about = read_weights(path, prefix, published)
    load_state(model, weights, source=str(path))
    return about


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
    may be missing, and that a single number may be a scalar or a row.

    Args:
        new_classes: whether linear layers and convolutions that differ in their outputs only (a classifier for
            different classes) keep their initial values.
        ignore: prefixes of keys that may be missing, surplus, or of a different shape.
        source: where the weights come from, for messages.

    Returns:
        A line for each tensor that was not loaded, to be shown to the user.

    Raises:
        CheckpointError: the weights belong to a different model, or contain NaN or Inf; names the first few keys.
    """
    own = model.state_dict()
    given: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, torch.Tensor | np.ndarray):
            raise CheckpointError(f"{source}: {key}: must be the name of a tensor, and is {shown(tensor)}")
        given[key] = torch.as_tensor(tensor)
    _check_finite({k: v for k, v in given.items() if not k.startswith(tuple(ignore))}, source)
    lines: list[str] = []
    wrong: list[str] = []
    fitting = {}
    for key, value in given.items():
        mine = own.get(key)
        if mine is not None and mine.is_floating_point() != value.is_floating_point():
            wrong.append(f"{key} has numbers of the type {value.dtype} in the file and {mine.dtype} in the model")
            continue
        if mine is not None and mine.numel() == value.numel() == 1:
            value = value.reshape(mine.shape)  # a temperature, which must be a row to be sharded
        if mine is None or mine.shape == value.shape:
            fitting[key] = value if mine is None else shard_like(value, mine)
            continue
        line = f"{key} is {tuple(value.shape)} in the file and {tuple(mine.shape)} in the model"
        other_classes = new_classes and value.shape[1:] == mine.shape[1:] and _is_layer(model, key)
        (lines if other_classes or key.startswith(tuple(ignore)) else wrong).append(line)
    try:
        result = model.load_state_dict(fitting, strict=False)
    except CheckpointError as error:  # of a model that compares arguments
        raise CheckpointError(f"{source}: {error}") from None
    except RuntimeError as error:  # shapes under keys that the model renames
        raise CheckpointError(f"{source}: belongs to a different model: {' '.join(str(error).split())}") from error
    mismatched = given.keys() - fitting.keys()
    missing = [k for k in result.missing_keys if k not in mismatched and not _is_counter(model, own, k)]
    surplus = result.unexpected_keys
    for keys, others, what in (
        (missing, surplus, "is missing from the file"),
        (surplus, missing, "is not in the model"),
    ):
        for key in keys:
            if key.startswith(tuple(ignore)):
                lines.append(f"{key} {what}")
            else:
                near = get_close_matches(key, others, 1) if len(wrong) < SHOWN else []
                wrong.append(f"{key} {what}{f', which has {near[0]}' if near else ''}")
    if wrong:
        listed = "; ".join(wrong[:SHOWN]) + (f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        raise CheckpointError(f"{source}: belongs to a different model: {listed}{foreign_names(own, given)}")
    return tuple(lines)


TOOLS = {
    "PySlowFast": r"s\d(_fuse)?\.(pathway\d|conv)",
    "PyTorchVideo": r"blocks\.\d+\.(res_blocks|multipathway_blocks|pool\.)",
    "Hugging Face Transformers": r"(.*\.)?(encoder\.layers?\.\d+\.|embeddings\.patch_embeddings\.)",
    "timm or VideoMAE": r"blocks\.\d+\.(attn|mlp)\.",
    "pytorch-i3d": r"(logits\.conv3d|Mixed_\d\w\.b\d|Conv3d_\d\w_)",
    "torchvision": r"(layer\d\.\d+\.conv\d|features\.\d+)",
}
"""Beginnings of names of weights, by the tool whose models have them."""


def foreign_names(own: Iterable[str], given: Iterable[str]) -> str:
    """Return an addition to a message about weights that do not fit a model, if their names come from another tool.

    Args:
        own: names of the weights of the model.
        given: names of the weights in the file.
    """
    mine, theirs = list(own), list(given)
    some = mine[:: len(mine) // 20 + 1]
    ends = ((name, key) for key in some for name in theirs if name.endswith(f".{key}"))
    for prefix, _ in Counter(name.removesuffix(key) for name, key in ends).most_common(1):
        if 2 * len({prefix + key for key in mine} & set(theirs)) > len(mine):
            lightning = " (PyTorch Lightning's)" if prefix == "model." else ""
            return (
                f"; its names begin with {prefix!r}{lightning}, as {prefix + mine[0]} does: remove that with "
                f"train.weights_prefix = {prefix!r} (for a --checkpoint: --set train.weights_prefix={prefix})"
            )
    for tool, names in TOOLS.items():
        like = [name for name in theirs if re.match(names, name)]
        if 4 * len(like) > len(theirs) and not any(re.match(names, name) for name in mine):
            return f"; its names look like those of {tool} ({', '.join(like[:2])}), which vidcore does not convert"
    return ""


def _is_layer(model: nn.Module, key: str) -> bool:
    """Whether a tensor belongs to a linear layer or a convolution: not to a norm, or a table of positions."""
    owner = dict(model.named_modules()).get(key.rpartition(".")[0])
    return isinstance(owner, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


def _is_counter(model: nn.Module, own: Mapping[str, torch.Tensor], key: str) -> bool:
    return key in own and not own[key].is_floating_point() and key not in dict(model.named_parameters())
