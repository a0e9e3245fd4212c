"""Concatenated datasets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from attrs import frozen

from vidcore.data.wrappers import ConcatDataset, RepeatDataset
from vidcore.errors import DataError, UserError
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.task.notes import data_notes
from vidcore.transforms.branches import PerDataset


@frozen
class Numbered(Dataset):
    """n samples, named after their dataset."""

    name: str
    size: int
    class_names: tuple[str, ...] | None = None
    num_classes: int | None = None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=f"{self.name}{index}")


def test_samples_are_concatenated_and_numbered() -> None:
    joined = ConcatDataset([Numbered("a", 2), Numbered("empty", 0), Numbered("b", 3)])
    assert len(joined) == 5
    assert [(s.index, s.path) for s in map(joined.__getitem__, range(5))] == [
        (0, "a0"),
        (1, "a1"),
        (2, "b0"),
        (3, "b1"),
        (4, "b2"),
    ]
    assert joined[-1].path == "b2"
    with pytest.raises(IndexError):
        joined[5]


class Named:
    """An input with the number of the step."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.with_inputs(x=np.array(self.number))


def test_each_dataset_has_its_own_pipeline() -> None:
    joined = ConcatDataset([Numbered("a", 2), RepeatDataset(Numbered("b", 1), 2), Numbered("c", 1)])
    step = PerDataset([{"own": Named(number)} for number in (10, 20, 30)])
    found = [step(sample, np.random.default_rng(0)).inputs["x"] for sample in map(joined.__getitem__, range(5))]
    assert found == [10, 10, 20, 20, 30]
    repeated = RepeatDataset(joined, 2)
    assert [s.part for s in map(repeated.__getitem__, range(10))] == [0, 0, 1, 1, 2] * 2
    with pytest.raises(UserError, match="PerDataset: has 2 pipelines, but the sample is from dataset 3"):
        PerDataset(step.pipelines[:2])(joined[4], np.random.default_rng(0))


def test_all_datasets_must_have_the_same_classes() -> None:
    joined = ConcatDataset([Numbered("a", 1), Numbered("b", 1, ("x", "y"), 2)])
    assert (joined.class_names, joined.num_classes) == (("x", "y"), 2)
    with pytest.raises(DataError, match=r"must have the same classes, found \[2, 3\] classes"):
        ConcatDataset([Numbered("a", 1, num_classes=2), Numbered("b", 1, num_classes=3)])
    with pytest.raises(DataError, match="with different names"):
        ConcatDataset([Numbered("a", 1, ("x", "y"), 2), Numbered("b", 1, ("y", "x"), 2)])
    with pytest.raises(DataError, match="at least one"):
        ConcatDataset([])


def test_the_fingerprint_depends_on_lengths() -> None:
    def fingerprint(*sizes: int) -> str:
        return ConcatDataset([Numbered("a", n) for n in sizes]).fingerprint()

    assert fingerprint(1, 2) == fingerprint(1, 2) != fingerprint(2, 1) != fingerprint(3)


class Loud(Numbered):
    """Has labels, paths and a note."""

    labels = np.array([2, 0])

    def sample_paths(self) -> list[str]:
        return [f"{self.name}{i}" for i in range(self.size)]

    def notes(self) -> list[str]:
        return [f"{self.name} looks wrong"]


@pytest.mark.parametrize("wrap", [lambda d: RepeatDataset(d, 3), lambda d: ConcatDataset([ConcatDataset([d])])])
def test_wrappers_keep_labels_paths_and_notes(wrap: Callable[[Dataset], Dataset]) -> None:
    loud = Loud("a", 2, ("x", "y", "z"), 3)
    wrapped = wrap(loud)
    assert (wrapped.class_names, wrapped.num_classes) == (("x", "y", "z"), 3)
    assert wrapped.labels.tolist() == [2, 0] * (len(wrapped) // 2)
    assert list(wrapped.sample_paths()) == ["a0", "a1"]
    assert wrapped.notes() == ["a looks wrong"]
    assert wrapped.fingerprint() != wrap(Loud("b", 2, ("x", "y", "z"), 3)).fingerprint()
    *own, shared, _, _ = data_notes({"train": wrapped, "val": loud})
    assert own == ["data.train: a looks wrong", "data.val: a looks wrong"]
    assert shared.startswith("data.val: 2 of its 2 videos are in data.train as well")


def test_a_minimal_dataset_has_all_defaults() -> None:
    plain = Numbered("a", 2)
    assert (plain.labels, list(plain.sample_paths()), plain.notes()) == (None, [], ())
    assert plain.fingerprint() == Numbered("a", 2).fingerprint() != Numbered("a", 3).fingerprint()
    assert Loud("a", 2).fingerprint() != Loud("b", 2).fingerprint(), "paths count"

    class Known(Dataset):
        def __init__(self) -> None:
            self.labels = np.array([1, 1])

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Sample:
            return Sample(index=index)

    assert ConcatDataset([Known()]).labels.tolist() == [1, 1], "an attribute is enough"
