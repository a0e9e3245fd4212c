"""Optimizers, and ways to split a model's parameters into groups.

A grouping assigns every parameter a factor on the learning rate and one on the weight decay. Parameters with equal
factors share a group. A parameter shared by two modules counts once, under its first name. Frozen parameters keep the
optimizer's own rate and decay, which have no effect.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import field, frozen
from torch import nn
from torch.optim import Optimizer

from vidcore.engine.shard import is_sharded_tensor
from vidcore.errors import ConfigError
from vidcore.protocols import Grouping, Layered

__all__ = [
    "DefaultGroups",
    "LayerDecayGroups",
    "Rule",
    "SwinGroups",
    "TSMGroups",
    "build_optimizer",
    "given_or_default",
]

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
NOT_SHARDED = ("Adafactor", "Rprop")
"""Optimizers of torch that cannot work on a shard of a parameter."""
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@frozen(kw_only=True)
class Rule:
    """Factors on the learning rate and the weight decay of parameters."""

    lr_mult: float = 1.0
    decay_mult: float = 1.0

    def __mul__(self, other: Rule) -> Rule:
        return Rule(lr_mult=self.lr_mult * other.lr_mult, decay_mult=self.decay_mult * other.decay_mult)


def build_optimizer(
    factory: Callable[..., Optimizer],
    arguments: Mapping[str, Any],
    model: nn.Module,
    grouping: Grouping | None = None,
) -> Optimizer:
    """Build an optimizer over a model's parameters.

    Args:
        factory: called with the parameter groups first, e.g. ``torch.optim.SGD``.
        arguments: its other arguments, e.g. ``{"lr": 0.01, "momentum": 0.9}``.
        model: all its parameters are used.
        grouping: how to split them; default: one group.

    Raises:
        ConfigError: the model has no parameters, or empty ones, or the optimizer rejects its arguments.
    """
    lr, decay = (given_or_default(factory, arguments, name) for name in ("lr", "weight_decay"))
    if grouping is None:
        grouping = DefaultGroups()
    groups = grouping(model, 0.0 if lr is None else float(lr), float(decay or 0.0))
    for group in groups:  # without arguments that the optimizer lacks
        group |= {"initial_lr": group["lr"]}
        if decay is None:
            group.pop("weight_decay", None)
    if not groups:
        raise ConfigError("optimizer: the model has no parameters to train")
    for parameter, value in model.named_parameters():
        if not value.numel():
            raise ConfigError(f"model: {parameter} has shape {tuple(value.shape)}, and no size may be 0")
    name = getattr(factory, "__name__", str(factory))
    if name in NOT_SHARDED and any(is_sharded_tensor(p) for p in model.parameters()):
        raise ConfigError(f'optimizer.type = "{name}" does not support runtime.strategy = "fsdp": use "ddp"')
    try:
        return factory(groups, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {name}: {error}") from error


def given_or_default(factory: Callable[..., Optimizer], arguments: Mapping[str, Any], name: str) -> Any:
    """Return the value passed for an argument, or the optimizer's default; None if it has no such argument."""
    parameter = inspect.signature(factory).parameters.get(name)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    return arguments.get(name, default)


def _groups(rules: Mapping[nn.Parameter, Rule], lr: float, decay: float) -> list[dict[str, Any]]:
    """Put parameters with equal factors into one group, in order of first appearance."""
    groups: dict[Rule, list[nn.Parameter]] = {}
    for parameter, rule in rules.items():
        groups.setdefault(rule if parameter.requires_grad else Rule(), []).append(parameter)
    return [
        {"params": parameters, "lr": lr * rule.lr_mult, "weight_decay": decay * rule.decay_mult}
        for rule, parameters in groups.items()
    ]


