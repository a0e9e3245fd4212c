"""Apply ``[runtime]`` to a model: device, precision, memory format, sharding, compilation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from vidcore.engine import dist
from vidcore.engine.options import RuntimeOptions
from vidcore.engine.shard import shard
from vidcore.errors import ConfigError

__all__ = ["autocast", "prepare"]

M = TypeVar("M", bound=nn.Module)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
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
    if runtime.channels_last:  # the output of a convolution has the memory format of its weights
        for parameter in model.parameters():
            if parameter.ndim in MEMORY_FORMATS:
                parameter.data = parameter.data.contiguous(memory_format=MEMORY_FORMATS[parameter.ndim])
    if runtime.strategy == "fsdp" and dist.world().size > 1:
        shard(model, DTYPES.get(runtime.precision), device)
    if runtime.compile:
        model.compile()
    return model
