"""EMA weights and precise batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vidcore.batch import Batch
from vidcore.engine import dist
from vidcore.engine.prepare import autocast
from vidcore.engine.shard import local_shard, shard_like
from vidcore.nn import Model

__all__ = ["Average", "precise_statistics"]


class Average:
    """EMA of a model's weights and statistics; empty if ``decay`` is None.

    After every step: average = decay * average + (1 - decay) * weights. It starts from the model's weights.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        kept = model.state_dict().keys() if decay is not None else ()
        tensors = (*model.named_parameters(), *model.named_buffers())
        self.live = {n: t.detach() for n, t in tensors if n in kept and t.is_floating_point()}
        """The model's own tensors."""
        self.values = {name: tensor.clone() for name, tensor in self.live.items()}
        self._local = [local_shard(t) for t in self.values.values()], [local_shard(t) for t in self.live.values()]

    def update(self) -> None:
        """Update the average with the weights after a step."""
        if self.decay is not None:
            torch._foreach_lerp_(*self._local, 1 - self.decay)

    @torch.no_grad()
    def restore(self, live: Mapping[str, Tensor]) -> None:
        """Set the average to the model's weights, and the model's weights to ``live``."""
        for name, tensor in self.live.items():
            self.values[name].copy_(tensor)
            if name in live:
                tensor.copy_(shard_like(live[name], tensor))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights of the model and the average."""
        for name, tensor in self.live.items():
            training = tensor.clone()
            tensor.copy_(self.values[name])
            self.values[name].copy_(training)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within the block, the model has the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


@contextmanager
def precise_statistics(model: Model, batches: Iterable[Batch], precision: str) -> Iterator[None]:
    """Within the block, batch norms have the mean and variance of all batches of all processes (precise BN).

    Running averages lag behind the weights; these statistics belong to the current weights
    (https://arxiv.org/abs/2105.07576, section 3.1). Layers with frozen statistics are left alone.

    Args:
        model: is in training mode afterwards.
        batches: of equal size, the same number in every process; if there are none, nothing changes.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    model.train()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    norms = [m for m in norms if m.running_mean is not None]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    means, squares, variances = ([torch.zeros_like(_mean(norm)) for norm in norms] for _ in range(3))
    count = 0
    try:
        for norm in norms:
            norm.momentum = 1.0  # so that the statistics are those of the last batch
        with torch.no_grad():
            for batch in batches:
                _forward(model, batch, precision)
                count += 1
                for i, norm in enumerate(norms):
                    means[i] += _mean(norm)
                    squares[i] += _mean(norm).square()
                    variances[i] += _variance(norm)
            if count:
                for i, norm in enumerate(norms):
                    mean, square, variance = (
                        dist.all_reduce_mean(sums[i]) / count for sums in (means, squares, variances)
                    )
                    _mean(norm).copy_(mean)
                    _variance(norm).copy_(variance + (square - mean.square()).clamp_min_(0))
        yield
    finally:
        for norm, momentum, values in zip(norms, momenta, before, strict=True):
            norm.momentum = momentum
            for name, value in values.items():
                norm.get_buffer(name).copy_(value)


def _forward(model: Model, batch: Batch, precision: str) -> None:
    device = next(model.parameters()).device
    batch = model.preprocess(batch.to(device))
    with autocast(precision, device):
        model(batch.inputs)


def _mean(norm: nn.modules.batchnorm._BatchNorm) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean


def _variance(norm: nn.modules.batchnorm._BatchNorm) -> Tensor:
    assert norm.running_var is not None
    return norm.running_var
