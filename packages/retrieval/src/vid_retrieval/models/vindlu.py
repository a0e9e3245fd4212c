"""VindLU: retrieval, questions and multiple choice about videos (Cheng et al. 2022, arXiv:2212.05051).

A video network and a text network embed into a joint space, and the last blocks of the text network look at the tokens
of the video, to tell whether both belong together. Training is contrastive over the batches of all processes, and
matches every pair against the wrong ones that are most alike (ALBEF, arXiv:2107.07651, section 3.2). Questions are
answered by a decoder that rates the answers of a list.

Differs from published training: captions of one video are never wrong ones of another sample of it; in evaluation the
wrong pair is the most alike one, instead of a random one.

Shapes: B videos, T frames, M tokens of a video, K texts of each, L tokens of a text, C channels, D channels of the
joint space, A answers of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_retrieval.datasets.questions import read_answers
from vid_retrieval.models.beit import BeitModel3D
from vid_retrieval.models.bert import BertDecoder, XBertModel, text_mask
from vid_retrieval.records import Answers, Embeddings, States, Texts
from vid_retrieval.word_pieces import WordPieces
from vidcore.batch import Batch
from vidcore.errors import DataError, UserError
from vidcore.nn import Model, require, require_type
from vidcore.protocols import Transform
from vidcore.records import Varying
from vidcore.sample import Sample

__all__ = ["VindLURetrieval", "VindLURetrievalMC", "VindLUVQA"]

MEAN = (128.0, 128.0, 128.0)
STD = (128.0, 128.0, 128.0)
TEMPERATURES = (0.001, 0.5)
"""Limits of the learned temperature."""
MATCHING_SHARE = 0.7
"""Weight of the matching score of a multiple choice; the rest is that of the similarity."""


class VindLU(Model):
    """Base class: a video network, and a text network that looks at it."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, vision_encoder: nn.Module, text_encoder: nn.Module, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.vision_encoder = require_type(vision_encoder, BeitModel3D, "vision_encoder")
        self.text_encoder = require_type(text_encoder, XBertModel, "text_encoder")
        width = self.vision_encoder.hidden_size
        require(
            self.text_encoder.encoder_width == width,
            f"text_encoder.encoder_width must be that of the video network, {width}",
        )
        require(len(mean) == len(std) == 3 and all(std), f"mean and std must have three entries, std none of 0: {std}")
        self.vision_layernorm = nn.LayerNorm(width)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def sample_step(self) -> Transform:
        """Let samples have different numbers of texts and answers."""
        return _finish

    def preprocess(self, batch: Batch) -> Batch:
        """Normalise frames: the input ``imgs``, (B, T, 3, H, W) uint8 or float."""
        if not isinstance(batch.inputs, Mapping) or not {"imgs", "text"} <= batch.inputs.keys():
            raise UserError(f"{type(self).__name__} takes frames and texts: see FormatShape and BertTokenize")
        frames = batch.inputs["imgs"]
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise UserError(
                f"{type(self).__name__} takes frames of shape (videos, frames, 3, height, width), and got "
                f"{tuple(frames.shape)}: see FormatShape, whose input_format must be NCHW"
            )
        frames = frames.to(torch.float32, copy=True).sub_(self.mean).div_(self.std)
        return batch.replace(inputs={**batch.inputs, "imgs": frames})

    def see(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of videos (B, M, C), and the mean of the patches of each frame (B, T, C)."""
        tokens, pooled = self.vision_encoder(frames)
        return self.vision_layernorm(tokens).flatten(1, 2), pooled


class Pairs(NamedTuple):
    """Outputs of retrieval and of multiple choice."""

    frame_features: Tensor
    """(B, T, D) of length 1."""
    text_features: Tensor
    """(B, K, D) of length 1."""
    temperature: Tensor
    """(1,)"""
    video_tokens: Tensor
    """(B, M, C)"""
    text_states: Tensor
    """(B, K, L, C) of texts alone."""
    matches: Tensor | None
    """Logits of matching. Retrieval: (pairs, 2), the right ones first, then each with a wrong text, then each with a
    wrong video; None unless every video has one text. Multiple choice: (B, K, 2)."""


class _Matching(VindLU):
    """Base class of what embeds and matches pairs."""

    def __init__(
        self,
        vision_encoder: nn.Module,
        text_encoder: nn.Module,
        proj_dim: int,
        temperature: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(vision_encoder, text_encoder, mean, std)
        self.temp = nn.Parameter(torch.full((1,), temperature))
        self.vision_proj = nn.Linear(self.vision_encoder.hidden_size, proj_dim)
        self.text_proj = nn.Linear(self.text_encoder.hidden_size, proj_dim)
        self.itm_head = nn.Linear(self.text_encoder.hidden_size, 2)

    def embed(self, frames: Tensor, ids: Tensor) -> Pairs:
        """Return the outputs without ``matches``, given frames (B, T, 3, H, W) and token ids (B, K, L)."""
        tokens, pooled = self.see(frames)
        states = self.text_encoder.read(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
        features = (self.vision_proj(pooled), self.text_proj(states[:, :, 0]))
        frame_features, text_features = (F.normalize(x.float(), dim=-1) for x in features)
        return Pairs(frame_features, text_features, self.temp.clamp(*TEMPERATURES), tokens, states, None)

    def match(self, states: Tensor, ids: Tensor, video: Tensor) -> Tensor:
        """Return (N, 2) logits of no match and match.

        Args:
            states: (N, L, C) of texts alone.
            ids: (N, L) their tokens.
            video: (N, M, C) tokens of the videos.
        """
        logits: Tensor = self.itm_head(self.text_encoder.fuse(states, ids, video)[:, 0]).float()
        return logits


class VindLURetrieval(_Matching):
    """Finds videos by sentences, and sentences by videos.

    Args:
        vision_encoder: a ``BeitModel3D``.
        text_encoder: an ``XBertModel``.
        proj_dim: D.
        temperature: initial temperature of the similarities.
        topk: candidates for which matching is computed in evaluation, see ``MatchRecall``.
        mean, std: of the channels of frames, in the range 0 to 255.

    Raises ``ValueError`` if an argument is not valid.
    """

    def __init__(
        self,
        vision_encoder: nn.Module,
        text_encoder: nn.Module,
        proj_dim: int = 256,
        temperature: float = 0.07,
        topk: int = 128,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__(vision_encoder, text_encoder, proj_dim, temperature, mean, std)
        require(topk >= 1, f"topk must be at least 1, got {topk}")
        self.topk = topk

    def forward(self, inputs: Mapping[str, Tensor]) -> Pairs:
        """Return embeddings, and logits of pairs if every video has one text.

        Args:
            inputs: ``imgs`` (B, T, 3, H, W), normalised, ``text`` (B, K, L) int64, filled up with 0, and perhaps
                ``video`` (B,) int64, equal for samples of one video.
        """
        ids = inputs["text"]
        out = self.embed(inputs["imgs"], ids)
        if ids.shape[1] != 1:
            return out
        states, words, videos = out.text_states[:, 0], ids[:, 0], out.video_tokens
        with torch.no_grad():
            similarity = _similarity(out.frame_features, out.text_features[:, 0]) / out.temperature
            others = ~_same_video(inputs.get("video"), similarity)
            text, with_text = self._wrong(similarity, others)
            video, with_video = self._wrong(similarity.T, others)
        # all wrong pairs at once: each video with a wrong text, each text with a wrong video
        texts = torch.cat((torch.arange(len(words), device=ids.device), text, with_video))
        seen = torch.cat((torch.arange(len(words), device=ids.device), with_text, video))
        return out._replace(matches=self.match(states[texts], words[texts], videos[seen]))

    def _wrong(self, similarity: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a wrong partner of each row with any: its number, and the number of the row.

        While training, one is drawn in proportion to the softmax of the similarities, else the most alike is taken.
        """
        rows = others.any(1).nonzero()[:, 0]
        if not len(rows):
            return rows, rows
        if self.training:
            weights = (similarity.softmax(1) + 1e-4) * others
            return torch.multinomial(weights[rows], 1)[:, 0], rows
        return similarity.masked_fill(~others, -torch.inf)[rows].argmax(1), rows

    def loss(self, outputs: Pairs, batch: Batch) -> dict[str, Tensor]:
        """Return ``itc_loss``, contrastive over all processes, and ``itm_loss``, of matching.

        Raises ``DataError`` unless each sample has one text.
        """
        if outputs.matches is None:
            raise DataError(
                f"training needs samples with one text each, and a batch has up to {outputs.text_features.shape[1]}: "
                'see BertTokenize, texts = "one"'
            )
        gather = batch.collectives.all_gather
        videos, texts = gather(outputs.frame_features.mean(1)), gather(outputs.text_features[:, 0])
        similarity = videos @ texts.T / outputs.temperature
        numbers = batch.inputs.get("video")
        same = _same_video(None if numbers is None else gather(numbers), similarity)
        wanted = same / same.sum(1, keepdim=True)
        both = F.cross_entropy(similarity, wanted) + F.cross_entropy(similarity.T, wanted)
        right = torch.zeros(len(outputs.matches), dtype=torch.int64, device=similarity.device)
        right[: len(outputs.frame_features)] = 1
        return {"itc_loss": both / 2, "itm_loss": F.cross_entropy(outputs.matches, right)}

    def predict(self, outputs: Pairs, batch: Batch) -> list[Sample]:
        """Return samples with ``video_embedding`` and ``text_embeddings``, and what ``MatchRecall`` needs."""
        found = []
        for i, (sample, count) in enumerate(zip(batch.samples, _counts(batch), strict=True)):
            ids = batch.inputs["text"][i, :count]
            found.append(
                sample.with_extra(
                    video_embedding=Embeddings(_array(outputs.frame_features[i].mean(0, keepdim=True))),
                    text_embeddings=Embeddings(_array(outputs.text_features[i, :count])),
                    video_states=States(outputs.video_tokens[i][None].half().cpu()),
                    text_states=States(outputs.text_states[i, :count].half().cpu(), ids.cpu()),
                )
            )
        return found


class VindLURetrievalMC(_Matching):
    """Chooses the caption of a video.

    Args:
        vision_encoder: a ``BeitModel3D``.
        text_encoder: an ``XBertModel``.
        proj_dim: D.
        temperature: initial temperature of the similarities.
        mean, std: of the channels of frames, in the range 0 to 255.

    Published networks are those of retrieval; there is no loss.
    """

    def __init__(
        self,
        vision_encoder: nn.Module,
        text_encoder: nn.Module,
        proj_dim: int = 256,
        temperature: float = 0.07,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__(vision_encoder, text_encoder, proj_dim, temperature, mean, std)

    def forward(self, inputs: Mapping[str, Tensor]) -> Pairs:
        """Return embeddings, and logits of every caption, given ``imgs`` (B, T, 3, H, W) and ``text`` (B, K, L)."""
        ids = inputs["text"]
        out = self.embed(inputs["imgs"], ids)
        videos = out.video_tokens.repeat_interleave(ids.shape[1], 0)
        logits = self.match(out.text_states.flatten(0, 1), ids.flatten(0, 1), videos)
        return out._replace(matches=logits.unflatten(0, ids.shape[:2]))

    def predict(self, outputs: Pairs, batch: Batch) -> list[Sample]:
        """Return samples with ``scores`` of the captions, from 0 to 1."""
        assert outputs.matches is not None
        found = []
        for i, (sample, count) in enumerate(zip(batch.samples, _counts(batch), strict=True)):
            matching = outputs.matches[i, :count].softmax(1)[:, 1]
            alike = outputs.text_features[i, :count] @ outputs.frame_features[i].mean(0) / outputs.temperature
            scores = MATCHING_SHARE * matching + (1 - MATCHING_SHARE) * alike.softmax(0)
            found.append(sample.replace(scores=_array(scores)))
        return found


class Asked(NamedTuple):
    """Outputs of question answering."""

    states: Tensor
    """(B, L, C) of questions that have looked at their video."""
    mask: Tensor
    """(B, 1, 1, L) bool: tokens of the questions."""
    surprise: Tensor | None
    """(B, A) negative log likelihood of annotated answers; None without."""


class VindLUVQA(VindLU):
    """Answers questions about videos with an answer from a list.

    Args:
        vision_encoder: a ``BeitModel3D``.
        text_encoder: an ``XBertModel``, which reads the questions.
        text_decoder: a ``BertDecoder``, which rates the answers.
        answer_list: JSON list of all answers; needed to predict.
        vocabulary: ``vocab.txt`` of the text network; needed to predict.
        max_answer_len: most tokens of an answer, with its start and end.
        num_ans_candidates: answers that are rated as a whole, those whose first token is most likely.
        mean, std: of the channels of frames, in the range 0 to 255.

    Raises ``ValueError`` if an argument is not valid.
    """

    def __init__(
        self,
        vision_encoder: nn.Module,
        text_encoder: nn.Module,
        text_decoder: nn.Module,
        answer_list: Path | None = None,
        vocabulary: Path | None = None,
        max_answer_len: int = 5,
        num_ans_candidates: int = 128,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__(vision_encoder, text_encoder, mean, std)
        self.text_decoder = require_type(text_decoder, BertDecoder, "text_decoder")
        require(max_answer_len >= 3, f"max_answer_len must be at least 3, got {max_answer_len}")
        require(num_ans_candidates >= 1, f"num_ans_candidates must be at least 1, got {num_ans_candidates}")
        self.vision_encoder.pooler.requires_grad_(False)  # only retrieval uses it
        self.answer_list, self.vocabulary = answer_list, vocabulary
        self.max_answer_len, self.num_ans_candidates = max_answer_len, num_ans_candidates

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """All answers. Raises ``UserError`` if there is no ``answer_list``."""
        if self.answer_list is None:
            raise UserError("VindLUVQA needs answer_list to answer: a JSON list of all answers")
        return tuple(read_answers(self.answer_list))

    @cached_property
    def answer_ids(self) -> Tensor:
        """(answers, tokens) int64 on the CPU: all answers, filled up with 0."""
        answers = self.answers
        if self.vocabulary is None:
            raise UserError("VindLUVQA needs vocabulary to answer: vocab.txt of its text network")
        pieces = WordPieces(self.vocabulary, self.max_answer_len, end=True)
        return torch.from_numpy(np.stack([pieces(answer)[0] for answer in answers]))

    def forward(self, inputs: Mapping[str, Tensor]) -> Asked:
        """Return states of questions, and the surprise at annotated answers.

        Args:
            inputs: ``imgs`` (B, T, 3, H, W), normalised, ``text`` (B, 1, L) int64, filled up with 0, and perhaps
                ``answers`` (B, A, tokens).
        """
        question = inputs["text"][:, 0]
        states = self.text_encoder(question, self.see(inputs["imgs"])[0])
        out = Asked(states, text_mask(question), None)
        if "answers" not in inputs:
            return out
        answers = inputs["answers"]
        times = answers.shape[1]
        repeated = (x.repeat_interleave(times, 0) for x in (states, out.mask))
        return out._replace(surprise=self.text_decoder.surprise(answers.flatten(0, 1), *repeated).view(-1, times))

    def loss(self, outputs: Asked, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss``: the surprise at the answers of each question, weighted.

        Raises ``DataError`` if there are no answers.
        """
        if outputs.surprise is None:
            raise DataError("training needs answers: see BertTokenize, max_answer_length")
        return {"loss": (outputs.surprise * batch.inputs["answer_weights"]).sum() / len(outputs.surprise)}

    def first_logits(self, outputs: Asked) -> Tensor:
        """Return (B, W) logits of the first token of an answer."""
        start = self.answer_ids[0, :1].to(outputs.states.device).expand(len(outputs.states), 1)
        logits: Tensor = self.text_decoder(start, outputs.states, outputs.mask)
        return logits[:, 0].float()

    @torch.no_grad()
    def rate(self, outputs: Asked) -> tuple[Tensor, Tensor]:
        """Return the probabilities and numbers of the best answers, best first: (B, candidates) each.

        The likelihood of the first token selects candidates. They are rated by the likelihood of the whole answer times
        that of its first token (as in ALBEF), relative to each other.
        """
        ids = self.answer_ids.to(outputs.states.device)
        first = self.first_logits(outputs).log_softmax(1)[:, ids[:, 1]]
        chance, numbers = first.topk(min(self.num_ans_candidates, len(ids)), dim=1)
        whole = []
        for i in range(len(numbers)):  # one question at a time bounds the memory
            candidates = ids[numbers[i]]
            many = (x[i : i + 1].expand(len(candidates), *x.shape[1:]) for x in (outputs.states, outputs.mask))
            whole.append(chance[i] - self.text_decoder.surprise(candidates, *many))
        probability, order = torch.stack(whole).softmax(1).sort(dim=1, descending=True, stable=True)
        return probability, numbers.gather(1, order)

    def predict(self, outputs: Asked, batch: Batch) -> list[Sample]:
        """Return samples with ``answers``, best first, in ``extra``."""
        probability, numbers = (x.cpu() for x in self.rate(outputs))
        return [
            sample.with_extra(answers=Answers(tuple(self.answers[k] for k in row.tolist()), p.double().numpy()))
            for sample, p, row in zip(batch.samples, probability, numbers, strict=True)
        ]


def _similarity(frame_features: Tensor, text_features: Tensor) -> Tensor:
    """Return (B, N) means over the frames of the cosines."""
    return frame_features.mean(1) @ text_features.T


def _same_video(numbers: Tensor | None, like: Tensor) -> Tensor:
    """Return (B, B) bool: pairs of one video; only i and i for unknown numbers, -1."""
    same = torch.eye(len(like), dtype=torch.bool, device=like.device)
    return same if numbers is None else same | ((numbers[:, None] == numbers) & (numbers >= 0))


def _counts(batch: Batch) -> list[int]:
    """Number of texts of each sample."""
    lengths = batch.lengths.get("text")
    return [batch.inputs["text"].shape[1]] * len(batch) if lengths is None else lengths.tolist()


def _array(rows: Tensor) -> Any:
    return rows.detach().float().cpu().numpy()


def _finish(sample: Sample, rng: np.random.Generator) -> Sample:
    given = {name: sample.inputs.get(name) for name in ("text", "answers", "answer_weights")}
    inputs: dict[str, Any] = {name: Varying(ids) for name, ids in given.items() if isinstance(ids, np.ndarray)}
    texts = sample.extra.get("texts")
    if isinstance(texts, Texts) and texts.video >= 0:
        inputs["video"] = np.array(texts.video)
    return sample.with_inputs(**inputs)
