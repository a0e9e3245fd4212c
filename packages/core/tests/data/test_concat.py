"""Several data sets as one."""

from __future__ import annotations

import pytest
from attrs import frozen

from vidcore.data.wrappers import ConcatDataset
from vidcore.errors import DataError
from vidcore.sample import Sample


@frozen
class Numbered:
    """n samples; what they are called tells which data set they come from."""

    name: str
    size: int
    class_names: tuple[str, ...] | None = None
    num_classes: int | None = None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=f"{self.name}{index}")


def test_entries_follow_each_other_and_are_numbered_through() -> None:
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


def test_classes_are_those_of_all() -> None:
    joined = ConcatDataset([Numbered("a", 1), Numbered("b", 1, ("x", "y"), 2)])
    assert (joined.class_names, joined.num_classes) == (("x", "y"), 2)
    with pytest.raises(DataError, match=r"must have the same classes, found \[2, 3\] classes"):
        ConcatDataset([Numbered("a", 1, num_classes=2), Numbered("b", 1, num_classes=3)])
    with pytest.raises(DataError, match="with different names"):
        ConcatDataset([Numbered("a", 1, ("x", "y"), 2), Numbered("b", 1, ("y", "x"), 2)])
    with pytest.raises(DataError, match="at least one"):
        ConcatDataset([])


def test_the_fingerprint_tells_lengths_apart() -> None:
    def fingerprint(*sizes: int) -> str:
        return ConcatDataset([Numbered("a", n) for n in sizes]).fingerprint()

    assert fingerprint(1, 2) == fingerprint(1, 2) != fingerprint(2, 1) != fingerprint(3)
