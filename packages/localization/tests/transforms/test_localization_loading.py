"""Loading of features and proposals from files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from attrs.exceptions import FrozenInstanceError

from vid_localization.records import PartBounds
from vid_localization.results import write_results
from vid_localization.transforms.classes import LoadVideoClasses
from vid_localization.transforms.loading import (
    LoadLocalizationFeature,
    LoadProposalFeatures,
    LoadProposals,
    ProposalFile,
)
from vid_localization.transforms.proposals import LoadProposalSegments
from vidcore.batch import collate
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.errors import AnnotationError, DataError, UserError, VideoError
from vidcore.features.files import read_features, rescale
from vidcore.protocols import Dataset
from vidcore.records import Segments, Varying
from vidcore.sample import Sample
from vidcore.typing import Array

RNG = np.random.default_rng(0)
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)


def features(sample: Sample) -> Array:
    """The loaded features of a sample: (channels, positions)."""
    found = sample.inputs["features"]
    assert isinstance(found, Varying)
    return found.array


def test_all_file_formats_give_the_same_features(tmp_path: Path) -> None:
    rows = "\n".join(",".join(map(str, row)) for row in FEATURES.tolist())
    (tmp_path / "a.csv").write_text(f"f0,f1,f2\n{rows}\n")
    np.save(tmp_path / "a.npy", FEATURES)
    torch.save(torch.from_numpy(FEATURES), tmp_path / "a.pt")
    for suffix in (".csv", ".npy", ".pt"):
        found = read_features(tmp_path / f"a{suffix}")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, FEATURES)


def test_bad_files_are_named(tmp_path: Path) -> None:
    for name in ("a.csv", "a.npy", "a.pt", "a.txt"):
        (tmp_path / name).write_text("a,b\n1,x\n")
        with pytest.raises(VideoError, match=str(tmp_path / name)):
            read_features(tmp_path / name)
    np.save(tmp_path / "flat.npy", np.ones(3))
    with pytest.raises(VideoError, match=r"shape \(positions, channels\), got \(3,\)"):
        read_features(tmp_path / "flat.npy")
    with pytest.raises(VideoError, match="does not exist"):
        read_features(tmp_path / "gone.npy")


def test_rescaling_keeps_means_and_edges() -> None:
    ramp = np.linspace(0, 1, 37)[:, None]
    for length in (5, 37, 100):
        found = rescale(ramp, length)
        assert found.shape == (length, 1)
        assert found.mean() == pytest.approx(0.5)
        assert (np.diff(found[:, 0]) > 0).all()
    np.testing.assert_array_equal(rescale(FEATURES[:1], 3), FEATURES[:1].repeat(3, 0))


def test_features_are_channels_by_time(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FEATURES)
    sample = LoadLocalizationFeature()(Sample(path=str(tmp_path / "a.npy"), duration=10.0, feature_duration=8.0), RNG)
    np.testing.assert_array_equal(features(sample), FEATURES.T)
    assert sample.inputs["features"].axis == 1
    np.testing.assert_array_equal(sample.feature_times, [1, 3, 5, 7])
    assert features(LoadLocalizationFeature(length=9)(sample, RNG)).shape == (3, 9)
    with pytest.raises(UserError, match="without path"):
        LoadLocalizationFeature()(Sample(), RNG)


def test_cropping_shifts_the_segments(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.float32).reshape(20, 1))
    segments = np.array([[0.0, 20.0], [9.0, 10.0]])
    sample = Sample(path=str(tmp_path / "a.npy"), duration=20.0, segments=Segments(segments, np.array([3, 5])))
    step = LoadLocalizationFeature(max_length=12)
    for seed in range(6):
        found = step(sample, np.random.default_rng(seed))
        first = int(features(found)[0, 0])
        assert features(found).shape == (1, 12)
        assert found.duration == 12.0
        np.testing.assert_array_equal(found.segments.spans, [[0, 12], [9 - first, 10 - first]])
        np.testing.assert_array_equal(found.segments.labels, [3, 5])
    assert step(sample.replace(path=sample.path), np.random.default_rng(0)).feature_times.tolist()[0] == 0.5


def test_segments_mostly_outside_of_the_crop_are_dropped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 1), np.float32))
    ends = np.array([[0.0, 1.0], [19.0, 20.0]])
    sample = Sample(path=str(tmp_path / "a.npy"), duration=20.0, segments=Segments(ends, np.array([0, 1])))
    found = [LoadLocalizationFeature(max_length=10)(sample, np.random.default_rng(s)) for s in range(20)]
    assert {len(s.segments) for s in found} == {1}, "a crop keeps a segment if it can"
    assert {tuple(s.segments.spans[0]) for s in found} == {(0, 1), (9, 10)}
    assert all(s.segments.labels[0] == (s.segments.spans[0, 0] > 0) for s in found)
    long = sample.replace(segments=Segments(np.array([[0.0, 20.0]]), np.array([4])))
    cut = LoadLocalizationFeature(max_length=9)(long, RNG)
    assert cut.segments.spans.shape == (0, 2)
    assert cut.segments.labels.shape == (0,)


def test_crop_ratio_gives_random_lengths(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.float32).reshape(20, 1))
    sample = Sample(path=str(tmp_path / "a.npy"), duration=20.0, segments=Segments(np.array([[5.0, 12.0]])))
    found = [
        LoadLocalizationFeature(max_length=24, crop_ratio=(0.8, 1.0))(sample, np.random.default_rng(s))
        for s in range(40)
    ]
    assert {features(s).shape[1] for s in found} == {16, 17, 18, 19, 20}
    for s in found:
        np.testing.assert_allclose(s.segments.spans, [[5 - features(s)[0, 0], 12 - features(s)[0, 0]]])
        assert s.duration == len(s.feature_times) == features(s).shape[1]
    assert features(LoadLocalizationFeature(max_length=7, crop_ratio=(0.8, 1.0))(sample, RNG)).shape == (1, 7)
    with pytest.raises(UserError, match="crop_ratio must be two ascending numbers"):
        LoadLocalizationFeature(crop_ratio=(1.0, 0.9))


def test_times_of_clips_that_overlap(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.float32).reshape(20, 1))
    sample = Sample(path=str(tmp_path / "a.npy"), fps=10.0, duration=9.9, segments=Segments(np.array([[5.0, 6.0]])))
    step = LoadLocalizationFeature(feature_stride=4, clip_len=16)
    whole = step(sample, RNG)
    np.testing.assert_allclose(whole.feature_times, np.arange(20) * 0.4 + 0.8)
    assert whole.feature_duration == pytest.approx((19 * 4 + 16) / 10)
    part = LoadLocalizationFeature(max_length=10, feature_stride=4, clip_len=16)(sample, RNG)
    np.testing.assert_allclose(part.feature_times, np.arange(10) * 0.4 + 0.8)
    assert part.duration == pytest.approx(0.4 * 9 + 1.6)
    first = float(features(part)[0, 0])
    np.testing.assert_allclose(part.segments.spans, [[5 - 0.4 * first, 6 - 0.4 * first]])
    known = step(sample.replace(feature_duration=10.0), RNG)
    np.testing.assert_allclose(known.feature_times, np.arange(20) * 0.5 + 0.25)
    short = LoadLocalizationFeature(length=5, feature_stride=4)(sample, RNG)
    np.testing.assert_allclose(short.feature_times, np.arange(5) * 1.6 + 0.8)
    with pytest.raises(UserError, match=r"a\.npy: feature_stride needs the frame rate"):
        step(sample.replace(fps=None), RNG)


@pytest.fixture
def proposals(tmp_path: Path) -> LoadProposals:
    (tmp_path / "v.csv").write_text("tmin,tmax,tmin_score,tmax_score,match_iou\n0,0.5,0.5,0.4,0.9\n0.2,0.8,1,0.1,0.3\n")
    np.save(tmp_path / "v.npy", np.ones((2, 6), np.float32))
    return LoadProposals(10, tmp_path, tmp_path)


def test_proposals_are_in_seconds(proposals: LoadProposals) -> None:
    sample = Sample(path="x/other.csv", duration=11.0, feature_duration=10.0, key="v")
    found = proposals(sample, RNG)
    np.testing.assert_allclose(found.proposals.spans, [[0, 5], [2, 8]], rtol=1e-6)
    np.testing.assert_allclose(found.proposals.scores, [0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(found.targets["overlaps"].array, [0.9, 0.3], rtol=1e-6)
    one = LoadProposals(1, proposals.pgm_proposals_dir, proposals.pgm_features_dir)(sample, RNG)
    batch = collate([found, one])  # the second is padded
    assert batch.inputs.shape == (2, 2, 6)
    assert batch.inputs[1].sum() == 6
    assert batch.lengths["features"].tolist() == batch.targets["overlaps"].lengths.tolist() == [2, 1]
    np.testing.assert_allclose(batch.targets["overlaps"].values, [0.9, 0.3, 0.9], rtol=1e-6)
    assert [len(s.proposals.scores) for s in batch.samples] == [2, 1]


def test_proposal_files_that_do_not_match_are_refused(proposals: LoadProposals, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"w\.csv: this file of proposals does not exist; generate them first"):
        proposals(Sample(path="w.csv", duration=1.0), RNG)
    np.save(tmp_path / "v.npy", np.ones((3, 6), np.float32))
    with pytest.raises(VideoError, match="features of 3 proposals, but there are 2"):
        proposals(Sample(path="v.csv", duration=1.0), RNG)
    (tmp_path / "v.csv").write_text("tmin,tmax\n0,1\n")
    with pytest.raises(VideoError, match="lacks the columns tmin_score, tmax_score"):
        proposals(Sample(path="v.csv", duration=1.0), RNG)


def test_policy_decides_about_videos_without_proposals(proposals: LoadProposals, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"results": {"v": [{"segment": [0, 1], "score": 0.5}]}}')
    (tmp_path / "c.jsonl").write_text('{"video": "v.mp4", "classes": [{"class": "run", "score": 0.5}]}')

    class Videos(Dataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Sample:
            return Sample(index=index, path=("v.csv", "w.csv")[index], duration=1.0, class_names=("run",))

    others = [LoadProposalSegments(tmp_path / "r.json"), LoadVideoClasses(tmp_path / "c.jsonl")]
    for step in (proposals, *others):
        loader = Loader(Videos(), [step, proposals], LoaderOptions(on_error="skip"))
        assert [s.path for batch in loader for s in batch.samples] == ["v.csv"]
        assert list(loader.bad.failures) == [1]


def test_files_of_all_videos_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"results": {"v": [{"segment": [0, 1], "score": 0.5}]}}')
    (tmp_path / "c.jsonl").write_text('{"video": "v.mp4", "classes": [{"class": "run", "score": 0.5}]}')
    made = pickle.dumps((LoadProposalSegments(tmp_path / "r.json"), LoadVideoClasses(tmp_path / "c.jsonl")))
    for file in ("r.json", "c.jsonl"):
        (tmp_path / file).unlink()
    segments, classes = pickle.loads(made)  # as when sent to a worker
    sample = classes(segments(Sample(path="v.csv", class_names=("run",)), RNG), RNG)
    assert (sample.proposals.spans.tolist(), sample.scores.tolist()) == ([[0, 1]], [0.5])
    with pytest.raises(FrozenInstanceError):
        classes.top_k = 3
    for step in (LoadProposalSegments, LoadVideoClasses):
        with pytest.raises(DataError, match="does not exist"):
            step(tmp_path / "missing.json")


def test_pooled_features_of_proposals(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FEATURES)
    indexes = np.array([[0, 1], [2, 9], [7, 9]])
    sample = Sample(path=str(tmp_path / "a.npy"), extra={"parts": PartBounds(indexes)})
    np.testing.assert_array_equal(LoadProposalFeatures()(sample, RNG).inputs["features"], FEATURES[[1, 3, 3]])
    mean = LoadProposalFeatures("mean")(sample, RNG).inputs["features"]
    np.testing.assert_array_equal(mean, [FEATURES[:2].mean(0), FEATURES[2:].mean(0), FEATURES[3]])


def test_proposals_from_the_results_of_a_different_run(tmp_path: Path) -> None:
    found = Sample(path="v_a.npy", segments=Segments(np.array([[1.0, 2.0], [0.0, 5.0]]), scores=np.array([0.25, 0.75])))
    write_results(
        tmp_path / "results.json",
        [found, found.replace(path="v_b.npy", segments=Segments(np.zeros((0, 2)), scores=np.zeros(0)))],
    )
    load = LoadProposalSegments(tmp_path / "results.json")
    sample = load(Sample(path="features/v_a.npy"), RNG)
    np.testing.assert_array_equal(sample.proposals.spans, [[0, 5], [1, 2]])
    np.testing.assert_array_equal(sample.proposals.scores, [0.75, 0.25])
    assert len(LoadProposalSegments(tmp_path / "results.json", 1)(sample, RNG).proposals.scores) == 1
    for name in ("b", "c"):
        with pytest.raises(DataError, match=f"results.json: has no proposals of {name}"):
            load(Sample(path=f"v_{name}.npy"), RNG)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("null", "a: must be a list of segments, got None"),
        ("[5]", "a: segment 0: needs 'segment' with start and end, and 'score'; got 5"),
        ('[{"segment": "12", "score": 1}]', "a: segment 0: needs 'segment' with start and end"),
        ('[{"segment": [1, 2], "score": NaN}]', "a: segment 0: nan is not a number"),
    ],
)
def test_invalid_results_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "results.json").write_text('{"results": {"a": ' + rows + "}}")
    with pytest.raises(AnnotationError, match=f"results.json: {message}"):
        LoadProposalSegments(tmp_path / "results.json")(Sample(path="v_a.npy"), RNG)


def test_a_table_may_have_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("tmin,tmax,tmin_score,tmax_score\n")
    assert len(ProposalFile.read(tmp_path / "a.csv", 10).tmin) == 0
