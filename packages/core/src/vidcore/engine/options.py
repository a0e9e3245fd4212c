"""The tables ``[train]`` and ``[runtime]`` of a Task. Nothing here imports torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from vidcore.validators import at_least, below_one

__all__ = ["RuntimeOptions", "TrainOptions", "higher_is_better"]


def higher_is_better(rule: Literal["greater", "less"] | None, score: str) -> bool:
    """Whether higher values of a score are better; by default unless it is a loss."""
    return (rule or ("less" if "loss" in score else "greater")) == "greater"


@frozen(kw_only=True)
class TrainOptions:
    """``[train]``: length of the run, use of gradients, when to evaluate and save.

    ``epochs`` or ``steps`` is the length of the run (default: one epoch). Intervals are in the same unit (default: one
    epoch). A step is one update of the weights, also with accumulation.
    """

    epochs: int | None = field(default=None, validator=at_least(0))
    steps: int | None = field(default=None, validator=at_least(0))
    weights: Path | Literal[False] | dict[str, Path] | None = None
    """Weights to start from (fine-tuning): a file, or the name of a recipe with published weights.

    Classifiers of a different size are skipped, and a note names them. A table has a file or recipe for each of several
    parts of the model, such as ``"backbone.slow_path"``. ``false`` starts from random weights although a recipe names a
    file.
    """
    weights_prefix: str = ""
    """Beginning of the names in ``weights`` or ``--checkpoint`` to remove, such as ``"model."`` of Lightning."""
    weights_ignore: list[str] = field(factory=list)
    """Prefixes of state-dict keys (new layers) that may be missing, surplus or of a different shape in ``weights``."""
    weights_resize: bool = False
    """Resize tables of positions in ``weights`` that were made for clips of a different size; notes name them."""
    accumulate: int = field(default=1, validator=at_least(1))
    """Batches whose gradients are averaged for one step."""
    clip_norm: float | None = field(default=None, validator=at_least(0.0, above=True))
    """Maximum norm of all gradients together."""
    clip_norm_type: float | Literal["inf"] = field(default=2.0, converter=float, validator=at_least(0.0, above=True))
    """Which norm: 2.0 the Euclidean, 1.0 the sum of absolute values, ``inf`` the largest absolute value."""
    clip_value: float | None = field(default=None, validator=at_least(0.0, above=True))
    """Maximum absolute value of a gradient."""
    log_grad_norm: bool = False
    """Log ``grad_norm``, the norm of all gradients together, also without ``clip_norm``."""
    base_batch_size: int | None = field(default=None, validator=at_least(1))
    """Samples per step that ``optimizer.lr`` is meant for; with more or fewer the rate is scaled in proportion."""
    ema_decay: float | None = field(default=None, validator=below_one)
    """Decay of the EMA of the weights, which is then what is evaluated and kept as the best."""
    precise_bn: int = field(default=0, validator=at_least(0))
    """Training batches (per process) for precise batch-norm statistics before an evaluation; 0 for none."""
    val_interval: int | None = field(default=None, validator=at_least(1))
    """Evaluate every N epochs (or steps), and at the end."""
    val_begin: int = field(default=0, validator=at_least(0))
    """First epoch (or step) after which to evaluate."""
    val_at_start: bool = False
    """Also evaluate before the first step, as epoch 0."""
    val_loss: bool = False
    """Add the losses of the validation data to the scores: ``val/loss`` and its terms."""
    early_stop: int | None = field(default=None, validator=at_least(1))
    """Stop after this many evaluations without improvement."""
    checkpoint_interval: int | None = field(default=None, validator=at_least(1))
    """Save every N epochs (or steps), before every evaluation, and at the end."""
    checkpoint_steps: int | None = field(default=None, validator=at_least(1))
    """Also save every N steps within an epoch."""
    keep: int = field(default=2, validator=at_least(0))
    """Number of newest checkpoints to keep beside the best; 0 keeps all."""
    best: str | list[str] | None = None
    """Score that selects the best weights (``acc/top1``); default: the first score.

    Of several, the first selects ``best.pt`` and counts for ``early_stop``; each other one has its own file.
    """
    best_rule: Literal["greater", "less"] | None = None
    """Default: ``less`` for scores with ``loss`` in the name, ``greater`` for others."""
    log_interval: int = field(default=10, validator=at_least(1))
    """Call observers every N steps, with means over these steps."""

    def __attrs_post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            both = f"epochs = {self.epochs} and steps = {self.steps} both set the length of the run"
            raise ValueError(f"{both}: give one (a table with `_replace_ = true` inherits nothing)")

    def steps_per_epoch(self, batches: int) -> int:
        """Return the steps in an epoch of ``batches`` (per process); the last step may use fewer batches."""
        return math.ceil(batches / self.accumulate)

    def in_steps(self, length: int | None, steps_per_epoch: int) -> int:
        """Return a length or interval of this run in steps; None means one epoch."""
        if length is None:
            return steps_per_epoch
        return length if self.steps is not None else length * steps_per_epoch

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the length of the run in steps."""
        return self.in_steps(self.epochs if self.steps is None else self.steps, steps_per_epoch)

    def lr_scale(self, samples: int) -> float:
        """Return the factor on the learning rate: samples per step divided by ``base_batch_size``."""
        return samples / self.base_batch_size if self.base_batch_size else 1.0

    def lr_note(self, lr: float, samples: int) -> str:
        """Return a sentence with the learning rate of a run, given ``optimizer.lr``, and the reason for it."""
        base, rate = self.base_batch_size, f"learning rate {lr * self.lr_scale(samples):g} = optimizer.lr"
        if base is None:
            return f"{rate}: not scaled, since train.base_batch_size is not set"
        if base == samples:
            return f"{rate}, which is for steps of {base} samples, as here (train.base_batch_size)"
        return (
            f"{rate} {lr:g} x {samples}/{base}: for {base} samples per step (train.base_batch_size), and here {samples}"
        )


