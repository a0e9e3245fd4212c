"""Videos, or folders of frames, whose sound is in other files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from vid_recognition.datasets.base import ActionDataset
from vidcore.data.index import fingerprint
from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["AudioVisualDataset"]


class AudioVisualDataset(Dataset):
    """The samples of a dataset of videos, with the path of the sound beside each: ``audio_path``.

    Steps that read sound or its features (``LoadAudioFeature``, ``DecodeAudio``) prefer it to the video; ``Branches``
    makes both inputs from the same choice of frames.

    Args:
        dataset: of videos (``VideoDataset``) or folders of frames (``RawframeDataset``).
        audio_root: folder of the audio files, or files of features, under the same names as the videos.
        audio_suffix: suffix of these files, in place of that of a video.

    Raises:
        DataError: ``dataset`` does not list videos.
    """

    def __init__(self, dataset: Dataset, audio_root: Path, audio_suffix: str = ".npy") -> None:
        if not isinstance(dataset, ActionDataset):
            raise DataError(f"AudioVisualDataset: {type(dataset).__name__} is not a dataset of videos with classes")
        self.dataset = dataset
        self.class_names, self.num_classes, self.labels = dataset.class_names, dataset.num_classes, dataset.labels
        self.audio_root, self.audio_suffix = audio_root, audio_suffix

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index`` with ``audio_path``."""
        sample = self.dataset[index]
        name = self.dataset.annotations.names[sample.index]
        stem, suffix = os.path.splitext(name)
        named = (stem if suffix.lower() in VIDEO_SUFFIXES else name) + self.audio_suffix
        return sample.replace(audio_path=os.path.join(self.audio_root, named))

    def sample_paths(self) -> Iterable[str]:
        """Return the paths of all videos."""
        return self.dataset.sample_paths()

    def fingerprint(self) -> str:
        """Return a hash of the dataset and the names of the audio files."""
        return fingerprint(f"{self.dataset.fingerprint()} {self.audio_suffix}")

    def notes(self) -> Sequence[str]:
        """Return the notes of the dataset."""
        return self.dataset.notes()
