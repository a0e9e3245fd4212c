"""Long-term feature banks: what happens in the minute around a key frame helps to tell what happens in it.

Paper: Long-Term Feature Banks for Detailed Video Understanding, arXiv:1812.05038, section 3.
Shapes: R boxes of B clips, C channels of a box, D of the bank, E latent ones, L rows of the bank in a window.
What differs: rows that a second lacks are zeros, and take part in attention, mean and maximum, as published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from attrs import field, frozen
from torch import Tensor, nn

from vid_detection.banks import FeatureBank
from vid_recognition.models.layers import ConvUnit
from vidcore.errors import UserError
from vidcore.nn import require
from vidcore.typing import Array
from vidcore.validators import at_least, below_one

__all__ = ["FBO", "LFB", "FBOHead"]


@frozen(kw_only=True)
class LFB:
    """The bank, and the part of it that belongs to a key frame."""

    bank: Path | None = None
    """Folder of the bank, which ``MakeFeatureBank`` wrote; default: none, and the bank comes with the inputs."""
    max_num_sampled_feat: int = field(default=5, validator=at_least(1))
    """Rows of a second, chosen at random if it has more."""
    window_size: int = field(default=60, validator=at_least(1))
    """Seconds of the window, which starts ``window_size // 2`` before the second of the key frame."""
    lfb_channels: int = field(default=2048, validator=at_least(1))
    """D."""

    @property
    def rows(self) -> int:
        """L."""
        return self.window_size * self.max_num_sampled_feat

    def window(self, bank: FeatureBank, video: str, second: int, rng: Any) -> Array:
        """Return the rows of a key frame, with zeros where a second has fewer: (L, D) float32.

        Raises ``UserError`` if the bank has a different number of channels.
        """
        if bank.channels != self.lfb_channels:
            raise UserError(f"the feature bank has {bank.channels} channels, but lfb_channels is {self.lfb_channels}")
        return bank.window(video, second - self.window_size // 2, self.window_size, self.max_num_sampled_feat, rng)


@frozen(kw_only=True)
class FBO:
    """The operator that combines the features of a box with the bank (section 3.2 of the paper)."""

    operator: Literal["non_local", "avg", "max"] = "non_local"
    """Attention, the mean or the maximum over the rows of the window; what follows counts for attention only."""
    st_feat_channels: int = 2048
    """C."""
    latent_channels: int = 512
    """E."""
    num_non_local_layers: int = field(default=2, validator=at_least(1))
    """Layers of attention, one after the other."""
    st_feat_dropout_ratio: float = field(default=0.2, validator=below_one)
    """Dropout of the embedded features of boxes, and of the output of each layer."""
    lt_feat_dropout_ratio: float = field(default=0.2, validator=below_one)
    """Dropout of the embedded rows of the bank."""
    pre_activate: bool = True
    """Layer norm and ReLU before the last convolution of a layer; otherwise norm after it, ReLU after the shortcut."""


class FBOHead(nn.Module):
    """Appends what the bank says to the pooled features of each box.

    Args:
        lfb_cfg: the bank.
        fbo_cfg: the operator.

    ``forward``: features of boxes (R, C, T, P, Q), the map of each clip (unused), the clip of each box (R,) int64, the
    bank (B, L, D) -> (R, C + E, 1, 1, 1), with D instead of E for the mean and the maximum.
    """

    needs_bank = True

    def __init__(self, lfb_cfg: LFB = LFB(), fbo_cfg: FBO = FBO()) -> None:
        super().__init__()
        self.lfb = lfb_cfg
        operators = {"non_local": _NonLocalOperator, "avg": _Mean, "max": _Maximum}
        require(fbo_cfg.operator in operators, f"operator must be one of {list(operators)}, got {fbo_cfg.operator!r}")
        self.fbo: nn.Module = operators[fbo_cfg.operator](fbo_cfg, lfb_cfg.lfb_channels)

    def forward(self, x: Tensor, whole: Tensor, owners: Tensor, bank: Tensor | None = None) -> Tensor:
        if bank is None:
            raise UserError("FBOHead needs the rows of a feature bank: see lfb_cfg.bank")
        box = x.mean(2, keepdim=True).amax((3, 4), keepdim=True)
        rows = bank.to(box.dtype).transpose(1, 2)[..., None, None]  # (B, D, L, 1, 1)
        return torch.cat((box, self.fbo(box, rows, owners)), 1)


class _Mean(nn.Module):
    def __init__(self, options: FBO, channels: int) -> None:
        super().__init__()

    def forward(self, box: Tensor, rows: Tensor, owners: Tensor) -> Tensor:
        return rows.mean(2, keepdim=True)[owners]


class _Maximum(_Mean):
    def forward(self, box: Tensor, rows: Tensor, owners: Tensor) -> Tensor:
        return rows.amax(2, keepdim=True)[owners]


class _NonLocalOperator(nn.Module):
    """(R, C, 1, 1, 1) and (B, D, L, 1, 1) -> (R, E, 1, 1, 1): layers of attention, one after the other."""

    def __init__(self, options: FBO, channels: int) -> None:
        super().__init__()
        latent = options.latent_channels
        self.st_feat_conv = nn.Conv3d(options.st_feat_channels, latent, 1)
        self.lt_feat_conv = nn.Conv3d(channels, latent, 1)
        for conv in (self.st_feat_conv, self.lt_feat_conv):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.drop_st = nn.Dropout(options.st_feat_dropout_ratio)
        self.drop_lt = nn.Dropout(options.lt_feat_dropout_ratio)
        self.layers = [f"non_local_layer_{number}" for number in range(1, options.num_non_local_layers + 1)]
        for name in self.layers:
            self.add_module(name, _Attention(latent, options))

    def forward(self, box: Tensor, rows: Tensor, owners: Tensor) -> Tensor:
        out, rows = self.drop_st(self.st_feat_conv(box)), self.drop_lt(self.lt_feat_conv(rows))
        for name in self.layers:
            out = self.get_submodule(name)(out, rows, owners)
        return out


class _Attention(nn.Module):
    """Attention of boxes to the rows of the window of their clip, with a shortcut: (R, E, 1, 1, 1) -> the same."""

    def __init__(self, channels: int, options: FBO) -> None:
        super().__init__()
        units = [ConvUnit(nn.Conv3d(channels, channels, 1), norm=False) for _ in range(4)]
        self.st_feat_conv, self.lt_feat_conv, self.global_conv, self.out_conv = units
        for unit in units:
            nn.init.normal_(unit.conv.weight, std=0.01)
            nn.init.zeros_(unit.conv.bias)  # type: ignore[arg-type]
        self.ln = nn.LayerNorm([channels, 1, 1, 1])
        self.drop = nn.Dropout(options.st_feat_dropout_ratio)
        self.pre_activate = options.pre_activate

    def forward(self, box: Tensor, rows: Tensor, owners: Tensor) -> Tensor:
        query = self.st_feat_conv(box).flatten(1)[:, None]  # (R, 1, E)
        keys = self.lt_feat_conv(rows).flatten(2)[owners]  # (R, E, L)
        values = self.global_conv(rows).flatten(2)[owners]
        weights = (query @ keys * query.shape[-1] ** -0.5).softmax(-1)
        mixed = (values @ weights.transpose(1, 2))[..., None, None]
        if self.pre_activate:
            return box + self.drop(self.out_conv(self.ln(mixed).relu()))
        return (box + self.drop(self.ln(self.out_conv(mixed)))).relu()
