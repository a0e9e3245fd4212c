"""Ranks of right answers among candidates, in blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import frozen

from vidcore.errors import DataError
from vidcore.typing import Array

__all__ = ["Ranks", "Ties", "best_rank", "pair_ranks", "rank_scores", "recall_at", "retrieval_ranks"]

Ties = Literal["worst", "mean", "best"]
"""Whether wrong candidates as similar as the right one come before it, in half of the cases, or after it."""
SHARE = {"worst": 1.0, "mean": 0.5, "best": 0.0}
BLOCK = 1 << 24
"""Similarities to hold in memory at once."""
EQUAL = 1e-6
"""Cosines that differ by less are equal: products of float32 vectors depend on the order of their sums."""


@frozen(eq=False)
class Ranks:
    """Ranks, counted from 1, in both directions."""

    texts: Array
    """(t,) float64: of the best right video of each text, among all videos."""
    videos: Array
    """(v,) float64: of the best right text of each video, among all texts."""


def retrieval_ranks(videos: Array, texts: Array, pairs: Array, ties: Ties = "worst", block: int = BLOCK) -> Ranks:
    """Rank all videos for each text, and all texts for each video, by the cosine of their embeddings.

    Of several right candidates the best counts; the others neither help nor harm.

    Args:
        videos: (v, channels) embeddings of distinct videos.
        texts: (t, channels) embeddings of distinct texts.
        pairs: (p, 2) int64: text and video that belong together; each text and each video occurs.
        ties: what happens to wrong candidates that are as similar as the right one.
        block: similarities in memory at once.
    """
    videos, texts = _unit(videos), _unit(texts)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    step = max(1, block // len(videos))
    of_pairs = np.concatenate(
        [np.einsum("pc,pc->p", texts[p[:, 0]], videos[p[:, 1]]) for p in np.array_split(pairs, len(pairs) // step + 1)]
    )
    best_text, best_video = np.full(len(texts), -np.inf, np.float32), np.full(len(videos), -np.inf, np.float32)
    np.maximum.at(best_text, pairs[:, 0], of_pairs)
    np.maximum.at(best_video, pairs[:, 1], of_pairs)
    text_ranks, video_ranks = np.ones(len(texts)), np.ones(len(videos))
    weight = SHARE[ties]
    for first in range(0, len(texts), step):
        rows = slice(first, first + step)
        similarity = texts[rows] @ videos.T
        begin, end = np.searchsorted(pairs[:, 0], [first, first + step])
        similarity[pairs[begin:end, 0] - first, pairs[begin:end, 1]] = -np.inf  # right ones are not competitors
        text_ranks[rows] += _ahead(similarity, best_text[rows, None], weight, 1)
        video_ranks += _ahead(similarity, best_video[None], weight, 0)
    return Ranks(text_ranks, video_ranks)


def _ahead(similarity: Array, right: Array, weight: float, axis: int) -> Array:
    """Number of similarities above the right one, and ``weight`` for each equal one."""
    above = np.count_nonzero(similarity > right + EQUAL, axis=axis)
    if not weight:
        return above
    not_below = np.count_nonzero(similarity >= right - EQUAL, axis=axis)
    return np.asarray(above + weight * (not_below - above))


def pair_ranks(videos: Array, texts: Array, block: int = BLOCK) -> Array:
    """Rank the videos of n pairs for the text of each, as CLIP4Clip (arXiv:2104.08860) and its followers do.

    Every position that an equally similar video takes counts as one more query, so the result may be longer than n, and
    a perfect model is not at rank 1 if a video occurs in several pairs.

    Args:
        videos: (n, channels) embeddings.
        texts: (n, channels) embeddings; text i belongs to video i.
        block: similarities in memory at once.

    Returns:
        (n or more,) int64 ranks, counted from 1.
    """
    videos, texts = _unit(videos), _unit(texts)
    step = max(1, block // len(videos))
    found = []
    for first in range(0, len(texts), step):
        similarity = texts[first : first + step] @ videos.T
        rows = np.arange(len(similarity))
        right = similarity[rows, first + rows][:, None]
        above = np.count_nonzero(similarity > right + EQUAL, axis=1)
        equal = np.count_nonzero(similarity >= right - EQUAL, axis=1) - above
        within = np.arange(equal.sum()) - np.repeat(np.cumsum(equal) - equal, equal)
        found.append(np.repeat(above, equal) + within + 1)
    return np.concatenate(found)


def _unit(vectors: Array) -> Array:
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def rank_scores(ranks: Array, names: Sequence[str] = ("R1", "R5", "R10", "MdR", "MnR")) -> dict[str, float]:
    """Return percentages of ranks within k (``R1``, ``R5``, ...), the median (``MdR``) and mean (``MnR``) rank."""
    means = {"MdR": float(np.median(ranks)), "MnR": float(np.mean(ranks))}
    return {name: means[name] if name in means else 100 * float(np.mean(ranks <= int(name[1:]))) for name in names}


def best_rank(scores: Array, truth: Array) -> Array:
    """Return the rank, from 1, of the best true class of each row; classes with equal scores rank by number.

    Args:
        scores: (n, classes).
        truth: (n, classes) bool; at least one per row.
    """
    best = np.where(truth, scores, -np.inf).argmax(1)
    right = np.take_along_axis(scores, best[:, None], 1)
    before = (scores == right) & (np.arange(scores.shape[1]) < best[:, None])
    return np.asarray(1 + np.count_nonzero((scores > right) | before, axis=1))


def recall_at(ranked: Array, truth: Sequence[Sequence[int]], k: int) -> float:
    """Return the share of rows with a true class among the first k, in percent.

    Args:
        ranked: (n, m) class numbers, best first.
        truth: true classes of each row.
        k: at most m.

    Raises ``DataError`` if k is larger.
    """
    if not 1 <= k <= ranked.shape[1]:
        raise DataError(f"recall at {k} needs {k} ranked classes, got {ranked.shape[1]}")
    hits = [np.isin(row[:k], true).any() for row, true in zip(ranked, truth, strict=True)]
    return 100 * float(np.mean(hits))
