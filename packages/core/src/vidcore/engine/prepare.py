"""A model made ready for the machine: what ``[runtime]`` says about its layers and its code."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vidcore.engine import dist
from vidcore.engine.options import RuntimeOptions
from vidcore.engine.shard import shard
from vidcore.errors import ConfigError

__all__ = ["prepare"]

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def prepare(model: Any, runtime: RuntimeOptions, device: torch.device) -> Any:
    """Move a model to its device and apply ``sync_batchnorm``, ``channels_last``, ``strategy`` and ``compile``.

    Names and values of its weights stay as they are. Its optimizer is made afterwards.

    Raises:
        ConfigError: ``sync_batchnorm`` without a GPU, which PyTorch does not have.
    """
    model = model.to(device)
    if runtime.sync_batchnorm:
        if device.type == "cpu":
            raise ConfigError("runtime.sync_batchnorm: needs GPUs; on a CPU leave it out")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if runtime.channels_last:  # convolutions answer in the format of their weights
        for parameter in model.parameters():
            if parameter.ndim in FORMATS:
                parameter.data = parameter.data.contiguous(memory_format=FORMATS[parameter.ndim])
    if runtime.strategy == "fsdp" and dist.world().size > 1:
        shard(model, runtime.precision, device)
    if runtime.compile:
        model.compile()
    return model
