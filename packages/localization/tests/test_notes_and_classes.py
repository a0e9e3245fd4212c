"""Times from feature info, classes of whole videos, and shapes that models refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.models.bsn import PEM, TEM
from vid_localization.models.drn import DRN
from vid_localization.models.spans import check_features, with_predictions
from vid_localization.models.tcanet import TCANet
from vid_localization.prepare.merging import merged_info
from vid_localization.transforms.classes import LoadVideoClasses
from vid_localization.transforms.loading import LoadLocalizationFeature
from vidcore.batch import Batch
from vidcore.data.classes import read_classes
from vidcore.errors import DataError, UserError
from vidcore.features.files import FeatureInfo
from vidcore.plugins.catalog import load_plugins
from vidcore.records import Text
from vidcore.sample import Sample
from vidcore.task.classes import num_classes
from vidcore.task.task import Task

RNG = np.random.default_rng(0)
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
NOTE = FeatureInfo(
    video="videos/a.mp4",
    size=1,
    settings="x",
    frames=260,
    fps=25.0,
    duration=10.4,
    feature_duration=10.0,
    rows=4,
    channels=3,
)


@pytest.fixture
def features(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", FEATURES)
    NOTE.write(tmp_path / "a.npy")
    return tmp_path / "a.npy"


def test_times_come_from_feature_info(features: Path) -> None:
    load = LoadLocalizationFeature()
    plain = load(Sample(path=str(features)), RNG)
    assert (plain.duration, plain.feature_duration, plain.total_frames, plain.fps) == (10.4, 10.0, 260, 25.0)
    np.testing.assert_array_equal(plain.feature_times, [1.25, 3.75, 6.25, 8.75])
    # the annotation has precedence for the duration, the feature info for what the features cover
    annotated = load(Sample(path=str(features), duration=10.5, feature_duration=9.0, total_frames=250), RNG)
    assert (annotated.duration, annotated.feature_duration, annotated.total_frames) == (10.5, 10.0, 250)


def test_features_may_come_with_the_sample() -> None:
    sample = Sample(path="a.mp4", feature_duration=8.0, inputs={"features": FEATURES})
    loaded = LoadLocalizationFeature(length=2)(sample, RNG)
    assert loaded.inputs["features"].array.shape == (3, 2)


def test_datasets_take_durations_from_feature_info(features: Path, tmp_path: Path) -> None:
    table = tmp_path / "segments.csv"
    table.write_text("video,start,end,label\na.mp4,1,4,run\na.mp4,9,12,run\nb.mp4,9,12,run\n")
    data = ActivityNetDataset(table, tmp_path, ".npy")
    assert [data[i].path for i in range(2)] == [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    assert (data[0].duration, data[1].duration) == (10.4, None)
    np.testing.assert_array_equal(data[0].segments.spans, [[1, 4], [9, 10.4]])
    np.testing.assert_array_equal(data[1].segments.spans, [[9, 12]])
    assert data[0].key == "a"
    (problem,) = data.problems
    assert problem == f"{table}: a.mp4: segment 1: 9 to 12 s reaches beyond the end of the video of 10.4 s"


def test_merged_features_keep_their_times(features: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "flow.npy", FEATURES)
    note = merged_info([tmp_path / "flow.npy", features], np.zeros((100, 6)))
    assert note is not None
    assert (note.duration, note.feature_duration, note.rows, note.channels) == (10.4, 10.0, 100, 6)
    assert merged_info([tmp_path / "flow.npy"], FEATURES) is None


def test_proposals_are_multiplied_with_classes() -> None:
    rows = np.array([[0.0, 0.5, 0.9], [0.5, 1.0, 0.4]])
    plain = with_predictions(Sample(), rows, 10.0)
    assert plain.segments.labels is None
    sample = Sample(scores=np.array([0.0, 0.2, 0.0, 0.6], np.float32))
    found = with_predictions(sample, rows, 10.0)
    np.testing.assert_allclose(found.segments.scores, [0.54, 0.24, 0.18, 0.08], rtol=1e-6)
    assert found.segments.labels is not None
    assert found.segments.labels.tolist() == [3, 3, 1, 1]
    np.testing.assert_array_equal(found.segments.spans, [[0, 5], [5, 10], [0, 5], [5, 10]])
    own = with_predictions(sample, rows, 10.0, labels=[1, 2])
    np.testing.assert_array_equal(own.segments.scores, rows[:, 2])
    none = with_predictions(sample.replace(scores=np.zeros(4, np.float32)), rows, 10.0)
    assert none.segments is not None
    assert len(none.segments) == 0
    assert len(with_predictions(sample, np.zeros((0, 3)), 10.0).segments) == 0


def test_classes_of_videos_from_files(tmp_path: Path) -> None:
    ours = [
        {"video": "videos/a.b.mp4", "classes": [{"class": "run", "score": 0.5}, {"class": "eat", "score": 0.3}]},
        {"video": "bad.mp4", "error": "is no video"},
    ]
    (tmp_path / "ours.jsonl").write_text("\n".join(map(json.dumps, ours)) + "\n")
    published = {"class": ["eat", "run", "swim"], "results": {"a.b": [0.3, 0.5, 0.1]}}
    (tmp_path / "cuhk.json").write_text(json.dumps(published))
    sample = Sample(class_names=("eat", "run"), key="v_a.b")
    for file, top_k, wanted in (
        ("ours.jsonl", 2, [0.3, 0.5]),
        ("cuhk.json", 2, [0.3, 0.5]),
        ("cuhk.json", 1, [0, 0.5]),
    ):
        found = LoadVideoClasses(tmp_path / file, top_k)(sample, RNG)
        np.testing.assert_array_equal(found.scores, np.array(wanted, np.float32))
    load = LoadVideoClasses(tmp_path / "ours.jsonl")
    with pytest.raises(DataError, match=r"ours\.jsonl: has no classes of bad"):
        load(sample.replace(key="bad"), RNG)
    with pytest.raises(UserError, match="needs the class names"):
        load(Sample(), RNG)
    with pytest.raises(DataError, match=r"our\.jsonl does not exist; did you mean 'ours\.jsonl'"):
        LoadVideoClasses(tmp_path / "our.jsonl")(sample, RNG)


def test_features_of_a_different_shape_are_refused() -> None:
    check_features(torch.zeros(2, 3, 4), 3, 4)
    check_features(torch.zeros(2, 3, 9), 3)
    with pytest.raises(UserError, match=r"made for 400 channels of features \(feat_dim\), but got 3"):
        check_features(torch.zeros(2, 3, 4), 400)
    with pytest.raises(UserError, match="made for 100 positions of a video, but got 4: see length"):
        check_features(torch.zeros(2, 3, 4), 3, 100)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (TEM(10, 0.1, 8, 4, 0.5), torch.zeros(2, 9, 10), r"made for 8 channels of features \(feat_dim\), but got 9"),
        (TEM(10, 0.1, 8, 4, 0.5), torch.zeros(2, 8, 7), "made for 10 positions of a video, but got 7"),
        (PEM(8, 4, 1, 2, 0.6, 0.2, 0.4, 0.5, 0.9, 9), torch.zeros(2, 5, 9), "made for 8 channels of features .* got 9"),
        (
            TCANet(8, temporal_dim=10, lgte_num=1),
            {"features": torch.zeros(2, 9, 10)},
            "made for 8 channels of features .* got 9",
        ),
        (
            TCANet(8, temporal_dim=10, lgte_num=1),
            {"features": torch.zeros(2, 8, 7)},
            "made for 10 positions of a video, but got 7",
        ),
        (DRN(feature_dim=8), {"features": torch.zeros(2, 32, 9)}, "made for 8 channels of features .* got 9"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else None,
)
def test_models_report_the_expected_shape(model: Any, inputs: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.preprocess(Batch(inputs=inputs, samples=(Sample(), Sample())))


def test_words_outside_of_the_vocabulary_are_refused() -> None:
    sample = Sample(text=Text(("turn round",), np.array([3, 12])))
    with pytest.raises(UserError, match=r"made for 11 words \(vocab_size\), but a sentence has word 12"):
        DRN(vocab_size=11, feature_dim=8).sample_step()(sample, RNG)


def test_class_names_of_thumos_are_those_of_its_recipes() -> None:
    catalog = load_plugins()
    task = Task.load("actionformer_thumos14-i3d", catalog)
    names = read_classes(catalog.class_list(task.table["info"]["dataset"]))
    assert names is not None
    assert list(names) == sorted(names), "as 'vidcore data prepare' numbers them"
    assert (len(names), names[4], names[7]) == (num_classes(task.table["model"]), "CliffDiving", "Diving")
