"""Reading of published MMAction2 checkpoints without running pickled code.

Published files contain more than tensors: message hubs with buffers of the training framework, NumPy
scalars, configuration objects. ``torch.load(weights_only=True)`` refuses most of them. vidcore reads tensors
and plain containers, and puts an inert placeholder in place of everything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import save

from vidcore.engine import checkpoint
from vidcore.engine.weights import check_hash
from vidcore.errors import CheckpointError
from vidcore.files import atomic_write

__all__ = ["Published", "convert_weights", "read_checkpoint", "write_checkpoint"]

OTHER_NAMES = {"adapter.frame_position_embeddings.weight": "adapter.positional_embedding"}


@frozen
class Published:
    """The useful content of a published checkpoint."""

    weights: dict[str, torch.Tensor]
    """Weights with the keys of vidcore's models."""
    classes: tuple[str, ...] | None
    """Class names, if the file has them."""
    dropped: tuple[str, ...]
    """Keys of the state dict that are not weights of a model."""


def read_checkpoint(path: str | Path) -> Published:
    """Return the weights and class names of a published ``.pth`` file.

    If the file name ends in a hash, as in ``..._20220901-f6a40d08.pth``, it is verified.

    Raises:
        CheckpointError: the file is missing, damaged, or has no weights.
    """
    path = Path(path)
    content = checkpoint.load(path, keep_unknown=True)
    check_hash(path)
    state = content
    for key in ("state_dict", "model_state", "model", "module"):
        if isinstance(content.get(key), Mapping):
            state = content[key]
            break
    if not any(isinstance(v, torch.Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: no weights found; they must be a dictionary of tensors, or be in 'state_dict'")
    weights = convert_weights(state)
    meta = content.get("meta") if state is not content else None
    return Published(weights, _classes(meta), tuple(k for k in state if strip_wrappers(k) not in weights))


def write_checkpoint(path: Path, published: Published) -> None:
    """Write weights and class names as ``vidcore`` reads them: as safetensors if the suffix says so, else as ``.pth``.

    Raises:
        CheckpointError: the file cannot be written.
    """
    names = list(published.classes) if published.classes else None
    if path.suffix != ".safetensors":
        checkpoint.save(path, {"state_dict": published.weights, "class_names": names})
        return
    tensors = {key: value.contiguous() for key, value in published.weights.items()}
    data = save(tensors, {"vidcore": json.dumps({"class_names": names}, ensure_ascii=False)})
    with atomic_write(path) as file:
        file.write(data)


def convert_weights(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of a published state dict with the names of vidcore's models.

    The names are the same, with three exceptions. The prefixes of distributed training and compilation (``module.``,
    ``_orig_mod.``) are removed, a ResNet of another package gets the names of ours, and so does the adapter of
    ActionCLIP. Buffers of the data preprocessor are dropped.
    """
    named = {strip_wrappers(key): value for key, value in state.items()}
    if _has_foreign_resnet(named):
        named = {_as_ours(key): value for key, value in named.items()}
    return {
        OTHER_NAMES.get(key, key): value.detach()
        for key, value in named.items()
        if isinstance(value, torch.Tensor) and not key.startswith("data_preprocessor.")
    }


def _has_foreign_resnet(state: Mapping[str, Any]) -> bool:
    """Return whether the backbone is a ResNet of torchvision, timm or MMPretrain (no ResNeXt, no OmniResNet in 3D)."""
    kernel = state.get("backbone.layer1.0.conv2.weight")
    if "backbone.bn1.weight" not in state or not isinstance(kernel, torch.Tensor):
        return False
    return kernel.ndim == 4 and kernel.shape[0] == kernel.shape[1]


def _as_ours(key: str) -> str:
    """Return a name of vidcore for one of such a ResNet: ``bn1.weight`` -> ``conv1.bn.weight``."""
    if not key.startswith("backbone."):
        return key
    key = re.sub(r"\bconv(\d)\.weight$", r"conv\1.conv.weight", key)
    key = re.sub(r"\bbn(\d)\.", r"conv\1.bn.", key)
    return key.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")


def strip_wrappers(key: str) -> str:
    """Remove the prefixes of model wrappers from the name of a weight."""
    return re.sub(r"^(module\.|_orig_mod\.)+", "", key)


def _classes(meta: Any) -> tuple[str, ...] | None:
    if not isinstance(meta, Mapping):
        return None
    places = [meta, *(v for k, v in meta.items() if k == "dataset_meta" and isinstance(v, Mapping))]
    for place in places:
        for key in ("classes", "CLASSES"):
            names = place.get(key)
            if isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names):
                return tuple(names)
    return None
