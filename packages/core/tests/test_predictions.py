"""Predictions survive a file, without pickles, and can be fused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcore.errors import DataError
from vidcore.metrics import DumpPredictions
from vidcore.predictions import PredictionFile, fuse
from vidcore.records import Segments
from vidcore.sample import Sample


def sample(index: int, **values: object) -> Sample:
    return Sample(index=index, path=f"a b/é{index}.mp4", class_names=("x", "y"), **values)


def found(rng: np.random.Generator, count: int) -> Segments:
    return Segments(rng.random((count, 2)), scores=rng.random(count))


def test_everything_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    predictions = [
        sample(
            i,
            scores=rng.random(2, np.float32),
            segments=Segments(rng.random((i, 2)), scores=rng.random(i)),
            meta={"n": i},
        )
        for i in range(3)
    ]
    targets = [sample(i, label=i % 2, fps=None if i else 25.0, segments=Segments(np.zeros((1, 2)))) for i in range(3)]
    PredictionFile(tuple(predictions), tuple(targets)).save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as archive:  # raises if anything is pickled
        assert all(archive[name].dtype != object for name in archive.files)
    read = PredictionFile.load(tmp_path / "p.npz")
    for one, other in zip((*predictions, *targets), (*read.predictions, *read.targets), strict=True):
        assert (one.index, one.path, one.label, one.fps, one.class_names) == (
            other.index, other.path, other.label, other.fps, other.class_names
        )  # fmt: skip
        np.testing.assert_array_equal(one.segments.spans, other.segments.spans)
        np.testing.assert_array_equal(one.segments.scores, other.segments.scores)
    np.testing.assert_array_equal(read.predictions[2].scores, predictions[2].scores)
    assert read.predictions[1].meta == {"n": 1}


def test_a_sample_seen_by_two_processes_is_kept_once(tmp_path: Path) -> None:
    one, two = DumpPredictions(), DumpPredictions()
    one.update([sample(1, scores=np.ones(2))], [sample(1)])
    two.update([sample(i, scores=np.zeros(2)) for i in (0, 1)], [sample(0), sample(1)])
    one.merge([two])
    (path,) = one.write(tmp_path)
    found = PredictionFile.load(path).predictions
    assert [p.index for p in found] == [0, 1]
    np.testing.assert_array_equal(found[1].scores, [1, 1])


def test_streams_are_fused_by_sample() -> None:
    rgb = PredictionFile(tuple(sample(i, scores=np.array([i, 0.0])) for i in (0, 1)), ())
    flow = PredictionFile(tuple(sample(i, scores=np.array([0.0, i])) for i in (1, 0)), ())
    fused = fuse([rgb, flow], [1, 2], ["rgb", "flow"])
    np.testing.assert_array_equal([p.scores for p in fused.predictions], [[0, 0], [1, 2]])


def test_files_of_other_data_are_refused(tmp_path: Path) -> None:
    one = PredictionFile((sample(0, scores=np.zeros(2)),), ())
    with pytest.raises(DataError, match=r"b: covers other samples than a: 2 are in one of them only, .* number 0"):
        fuse([one, PredictionFile((sample(1, scores=np.zeros(2)),), ())], [1, 1], ["a", "b"])
    with pytest.raises(DataError, match="b: has scores of 3 classes"):
        fuse([one, PredictionFile((sample(0, scores=np.zeros(3)),), ())], [1, 1], ["a", "b"])
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text\.npz: not a file of predictions, or damaged$"):
        PredictionFile.load(tmp_path / "text.npz")
    with pytest.raises(DataError, match="there is no such file"):
        PredictionFile.load(tmp_path / "none.npz")
