"""Metrics of retrieval: texts that find videos, videos that find texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from vid_retrieval.metrics.functional import Ties, best_rank, pair_ranks, rank_scores, retrieval_ranks
from vid_retrieval.records import Embeddings, Texts, extra_record
from vidcore.errors import DataError, UserError
from vidcore.metrics import Columns, SamplePairs
from vidcore.predictions import require_finite
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["RetrievalMetric", "RetrievalRecall"]

SCORES = re.compile(r"R[1-9]\d*|MdR|MnR")


class RetrievalMetric(SamplePairs):
    """Recall and ranks of retrieval by the cosine of embeddings, over the whole set.

    ``t2v/R1`` is the percentage of texts whose video ranks first among all distinct videos, ``v2t/R1`` that of videos
    with one of their texts first among all distinct texts; ``MdR`` and ``MnR`` are the median and mean rank. A text
    that describes several videos is right with any of them. Predictions need ``extra["video_embedding"]`` and
    ``extra["text_embeddings"]``, targets ``extra["texts"]``. Memory does not depend on the number of pairs.

    Args:
        metric_list: of ``R1``, ``R5``, ... (percent), ``MdR``, ``MnR``.
        ties: whether wrong candidates that are as similar as the right one rank before it (``worst``), half of them
            (``mean``), or after it (``best``). ``published`` is the rule of CLIP4Clip: every text with its video is a
            pair, the videos of all pairs are ranked, copies included, and an equally similar one counts as one more
            query; scores are then ``retrieval/R1`` and so on, of texts that find videos.
    """

    def __init__(
        self,
        metric_list: Sequence[str] = ("R1", "R5", "R10", "MdR", "MnR"),
        ties: Literal["worst", "mean", "best", "published"] = "worst",
    ) -> None:
        super().__init__()
        if not metric_list or (bad := [name for name in metric_list if not SCORES.fullmatch(name)]):
            found = repr(bad[0]) if metric_list else "nothing"
            raise UserError(f"metric_list of RetrievalMetric takes R1, R5 and so on, MdR and MnR, got {found}")
        self.metric_list, self.ties = tuple(metric_list), ties

    def check(self, predicted: Sample, target: Sample) -> None:
        """Raise ``DataError`` unless there are embeddings of the video and of all of its texts."""
        texts, vectors, video = _parts(predicted, target)
        if len(texts) != len(vectors) or len(video) != 1 or not len(texts):
            raise DataError(
                f"RetrievalMetric: sample {target.index} has {len(texts)} texts, with {len(vectors)} embeddings, and "
                f"{len(video)} embeddings of its video; it needs one for each text and one for the video"
            )

    def slim(self, sample: Sample) -> Sample:
        """Return the sample with its texts and embeddings alone."""
        names = ("texts", "video_embedding", "text_embeddings")
        extra = {name: sample.extra[name] for name in names if name in sample.extra}
        return Sample(index=sample.index, path=sample.path, extra=extra)

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        found = [_parts(*pair) for pair in self.pairs()]
        texts = np.concatenate([vectors.vectors for _, vectors, _ in found])
        videos = np.concatenate([video.vectors for _, _, video in found])
        if texts.shape[1] != videos.shape[1]:
            raise DataError(f"RetrievalMetric: texts have {texts.shape[1]} channels, videos {videos.shape[1]}")
        owners = np.repeat(np.arange(len(found)), [len(strings) for strings, _, _ in found])
        if self.ties == "published":
            scores = rank_scores(pair_ranks(videos[owners], texts), self.metric_list)
            return {f"retrieval/{name}": score for name, score in scores.items()}
        strings = [string for listed, _, _ in found for string in listed.strings]
        text_of, first_text = _distinct(strings)
        # a video without a number is one of its own
        video_of, first_video = _distinct(
            [(s.video, -1) if s.video >= 0 else (-1, i) for i, (s, _, _) in enumerate(found)]
        )
        pairs = np.unique(np.stack((text_of, video_of[owners]), 1), axis=0)
        ties: Ties = self.ties
        ranks = retrieval_ranks(videos[first_video], texts[first_text], pairs, ties)
        shared = int((np.bincount(pairs[:, 0])[text_of] > 1).sum())
        self._notes = [
            f"{len(strings)} texts rank {len(first_video)} distinct videos, these {len(first_text)} distinct texts"
            + (f"; {shared} texts describe several videos" if shared else "")
        ]
        directions = {"t2v": ranks.texts[text_of], "v2t": ranks.videos}
        return {
            f"{direction}/{name}": score
            for direction, listed in directions.items()
            for name, score in rank_scores(listed, self.metric_list).items()
        }


def _parts(predicted: Sample, target: Sample) -> tuple[Texts, Embeddings, Embeddings]:
    return (
        extra_record(target, "texts", Texts, "RetrievalMetric"),
        extra_record(predicted, "text_embeddings", Embeddings, "RetrievalMetric"),
        extra_record(predicted, "video_embedding", Embeddings, "RetrievalMetric"),
    )


def _distinct(keys: Sequence[object]) -> tuple[Array, Array]:
    """Return the number of each key among the distinct ones, in order of appearance, and the first place of each."""
    numbers: dict[object, int] = {}
    of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return of, np.unique(of, return_index=True)[1]


class RetrievalRecall(Columns):
    """Percentage of samples with a true class among the k best: ``retrieval/Recall@1``. Equal scores rank by class.

    Args:
        topk: k, or several.
    """

    def __init__(self, topk: int | Sequence[int] = (1, 5, 10)) -> None:
        super().__init__()
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise UserError(f"RetrievalRecall needs k of at least 1, got {list(self.topk)}")

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predictions with ``scores``, and targets with ``label`` or ``labels``."""
        require_finite(predictions, targets, "RetrievalRecall")
        ranks = []
        for predicted, target in zip(predictions, targets, strict=True):
            if predicted.scores is None or (target.labels is None and target.label is None):
                raise DataError(f"RetrievalRecall needs scores, and true classes; sample {target.index} lacks one")
            scores = np.asarray(predicted.scores)
            if max(self.topk) > len(scores):
                raise DataError(f"RetrievalRecall: recall at {max(self.topk)} of {len(scores)} classes is always 100 %")
            truth = np.arange(len(scores)) == target.label if target.labels is None else target.labels > 0
            ranks.append(best_rank(scores[None], truth[None])[0] if truth.any() else len(scores) + 1)
        self.add(targets, rank=np.array(ranks, np.int64))

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        ranks = self.columns()["rank"]
        return {f"retrieval/Recall@{k}": 100 * float(np.mean(ranks <= k)) for k in self.topk}
