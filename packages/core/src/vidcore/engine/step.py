"""One update of the weights: precision, accumulation, clipping, several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vidcore.batch import Batch
from vidcore.engine import dist
from vidcore.engine.average import Average
from vidcore.engine.clock import Clock
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.precision import autocast
from vidcore.engine.shard import explained, is_sharded, local, whole
from vidcore.errors import ConfigError

__all__ = ["Step"]


class _Each(nn.Module):
    """A model on several inputs in one call: processes then exchange the gradients of all of them at once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> list[Any]:
        return [self.model(each) for each in inputs]


class Step:
    """Calling it with the batches of one step updates the weights and returns the means of the losses."""

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        options: TrainOptions,
        runtime: RuntimeOptions,
        clock: Clock | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.options = options
        self.precision = runtime.precision
        if isinstance(optimizer, torch.optim.LBFGS) and self.precision == "fp16":
            raise ConfigError('optimizer: LBFGS cannot follow the scaled loss of fp16: use runtime.precision = "bf16"')
        self.clock = clock or Clock()
        self.device = next(model.parameters()).device
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.average = Average(model, options.ema_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=runtime.precision == "fp16")
        each = _Each(model)
        self.forward: Callable[..., list[Any]] = each.forward
        self.sharded = is_sharded(model)
        if dist.world().size > 1 and not self.sharded:
            ids = [self.device.index] if self.device.type == "cuda" else None
            unused = runtime.find_unused_parameters
            self.forward = DistributedDataParallel(each, device_ids=ids, find_unused_parameters=unused)

    def __call__(self, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Average the gradients of the batches, each sample alike, and update the weights."""
        if isinstance(self.optimizer, torch.optim.LBFGS):
            values = self._searched(batches, self.optimizer)
        else:
            values = self._gradients(batches)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.average.update()
        self.clock.lap("step")
        return values

    def is_finite(self) -> bool:
        """Whether all weights that this process has are numbers."""
        return all(bool(local(parameter.detach()).isfinite().all()) for parameter in self.parameters)

    def _searched(self, batches: Sequence[Batch], optimizer: torch.optim.LBFGS) -> dict[str, torch.Tensor]:
        """Let an optimizer look for better weights, which evaluates the loss as often as it likes."""
        found: list[dict[str, torch.Tensor]] = []

        def loss() -> torch.Tensor:
            found.append(self._gradients(batches))
            return dist.average(found[-1]["loss"].detach())  # processes must look in the same places

        optimizer.step(loss)
        return found[0]

    def _gradients(self, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Leave the gradients, clipped, with the parameters; return what the model reports."""
        for parameter in self.parameters:  # what optimizer.zero_grad does, but slowly
            parameter.grad = None
        samples = sum(map(len, batches))
        values: dict[str, torch.Tensor] = {}
        for number, batch in enumerate(batches, 1):
            share = len(batch) / samples
            with self._syncing(number == len(batches)):
                losses = self._losses(batch)
                self.clock.lap("forward")
                self.scaler.scale(_part(losses["loss"], share)).backward()
                self.clock.lap("backward")
            for name, value in losses.items():
                part = _part(value.detach(), share)
                values[name] = values[name] + part if name in values else part
        return values | self._clip()

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What the model reports for a batch and those beside it (``images/loss_cls``), and the sum as ``loss``."""
        batch = batch.to(self.device)
        self.clock.lap("transfer")
        parts = {"": self.model.preprocess(batch)}
        parts |= {f"{name}/": self.model.preprocess(other) for name, other in batch.extra.items()}
        losses: dict[str, torch.Tensor] = {}
        with autocast(self.precision, self.device), explained(self.model) if self.sharded else nullcontext():
            outputs = self.forward(*(part.inputs for part in parts.values()))
            for (prefix, part), output in zip(parts.items(), outputs, strict=True):
                losses |= {prefix + name: value for name, value in self.model.loss(output, part).items()}
        terms = [value for name, value in losses.items() if "loss" in name]
        assert terms, f"{type(self.model).__name__}.loss returned no entry with 'loss' in its name: {list(losses)}"
        return {**losses, "loss": sum(terms[1:], terms[0])}

    def _syncing(self, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients once a step, with the last of its batches."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)
        elif isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return nullcontext()

    def _clip(self) -> dict[str, torch.Tensor]:
        values = {}
        if self.options.clip_norm is not None or self.options.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
        if self.options.clip_norm is not None:
            values["grad_norm"] = whole(nn.utils.clip_grad_norm_(self.parameters, self.options.clip_norm).detach())
        if self.options.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, self.options.clip_value)
        return values


def _part(value: torch.Tensor, share: float) -> torch.Tensor:
    return value if share == 1 else value * share
