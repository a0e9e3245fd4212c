"""Metrics of boxes in key frames and of tubes, against plain loops."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from vid_detection.act import read_tubes
from vid_detection.ava import frame_key, read_table, split_key
from vid_detection.classes import AVA_CLASSES, AVA_EVALUATED
from vid_detection.metrics.ava import OFFICIAL, PUBLISHED, AVAMetric, ava_average_precision, join_tables
from vid_detection.metrics.collect import FlatBoxes, FlatTruth
from vid_detection.metrics.functional import best_of_frames, rank_classes
from vid_detection.metrics.mistakes import worst_mistakes
from vid_detection.metrics.tubes import ACTMetric, MultiSportsMetric, trapezoid_precision
from vid_detection.overlaps import iou
from vid_detection.records import TrueBoxes
from vid_detection.tubes import Linking, Tubes, link, suppress, tube_overlaps
from vidcore.errors import AnnotationError, DataError, UserError
from vidcore.plugins.catalog import load_plugins
from vidcore.records import Boxes
from vidcore.sample import Sample

FRAMES, CLASSES = 40, 6


def drawn(rng: np.random.Generator, count: int) -> Any:
    start = rng.random((count, 2)) * 0.6
    return np.concatenate((start, start + 0.1 + rng.random((count, 2)) * 0.3), 1)


def scene(seed: int = 0) -> tuple[FlatBoxes, FlatTruth]:
    """Return detections, most of them near a true box, and true boxes with several classes; some frames have none."""
    rng = np.random.default_rng(seed)
    persons = rng.integers(0, 4, FRAMES)
    frames = np.repeat(np.arange(FRAMES), persons)
    people = drawn(rng, len(frames))
    row, label = np.nonzero(rng.random((len(frames), CLASSES)) < 0.3)
    true = FlatTruth(people[row], frames[row], label)
    near = rng.permutation(np.repeat(np.arange(len(frames)), 3))
    boxes = np.concatenate((people[near] + rng.normal(0, 0.03, (len(near), 4)), drawn(rng, 60)))
    of = np.concatenate((frames[near], rng.integers(0, FRAMES, 60)))
    scores = np.where(rng.random((len(boxes), CLASSES)) < 0.5, rng.random((len(boxes), CLASSES)), -np.inf)
    return FlatBoxes(boxes, of, scores), true


def plain_ap(found: FlatBoxes, true: FlatTruth, c: int) -> float:
    """Average precision of a class: a loop over detections, best first."""
    rows = [i for i in np.argsort(-found.scores[:, c], kind="stable") if found.scores[i, c] > -np.inf]
    truths = np.flatnonzero(true.labels == c)
    if not len(truths):
        return float("nan")
    taken: set[int] = set()
    points, hits = [], 0
    for place, i in enumerate(rows, 1):
        near = [t for t in truths if true.frames[t] == found.frames[i]]
        overlaps = [float(iou(found.boxes[i], true.boxes[t])) for t in near]
        if near and max(overlaps) >= 0.5 and near[int(np.argmax(overlaps))] not in taken:
            taken.add(near[int(np.argmax(overlaps))])
            hits += 1
        points.append((hits / len(truths), hits / place))
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[i:])
        before = recall
    return area


@pytest.mark.parametrize("seed", range(3))
def test_frame_map_equals_a_plain_loop(seed: int) -> None:
    found, true = scene(seed)
    rules = evolve(OFFICIAL, limit=None)
    scores = ava_average_precision(found, true, np.zeros(FRAMES, bool), CLASSES, rules)
    np.testing.assert_allclose(scores.ap, [plain_ap(found, true, c) for c in range(CLASSES)], rtol=1e-12)
    row, label = np.nonzero(found.scores > -np.inf)  # one class per detection: the same result
    listed = FlatBoxes(found.boxes[row], found.frames[row], found.scores[row, label], label)
    np.testing.assert_allclose(
        ava_average_precision(listed, true, np.zeros(FRAMES, bool), CLASSES, rules).ap, scores.ap, rtol=1e-12
    )


def test_rules_differ_where_they_say() -> None:
    found, true = scene()
    excluded = np.arange(FRAMES) < 5
    plain = ava_average_precision(found, true, excluded, CLASSES, PUBLISHED)
    assert plain.truths.sum() == len(true.labels)
    official = ava_average_precision(found, true, excluded, CLASSES, OFFICIAL)
    assert official.truths.sum() == np.count_nonzero(true.frames >= 5)
    with_truth = np.isin(found.frames, true.frames) & (found.frames >= 5)
    assert plain.detections.sum() == np.count_nonzero(found.scores[with_truth] > -np.inf)
    assert official.detections.sum() == np.count_nonzero(found.scores[found.frames >= 5] > -np.inf)
    silent = FlatBoxes(found.boxes, found.frames, np.where(np.arange(CLASSES) == 2, -np.inf, found.scores))
    assert np.isnan(ava_average_precision(silent, true, excluded, CLASSES, PUBLISHED).ap[2])
    assert ava_average_precision(silent, true, excluded, CLASSES, OFFICIAL).ap[2] == 0


def test_only_the_best_detections_of_a_frame_remain() -> None:
    rng = np.random.default_rng(0)
    frames = np.sort(rng.integers(0, 7, 40))
    scores = rng.random((40, 5))
    kept = best_of_frames(frames, scores, 9)
    for frame in range(7):
        values = scores[frames == frame]
        assert set(values[kept[frames == frame]]) == set(np.sort(values.ravel())[::-1][:9])


def test_mistakes_are_told_by_type() -> None:
    people = np.array([[0.1, 0.1, 0.3, 0.5], [0.6, 0.1, 0.8, 0.5]])
    true = FlatTruth(people, np.zeros(2, np.int64), np.array([0, 1]))
    boxes = np.concatenate((people[[0, 0, 1]], [[0.1, 0.1, 0.2, 0.2], [0.4, 0.8, 0.5, 0.9]]))
    found = FlatBoxes(boxes, np.zeros(5, np.int64), np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.zeros(5, np.int64))
    ranked = list(
        rank_classes(boxes, found.frames, found.scores, people, true.frames, true.labels, 2, labels=found.labels)
    )
    told = [(m.kind, m.score) for m in worst_mistakes(ranked, found, true, 0.5)]
    assert told == [
        ("duplicate", 0.8),
        ("wrong class", 0.7),
        ("poor box", 0.6),
        ("nobody there", 0.5),
        ("missed", None),
    ]


def sample(index: int, key: str, boxes: Any, labels: Any, names: tuple[str, ...], **more: Any) -> Sample:
    truth = TrueBoxes(
        np.reshape(boxes, (-1, 4)), np.reshape(labels, (-1, len(names))).astype(bool), more.pop("track", None)
    )
    return Sample(index=index, key=key, class_names=names, extra={"truth": truth}, **more)


def predicted(target: Sample, boxes: Any, scores: Any) -> Sample:
    scores = np.asarray(scores, np.float32)
    return target.replace(boxes=Boxes(np.float32(np.reshape(boxes, (-1, 4))), scores=scores, relative=True))


NAMES = ("run", "jump high")


def test_metric_of_ones_own_classes(tmp_path: Path) -> None:
    box = [0.1, 0.1, 0.5, 0.9]
    acting = sample(0, "a,0001.5", box, [1, 0], NAMES)
    nobody = sample(1, "a,0002", [], [], NAMES)
    metric = AVAMetric()
    metric.update([predicted(acting, box, [[0.6, 0.1]]), predicted(nobody, box, [[0.9, 0.0]])], [acting, nobody])
    assert metric.compute() == {"mAP": 0.5}  # the false alarm in the empty key frame comes first
    assert "by the published rules it is 1.0000" in metric.notes()[0]
    assert "in 1 of 2 key frames nobody acts" in metric.notes()[1]
    assert metric.table() == [{"class": "run", "AP": 0.5, "boxes": 1, "detections": 2}]
    paths = metric.write(tmp_path)
    table = read_table(paths[0], "score")
    assert table.keys[0] == ("a", 1.5) and table.actions.tolist() == [1, 2, 1]
    with paths[2].open() as file:
        assert next(csv.DictReader(file))["mistake"] == "nobody there"
    assert paths[3].name == "precision_recall.png" and paths[3].read_bytes().startswith(b"\x89PNG")
    published = AVAMetric(rules="published")
    published.merge([metric])
    assert published.compute() == {"mAP": 1.0}


def test_key_frames_without_predicted_boxes_count() -> None:
    box = [0.1, 0.1, 0.5, 0.9]
    targets = [sample(i, f"a,{i}", box, [1, 0], NAMES) for i in range(2)]
    metric = AVAMetric()
    metric.update([predicted(targets[0], [], np.zeros((0, 2)))], targets[:1])
    assert metric.compute() == {"mAP": 0.0}
    metric.update([predicted(targets[1], box, [[0.9, 0.0]])], targets[1:])
    assert metric.compute() == {"mAP": 0.5}
    assert any("1 of 2 key frames have no predicted box" in note for note in metric.notes())


@pytest.mark.parametrize("kind", ["COCOMetric", "MultiSportsMetric", "ACTMetric"])
def test_no_predicted_box_at_all_is_a_score_of_0(kind: str) -> None:
    pytest.importorskip("pycocotools")
    target = sample(
        0, "a,1", [0.1, 0.1, 0.5, 0.9], [1, 0], NAMES, track=np.array([0]), meta={"size": (100, 200)}
    )  # fmt: skip
    metric = load_plugins().components[kind].load()()
    metric.update([predicted(target, [], np.zeros((0, 2)))], [target])
    assert set(metric.compute().values()) == {0.0}


def test_classes_are_compared_by_name() -> None:
    target = sample(0, "a,1", [0.1, 0.1, 0.5, 0.9], [0, 1], NAMES)
    answer = predicted(target, [0.1, 0.1, 0.5, 0.9], [[0.9, 0.1]]).replace(class_names=("jump_high", "run"))
    metric = AVAMetric()
    metric.update([answer], [target])
    assert metric.compute() == {"mAP": 1.0}
    with pytest.raises(DataError, match="no class of the predictions \\(swim, fly\\) is a class of the annotations"):
        metric.update([answer.replace(class_names=("swim", "fly"))], [target])
    with pytest.raises(DataError, match="no background class"):
        metric.update([answer.replace(class_names=("run", "jump high", "fly"))], [target])
    with pytest.raises(UserError, match="official or published, got 'ofical'; did you mean 'official'"):
        AVAMetric(rules="ofical")  # type: ignore[arg-type]


def test_ava_is_scored_on_60_of_its_classes_and_truth_without_samples_is_missed(tmp_path: Path) -> None:
    assert len(AVA_EVALUATED) == 60 and len(AVA_CLASSES) == 80
    file = tmp_path / "truth.csv"
    file.write_text("v,0902,0.1,0.1,0.5,0.9,12,0\nv,0902,0.1,0.1,0.5,0.9,2,0\nw,0903,0.1,0.1,0.5,0.9,12,0\n")
    target = sample(0, frame_key("v", 902), [], [], AVA_CLASSES)
    scores = np.zeros((1, 80))
    scores[0, [1, 11]] = 0.9
    metric = AVAMetric(file)
    metric.update([predicted(target, [0.1, 0.1, 0.5, 0.9], scores)], [target])
    assert metric.compute()["mAP"] == 0.5  # class 2 is not evaluated, and the person of w was missed
    assert metric.compute()["mAP/person_movement"] == 0.5
    assert any("1 key frames of" in note for note in metric.notes())
    metric.write(tmp_path)
    found, true, keys = join_tables(read_table(tmp_path / "detections.csv", "score"), read_table(file), [12])
    assert ava_average_precision(found, true, np.zeros(len(keys), bool), 80).ap[11] == 0.5


def test_the_exported_table_has_what_counts_and_the_same_score(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = drawn(rng, 30)
    target = sample(0, "a,1", people[:6], np.arange(6)[:, None] % 2 == [0, 1], NAMES)
    metric = AVAMetric()
    metric.update([predicted(target, people, rng.random((30, 2)))], [target])
    score = metric.compute()["mAP"]
    truth = tmp_path / "truth.csv"
    rows = [f"a,1,{','.join(map(str, box))},{i % 2 + 1},{i}\n" for i, box in enumerate(people[:6].tolist())]
    truth.write_text("".join(rows))
    table = read_table(metric.write(tmp_path)[0], "score")
    assert len(table.boxes) == 50, "of 60 detections, the official rules count 50"
    found, true, _ = join_tables(table, read_table(truth), [1, 2])
    assert np.nanmean(ava_average_precision(found, true, np.zeros(1, bool), 2).ap) == pytest.approx(score)


def test_key_frames_have_names() -> None:
    assert frame_key("a", 902) == "a,0902" and frame_key("a", 12.25) == "a,0012.25"
    assert split_key("a,b,0012.25") == ("a,b", 12.25)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("v,0902,0.1,0.1,0.5,0.9", "needs 7 or 8 columns"),
        ("v,x,0.1,0.1,0.5,0.9,1,0", "column 2 must be a second"),
        ("v,0902,0.1,0.1,0.5,abc,1,0", "column 6 must be a number, got 'abc'"),
        ("v,0902,0.1,0.1,50,90,1,0", "video,time,x1,y1,x2,y2,person,action"),
        ("v,0902,0.5,0.1,0.1,0.9,1,nan", "person is not finite"),
        ("v,0902,0.1,0.1,0.5,0.9,0,0", "whole number from 1"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, row: str, problem: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text("v,0901,0.1,0.1,0.5,0.9,1,0\n" + row + "\n")
    with pytest.raises(AnnotationError, match=problem) as caught:
        read_table(file)
    assert f"{file}:2: " in str(caught.value)


def test_coco_scores_equal_those_of_plain_loops() -> None:
    pytest.importorskip("pycocotools")
    from vid_detection.metrics.coco import COCOMetric

    box, other = [0.1, 0.1, 0.5, 0.9], [0.6, 0.1, 0.9, 0.9]
    first, second = sample(0, "a,1", [box, other], [[1, 0], [0, 1]], NAMES), sample(1, "a,2", box, [1, 0], NAMES)
    moved = [0.1, 0.1, 0.5, 0.74]  # overlap 0.8: correct at 7 of 10 thresholds
    metric = COCOMetric()
    metric.update(
        [predicted(first, [moved, other], [[0.9, 0], [0, 0.8]]), predicted(second, other, [[0.7, 0.0]])],
        [first, second],
    )
    recalled = 51 / 101  # points of recall up to 0.5
    scores = metric.compute()
    assert scores["AP50"] == pytest.approx((recalled + 1) / 2)
    assert scores["AP"] == pytest.approx((0.7 * recalled + 1) / 2)
    assert scores["AR100"] == pytest.approx((0.7 * 0.5 + 1) / 2)
    assert [row["boxes"] for row in metric.table()] == [2, 1]


# ---- tubes


def tube(frames: Any, shift: float = 0.0, video: int = 0, label: int = 0, score: float = 1.0) -> Any:
    """Return detections of a box that moves by a pixel in each frame."""
    frames = np.asarray(frames)
    boxes = np.stack((frames + shift, frames * 0 + 10.0, frames + shift + 40, frames * 0 + 60.0), 1)
    n = len(frames)
    return boxes, frames, np.full(n, score), np.full(n, label), np.full(n, video)


def joined(*parts: Any) -> list[Any]:
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def test_detections_become_tubes() -> None:
    first, second = tube(range(1, 21), score=0.9), tube(range(5, 30), shift=100, score=0.8)
    gap = tube([*range(1, 10), *range(11, 20)], shift=200)  # a frame without a detection ends a tube
    other = tube(range(1, 17), video=1, label=3)
    found = link(*joined(first, second, gap, other), Linking(min_length=15))
    assert found.videos.tolist() == [0, 0, 1] and found.labels.tolist() == [0, 0, 3]
    assert found.lengths.tolist() == [20, 25, 16]
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 1.0])
    np.testing.assert_allclose(found.boxes[:20], first[0])
    assert len(link(*joined(gap), Linking(min_length=9))) == 2
    assert not len(link(*(column[:0] for column in joined(gap)), Linking()))


def test_copies_of_detections_lose_their_scores() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10], [0, 0, 10, 10]], float)
    rows, scores = suppress(boxes, np.array([0.5, 0.9, 0.7, 0.8]), np.array([0, 0, 0, 1]), 0.6, None)
    assert rows.tolist() == [1, 2, 0, 3]
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.0, 0.8])


def as_tubes(*parts: Any) -> Tubes:
    boxes, frames, scores, labels, videos = joined(*parts)
    ends = np.cumsum([0, *(len(p[0]) for p in parts)])
    first = ends[:-1]
    return Tubes(videos[first], labels[first], scores[first], ends, frames, boxes, scores)


def test_overlaps_of_tubes_count_as_each_data_set_does() -> None:
    a, b = as_tubes(tube(range(1, 11))), as_tubes(tube(range(6, 16)))
    zero = np.zeros(1, np.int64)
    assert tube_overlaps(a, b, zero, zero) == pytest.approx(4 / 14)  # 1 to 10 has the length 9
    assert tube_overlaps(a, b, zero, zero, pixels=True) == pytest.approx(5 / 15)
    assert tube_overlaps(a, as_tubes(tube(range(30, 40))), zero, zero) == 0
    assert trapezoid_precision(np.array([[True, False, True]]), 2)[0] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)


def truth_file(folder: Path) -> Path:
    def rows(part: Any) -> Any:
        return np.concatenate((part[1][:, None], part[0]), 1).astype(np.float32)

    file = folder / "truth.pkl"
    content = {
        "labels": ["aerobic kick jump", "jump", "run"],
        "gttubes": {"A/x": {1: [rows(tube(range(1, 21)))], 2: [rows(tube(range(1, 21), shift=100))]}, "A/y": {}},
        "nframes": {"A/x": 20, "A/y": 5},
        "resolution": {"A/x": (100, 200), "A/y": (100, 200)},
        "train_videos": [["A/y"]],
        "test_videos": [["A/x"]],
    }
    file.write_bytes(pickle.dumps(content, protocol=2))
    return file


@pytest.mark.parametrize("kind", [MultiSportsMetric, ACTMetric])
def test_metrics_of_tubes_with_truth_of_samples_or_of_a_file(tmp_path: Path, kind: Any) -> None:
    file = truth_file(tmp_path)
    truth = read_tubes(file)
    metrics = kind(file), kind()
    for frame in range(1, 21):
        boxes = np.stack([tube([frame])[0][0], tube([frame], shift=100)[0][0]]) / [200, 100, 200, 100]
        target = sample(
            frame, f"A/x,{frame:04d}", boxes, [[0, 1, 0], [0, 0, 1]], truth.class_names, track=np.array([0, 1]),
            meta={"size": (100, 200)},
        )  # fmt: skip
        # the second person is found in half of the frames
        count = 2 if frame <= 10 else 1
        scores = [[0.1, 0.9, 0.0], [0.2, 0.0, 0.8]][:count]
        for metric in metrics:
            metric.update([predicted(target, boxes[:count], scores)], [target])
    scores, of_samples = (metric.compute() for metric in metrics)
    assert scores == of_samples
    assert scores["frame_mAP@0.5"] == pytest.approx(0.75)
    assert scores["video_mAP@0.5"] == pytest.approx(0.5)  # the shorter tube has less than 15 frames
    assert scores["video_mAP@0.50:0.95"] == pytest.approx(0.5)
    assert [row["class"] for row in metrics[0].table()] == ["run", "jump"]
    assert "2 of 3 classes" in metrics[0].notes()[0]
    tubes = metrics[0].write(tmp_path)[0].read_text().splitlines()
    assert len(tubes) == (41 if kind is ACTMetric else 21)  # by ACT, the score of another class is a detection, too


def test_damaged_files_of_tubes_are_refused(tmp_path: Path) -> None:
    file = truth_file(tmp_path)
    content = pickle.loads(file.read_bytes())
    for change, problem in (
        ({"labels": None}, "needs 'labels'"),
        ({"gttubes": {"A/z": {}}}, "no tubes of 'A/x'"),
        ({"gttubes": {"A/x": {7: []}}}, "class 7, but there are 3 labels"),
        ({"gttubes": {"A/x": {1: [np.zeros((2, 4))]}}}, "must have rows of frame"),
        ({"gttubes": {"A/x": {1: [np.zeros((2, 5))]}}}, "count from 1"),
        ({"nframes": {}}, "must be a number of frames, got None"),
        ({"resolution": {}}, "must be height and width, got None"),
    ):
        file.write_bytes(pickle.dumps(content | change))
        with pytest.raises(AnnotationError, match=problem):
            read_tubes(file)
    file.write_bytes(b"no pickle")
    with pytest.raises(AnnotationError, match="not a pickle"):
        read_tubes(file)
    file.write_bytes(pickle.dumps(print))
    with pytest.raises(AnnotationError, match="not read from pickles"):
        read_tubes(file)
