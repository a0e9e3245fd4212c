"""DRN: Dense Regression Network for video grounding (Zeng et al. 2020, arXiv:2004.03545).

Finds the segment that a sentence describes. The input is one feature for each of T equal parts of the video, and the
sentence. An LSTM reads the sentence, which gates the channels of the features at three resolutions; a feature pyramid
joins these. At every position of every level a head predicts whether the sentence matches, the distances to start and
end of the segment, and the quality of that segment.

Training has three stages (``stage``): matching and location; the quality branch alone; everything.

Shapes: B samples, T parts of a video, C channels, L words, N positions of all levels (T + T/2 + T/4).

Differs from published training in three bugs that are fixed: a batch may have one sample, keeps its order, and need
not have a segment that is good enough for the quality branch to learn from.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_localization.models.refinement import paired_iou
from vid_localization.models.spans import (
    check_features,
    covered_seconds,
    required_targets,
    target_segments,
    with_predictions,
)
from vid_localization.names import sample_label
from vid_localization.post.suppression import soft_nms
from vidcore.batch import Batch
from vidcore.errors import DataError, UserError
from vidcore.nn import Model, require
from vidcore.protocols import Transform
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["DRN", "DRNOutput"]

POSITION = 256
"""Channels of the position of a part in the video."""
RANGES = ((-1.0, 6.0), (5.6, 11.0), (11.0, math.inf))
"""Range, for each level, of the larger distance to start and end of the true segment, in parts of the video."""
QUALITY_THRESHOLD = 0.9
"""The quality branch learns from segments that overlap the true one by more than this."""
SUPPRESSION = (0.4, 0.5, 0.9, 5)
"""Arguments of ``soft_nms``, which keeps one segment more than the last one."""

DRNOutput = tuple[Tensor, Tensor, Tensor]
"""Logits of a match (B, N), distances to start and end in parts (B, N, 2), and logits of quality (B, N)."""


class DRN(Model):
    """Predict the segment of a video that a sentence describes.

    Args:
        vocab_size: number of words; they are numbered from 1, and 0 is padding.
        hidden_dim: size of the LSTM's state in one direction.
        embed_dim: channels of a word.
        bidirection: read the sentence in both directions.
        first_output_dim: channels at the highest resolution; they double when the resolution halves.
        fpn_feature_dim: channels of the pyramid.
        feature_dim: channels of the features, C.
        lstm_layers: layers of the LSTM.
        fcos_pre_nms_top_n: largest number of candidates of a level.
        fcos_inference_thr: least probability of a match of a candidate.
        fcos_prior_prob: probability of a match before training.
        focal_alpha, focal_gamma: weight of matches and exponent of the focal loss (arXiv:1708.02002).
        fpn_stride: parts of the video per position of each level.
        fcos_conv_layers: layers of the head before its outputs.
        stage: what is trained. Scores of the first stage ignore the quality of segments.
    """

    def __init__(
        self,
        vocab_size: int = 1301,
        hidden_dim: int = 512,
        embed_dim: int = 300,
        bidirection: bool = True,
        first_output_dim: int = 256,
        fpn_feature_dim: int = 512,
        feature_dim: int = 4096,
        lstm_layers: int = 1,
        fcos_pre_nms_top_n: int = 32,
        fcos_inference_thr: float = 0.05,
        fcos_prior_prob: float = 0.01,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        fpn_stride: tuple[int, int, int] = (1, 2, 4),
        fcos_conv_layers: int = 1,
        stage: Literal["first", "second", "third"] = "third",
    ) -> None:
        super().__init__()
        require(0 < fcos_prior_prob < 1, f"fcos_prior_prob must be between 0 and 1, got {fcos_prior_prob}")
        self.stage = stage
        self.strides = tuple(fpn_stride)
        self.top_n, self.threshold = fcos_pre_nms_top_n, fcos_inference_thr
        self.focal = (focal_alpha, focal_gamma)
        sentence = hidden_dim * (2 if bidirection else 1)
        widths = [first_output_dim * 2**level for level in range(3)]
        self.query_encoder = _QueryEncoder(vocab_size, embed_dim, hidden_dim, lstm_layers, bidirection)
        self.backbone_net = _Backbone([feature_dim + POSITION, *widths])
        self.fpn = _Pyramid(widths, fpn_feature_dim)
        self.fcos = nn.ModuleDict({"head": _Head(fpn_feature_dim, fcos_conv_layers, fcos_prior_prob)})
        self.prop_fc = nn.Linear(feature_dim, feature_dim)
        self.position_transform = nn.Linear(3, POSITION)
        self.qInput = nn.ModuleList(nn.Linear(sentence, width) for width in (feature_dim, *widths[:2]))

        quality = {p for part in (self.head.mix_fc, self.head.iou_scores) for p in part.parameters()}
        for parameter in self.parameters():
            trained = {"first": parameter not in quality, "second": parameter in quality, "third": True}[stage]
            parameter.requires_grad_(trained)

    @property
    def head(self) -> _Head:
        head = self.fcos["head"]
        assert isinstance(head, _Head)
        return head

    def preprocess(self, batch: Batch) -> Batch:
        """Features and positions as float32. Raises ``UserError`` if features have a different number of channels."""
        check_features(batch.inputs["features"].mT, self.prop_fc.in_features)
        inputs = {k: v.float() if v.is_floating_point() else v for k, v in batch.inputs.items()}
        return batch.replace(inputs=inputs)

    def sample_step(self) -> Transform:
        """Check the words of the sentence, and set the segment it describes as the target."""
        return _Grounding(self.query_encoder.embedding.num_embeddings - 1)

    def forward(self, inputs: dict[str, Tensor]) -> DRNOutput:
        """Predict from the inputs that ``FormatQuery`` makes.

        Args:
            inputs: ``features`` (B, T, C); ``proposals`` (B, T, 2), the parts as fractions of the video; ``query``
                (B, L) int64, padded with 0; ``query_length`` (B,) int64.
        """
        sentence = self.query_encoder(inputs["query"], inputs["query_length"])
        gates = [gate(vector)[..., None] for gate, vector in zip(self.qInput, sentence, strict=True)]
        parts = inputs["proposals"]
        where = self.position_transform(torch.cat((parts, parts[..., 1:] - parts[..., :1]), -1))
        content = self.prop_fc(inputs["features"]).transpose(1, 2)
        levels = self.backbone_net(content, where.transpose(1, 2), gates)
        found: DRNOutput = self.head(self.fpn(levels))
        return found

    def loss(self, outputs: DRNOutput, batch: Batch) -> dict[str, Tensor]:
        """``loss_cls`` of matches, ``loss_reg`` of distances, ``loss_iou`` of qualities (0 in the first stage).

        Raises:
            UserError: a sample is not annotated.
        """
        logits, distances, quality = (t.float() for t in outputs)
        wanted = required_targets(batch, Tensor, "segment")[0].to(logits)
        places, levels, number = self.places(logits)
        true = torch.stack((places - wanted[:, :1], wanted[:, 1:] - places), -1) * number
        nearest, furthest = true.amin(-1), true.amax(-1)
        least, most = torch.tensor(RANGES, device=places.device)[levels].unbind(-1)
        matches = (nearest > 0) & (furthest >= least) & (furthest <= most)

        count = matches.sum()
        total = _focal(logits, matches, *self.focal).sum()
        shared, union = torch.minimum(distances, true).sum(-1), torch.maximum(distances, true).sum(-1)
        gap = (union[matches].log() - shared[matches].log()).sum()
        losses = {"loss_cls": total / (count + len(logits)), "loss_reg": gap / count.clamp(min=1)}

        overlap = paired_iou(self.segments(distances), wanted[:, None], eps=1e-6)
        good = overlap > (math.inf if self.stage == "first" else QUALITY_THRESHOLD)
        error = F.smooth_l1_loss(quality.sigmoid()[good], overlap[good], reduction="sum")
        return losses | {"loss_iou": error / good.sum().clamp(min=1)}

    def predict(self, outputs: DRNOutput, batch: Batch) -> list[Sample]:
        """The samples with ``segments``: at most six, after soft suppression."""
        found = []
        for sample, rows in zip(batch.samples, self.candidates(outputs), strict=True):
            kept = soft_nms(rows, *SUPPRESSION) if len(rows) else rows
            found.append(with_predictions(sample, kept, covered_seconds(sample)))
        return found

    def candidates(self, outputs: DRNOutput) -> list[Array]:
        """Candidates of every sample: (n, 3) float64 start and end as fractions, and score."""
        logits, distances, quality = (t.detach().float() for t in outputs)
        match = logits.sigmoid()
        score = match if self.stage == "first" else match * quality.sigmoid()
        table = torch.cat((self.segments(distances).clamp(0, 1), score.sqrt()[..., None]), -1)
        _, levels, _ = self.places(logits)
        found = []
        for rows, probability in zip(table.double().cpu().numpy(), match.cpu().numpy(), strict=True):
            kept = [self._best(np.flatnonzero(levels.cpu().numpy() == level), probability) for level in range(3)]
            found.append(rows[np.concatenate(kept)])
        return found

    def _best(self, places: Array, probability: Array) -> Array:
        places = places[probability[places] > self.threshold]
        if len(places) <= self.top_n:
            return places
        return places[np.argsort(-probability[places], kind="stable")[: self.top_n]]

    def places(self, logits: Tensor) -> tuple[Tensor, Tensor, int]:
        """Middle of every position as a fraction of the video (N,), its level (N,) int64, and T."""
        share = sum(1 / stride for stride in self.strides)
        number = round(logits.shape[1] / share)
        sizes = [number // stride for stride in self.strides]
        middles = [(torch.arange(n, device=logits.device) + 0.5) / n for n in sizes]
        levels = torch.arange(3).repeat_interleave(torch.tensor(sizes)).to(logits.device)
        return torch.cat(middles), levels, number

    def segments(self, distances: Tensor) -> Tensor:
        """Distances (B, N, 2) -> segments (B, N, 2) as fractions of the video."""
        places, _, number = self.places(distances[..., 0])
        before, after = (distances / number).unbind(-1)
        return torch.stack((places - before, places + after), -1)


class _QueryEncoder(nn.Module):
    """A sentence as three vectors: three attentions over the states of its words (section 3.2)."""

    def __init__(self, words: int, embedding: int, hidden: int, layers: int, bidirectional: bool) -> None:
        super().__init__()
        width = hidden * (2 if bidirectional else 1)
        self.embedding = nn.Embedding(words + 1, embedding, padding_idx=0)
        self.biLSTM = nn.LSTM(embedding, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.W3 = nn.Linear(2 * width, hidden)
        self.W2 = nn.ModuleList(nn.Linear(hidden, width) for _ in range(3))
        self.W1 = nn.Linear(width, 1)

    def forward(self, query: Tensor, length: Tensor) -> list[Tensor]:
        rnn = nn.utils.rnn
        packed = rnn.pack_padded_sequence(self.embedding(query), length.cpu(), batch_first=True, enforce_sorted=False)
        with torch.autocast(query.device.type, enabled=False):  # some CPUs have no LSTM in half precision
            read, _ = self.biLSTM(packed)
        states, _ = rnn.pad_packed_sequence(read, batch_first=True, total_length=query.shape[1])
        last = states[torch.arange(len(states), device=states.device), length - 1]
        whole = F.relu(self.W3(torch.cat((states[:, 0], last), -1)))
        padding = torch.arange(query.shape[1], device=query.device) >= length[:, None]
        vectors = []
        for view in self.W2:
            weight = self.W1(view(whole)[:, None] * states)[..., 0].masked_fill(padding, -math.inf).softmax(-1)
            vectors.append((weight[..., None] * states).sum(1))
        return vectors


class _Backbone(nn.Module):
    """The video at three resolutions; the sentence gates the channels before each (section 3.3)."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _block(a, b, 3, stride=1 if i == 0 else 2) for i, (a, b) in enumerate(pairwise(widths))
        )

    def forward(self, content: Tensor, where: Tensor, gates: list[Tensor]) -> list[Tensor]:
        first, *others = self.layers
        levels = [first(torch.cat((content * gates[0], where), 1))]
        for layer, gate in zip(others, gates[1:], strict=True):
            levels.append(layer(levels[-1] * gate))
        return levels


