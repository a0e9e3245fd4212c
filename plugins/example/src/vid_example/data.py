"""A dataset: videos whose file names say what they show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample


class NamedVideos(Dataset):
    """The videos of a folder; the label of ``left_03.mp4`` is ``left``.

    Args:
        folder: where the ``.mp4`` files are. In a Task, relative to the Task's file.
        every: take one file of this many ...
        first: ... beginning with this one, so that training and validation can share a folder.

    Raises:
        DataError: there is no such file.
    """

    def __init__(self, folder: Path, every: int = 1, first: int = 0) -> None:
        everything = sorted(folder.glob("*_*.mp4"), key=lambda path: path.stem.rpartition("_")[::-1])
        if not everything:
            raise DataError(f"{folder}: no files like left_00.mp4; vidcore sliding-square {folder} makes some")
        self.files = everything[first::every]
        self.class_names = tuple(sorted({_class(path) for path in everything}))
        self.num_classes = len(self.class_names)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        assert self.class_names is not None
        path = self.files[index]
        label = self.class_names.index(_class(path))
        return Sample(index=index, path=str(path), label=label, class_names=self.class_names)

    def sample_paths(self) -> Iterator[str]:
        return map(str, self.files)


def _class(path: Path) -> str:
    return path.stem.rpartition("_")[0]
