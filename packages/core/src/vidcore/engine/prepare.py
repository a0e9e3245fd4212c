"""Apply ``[runtime]`` to a model: device, precision, memory format, sharding, compilation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vidcore.engine import dist
from vidcore.engine.options import RuntimeOptions
from vidcore.engine.shard import shard
from vidcore.errors import ConfigError

__all__ = ["autocast", "fold_batchnorm", "prepare", "prepare_inference"]

M = TypeVar("M", bound=nn.Module)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which models compute with ``fp32``, ``bf16`` or ``fp16``."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


def prepare(model: M, runtime: RuntimeOptions, device: torch.device) -> M:
    """Move a model to its device and apply ``sync_batchnorm``, ``channels_last``, ``strategy`` and ``compile``.

    Names and values of its weights stay the same. Build the optimizer afterwards.

    Raises:
        ConfigError: ``sync_batchnorm`` is set on a CPU.
    """
    model = model.to(device)
    if runtime.sync_batchnorm:
        if device.type == "cpu":
            raise ConfigError("runtime.sync_batchnorm: requires GPUs; remove it on a CPU")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if runtime.channels_last:
        _store_channels_last(model)
    if runtime.strategy == "fsdp" and dist.world().size > 1:
        shard(model, DTYPES.get(runtime.precision), device)
    if runtime.compile:
        model.compile()
    return model


def prepare_inference(model: M, runtime: RuntimeOptions, device: torch.device) -> M:
    """Move a model with its final weights to its device, and apply ``fold_batchnorm`` and ``channels_last``."""
    model = model.to(device).eval()
    if runtime.fold_batchnorm:
        fold_batchnorm(model)
    if runtime.channels_last:
        _store_channels_last(model)
    return model


def fold_batchnorm(model: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution in an ``nn.Sequential`` into it.

    The outputs in evaluation mode stay the same but for rounding; the names of the weights change.

    Returns:
        The number of batch norms folded.
    """
    folded = 0
    for module in list(model.modules()):
        if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
            continue
        for (name, conv), (following, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, CONVS) and isinstance(norm, NORMS) and norm.running_mean is not None:
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, following, nn.Identity())
                folded += 1
    return folded


def _store_channels_last(model: nn.Module) -> None:
    for parameter in model.parameters():  # the output of a convolution has the memory format of its weights
        if parameter.ndim in MEMORY_FORMATS:
            parameter.data = parameter.data.contiguous(memory_format=MEMORY_FORMATS[parameter.ndim])
