"""Metrics compared with plain loops over videos, classes and thresholds, written from the definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_localization.metrics.functional import average_recall, detection_average_precision, grounding_recall
from vid_localization.metrics.segments import ANetMetric, RecallatTopK, THUMOSMetric
from vid_localization.overlaps import iou_and_coverage
from vid_localization.records import Boundaries
from vid_localization.results import read_results, read_submission, write_results
from vidcore.errors import DataError, UserError
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

THRESHOLDS = (0.3, 0.5, 0.75)
CLASSES = ("dance", "run", "sit")


def spans(rng: np.random.Generator, count: int) -> Array:
    start = rng.random(count) * 80
    return np.stack((start, start + rng.random(count) * 40), 1)


def samples(seed: int = 0, videos: int = 12) -> tuple[list[Sample], list[Sample]]:
    """Predictions near true segments; some videos lack one or both."""
    rng = np.random.default_rng(seed)
    predicted, true = [], []
    for index in range(videos):
        segments = spans(rng, index % 4)
        labels = rng.integers(0, 3, len(segments))
        known = {"duration": 120.0, "class_names": CLASSES, "key": f"v_{index}"}
        true.append(Sample(index=index, segments=Segments(segments, labels), **known))
        count = int(rng.integers(0, 15))
        found = np.concatenate((segments + rng.normal(0, 4, segments.shape), spans(rng, count)))
        guesses = np.concatenate((labels, rng.integers(0, 3, count)))
        if index == 5:
            found, guesses = found[:0], guesses[:0]
        scores = rng.random(len(found))
        predicted.append(Sample(index=index, segments=Segments(found, guesses, scores), **known))
    return predicted, true


def plain_average_precision(predicted: list[Sample], true: list[Sample], label: int, threshold: float) -> float:
    rows = [
        (-score, video, segment)
        for video, s in enumerate(predicted)
        for score, segment, guess in zip(s.segments.scores, s.segments.spans, s.segments.labels, strict=True)
        if guess == label
    ]
    truths = [s.segments.spans[s.segments.labels == label] for s in true]
    free = [np.ones(len(t), bool) for t in truths]
    right = []
    for _, video, segment in sorted(rows, key=lambda row: row[0]):
        iou = iou_and_coverage(segment, truths[video])[0].astype(np.float32) if len(truths[video]) else np.zeros(0)
        iou = np.where(free[video] & (iou >= threshold), iou, -1)
        best = int(iou.argmax()) if len(iou) else -1
        right.append(best >= 0 and iou[best] >= 0)
        if right[-1]:
            free[video][best] = False
        excuses = true[video].extra["ambiguous"].spans if "ambiguous" in true[video].extra else ()
        if not right[-1] and any(min(segment[1], b) > max(segment[0], a) for a, b in excuses):
            right.pop()
    total, area, best_precision = sum(map(len, truths)), 0.0, 0.0
    for rank in range(len(right), 0, -1):
        best_precision = max(best_precision, sum(right[:rank]) / rank)
        area += best_precision * right[rank - 1]
    return area / total


def with_ambiguous(true: list[Sample]) -> list[Sample]:
    """The same true segments, and ambiguous ones in every third video."""
    rng = np.random.default_rng(7)
    return [s if s.index % 3 else s.with_extra(ambiguous=Segments(spans(rng, 1 + s.index % 2))) for s in true]


@pytest.mark.parametrize("ambiguous", [False, True])
def test_average_precision_equals_a_plain_loop(ambiguous: bool) -> None:
    predicted, true = samples()
    if ambiguous:
        plain = THUMOSMetric(THRESHOLDS)
        plain.update(predicted, true)
        before, true = plain.compute()["average_mAP"], with_ambiguous(true)
    metric = THUMOSMetric(THRESHOLDS)
    metric.update(predicted, true)
    wanted = [[plain_average_precision(predicted, true, c, t) for c in range(3)] for t in THRESHOLDS]
    np.testing.assert_allclose(metric.average_precision(), wanted, rtol=1e-12)
    scores = metric.compute()
    assert scores["mAP@0.50"] == pytest.approx(np.mean(wanted[1]), abs=1e-12)
    assert scores["average_mAP"] == pytest.approx(np.mean(wanted), abs=1e-12)
    if ambiguous:
        assert scores["average_mAP"] > before + 0.01


def test_predictions_in_ambiguous_segments_are_ignored() -> None:
    truth = Sample(index=0, segments=Segments(np.array([[0.0, 10.0]]), np.array([0])), duration=50.0)
    segments = np.array([[20.0, 30.0], [0.0, 10.0], [35.0, 40.0]])  # the first would halve the precision
    found = truth.replace(segments=Segments(segments, np.zeros(3, np.int64), np.array([0.9, 0.8, 0.7])))
    for excuse, wanted in (([29.0, 32.0], 1.0), ([30.0, 32.0], 0.5), ([5.0, 6.0], 0.5)):
        metric = THUMOSMetric([0.5])
        metric.update([found], [truth.with_extra(ambiguous=Segments(np.array([excuse])))])
        assert metric.compute()["mAP@0.50"] == wanted


def test_close_thresholds_have_different_keys() -> None:
    truth = Sample(index=0, segments=Segments(np.array([[0.0, 1000.0]]), np.array([0])), duration=1000.0)
    found = truth.replace(segments=Segments(np.array([[0.0, 652.0]]), np.array([0]), np.array([0.9])))
    metric = THUMOSMetric([0.651, 0.654, 0.7])
    metric.update([found], [truth])
    wanted = {"mAP@0.651": 1.0, "mAP@0.654": 0.0, "mAP@0.70": 0.0}
    assert metric.compute() == pytest.approx({"average_mAP": 1 / 3, **wanted})


def test_each_true_segment_matches_its_best_prediction_only() -> None:
    truth, zeros = np.array([[0.0, 10.0]]), np.zeros(2, np.int64)
    args = (np.array([0.9, 0.8]), zeros, zeros, truth, zeros[:1], zeros[:1], [0.5])
    twice = detection_average_precision(np.array([[0, 9.0], [0, 10.0]]), *args)
    assert twice[0, 0] == 1.0  # the second is wrong, but comes after full recall
    wrong_first = detection_average_precision(np.array([[20, 30.0], [0, 10.0]]), *args)
    assert wrong_first[0, 0] == 0.5


def test_a_prediction_matches_the_next_free_true_segment() -> None:
    truth = np.array([[0.0, 10.0], [1.0, 11.0]])
    found = np.array([[0.0, 10.0], [0.2, 10.2]])
    zeros = np.zeros(2, np.int64)
    assert detection_average_precision(found, np.array([0.9, 0.8]), zeros, zeros, truth, zeros, zeros, [0.5]) == 1.0


def test_predictions_in_videos_without_true_segments_are_wrong() -> None:
    zeros = np.zeros(2, np.int64)
    found, truth = np.array([[0.0, 10.0], [0.0, 10.0]]), np.array([[0.0, 10.0]])
    videos = np.array([7, 1])
    ap = detection_average_precision(
        found, np.array([0.9, 0.8]), zeros, videos, truth, zeros[:1], np.array([1]), [0.5], num_classes=3
    )
    assert ap[0, 0] == 0.5
    assert np.isnan(ap[0, 1:]).all()


def plain_recall(predicted: list[Sample], true: list[Sample], limit: float, threshold: float, percent: int) -> float:
    total = sum(len(p.segments) for p in predicted)
    kept = [min(int(len(p.segments) * (limit * len(true) / total)), len(p.segments)) for p in predicted]
    share = percent / 100 * (limit * len(true) / sum(kept))
    found = count = 0
    for p, t, n in zip(predicted, true, kept, strict=True):
        order = np.argsort(-p.segments.scores)[: min(int(n * share), n)]
        targets = t.segments.spans.astype(np.float32).reshape(-1, 1, 2)
        iou, _ = iou_and_coverage(p.segments.spans[order].astype(np.float32), targets)
        found += int((iou >= threshold).any(1).sum())
        count += len(t.segments)
    return found / count


@pytest.mark.parametrize("limit", [3, 100])
def test_average_recall_equals_a_plain_loop(limit: int) -> None:
    predicted, true = samples(3)
    metric = ANetMetric("AR@AN", THRESHOLDS, limit)
    metric.update(predicted, true)
    flat, truth, videos = metric.flat()
    assert videos == 12
    curve = average_recall(
        flat.segments, flat.scores, flat.videos, truth.segments, truth.videos, videos, THRESHOLDS, limit
    )
    for percent in (1, 7, 30, 64, 100):
        wanted = [plain_recall(predicted, true, limit, t, percent) for t in THRESHOLDS]
        np.testing.assert_allclose(curve.recall[:, percent - 1], wanted, rtol=1e-12)
    scores = metric.compute()
    assert scores["AR@10"] == pytest.approx(np.mean([plain_recall(predicted, true, limit, t, 10) for t in THRESHOLDS]))
    without = sum(len(p.segments) == 0 for p in predicted)
    assert without  # the published evaluation fails here
    assert any(f"{without} of 12 videos have no proposal" in notice for notice in metric.notes())


def test_recall_without_proposals_is_zero() -> None:
    empty = np.zeros(0)
    curve = average_recall(np.zeros((0, 2)), empty, empty.astype(int), np.ones((1, 2)), np.array([0]), 2, [0.5], 100)
    assert curve.auc == 0
    assert (curve.recall == 0).all()


def test_several_processes_give_the_scores_of_one() -> None:
    predicted, true = samples(5)
    whole, *parts = (ANetMetric("mAP") for _ in range(3))
    whole.update(predicted, true)
    parts[0].update(predicted[7:], true[7:])
    parts[1].update(predicted[:9], true[:9])  # two samples occur twice
    parts[0].merge(parts[1:])
    assert parts[0].compute() == whole.compute()


def test_submission_file_round_trip(tmp_path: Path) -> None:
    predicted, true = samples(1, 3)
    metric = ANetMetric("mAP")
    metric.update(predicted, true)
    (path,) = metric.write(tmp_path)
    assert json.loads(path.read_text())["version"] == "VERSION 1.3"
    found = read_results(path, CLASSES)
    assert list(found) == ["0", "1", "2"]
    assert [d.score for d in found["1"]] == predicted[1].segments.scores.tolist()
    assert [d.label for d in found["1"]] == [CLASSES[i] for i in predicted[1].segments.labels]
    with pytest.raises(DataError, match=r"results.json: \d: segment 0: label '\w+' is not one of the 1 classes"):
        read_results(path, ["jump"])


def test_a_result_file_is_json_with_numbers_as_they_are(tmp_path: Path) -> None:
    spans = np.array([[0.1, 1 / 3], [2.0, 1e-7]])
    odd = Segments(spans, labels=np.array([1, 7]), scores=np.array([np.nan, 0.30000000000000004]))
    write_results(tmp_path / "a.json", [Sample(key='a "b"', segments=odd), Sample(key="v_c", segments=odd)], ["x", "ü"])
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    rows = [
        {"score": "nan", "segment": [0.1, 1 / 3], "label": "ü"},
        {"score": 0.30000000000000004, "segment": [2.0, 1e-7], "label": "7"},
    ]
    assert found == {"version": "VERSION 1.3", "results": {'a "b"': rows, "c": rows}, "external_data": {}}
    write_results(tmp_path / "a.json", [Sample(key="a", segments=Segments(np.zeros((0, 2))))])
    assert json.loads((tmp_path / "a.json").read_text())["results"] == {"a": []}


def test_a_submission_of_another_program_is_compared_with_the_annotations(tmp_path: Path) -> None:
    predicted, true = samples(1, 3)
    write_results(tmp_path / "a.json", predicted, CLASSES)
    targets = [sample.replace(class_names=tuple(CLASSES)) for sample in true]
    read = read_submission(tmp_path / "a.json", [*targets, Sample(index=9, key="x", segments=true[0].segments)])
    for one, other in zip(read[:3], predicted, strict=True):
        assert np.array_equal(one.segments.spans, other.segments.spans)
        assert np.array_equal(one.segments.labels, other.segments.labels)
        assert np.array_equal(one.segments.scores, other.segments.scores)
    assert len(read[3].segments) == 0, "not in the file"
    with pytest.warns(UserWarning, match=r"a.json: 2 videos are not in the dataset, such as 1"):
        read_submission(tmp_path / "a.json", targets[:1])
    with pytest.raises(DataError, match="has no segments of the 1 videos"):
        read_submission(tmp_path / "a.json", [Sample(key="x")])
    with pytest.raises(DataError, match="is not one of the 2 classes"):
        read_submission(tmp_path / "a.json", [t.replace(class_names=("a", "b")) for t in targets])


def test_boundary_tables_are_written(tmp_path: Path) -> None:
    rows = np.arange(10.0).reshape(2, 5)
    sample = Sample(index=0, path="a.csv", extra={"boundaries": Boundaries(rows)})
    metric = ANetMetric("TEM")
    metric.update([sample], [sample])
    assert metric.compute() == {}
    (folder,) = metric.write(tmp_path)
    (path,) = folder.iterdir()
    assert path.name == "a.csv"
    assert path.read_text().startswith("action,start,end,tmin,tmax\n0.0")


def test_grounding_recall_counts_overlaps_above_the_threshold() -> None:
    truth = np.array([[0.0, 1.0], [0.0, 1.0]])
    predictions = np.array([[0.0, 0.5], [0.0, 0.9], [5.0, 6.0]])
    found = grounding_recall(predictions, np.array([0, 0, 1]), truth, [1, 2], 0.5)
    np.testing.assert_allclose(found, [0.0, 0.5])  # 0.5 is not above 0.5


def test_queries_without_predictions_are_not_recalled() -> None:
    truth = np.array([[0.0, 1.0], [0.0, 1.0]])
    found = grounding_recall(np.array([[0.0, 0.9]]), np.array([0]), truth, [1, 5], 0.5)
    np.testing.assert_allclose(found, [0.5, 0.5])
    found = grounding_recall(np.zeros((0, 2)), np.zeros(0, int), truth, [1, 5], 0.5)
    np.testing.assert_allclose(found, [0.0, 0.0])


def test_grounding_metric_ranks_by_score() -> None:
    target = Sample(index=0, segments=Segments(np.array([[0.0, 1.0]])))
    found = target.replace(segments=Segments(np.array([[4.0, 5.0], [0.0, 1.0]]), scores=np.array([0.1, 0.9])))
    metric = RecallatTopK((1,), 0.5)
    metric.update([found], [target])
    assert metric.compute() == {"Recall@Top1_IoU=0.5": 1.0}
    metric.update([found], [target.replace(index=1, segments=Segments(np.zeros((0, 2))))])
    with pytest.raises(DataError, match="exactly one true segment"):
        metric.compute()


def test_metrics_refuse_wrong_input() -> None:
    with pytest.raises(UserError, match="AR@AN, mAP or TEM"):
        ANetMetric("mAP@0.5")
    with pytest.raises(UserError, match="between 0 and 1"):
        THUMOSMetric((50.0,))
    with pytest.raises(DataError, match="needs true segments; a has none"):
        ANetMetric().update([Sample(segments=Segments(np.zeros((0, 2))))], [Sample(path="x/a.csv")])
    metric = THUMOSMetric()
    unlabelled = Sample(index=0, segments=Segments(np.array([[0.0, 1.0]]), scores=np.ones(1)))
    metric.update([unlabelled], [unlabelled])
    with pytest.raises(DataError, match="needs a class for every segment"):
        metric.compute()


@pytest.mark.parametrize("metric", [ANetMetric("mAP"), THUMOSMetric()])
def test_detections_are_written_for_submission(metric: ANetMetric | THUMOSMetric, tmp_path: Path) -> None:
    predicted, true = samples()
    metric.update(predicted, true)
    (path,) = metric.write(tmp_path)
    found = read_results(path, CLASSES)
    assert {name: len(rows) for name, rows in found.items()} == {str(s.index): len(s.segments) for s in predicted}


@pytest.mark.parametrize("metric", [ANetMetric(), ANetMetric("mAP"), THUMOSMetric(), RecallatTopK()])
@pytest.mark.parametrize("part", ["spans", "scores"])
def test_no_metric_scores_nan(metric: Any, part: str) -> None:
    values = {"spans": np.ones((1, 2)), "labels": np.zeros(1, np.int64), "scores": np.ones(1)}
    true = Sample(index=3, path="a.npy", segments=Segments(**values))
    values[part] = values[part] * np.nan
    with pytest.raises(DataError, match=rf"sample 3 \(a.npy\): its segments.{part} contain NaN$"):
        metric.update([true.replace(segments=Segments(**values))], [true])