class _Pyramid(nn.Module):
    """Feature pyramid (arXiv:1612.03144): coarse levels are added to fine ones."""

    def __init__(self, widths: list[int], width: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(_block(w, width, 1) for w in widths)
        self.layer_blocks = nn.ModuleList(_block(width, width, 3) for _ in widths)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        inner = [block(level) for block, level in zip(self.inner_blocks, levels, strict=True)]
        for i in reversed(range(len(inner) - 1)):
            inner[i] = inner[i] + F.interpolate(inner[i + 1], size=inner[i].shape[-1])
        return [block(level) for block, level in zip(self.layer_blocks, inner, strict=True)]


class _Head(nn.Module):
    """Match, distances and quality of every position; only a scale differs between levels (section 3.4)."""

    def __init__(self, width: int, layers: int, prior: float) -> None:
        super().__init__()
        self.cls_tower, self.bbox_tower = (
            nn.Sequential(*(part for _ in range(layers) for part in _block(width, width, 3, bias=True)))
            for _ in range(2)
        )
        self.cls_logits = nn.Conv1d(width, 1, 3, padding=1)
        self.bbox_pred = nn.Conv1d(width, 2, 3, padding=1)
        self.mix_fc = _block(2 * width, width, 1, bias=True)
        self.iou_scores = nn.Sequential(*_block(width, width // 2, 3, bias=True), nn.Conv1d(width // 2, 1, 1))
        self.scales = nn.ModuleList(_Scale() for _ in range(3))
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        assert self.cls_logits.bias is not None
        nn.init.constant_(self.cls_logits.bias, math.log(prior / (1 - prior)))

    def forward(self, levels: list[Tensor]) -> DRNOutput:
        found = []
        for level, scale in zip(levels, self.scales, strict=True):
            about, bounds = self.cls_tower(level), self.bbox_tower(level)
            quality = self.iou_scores(self.mix_fc(torch.cat((about, bounds), 1)))
            found.append((self.cls_logits(about), scale(self.bbox_pred(bounds)).exp(), quality))
        logits, distances, quality = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
        return logits.squeeze(1), distances.transpose(1, 2), quality.squeeze(1)


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


def _focal(logits: Tensor, matches: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of every position."""
    signed = torch.where(matches, logits, -logits)
    weight = torch.where(matches, alpha, 1 - alpha)
    return -weight * (-signed).sigmoid() ** gamma * F.logsigmoid(signed)


@frozen
class _Grounding:
    """Sets the target ``segment`` (2,) float32: start and end as fractions of the video."""

    words: int
    """Size of the vocabulary."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` for a word outside of the vocabulary, ``DataError`` unless there is one segment."""
        tokens = None if sample.text is None else sample.text.tokens
        if tokens is not None and (last := max(tokens, default=0)) > self.words:
            raise UserError(f"the model is made for {self.words} words (vocab_size), but a sentence has word {last}")
        if sample.segments is None:
            return sample
        rows = target_segments(sample)
        if len(rows) != 1:
            raise DataError(f"{sample_label(sample)}: a sentence must describe one segment, found {len(rows)}")
        return sample.with_targets(segment=rows[0].astype(np.float32))
