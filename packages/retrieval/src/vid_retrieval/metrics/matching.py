"""Retrieval by a network that looks at videos and texts together, among the most similar candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from attrs import frozen

from vid_retrieval.metrics.functional import score_ahead
from vid_retrieval.metrics.retrieval import check_scores, numbered, two_way_scores
from vid_retrieval.models.vindlu import VindLURetrieval
from vid_retrieval.records import Embeddings, States, Texts, extra_record
from vidcore.errors import DataError, UserError
from vidcore.predictions import require_finite
from vidcore.protocols import Metric
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["MatchRecall"]

REST = -100.0
"""Score of candidates that are not matched."""
CHUNK = 32
"""Pairs to match at once."""


@frozen(eq=False)
class _Entry:
    """A sample without the states of its video."""

    index: int
    texts: Texts
    video: Array
    """(1, channels) embedding."""
    text_vectors: Array
    states: Any
    """(texts, tokens, channels) float16 tensor."""
    ids: Any


class MatchRecall(Metric):
    """Recall and ranks of retrieval by a network that matches pairs, such as ``VindLURetrieval``.

    For each text, the ``topk`` most similar videos are matched with it by the whole network, and for each video the
    ``topk`` most similar texts; others come last. ``t2v/R1``, ``v2t/R1`` and the other scores are those of
    ``RetrievalMetric``, with wrong candidates before the right one if they score equally. Every process matches its own
    videos; it keeps their states in memory, 3.6 MB for a video of 12 frames, and those of all texts, 50 kB each.

    Args:
        metric_list: of ``R1``, ``R5``, ... (percent), ``MdR``, ``MnR``.
        topk: candidates to match; default: ``topk`` of the model.
    """

    def __init__(self, metric_list: Sequence[str] = ("R1", "R5", "R10", "MdR", "MnR"), topk: int | None = None) -> None:
        check_scores("MatchRecall", metric_list)
        if topk is not None and topk < 1:
            raise UserError(f"topk of MatchRecall must be at least 1, got {topk}")
        self.metric_list, self.topk = tuple(metric_list), topk
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._entries: list[_Entry] = []
        self._videos: dict[int, Any] = {}
        self._scores: dict[str, float] | None = None
        self._notes: list[str] = []

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Store embeddings and states. Raises ``DataError`` if a prediction lacks them, or contains NaN or Inf."""
        require_finite(predictions, targets, "MatchRecall")
        for predicted, target in zip(predictions, targets, strict=True):
            texts = extra_record(target, "texts", Texts, "MatchRecall")
            video, vectors = (
                extra_record(predicted, name, Embeddings, "MatchRecall").vectors
                for name in ("video_embedding", "text_embeddings")
            )
            seen, read = (
                extra_record(predicted, name, States, "MatchRecall") for name in ("video_states", "text_states")
            )
            if not len(texts) == len(vectors) == len(read) > 0:
                raise DataError(f"MatchRecall: sample {target.index} has {len(texts)} texts, and {len(read)} states")
            index = target.index if target.index >= 0 else -1 - len(self._entries)
            if index not in self._videos:
                self._entries.append(_Entry(index, texts, video, vectors, read.tensor, read.ids))
                self._videos[index] = seen.tensor

    def conclude(self, model: Any, rank: int, gather: Callable[[Any], list[Any]]) -> None:
        """Match the videos of this process with their candidates. Raises ``UserError`` for another kind of model."""
        if not isinstance(model, VindLURetrieval):
            raise UserError(f"MatchRecall needs a VindLURetrieval, which matches pairs, got {type(model).__name__}")
        known: dict[tuple[int, int], tuple[int, _Entry]] = {}
        for owner, entries in enumerate(gather(self._entries)):
            for entry in entries:  # samples of a dataset count once, those without an index always
                known.setdefault((entry.index, -1 if entry.index >= 0 else owner), (owner, entry))
        if not known:
            return
        ranks, found = zip(*(known[key] for key in sorted(known)), strict=True)
        owners, text_of, video_of = numbered([entry.texts for entry in found])
        first_text, first_video = (np.unique(of, return_index=True)[1] for of in (text_of, video_of))
        vectors = np.concatenate([entry.text_vectors for entry in found])[first_text]
        similarity = vectors @ np.concatenate([found[i].video for i in first_video]).T
        right = np.zeros(similarity.shape, bool)
        right[text_of, video_of[owners]] = True
        topk = model.topk if self.topk is None else self.topk
        by_text, by_video = _best(similarity, topk), _best(similarity.T, topk).T
        own = [(v, found[i]) for v, i in enumerate(first_video.tolist()) if ranks[i] == rank]
        states = torch.cat([entry.states for entry in found])[first_text]
        ids = torch.cat([entry.ids for entry in found])[first_text]
        matched = [(v, *self._matched(model, entry, states, ids, by_text[:, v] | by_video[:, v])) for v, entry in own]
        scores = np.full(similarity.shape, REST, np.float32)
        for part in gather(matched):
            for v, rows, values in part:
                scores[rows, v] = values
        if rank == 0:
            texts = 1 + score_ahead(np.where(by_text, scores, REST), right)
            videos = 1 + score_ahead(np.where(by_video, scores, REST).T, right.T)
            self._scores = two_way_scores(texts[text_of], videos, self.metric_list)
            self._notes = [f"{len(text_of)} texts and {len(videos)} videos match their {topk} most similar candidates"]

    def _matched(
        self, model: VindLURetrieval, entry: _Entry, states: Any, ids: Any, wanted: Array
    ) -> tuple[Array, Array]:
        """Return the numbers of the wanted texts, and their scores with the video of an entry."""
        rows = np.flatnonzero(wanted)
        device, dtype = model.mean.device, model.itm_head.weight.dtype
        video = self._videos[entry.index].to(device, dtype)
        values = [
            model.match(states[chunk].to(device, dtype), ids[chunk].to(device), video.expand(len(chunk), -1, -1))[:, 1]
            for chunk in torch.from_numpy(rows).split(CHUNK)
        ]
        return rows, torch.cat(values).float().cpu().numpy()

    def merge(self, others: Iterable[Self]) -> None:
        """Take the result of the process that has it."""
        for other in others:
            self._scores = self._scores or other._scores

    def compute(self) -> dict[str, float]:
        """Return the scores by key. Raises ``DataError`` without a model, as of a file of predictions."""
        if self._scores is None:
            raise DataError("MatchRecall matches pairs with the model at the end of an evaluation, and has seen none")
        return self._scores

    def notes(self) -> Sequence[str]:
        """Return how many candidates were matched."""
        return self._notes

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_entries": [], "_videos": {}}  # ``conclude`` has used them; they are large


def _best(similarity: Array, topk: int) -> Array:
    """Return (n, candidates) bool: the ``topk`` highest of each row."""
    kept = np.zeros(similarity.shape, bool)
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :topk]
    np.put_along_axis(kept, best, True, axis=1)
    return kept
