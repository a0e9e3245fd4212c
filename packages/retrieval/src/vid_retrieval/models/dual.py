"""What models with a tower for videos and a tower for texts share: preprocessing, embeddings of videos, contrast.

Shapes: B samples, N frames of a sample, V views of it, T frames of a view, D channels of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_retrieval.models.adapters import FrameAdapter
from vid_retrieval.models.clip import CLIP, convert_clip_weights
from vid_retrieval.transforms.tokens import CLIPTokenize
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.nn import FeatureModel, require, require_type

__all__ = ["MEAN", "STD", "DualEncoder", "contrast"]

MEAN, STD = (122.771, 116.746, 104.094), (68.5, 66.632, 70.323)
"""Mean and deviation of the channels of images that CLIP was trained on, in the range of frames (0 to 255)."""


class DualEncoder(FeatureModel):
    """Base class of models made of a CLIP and an adapter from frames to videos.

    Subclasses have ``forward``, ``loss`` and ``predict``; these work with embeddings of any length.
    """

    averages_clips = True
    mean: Tensor
    std: Tensor

    def __init__(
        self, clip: nn.Module, adapter: nn.Module, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
    ) -> None:
        super().__init__()
        require(len(mean) == len(std) == 3 and all(std), f"mean and std must have three entries, std none of 0: {std}")
        self.clip, self.adapter = require_type(clip, CLIP, "clip"), require_type(adapter, FrameAdapter, "adapter")
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def preprocess(self, batch: Batch) -> Batch:
        """Normalise frames: the input ``imgs``, (B, N, 3, H, W) uint8 or float."""
        inputs = batch.inputs if isinstance(batch.inputs, Mapping) else {"imgs": batch.inputs}
        frames = inputs["imgs"]
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise UserError(
                f"{type(self).__name__} takes frames of shape (samples, frames, 3, height, width), and got "
                f"{tuple(frames.shape)}: see FormatShape, whose input_format must be NCHW"
            )
        frames = frames.to(torch.float32, copy=True).sub_(self.mean).div_(self.std)
        return batch.replace(inputs={**inputs, "imgs": frames})

    def encode_videos(self, frames: Tensor) -> Tensor:
        """Embed views of videos: (B, N, 3, H, W), normalised -> (B, V, D).

        V is N / T if the adapter takes T frames, otherwise 1.
        """
        count = self.adapter.frames or frames.shape[1]
        if frames.shape[1] % count:
            raise UserError(
                f"{type(self).__name__} takes {count} frames of a view, and got {frames.shape[1]} frames: see the "
                "adapter, and the number of frames in the pipeline"
            )
        embedded = self.clip.encode_images(frames.flatten(0, 1)).unflatten(0, (-1, count))
        out: Tensor = self.adapter(embedded).unflatten(0, (len(frames), -1))
        return out

    def clip_features(self, inputs: Any) -> Tensor:
        """Return (B, D) embeddings of length 1: the mean direction of the views."""
        frames = inputs["imgs"] if isinstance(inputs, Mapping) else inputs
        return F.normalize(F.normalize(self.encode_videos(frames).float(), dim=-1).mean(1), dim=-1)

    def tokenize_step(self) -> CLIPTokenize | None:
        """Return the step that reads sentences; default: None, that of the pipeline."""
        return None

    def text_features(self, ids: Tensor) -> Tensor:
        """Return (M, D) embeddings of length 1 of token ids (M, L)."""
        return F.normalize(self.clip.encode_texts(ids).float(), dim=-1)

    def adapt_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Take the weights of a published CLIP, under the names of OpenAI, OpenCLIP or ``transformers``."""
        if any(key.startswith("clip.") for key in state_dict):
            return None
        return {f"clip.{key}": value for key, value in convert_clip_weights(state_dict).items()}


def contrast(
    videos: Tensor, texts: Tensor, scale: Tensor, weight: float, same: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the symmetric contrastive loss of pairs (CLIP, figure 3): video i belongs to text i.

    Args:
        videos: (n, D) of any length, of all processes.
        texts: (n, D).
        scale: factor on their cosines.
        weight: factor on both losses.
        same: (n, n) bool, symmetric: pairs that belong together, all equally; default: i and i.
    """
    logits = scale * F.normalize(videos.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    if same is None:
        same = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    wanted = same / same.sum(1, keepdim=True)
    return {
        "sim_loss_v2t": weight * F.cross_entropy(logits, wanted),
        "sim_loss_t2v": weight * F.cross_entropy(logits.T, wanted),
    }