@frozen(kw_only=True)
class RuntimeOptions:
    """``[runtime]``: the machine, and settings that may differ between runs of the same experiment."""

    seed: int = field(default=0, validator=at_least(0))
    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of forward and loss; weights stay float32. fp16 scales the loss."""
    deterministic: bool = False
    """Use only algorithms with bit-identical results every time (slower on a GPU)."""
    cudnn_benchmark: bool = False
    """Let cuDNN try its algorithms for each new shape of input: faster if shapes do not change (GPUs only)."""
    compile: bool = False
    """Compile the model's ``forward`` with ``torch.compile``; needs a C++ compiler."""
    channels_last: bool = False
    """Store convolution weights with channels last, which is faster on some GPUs and CPUs."""
    fold_batchnorm: bool = False
    """Fold batch norms into the convolutions before them when a checkpoint is tested, predicts or makes features.

    Faster, best with ``channels_last``; scores differ by rounding.
    """
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """With several processes: each has all weights (DDP), or a shard of them and of the optimizer's state (FSDP2)."""
    world_size_may_change: bool = False
    """Let ``--resume`` use a different number of processes: not bit-exact, and it reports what differs."""
    sync_batchnorm: bool = False
    """Compute batch-norm statistics over all processes (GPUs only)."""
    find_unused_parameters: bool = False
    """With several processes: some parameters may get no gradient in a step."""
    run_dir: Path | None = None
    """Run folder; default: ``runs/<task name>``."""

    def __attrs_post_init__(self) -> None:
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError(
                "cudnn_benchmark = true chooses algorithms by their time: deterministic = true forbids that"
            )
        for name in ("channels_last", "find_unused_parameters"):
            if self.strategy == "fsdp" and getattr(self, name):
                raise ValueError(f'{name} = true does not work with strategy = "fsdp": use strategy = "ddp"')
