"""Metrics of retrieval: texts that find videos, videos that find texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast

import numpy as np
from attrs import frozen

from vid_retrieval.metrics.functional import Ties, best_rank, pair_ranks, rank_scores, retrieval_ahead
from vid_retrieval.records import Embeddings, Texts, extra_record
from vidcore.errors import DataError, UserError
from vidcore.metrics import Columns, SamplePairs
from vidcore.predictions import require_finite
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["RetrievalMetric", "RetrievalRecall"]

SCORES = re.compile(r"R[1-9]\d*|MdR|MnR")


def check_scores(metric: str, names: Sequence[str]) -> None:
    """Raise ``UserError`` unless these are names of ``rank_scores``."""
    if not names or (bad := [name for name in names if not SCORES.fullmatch(name)]):
        found = repr(bad[0]) if names else "nothing"
        raise UserError(f"metric_list of {metric} takes R1, R5 and so on, MdR and MnR, got {found}")


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
        check_scores("RetrievalMetric", metric_list)
        self.metric_list, self.ties = tuple(metric_list), ties
        self._counted: list[tuple[Array, ...]] = []

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

    def conclude(self, model: Any, rank: int, gather: Callable[[Any], list[Any]]) -> None:
        """Rank a share of the texts in each process."""
        parts = gather(self)
        if len(parts) == 1:
            return  # ``compute`` does it
        whole = type(self)(self.metric_list, self.ties)
        whole.merge(parts)
        counted = gather(_Table.of(whole.pairs()).ranked(self.ties, (rank, len(parts)))) if whole.collected else []
        self.reset()
        if rank == 0 and counted:
            self.merge([whole])
            self._counted = counted

    @property
    def collected(self) -> bool:
        """Whether there are any samples."""
        return bool(self._rows or self._anonymous)

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._counted = []

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        table = _Table.of(self.pairs())
        counted = self._counted or [table.ranked(self.ties, (0, 1))]
        if self.ties == "published":
            scores = rank_scores(np.concatenate([ranks for (ranks,) in counted]), self.metric_list)
            return {f"retrieval/{name}": score for name, score in scores.items()}
        self._notes = [table.note()]
        texts, videos = (np.sum(column, axis=0) for column in zip(*counted, strict=True))
        return two_way_scores(1 + texts[table.text_of], 1 + videos, self.metric_list)


@frozen(eq=False)
class _Table:
    """All videos and texts of an evaluation, and which of them are the same."""

    videos: Array
    """(samples, channels) embeddings."""
    texts: Array
    """(texts, channels) embeddings."""
    owners: Array
    """(texts,) int64: sample of each text."""
    text_of: Array
    """(texts,) int64: number of each text among distinct ones."""
    video_of: Array
    """(samples,) int64: number of each video among distinct ones."""

    @classmethod
    def of(cls, pairs: Sequence[tuple[Sample, Sample]]) -> _Table:
        found = [_parts(*pair) for pair in pairs]
        texts = np.concatenate([vectors.vectors for _, vectors, _ in found])
        videos = np.concatenate([video.vectors for _, _, video in found])
        if texts.shape[1] != videos.shape[1]:
            raise DataError(f"RetrievalMetric: texts have {texts.shape[1]} channels, videos {videos.shape[1]}")
        return cls(videos, texts, *numbered([listed for listed, _, _ in found]))

    @property
    def pairs(self) -> Array:
        """(p, 2) int64: distinct text and video of each pair."""
        return np.unique(np.stack((self.text_of, self.video_of[self.owners]), 1), axis=0)

    def ranked(self, ties: str, part: tuple[int, int]) -> tuple[Array, ...]:
        """Return ranks by the published rule, or counts of texts and of videos, for a share of the texts."""
        if ties == "published":
            return (pair_ranks(self.videos[self.owners], self.texts, part=part),)
        firsts = (np.unique(of, return_index=True)[1] for of in (self.video_of, self.text_of))
        videos, texts = (rows[first] for rows, first in zip((self.videos, self.texts), firsts, strict=True))
        ahead = retrieval_ahead(videos, texts, self.pairs, cast(Ties, ties), part=part)
        return ahead.texts, ahead.videos

    def note(self) -> str:
        """Return what was ranked."""
        videos, texts = self.video_of.max() + 1, self.text_of.max() + 1
        shared = int((np.bincount(self.pairs[:, 0])[self.text_of] > 1).sum())
        more = f"; {shared} texts describe several videos" if shared else ""
        return f"{len(self.text_of)} texts rank {videos} distinct videos, these {texts} distinct texts{more}"


def two_way_scores(texts: Array, videos: Array, names: Sequence[str]) -> dict[str, float]:
    """Return the scores of ranks of texts and of videos: ``t2v/R1``, ``v2t/R1`` and so on."""
    directions = {"t2v": texts, "v2t": videos}
    return {f"{to}/{name}": s for to, ranks in directions.items() for name, s in rank_scores(ranks, names).items()}


def numbered(listed: Sequence[Texts]) -> tuple[Array, Array, Array]:
    """Return the sample of each text, the number of each text among distinct ones, and that of each sample's video."""
    owners = np.repeat(np.arange(len(listed)), [len(texts) for texts in listed])
    texts = _numbers(string for texts in listed for string in texts.strings)
    # a video without a number is one of its own
    videos = _numbers((texts.video, -1) if texts.video >= 0 else (-1, i) for i, texts in enumerate(listed))
    return owners, texts, videos


def _numbers(keys: Iterable[object]) -> Array:
    """Return the number of each key among the distinct ones, in order of appearance."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _parts(predicted: Sample, target: Sample) -> tuple[Texts, Embeddings, Embeddings]:
    return (
        extra_record(target, "texts", Texts, "RetrievalMetric"),
        extra_record(predicted, "text_embeddings", Embeddings, "RetrievalMetric"),
        extra_record(predicted, "video_embedding", Embeddings, "RetrievalMetric"),
    )


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
