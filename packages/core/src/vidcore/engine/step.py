"""One update of the weights: precision, accumulation, clipping, distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vidcore.batch import Batch
from vidcore.engine import dist
from vidcore.engine.average import Average
from vidcore.engine.meters import Clock, Reported
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.prepare import autocast
from vidcore.engine.shard import fsdp_error_hints, full_tensor, is_sharded, local_shard, set_gradient_sync
from vidcore.nn import Model

__all__ = ["Step"]


class _Each(nn.Module):
    """Calls a model on several inputs, so that DDP exchanges the gradients of all of them together."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> list[Any]:
        return [self.model(each) for each in inputs]


class Step:
    """A model and its optimizer; a call with the batches of one step updates the weights."""

    def __init__(
        self, model: Model, optimizer: torch.optim.Optimizer, options: TrainOptions, runtime: RuntimeOptions
    ) -> None:
        """
        Args:
            model: on its device, with its weights loaded.
            optimizer: over the model's parameters, with the groups at their own learning rates.
            options: accumulation, clipping and EMA.
            runtime: precision and options of DDP.
        """
        self.model = model
        self.optimizer = optimizer
        self.options = options
        self.runtime = runtime
        self.device = next(model.parameters()).device
        self.clock = Clock(self.device)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.average = Average(model, options.ema_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=runtime.precision == "fp16")
        self.collectives = dist.collectives()
        each = _Each(model)
        self.forward: Callable[..., list[Any]] = each.forward
        self.sharded = is_sharded(model)
        if dist.world().size > 1 and not self.sharded:
            ids = [self.device.index] if self.device.type == "cuda" else None
            unused = runtime.find_unused_parameters
            self.forward = DistributedDataParallel(each, device_ids=ids, find_unused_parameters=unused)

    def __call__(self, batches: Sequence[Batch]) -> Reported:
        """Update the weights with the mean gradient of all samples; return the means of what the model reports."""
        for parameter in self.parameters:  # faster than optimizer.zero_grad
            parameter.grad = None
        samples = sum(map(len, batches))
        reported = Reported()
        for number, batch in enumerate(batches, 1):
            share = len(batch) / samples
            with self._gradient_sync(number == len(batches)):
                found = self._report(batch)
                self.clock.lap("forward")
                self.scaler.scale(_part(found.losses["loss"], share)).backward()
                self.clock.lap("backward")
            _accumulate(reported.losses, found.losses, share)
            _accumulate(reported.others, found.others, share)
        reported.others.update(self._clip())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update()
        self.clock.lap("step")
        return reported

    def is_finite(self) -> bool:
        """Whether all weights (of this process's shard) and running statistics are finite."""
        tensors = [*self.parameters, *self.model.buffers()]
        return all(bool(local_shard(tensor.detach()).isfinite().all()) for tensor in tensors)

    def _report(self, batch: Batch) -> Reported:
        """Return what the model reports for a batch and its extra ones (``images/loss_cls``), and the sum of losses."""
        batch = batch.to(self.device)
        self.clock.lap("transfer")
        parts = {"": self.model.preprocess(batch)}
        parts |= {f"{name}/": self.model.preprocess(other) for name, other in batch.extra.items()}
        reported = Reported()
        with autocast(self.runtime.precision, self.device), self._error_hints():
            outputs = self.forward(*(part.inputs for part in parts.values()))
            for (prefix, part), output in zip(parts.items(), outputs, strict=True):
                if part.collectives is not self.collectives:
                    part = part.replace(collectives=self.collectives)
                reported.add(self.model.loss(output, part), prefix)
        terms = list(reported.losses.values())
        assert terms, f"{type(self.model).__name__}.loss returned no entry with 'loss' in its name: {reported.others}"
        reported.losses["loss"] = sum(terms[1:], terms[0])
        return reported

    def _error_hints(self) -> AbstractContextManager[Any]:
        return fsdp_error_hints(self.model) if self.sharded else nullcontext()

    def _gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients once per step, with its last batch."""
        if self.sharded:
            set_gradient_sync(self.model, last)
        elif isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return nullcontext()

    def _clip(self) -> dict[str, torch.Tensor]:
        values = {}
        options = self.options
        if options.clip_norm is not None or options.clip_value is not None or options.log_grad_norm:
            self.scaler.unscale_(self.optimizer)
        if options.clip_norm is not None or options.log_grad_norm:
            limit = math.inf if options.clip_norm is None else options.clip_norm  # inf multiplies by 1
            norm = nn.utils.clip_grad_norm_(self.parameters, limit, float(options.clip_norm_type))
            values["grad_norm"] = full_tensor(norm.detach())
        if options.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, options.clip_value)
        return values


def _accumulate(sums: dict[str, torch.Tensor], values: Mapping[str, torch.Tensor], share: float) -> None:
    for name, value in values.items():
        part = _part(value.detach(), share)
        sums[name] = sums[name] + part if name in sums else part


def _part(value: torch.Tensor, share: float) -> torch.Tensor:
    return value if share == 1 else value * share