def _owned(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Yield every parameter once, with its name and the module that holds it."""
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield name, parameter, module


@frozen(kw_only=True)
class DefaultGroups:
    """Factors for normalisation layers, biases, depth-wise convolutions and name fragments.

    The longest of the ``custom_keys`` that occurs in a parameter's name alone determines its factors (of two equally
    long ones, the first in alphabetical order). Otherwise the decay is multiplied by the first that is set and applies
    of ``norm_decay_mult``, ``dwconv_decay_mult``, ``bias_decay_mult`` and ``flat_decay_mult``, and the learning rate of
    biases outside normalisation layers by ``bias_lr_mult``.
    """

    norm_decay_mult: float | None = None
    bias_lr_mult: float = 1.0
    bias_decay_mult: float | None = None
    dwconv_decay_mult: float | None = None
    flat_decay_mult: float | None = None
    """For all other one-dimensional parameters."""
    custom_keys: dict[str, Rule] = field(factory=dict)

    def __call__(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        keys = sorted(sorted(self.custom_keys), key=len, reverse=True)
        rules = {}
        for name, parameter, module in _owned(model):
            custom = next((self.custom_keys[k] for k in keys if k in name), None)
            rules[parameter] = custom if custom is not None else self._by_kind(name, parameter, module)
        return _groups(rules, lr, weight_decay)

    def _by_kind(self, name: str, parameter: nn.Parameter, module: nn.Module) -> Rule:
        norm, bias = isinstance(module, NORMS), name.rpartition(".")[2] == "bias"
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels
        candidates = (
            (norm, self.norm_decay_mult),
            (depthwise, self.dwconv_decay_mult),
            (bias, self.bias_decay_mult),
            (parameter.ndim == 1, self.flat_decay_mult),
        )
        decay = next((factor for applies, factor in candidates if applies and factor is not None), 1.0)
        return Rule(lr_mult=self.bias_lr_mult if bias and not norm else 1.0, decay_mult=decay)


@frozen(kw_only=True)
class TSMGroups:
    """The groups that TSM was trained with: biases at twice the learning rate, no decay on biases and norms.

    With ``fc_lr5`` the last linear layer learns at five times the rate, its bias at ten times.
    Published as ``TSMOptimWrapperConstructor``; source: https://arxiv.org/abs/1811.08383.

    Raises ``ConfigError`` if a layer with parameters is not a convolution, linear, batch-norm or group-norm layer.
    """

    fc_lr5: bool = False

    def __call__(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        last = next((m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear)), None)
        rules = {}
        for name, parameter, module in _owned(model):
            bias = name.rpartition(".")[2] == "bias"
            if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm):
                rules[parameter] = Rule(decay_mult=0.0)
            elif isinstance(module, (*CONVS, nn.Linear)):
                higher = 5.0 if self.fc_lr5 and module is last else 1.0
                rules[parameter] = Rule(lr_mult=2 * higher, decay_mult=0.0) if bias else Rule(lr_mult=higher)
            else:
                raise ConfigError(
                    f"TSMGroups: {name} belongs to a {type(module).__name__}; "
                    "it supports convolutions, linear layers, batch and group norms"
                )
        return _groups(rules, lr, weight_decay)


@frozen(kw_only=True)
class SwinGroups:
    """Factors by name fragments; those of all fragments that occur in a parameter's name are multiplied.

    Published as ``SwinOptimWrapperConstructor`` (its ``paramwise_cfg`` is ``custom_keys`` here).
    """

    custom_keys: dict[str, Rule]

    def __call__(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        rules = {}
        for name, parameter, _ in _owned(model):
            rules[parameter] = Rule()
            for key, rule in self.custom_keys.items():
                if key in f"base.{name}":
                    rules[parameter] *= rule
        return _groups(rules, lr, weight_decay)


@frozen(kw_only=True)
class LayerDecayGroups:
    """Layer-wise learning-rate decay: deeper blocks of a transformer learn faster (BEiT, https://arxiv.org/abs/2106.08254).

    Embeddings are layer 0, block i is layer i + 1, the rest is layer ``num_layers`` + 1; the rate is multiplied by
    ``decay_rate ** (num_layers + 1 - layer)``. Biases and other one-dimensional parameters get no weight decay.
    Published as ``LearningRateDecayOptimizerConstructor``.

    Raises ``ConfigError`` for a backbone that is not ``vidcore.protocols.Layered``, and for batch normalisation.
    """

    decay_rate: float
    num_layers: int
    """Blocks of the backbone."""

    def __call__(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        backbone = dict(model.named_children()).get("backbone")
        if not isinstance(backbone, Layered):
            kind = type(backbone or model).__name__
            raise ConfigError(f"LayerDecayGroups: requires a backbone with a layer_of method; {kind} has none")
        rules = {}
        for name, parameter, module in _owned(model):
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise ConfigError(f"LayerDecayGroups: does not support batch normalisation ({name})")
            inner = name.removeprefix("backbone.")
            layer = backbone.layer_of(inner) if inner != name else None
            depth = self.num_layers + 1 - layer if layer is not None else 0
            flat = parameter.ndim == 1 or name.endswith(".bias")
            rules[parameter] = Rule(lr_mult=self.decay_rate**depth, decay_mult=0.0 if flat else 1.0)
        return _groups(rules, lr, weight_decay)
