"""CLIP4Clip: the similarity of videos and sentences, from a CLIP on frames (Luo et al. 2021, arXiv:2104.08860).

The frames of a video are embedded by the image tower, an adapter makes one embedding of them, and training is
contrastive over the pairs of a batch, in all processes.

Differs from published training: pairs of a batch with the same video or the same text are not held apart.

Shapes: B samples, N frames, M texts of all samples, L tokens, D channels of the joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from vid_retrieval.models.dual import MEAN, STD, DualEncoder, contrast
from vid_retrieval.records import Embeddings, Texts
from vidcore.batch import Batch
from vidcore.errors import DataError
from vidcore.protocols import Transform
from vidcore.records import Varying
from vidcore.sample import Sample

__all__ = ["CLIPSimilarity"]

Outputs = tuple[Tensor, Tensor | None, Tensor]


class CLIPSimilarity(DualEncoder):
    """Embeds videos and sentences so that those that belong together are similar.

    Args:
        clip: the towers, a ``CLIP``.
        adapter: from frames to videos: ``SimpleMeanAdapter`` or ``TransformerAdapter``.
        frozen_layers: what is not trained: -1 nothing, 0 the embeddings of both towers, N also their first N blocks.
        loss_weight: factor on the losses of both directions.
        mean, std: of the channels of frames, in the range 0 to 255.

    Raises ``ValueError`` if an argument is not valid.
    """

    def __init__(
        self,
        clip: nn.Module,
        adapter: nn.Module,
        frozen_layers: int = -1,
        loss_weight: float = 0.5,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__(clip, adapter, mean, std)
        self.loss_weight = loss_weight
        self.clip.freeze(frozen_layers)

    def sample_step(self) -> Transform:
        """Let samples have different numbers of texts, and tell the loss which samples are of one video."""
        return _finish

    def forward(self, inputs: Any) -> Outputs:
        """Return embeddings of videos (B, D) and of texts (B, texts, D), of any length, and the temperature (1,).

        Args:
            inputs: ``imgs`` (B, N, 3, H, W), normalised, and ``text`` (B, texts, L) int64; without ``text``, there are
                no embeddings of texts.
        """
        if isinstance(inputs, Tensor):
            inputs = {"imgs": inputs}
        videos = self.encode_videos(inputs["imgs"]).mean(1)
        if "text" not in inputs:
            return videos, None, self.clip.temperature
        ids = inputs["text"]
        texts = self.clip.encode_texts(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
        return videos, texts, self.clip.temperature

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return ``sim_loss_v2t`` and ``sim_loss_t2v``, the cross entropy of each direction.

        Raises ``DataError`` unless each sample has one text.
        """
        videos, texts, temperature = outputs
        if texts is None or texts.shape[1] != 1:
            found = "none" if texts is None else f"up to {texts.shape[1]}"
            who = f"sample {batch.samples[0].index} and others of its batch" if batch.samples else "a batch"
            raise DataError(f"training needs samples with one text each, and {who} have {found}")
        gather, ids = batch.collectives.all_gather, batch.inputs["text"][:, 0]
        ids = gather(F.pad(ids, (0, self.clip.context_length - ids.shape[1])))
        same = (ids[:, None] == ids).all(2)
        if "video" in batch.targets:
            numbers = batch.targets["video"]
            assert isinstance(numbers, Tensor)
            numbers = gather(numbers)
            same |= (numbers[:, None] == numbers) & (numbers >= 0)
        return contrast(gather(videos), gather(texts[:, 0]), temperature, self.loss_weight, same)

    def predict(self, outputs: Outputs, batch: Batch) -> list[Sample]:
        """Return samples with ``video_embedding``, and, if they have texts, ``text_embeddings`` in ``extra``."""
        videos, texts, _ = outputs
        made = []
        counts = batch.lengths.get("text")
        for i, sample in enumerate(batch.samples):
            sample = sample.with_extra(video_embedding=Embeddings(_array(videos[i : i + 1])))
            if texts is not None:
                rows = texts[i] if counts is None else texts[i, : int(counts[i])]
                sample = sample.with_extra(text_embeddings=Embeddings(_array(rows)))
            made.append(sample)
        return made


def _finish(sample: Sample, rng: np.random.Generator) -> Sample:
    ids, texts = sample.inputs.get("text"), sample.extra.get("texts")
    if isinstance(ids, np.ndarray):
        sample = sample.with_inputs(text=Varying(ids))
    return sample.with_targets(video=np.array(texts.video)) if isinstance(texts, Texts) else sample


def _array(rows: Tensor) -> Any:
    return rows.float().cpu().numpy()
