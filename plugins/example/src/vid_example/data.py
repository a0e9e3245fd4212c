"""A dataset: videos labelled by file name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample


class NamedVideos(Dataset):
    """The videos of a folder; the label of ``left_03.mp4`` is ``left``.

    Args:
        folder: folder of the ``.mp4`` files, relative to the file of the Task.
        every: use every N-th file ...
        first: ... starting with this one, so that training and validation can share a folder.

    Raises:
        DataError: the folder has no such files.
    """

    def __init__(self, folder: Path, every: int = 1, first: int = 0) -> None:
        paths = sorted(folder.glob("*_*.mp4"), key=lambda path: path.stem.rpartition("_")[::-1])
        if not paths:
            raise DataError(f"{folder}: no files like left_00.mp4; create some with: vidcore sliding-square {folder}")
        self.files = paths[first::every]
        self.class_names = tuple(sorted({_class(path) for path in paths}))
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
