"""Ranks of right answers, ties, several right answers, and memory."""

import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vid_retrieval.metrics.functional import pair_ranks, retrieval_ahead
from vid_retrieval.metrics.retrieval import RetrievalMetric, RetrievalRecall
from vid_retrieval.records import Embeddings, Texts
from vidcore.errors import DataError, UserError
from vidcore.sample import Sample


def pair(index, strings, video, texts, number=-1):
    target = Sample(index=index, extra={"texts": Texts(tuple(strings), video=number)})
    vectors = np.asarray(texts, np.float32)
    return target.with_extra(
        video_embedding=Embeddings(np.asarray(video, np.float32)[None]), text_embeddings=Embeddings(vectors)
    ), target


def scored(pairs, **options):
    metric = RetrievalMetric(**options)
    for predicted, target in pairs:
        metric.update([predicted], [target])
    return metric.compute()


def test_a_perfect_model_of_repeated_videos_is_perfect_but_not_by_the_published_rule():
    """PITFALLS: 4 videos with 10 captions each, stored as pairs, give R@1 of 10 % by the published rule."""
    vectors = np.eye(4)
    pairs = [pair(i, [f"text {i}"], vectors[i // 10], vectors[[i // 10]], i // 10) for i in range(40)]
    found = scored(pairs)
    assert found["t2v/R1"] == found["v2t/R1"] == 100 and found["t2v/MnR"] == 1
    assert scored(pairs, ties="published")["retrieval/R1"] == 10


@pytest.mark.parametrize(("ties", "rank"), [("worst", 8), ("mean", 4.5), ("best", 1)])
def test_constant_embeddings_rank_by_the_rule_for_ties(ties, rank):
    pairs = [pair(i, [f"text {i}"], np.full(16, 0.3), np.full((1, 16), 0.7), i) for i in range(8)]
    found = scored(pairs, ties=ties)
    assert found["t2v/MnR"] == found["v2t/MdR"] == rank
    assert found["t2v/R1"] == (100 if ties == "best" else 0)


def brute(videos, texts, pairs, weight):
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (texts, videos)]
    similarity, right = unit[0] @ unit[1].T, np.zeros((len(texts), len(videos)), bool)
    right[pairs[:, 0], pairs[:, 1]] = True
    ranks = []
    for row, true in zip((*similarity, *similarity.T), (*right, *right.T), strict=True):
        best, wrong = row[true].max(), row[~true]
        ranks.append(1 + sum(wrong > best + 1e-9) + weight * sum(abs(wrong - best) <= 1e-9))
    return np.array(ranks)


@pytest.mark.parametrize("block", [1, 40, 10_000])
@pytest.mark.parametrize(("ties", "weight"), [("worst", 1.0), ("mean", 0.5), ("best", 0.0)])
def test_ranks_equal_those_of_a_loop(block, ties, weight):
    rng = np.random.default_rng(4)
    videos, texts = rng.normal(size=(17, 6)), rng.normal(size=(23, 6))
    videos[9], videos[3] = videos[2], videos[2]
    texts[20] = 5 * texts[1]  # of any length
    pairs = np.unique(np.stack((np.r_[:23, rng.integers(0, 23, 9)], np.r_[:17, rng.integers(0, 17, 15)]), 1), axis=0)
    parts = [retrieval_ahead(videos, texts, pairs, ties, part=(i, 3), block=block) for i in range(3)]
    found = np.r_[sum(p.texts for p in parts), sum(p.videos for p in parts)]
    np.testing.assert_allclose(1 + found, brute(videos, texts, pairs, weight))
    assert len(pair_ranks(videos, texts[:17], block=block)) > 17  # copies count


def test_equal_texts_and_several_texts_of_a_video():
    vectors = np.eye(3)
    pairs = [
        pair(0, ["a dog", "a wolf"], vectors[0], vectors[[0, 1]], 0),  # the wolf is taken for video 1
        pair(1, ["a dog"], vectors[1], vectors[[0]], 1),  # and the dog is right for video 0 too
        pair(2, ["a cat"], vectors[2], vectors[[2]], 2),
    ]
    metric = RetrievalMetric(["R1", "MnR"])
    for predicted, target in pairs:
        metric.update([predicted], [target])
    found = metric.compute()
    assert found["t2v/R1"] == 75 and found["t2v/MnR"] == pytest.approx((1 + 3 + 1 + 1) / 4)
    assert found["v2t/R1"] == pytest.approx(200 / 3) and found["v2t/MnR"] == pytest.approx((1 + 3 + 1) / 3)
    assert metric.notes() == ["4 texts rank 3 distinct videos, these 3 distinct texts; 2 texts describe several videos"]


def test_memory_does_not_grow_with_the_number_of_pairs():
    rng = np.random.default_rng(0)
    videos, texts = rng.normal(size=(2, 4000, 8)).astype(np.float32)
    tracemalloc.start()
    found = retrieval_ahead(videos, texts, np.stack((np.arange(4000),) * 2, 1), block=1 << 16)
    assert tracemalloc.get_traced_memory()[1] < 4000 * 4000 / 4  # of 64 MB for all similarities
    tracemalloc.stop()
    assert found.texts.mean() == pytest.approx(2000, rel=0.1)


def test_the_order_and_the_number_of_processes_change_nothing():
    rng = np.random.default_rng(1)
    pairs = [pair(i, [f"{i}", f"{i}b"], rng.normal(size=5), rng.normal(size=(2, 5)), i) for i in range(12)]
    parts = [RetrievalMetric(), RetrievalMetric()]
    for predicted, target in reversed(pairs):
        parts[target.index % 2].update([predicted], [target])
    parts[0].update(*zip(pairs[3], strict=True))  # a copy, as of a padded sampler
    parts[0].merge([parts[1]])
    assert parts[0].compute() == scored(pairs)


@pytest.mark.parametrize("ties", ["worst", "published"])
def test_processes_share_the_ranking(ties):
    rng = np.random.default_rng(1)
    pairs = [pair(i, [f"{i}", f"{i}b"], rng.normal(size=5), rng.normal(size=(2, 5)), i) for i in range(11)]
    processes = [RetrievalMetric(ties=ties) for _ in range(3)]
    for predicted, target in pairs:
        processes[target.index % 2].update([predicted], [target])  # the third has no samples
    together(processes)
    assert not processes[1].collected
    processes[0].merge(processes[1:])
    assert processes[0].compute() == pytest.approx(scored(pairs, ties=ties))
    processes[0].reset()
    processes[0].update(*zip(pairs[0], strict=True))
    assert processes[0].compute() == scored(pairs[:1], ties=ties)


def together(metrics, model=None):
    """Call ``conclude`` of all metrics as processes do that wait for each other."""
    barrier, given = threading.Barrier(len(metrics)), [None] * len(metrics)

    def conclude(rank):
        def gather(value):
            given[rank] = pickle.dumps(value)
            barrier.wait(30)
            found = [pickle.loads(part) for part in given]
            barrier.wait(30)
            return found

        metrics[rank].conclude(model, rank, gather)

    with ThreadPoolExecutor(len(metrics)) as pool:
        list(pool.map(conclude, range(len(metrics))))


def test_what_cannot_be_scored_is_refused():
    nan = pair(5, ["a"], [np.nan, 1], [[1, 0]])
    with pytest.raises(DataError, match=r"sample 5: its video_embedding\.vectors contain NaN"):
        RetrievalMetric().update(*([x] for x in nan))
    with pytest.raises(DataError, match="sample 0 has 2 texts, with 1 embeddings"):
        RetrievalMetric().update(*([x] for x in pair(0, ["a", "b"], [1, 0], [[1, 0]])))
    with pytest.raises(UserError, match="takes R1, R5 and so on, MdR and MnR, got 'R0'"):
        RetrievalMetric(["R0"])
    with pytest.raises(DataError, match="texts have 3 channels, videos 2"):
        scored([pair(0, ["a"], [1, 0], [[1, 0, 0]])])


def test_recall_of_classes():
    metric = RetrievalRecall([1, 2])
    scores = np.array([0.1, 0.5, 0.4], np.float32)
    targets = [Sample(index=0, label=2), Sample(index=1, labels=np.float32([1, 1, 0])), Sample(index=2, label=0)]
    metric.update([t.replace(scores=scores) for t in targets], targets)
    assert metric.compute() == pytest.approx({"retrieval/Recall@1": 100 / 3, "retrieval/Recall@2": 200 / 3})
    with pytest.raises(DataError, match="recall at 4 of 3 classes"):
        RetrievalRecall(4).update([targets[0].replace(scores=scores)], targets[:1])
