"""Base class of backbones (freezing, gradient checkpointing), convolution units and initial weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from vid_recognition.models.weights import convert_2d_weights
from vidcore.errors import UserError
from vidcore.nn import ImageWeights, require, run_blocks

__all__ = ["Backbone", "ConvUnit", "check_channels", "init_conv_net", "per_block"]

NORMS: dict[type[nn.Module], type[_BatchNorm]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}


def per_block(values: Sequence[int | Sequence[int]], blocks: Sequence[int], name: str) -> list[tuple[int, ...]]:
    """Expand a setting to one number per block of each stage; a single number applies to all blocks of its stage.

    >>> per_block([0, [1, 0]], [3, 2], "inflate")
    [(0, 0, 0), (1, 0)]
    """
    require(len(values) >= len(blocks), f"{name} needs one entry for each of the {len(blocks)} stages, got {values}")
    expanded = [(v,) * n if isinstance(v, int) else tuple(v) for v, n in zip(values, blocks, strict=False)]
    for stage, (given, n) in enumerate(zip(expanded, blocks, strict=True)):
        require(
            len(given) == n,
            f"{name}[{stage}] must be a number or {n} numbers (one per block), got {given}",
        )
    return expanded


class ConvUnit(nn.Sequential):
    """Convolution, batch norm and activation, named ``conv``, ``bn`` and ``activate``."""

    conv: _ConvNd
    bn: _BatchNorm

    def __init__(self, conv: _ConvNd, *, norm: bool = True, eps: float = 1e-5, act: nn.Module | None = None) -> None:
        super().__init__()
        self.add_module("conv", conv)
        if norm:
            self.add_module("bn", NORMS[type(conv)](conv.out_channels, eps))
        if act is not None:
            self.add_module("activate", act)


def check_channels(x: Tensor, wanted: int) -> None:
    """Raise ``UserError`` if the input (N, C, ...) of a backbone does not have that many channels."""
    if x.shape[1] != wanted:
        raise UserError(
            f"the backbone takes {wanted} channels (in_channels), and got {x.shape[1]}: colours of frames, or the"
            " joints and limbs of heatmaps"
        )


def init_conv_net(net: nn.Module) -> None:
    """Initialise convolutions with He's normal (arXiv:1502.01852, eq. 10, fan out), batch norm with ones."""
    for module in net.modules():
        if isinstance(module, _ConvNd):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _BatchNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class Backbone(ImageWeights):
    """Base of backbones with a stem and stages of blocks (``layer1``, ``layer2``, ...), some of which can be frozen.

    Args:
        num_stages: number of stages.
        out_indices: stages (from 0) whose outputs are returned.
        frozen_stages: what is not trained: -1 nothing, 0 the stem, N the stem and the first N stages.
        norm_eval: keep the running statistics of batch norm fixed while training.
        with_cp: gradient checkpointing: recompute the activations of each block in the backward pass.
    """

    conv1: nn.Module
    num_segments: int | None = None
    """Frames of a clip, for networks on frames that relate them; None: each frame for itself."""
    any_activation: ClassVar[bool] = False
    """Whether all activations are modules, which ``LayerOptions`` can replace."""

    def __init__(
        self, num_stages: int, out_indices: Sequence[int], frozen_stages: int, norm_eval: bool, with_cp: bool
    ) -> None:
        super().__init__()
        require(
            len(out_indices) > 0 and all(0 <= i < num_stages for i in out_indices),
            f"out_indices must name stages 0 to {num_stages - 1}, got {tuple(out_indices)}",
        )
        require(frozen_stages <= num_stages, f"frozen_stages is {frozen_stages}, but there are {num_stages} stages")
        self.num_stages = num_stages
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    @property
    def stages(self) -> list[nn.Module]:
        """The stages, in order."""
        return [self.get_submodule(f"layer{i + 1}") for i in range(self.num_stages)]

    def freezable(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        """Return what ``frozen_stages`` counts: the modules and parameters of the stem, then those of each stage."""
        return [[self.conv1], *([stage] for stage in self.stages)]

    def stem(self, x: Tensor) -> Tensor:
        """Run the layers before the first stage."""
        raise NotImplementedError

    def after_stage(self, index: int, x: Tensor) -> Tensor:
        """Run the layers between stage ``index`` and the next."""
        return x

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.stem(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = self.after_stage(i, self.run_stage(stage, x))
            if i in self.out_indices:
                outputs.append(x)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run_stage(self, stage: nn.Module, x: Tensor) -> Tensor:
        """Run a stage, block by block with gradient checkpointing."""
        blocks = stage if self.with_cp and type(stage) is nn.Sequential else [stage]
        out: Tensor = run_blocks(blocks, x, with_cp=self.with_cp)
        return out

    def freeze(self) -> None:
        """Freeze the first ``frozen_stages`` stages; constructors call this last."""
        for parts in self.freezable()[: self.frozen_stages + 1]:
            for part in parts:
                if isinstance(part, nn.Module):
                    part.eval()
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.freeze()
        if mode:
            self.fix_norms()
        return self

    def fix_norms(self) -> None:
        """Fix what batch norms must not learn; called whenever training begins."""
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an image network under the names and in the shapes of this network.

        See ``vid_recognition.models.weights``. Raises ``CheckpointError`` if they belong to a different network.
        """
        return convert_2d_weights(self, state_dict)
