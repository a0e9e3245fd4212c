"""Ranks of right answers among candidates, in blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from attrs import frozen

from vidcore.errors import DataError
from vidcore.typing import Array

__all__ = ["Ahead", "Ties", "best_rank", "pair_ranks", "rank_scores", "recall_at", "retrieval_ahead", "score_ahead"]

Ties = Literal["worst", "mean", "best"]
"""Whether wrong candidates as similar as the right one come before it, in half of the cases, or after it."""
SHARE = {"worst": 1.0, "mean": 0.5, "best": 0.0}
BLOCK = 1 << 24
"""Similarities to hold in memory at once."""
EQUAL = 1e-6
"""Cosines that differ by less are equal: products of float32 vectors depend on the order of their sums."""


@frozen(eq=False)
class Ahead:
    """How many wrong candidates come before the right one, in both directions. Its sums over parts are of the whole."""

    texts: Array
    """(t,) float64: wrong videos before the best right one of each text."""
    videos: Array
    """(v,) float64: wrong texts before the best right one of each video."""


def retrieval_ahead(
    videos: Array,
    texts: Array,
    pairs: Array,
    ties: Ties = "worst",
    *,
    part: tuple[int, int] = (0, 1),
    block: int = BLOCK,
) -> Ahead:
    """Count the wrong videos before the right one of each text, and the wrong texts before that of each video.

    Candidates are ordered by the cosine of their embeddings. Of several right ones the best counts; the others neither
    help nor harm.

    Args:
        videos: (v, channels) embeddings of distinct videos.
        texts: (t, channels) embeddings of distinct texts.
        pairs: (p, 2) int64: text and video that belong together; each text and each video occurs.
        ties: what happens to wrong candidates that are as similar as the right one.
        part: (i, n): compare only part i of n of the texts with the videos; the other counts are 0.
        block: similarities in memory at once.
    """
    videos, texts = _unit(videos), _unit(texts)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    step = max(1, block // len(videos))
    chunks = np.array_split(pairs, len(pairs) * videos.shape[1] // block + 1)
    of_pairs = np.concatenate([np.einsum("pc,pc->p", texts[p[:, 0]], videos[p[:, 1]]) for p in chunks])
    best_text, best_video = np.full(len(texts), -np.inf, np.float32), np.full(len(videos), -np.inf, np.float32)
    np.maximum.at(best_text, pairs[:, 0], of_pairs)
    np.maximum.at(best_video, pairs[:, 1], of_pairs)
    before_text, before_video = np.zeros(len(texts)), np.zeros(len(videos))
    weight = SHARE[ties]
    for first, stop in _blocks(len(texts), part, step):
        similarity = texts[first:stop] @ videos.T
        begin, end = np.searchsorted(pairs[:, 0], [first, stop])
        similarity[pairs[begin:end, 0] - first, pairs[begin:end, 1]] = -np.inf  # right ones are not competitors
        before_text[first:stop] = _ahead(similarity, best_text[first:stop, None], weight, 1)
        before_video += _ahead(similarity, best_video[None], weight, 0)
    return Ahead(before_text, before_video)


def score_ahead(scores: Array, right: Array, ties: Ties = "worst") -> Array:
    """Count the wrong candidates before the best right one in each row of scores.

    Args:
        scores: (n, candidates).
        right: (n, candidates) bool, at least one per row.
        ties: as for ``retrieval_ahead``.
    """
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    return _ahead(np.where(right, -np.inf, scores), best, SHARE[ties], 1)


def _blocks(total: int, part: tuple[int, int], step: int) -> Iterator[tuple[int, int]]:
    first, stop = (total * i // part[1] for i in (part[0], part[0] + 1))
    for row in range(first, stop, step):
        yield row, min(row + step, stop)


def _ahead(similarity: Array, right: Array, weight: float, axis: int) -> Array:
    """Number of similarities above the right one, and ``weight`` for each equal one."""
    ahead = np.zeros(similarity.shape[1 - axis])
    if weight < 1:
        ahead += (1 - weight) * np.count_nonzero(similarity > right + EQUAL, axis=axis)
    if weight > 0:
        ahead += weight * np.count_nonzero(similarity >= right - EQUAL, axis=axis)
    return ahead


def pair_ranks(videos: Array, texts: Array, *, part: tuple[int, int] = (0, 1), block: int = BLOCK) -> Array:
    """Rank the videos of n pairs for the text of each, as CLIP4Clip (arXiv:2104.08860) and its followers do.

    Every position that an equally similar video takes counts as one more query, so the result may be longer than n, and
    a perfect model is not at rank 1 if a video occurs in several pairs.

    Args:
        videos: (n, channels) embeddings.
        texts: (n, channels) embeddings; text i belongs to video i.
        part: (i, m): only part i of m of the texts.
        block: similarities in memory at once.

    Returns:
        (n or more,) int64 ranks, counted from 1.
    """
    videos, texts = _unit(videos), _unit(texts)
    found = [np.zeros(0, np.int64)]
    for first, stop in _blocks(len(texts), part, max(1, block // len(videos))):
        similarity = texts[first:stop] @ videos.T
        rows = np.arange(stop - first)
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
