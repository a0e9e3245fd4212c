"""Repeated datasets and balanced classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from vidcore.data.index import Ragged
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.data.sampler import Batches
from vidcore.data.wrappers import ConcatDataset, RepeatDataset
from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample

LABELS = [0] * 40 + [1] * 7 + [-1] * 3 + [3] * 2


@frozen
class Skewed(Dataset):
    """Forty samples of one class, seven and two of two others, three without a class."""

    class_names = None
    num_classes = 4

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=f"{index}.mp4", label=LABELS[index] if LABELS[index] >= 0 else None)


@frozen
class Draw:
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.with_inputs(x=rng.random(1))


def loader(balanced: bool = True, rank: int = 0, world: int = 1, batch_size: int = 4, workers: int = 0) -> Loader:
    options = LoaderOptions(batch_size=batch_size, balanced=balanced, workers=workers)
    return Loader(Skewed(), [Draw()], options, training=True, seed=3, rank=rank, world=world)


def drawn(one: Loader, first: int, last: int) -> list[tuple[int, float]]:
    return [
        (s.index, float(x)) for b in one.batches_between(first, last) for s, x in zip(b.samples, b.inputs, strict=True)
    ]


def test_classes_are_equally_frequent_in_an_epoch_of_the_same_length() -> None:
    one = loader()
    assert len(one) == 13
    for epoch in range(3):
        keys = drawn(one, 13 * epoch, 13 * epoch + 13)
        counts = Counter(LABELS[index] for index, _ in keys)
        assert sum(counts.values()) == len(LABELS)
        assert counts.keys() == {0, 1, 3}
        assert max(counts.values()) - min(counts.values()) <= 1
        rare = Counter(index for index, _ in keys if LABELS[index] == 1)
        assert max(rare.values()) - min(rare.values()) <= 1, "and within a class its samples"
        assert len({x for _, x in keys}) == len(keys), "a repeated sample is augmented separately"
    plain = Counter(LABELS[index] for index, _ in drawn(loader(balanced=False), 0, 13))
    assert plain == Counter(LABELS)


def test_processes_share_the_order() -> None:
    together = drawn(loader(batch_size=4), 0, 13)
    ranks = [drawn(loader(rank=r, world=2, batch_size=2), 0, 13) for r in (0, 1)]
    assert [pair for pairs in zip(*ranks, strict=True) for pair in pairs] == together


def test_any_batch_can_be_repeated_with_any_number_of_workers() -> None:
    straight = drawn(loader(), 0, 30)
    assert drawn(loader(), 17, 30) == straight[17 * 4 :]
    helped = loader(workers=2)
    assert drawn(helped, 17, 30) == straight[17 * 4 :]
    helped.close()


SEVERAL = Ragged.from_rows([[0]] * 20 + [[0, 1]] * 4 + [[1, 2], [2, 2], []], np.int32)


@pytest.mark.parametrize("labels", [np.array(LABELS), SEVERAL])
def test_ranks_have_equal_and_separate_shares_and_resume_anywhere(labels: Any) -> None:
    size, world = len(labels), 3
    whole = Batches(size=size, batch_size=1, seed=5, even=True, labels=labels)
    ranks = [
        Batches(size=size, batch_size=2, seed=5, even=True, rank=r, world=world, labels=labels) for r in range(world)
    ]
    for epoch in range(2):
        shares = [rank.order(epoch) for rank in ranks]
        assert len({len(share) for share in shares}) == 1
        together = np.stack(shares, 1).reshape(-1, 2)
        np.testing.assert_array_equal(together[:size], whole.order(epoch), "each entry of an epoch belongs to one rank")
        np.testing.assert_array_equal(together[size:], whole.order(epoch)[: len(together) - size])
        assert len(set(map(tuple, together[:size].tolist()))) == size, "a sample is augmented differently each time"
    for rank in ranks:
        batches = list(rank.batches_between(0, 3 * len(rank)))
        for first in range(3 * len(rank)):
            assert list(rank.batches_between(first, 3 * len(rank))) == batches[first:]


def test_samples_with_several_labels_are_balanced_by_class() -> None:
    batches = Batches(size=27, batch_size=1, shuffle=True, labels=SEVERAL)
    counts = np.zeros(27, np.int64)
    for epoch in range(40):
        counts += np.bincount(batches.order(epoch)[:, 0], minlength=27)
    share = counts / counts.sum()
    # a quarter each: class 0 (24 samples), class 1 (5), class 2 (2), and the sample without a label
    assert share[26] == pytest.approx(1 / 4, abs=0.02)
    assert share[25] == pytest.approx(1 / 8, abs=0.02)
    assert share[24] == pytest.approx(1 / 8 + 1 / 20, abs=0.02)
    assert share[:20].sum() == pytest.approx(20 / 24 / 4, abs=0.02)


def test_data_that_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(DataError, match="balanced: is for training"):
        Loader(Skewed(), [Draw()], LoaderOptions(balanced=True))

    class Unknown(Skewed):
        def __getitem__(self, index: int) -> Sample:
            return Sample(index=index)

    with pytest.raises(DataError, match="balanced: no sample of Unknown has a label"):
        Loader(Unknown(), [Draw()], LoaderOptions(balanced=True), training=True)


def test_balancing_a_large_dataset_is_fast() -> None:
    labels = np.arange(200_000) % 700
    batches = Batches(size=200_000, batch_size=8, shuffle=True, even=True, labels=labels)
    assert np.bincount(labels[batches.order(0)[:, 0]]).max() <= 200_000 // 700 + 1


def test_repeating() -> None:
    repeated = RepeatDataset(Skewed(), 3)
    assert len(repeated) == 3 * len(LABELS)
    assert (repeated[60].path, repeated[60].index) == ("8.mp4", 60)
    assert repeated.num_classes == 4
    assert repeated.fingerprint() != RepeatDataset(Skewed(), 2).fingerprint()
    keys = drawn(Loader(repeated, [Draw()], LoaderOptions(), training=True), 0, len(repeated))
    assert len({x for _, x in keys}) == len(keys), "every repeat is augmented separately"
    with pytest.raises(DataError, match="times must be at least 1, got 0"):
        RepeatDataset(Skewed(), 0)


def test_concatenated_and_repeated_datasets_have_labels() -> None:
    class Known(Skewed):
        labels = np.array(LABELS)

    joined = ConcatDataset([Known(), RepeatDataset(Known(), 2)])
    assert joined.labels.tolist() == LABELS * 3
    assert ConcatDataset([Known(), Skewed()]).labels is None
    assert Path(joined[60].path or "").name == "8.mp4"


def test_classes_in_proportion_to_a_power_of_their_size() -> None:
    labels = np.array([0] * 64 + [1] * 16 + [2] * 4)
    found = {}
    for power in (0.0, 0.5, 1.0):
        batches = Batches(size=84, batch_size=84, seed=1, shuffle=True, labels=labels, power=power)
        found[power] = np.bincount(labels[batches.order(0)[:, 0]]).tolist()
    assert found == {0.0: [28, 28, 28], 0.5: [48, 24, 12], 1.0: [64, 16, 4]}
    with pytest.raises(DataError, match="balance_power: has no effect without balanced = true"):
        Loader(Skewed(), [Draw()], LoaderOptions(balance_power=0.5), training=True)
