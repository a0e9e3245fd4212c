"""Several samples made of one video, next to each other in a batch."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import frozen

from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.errors import DataError, VideoError
from vidcore.protocols import Dataset
from vidcore.sample import Sample


@frozen
class Videos(Dataset):
    """Samples whose path and label are their number."""

    size: int = 6
    class_names = None
    num_classes = None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=f"{index}.mp4", label=index)


@frozen
class Read:
    """Draws a random frame, as a sampling step does."""

    bad: int = -1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.index == self.bad:
            raise VideoError(sample.path, "is not a video")
        return sample.replace(frames=rng.integers(0, 255, (1, 1, 1, 3), np.uint8))


@frozen
class Augment:
    """Adds a random number to the frame, as an augmentation does."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        drawn = [*sample.frames.reshape(-1).astype(float), rng.random()]
        return sample.with_inputs(x=np.array(drawn, np.float32))


def batches(steps=(Read(), Augment()), workers=0, **options):
    loader = Loader(Videos(), steps, LoaderOptions(workers=workers, **options), training=True, seed=1)
    return list(loader)


@pytest.mark.parametrize("sample_once", [False, True])
def test_samples_of_a_video_are_adjacent(sample_once):
    found = batches(batch_size=2, num_repeats=3, sample_once=sample_once)
    assert len(found) == 3
    labels = np.stack([b.labels for b in found]).reshape(-1, 3)
    assert (labels == labels[:, :1]).all()
    assert sorted(labels[:, 0]) == [0, 1, 2, 3, 4, 5]
    drawn = np.concatenate([b.inputs for b in found]).reshape(6, 3, 4)
    assert all((len(np.unique(frames, axis=0)) == 1) == sample_once for frames in drawn[..., :3])
    assert len(np.unique(drawn[..., 3])) == 18


def test_the_first_repeat_is_the_sample_without_repeats():
    alone = np.concatenate([b.inputs for b in batches(batch_size=2)])
    repeated = np.concatenate([b.inputs for b in batches(batch_size=2, num_repeats=2)])
    assert np.array_equal(repeated[::2], alone)


def test_an_evaluation_repeats_nothing():
    with pytest.raises(DataError, match=r"^num_repeats: is for training only; an evaluation loads every sample once"):
        Loader(Videos(), (Read(), Augment()), LoaderOptions(num_repeats=2))


def test_workers_change_nothing():
    options = {"batch_size": 3, "num_repeats": 2, "sample_once": True}
    for ours, theirs in zip(batches(**options), batches(workers=2, **options), strict=True):
        assert np.array_equal(ours.inputs, theirs.inputs)


def test_a_bad_video_is_skipped_or_replaced_with_all_its_repeats():
    skipped = batches((Read(bad=2), Augment()), batch_size=6, num_repeats=2, on_error="skip")
    assert len(skipped[0]) == 10
    replaced = batches((Read(bad=2), Augment()), batch_size=6, num_repeats=2, on_error="resample")
    assert len(replaced[0]) == 12
    with pytest.raises(DataError, match=r"2\.mp4"):
        batches((Read(bad=2), Augment()), batch_size=6, num_repeats=2, on_error="raise")
