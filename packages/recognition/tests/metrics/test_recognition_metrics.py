"""Metrics as the engine uses them: in batches, over processes, with notes and files."""

from __future__ import annotations

import csv
import itertools
import pickle

import cv2
import numpy as np
import pytest

from vid_recognition.metrics import functional as F
from vid_recognition.metrics.accuracy import AccMetric
from vid_recognition.metrics.confusion import ConfusionMatrix
from vid_recognition.metrics.picture import draw_confusion_matrix, worst_confusions
from vid_recognition.metrics.report import ClassReport
from vid_recognition.records import StreamScores
from vidcore.errors import DataError, UserError
from vidcore.sample import Sample
from vidcore.tools.draw import save_figure

RNG = np.random.default_rng(3)
SCORES = RNG.random((40, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 40)
MULTI_HOT = (RNG.random((40, 6)) < 0.3).astype(np.float32)
NAMES = ("a", "b", "c", "d", "e", "f")


def feed(metric, indices, batch=7, multi_hot=False, scores=SCORES):
    for start in range(0, len(indices), batch):
        part = indices[start : start + batch]
        truth = [{"labels": MULTI_HOT[i]} if multi_hot else {"label": int(LABELS[i])} for i in part]
        metric.update(
            [Sample(index=i, scores=scores[i]) for i in part],
            [Sample(index=i, class_names=NAMES, **t) for i, t in zip(part, truth, strict=True)],
        )
    return metric


def test_accuracies():
    found = feed(AccMetric(topk=(1, 3)), range(40)).compute()
    top1, top3 = F.top_k_accuracy(SCORES, LABELS, (1, 3))
    assert found == {"acc/top1": top1, "acc/top3": top3, "acc/mean1": F.mean_class_accuracy(SCORES, LABELS)}


def test_average_precisions_with_a_prefix():
    metric = AccMetric(["mean_average_precision", "mmit_mean_average_precision"], prefix="val")
    assert feed(metric, range(40), multi_hot=True).compute() == {
        "val/mean_average_precision": F.mean_average_precision(SCORES, MULTI_HOT),
        "val/mmit_mean_average_precision": F.mmit_mean_average_precision(SCORES, MULTI_HOT),
    }


def test_average_precision_of_single_labels():
    found = feed(AccMetric(["mean_average_precision"]), range(40)).compute()
    assert found["acc/mean_average_precision"] == F.mean_average_precision(SCORES, np.eye(6)[LABELS])


@pytest.mark.parametrize("kind", [AccMetric, ClassReport, ConfusionMatrix])
def test_results_do_not_depend_on_order_or_processes(kind):
    whole = feed(kind(), range(40))
    shuffled = RNG.permutation(40).tolist()
    parts = [feed(kind(), shuffled[k::3] + shuffled[:1]) for k in range(3)]  # the first sample is padding twice
    first, *others = pickle.loads(pickle.dumps(parts))
    first.merge(others)
    assert first.compute() == whole.compute()
    if kind is ConfusionMatrix:
        assert first.matrix().sum() == 40
        assert np.array_equal(first.matrix(), whole.matrix())


def test_the_first_of_two_entries_of_one_sample_counts():
    metric = AccMetric(["top_k_accuracy"], topk=[1])
    right, wrong = Sample(scores=np.array([0.0, 1.0])), Sample(scores=np.array([1.0, 0.0]))
    metric.update([right, wrong], [Sample(index=4, label=1)] * 2)
    assert metric.compute() == {"acc/top1": 1.0}
    metric.reset()
    metric.update([right, wrong], [Sample(label=1)] * 2)  # without an index, these are two samples
    assert metric.compute() == {"acc/top1": 0.5}


def test_computing_twice_and_continuing():
    metric = feed(AccMetric(), range(20))
    assert metric.compute() == metric.compute()
    assert feed(metric, range(20, 40)).compute() == feed(AccMetric(), range(40)).compute()


def test_k_above_the_number_of_classes_is_limited_with_a_note():
    metric = feed(AccMetric(topk=(1, 10)), range(40))
    assert metric.compute()["acc/top10"] == 1.0
    assert metric.notes() == ["acc/top10: k is 6, the number of classes"]
    metric.reset()
    feed(metric, range(40), scores=SCORES[:, :4])
    found = metric.compute()
    beyond = int(np.sum(LABELS >= 4))
    assert found["acc/top10"] == pytest.approx(1 - beyond / 40)
    assert metric.notes()[1:] == [f"{beyond} samples have a class above the 4 scored ones and count as wrong"]


def test_streams_are_scored_alone_and_together():
    other = RNG.random((40, 6)).astype(np.float32)
    metric = AccMetric(["top_k_accuracy"], topk=[1])
    predictions = [
        Sample(extra={"streams": StreamScores(np.stack((a, b)), ("rgb", "pose"))})
        for a, b in zip(SCORES, other, strict=True)
    ]
    metric.update(predictions, [Sample(index=i, label=int(c)) for i, c in enumerate(LABELS)])
    expected = {"rgb": SCORES, "pose": other, "RGBPose_1:1": SCORES + other}
    expected |= {"RGBPose_2:1": 2 * SCORES + other, "RGBPose_1:2": SCORES + 2 * other}
    assert metric.compute() == {f"acc/{k}_top1": F.top_k_accuracy(v, LABELS)[0] for k, v in expected.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric_list": ["top_k_acuracy"]}, "no score 'top_k_acuracy'; did you mean 'top_k_accuracy'"),
        ({"metric_list": []}, "needs a non-empty metric_list"),
        ({"topk": [0]}, "topk of at least 1"),
    ],
)
def test_options_that_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        AccMetric(**arguments)


def test_samples_that_are_refused():
    with pytest.raises(DataError, match="AccMetric has seen no samples"):
        AccMetric().compute()
    with pytest.raises(DataError, match="needs a label for each sample"):
        AccMetric().update([Sample(scores=SCORES[0])], [Sample()])
    with pytest.raises(DataError, match="top_k_accuracy needs one label per sample"):
        feed(AccMetric(), range(40), multi_hot=True).compute()
    with pytest.raises(DataError, match="labels have 6 classes, but scores have 4"):
        feed(AccMetric(["mean_average_precision"]), range(40), multi_hot=True, scores=SCORES[:, :4]).compute()
    mixed = feed(feed(AccMetric(["mean_average_precision"]), range(9)), range(9, 40), multi_hot=True)
    with pytest.raises(DataError, match="all samples must have the same kind of labels"):
        mixed.compute()
    with pytest.raises(DataError, match="ConfusionMatrix needs one label per target"):
        ConfusionMatrix().update([Sample(scores=SCORES[0])], [Sample()])
    with pytest.raises(DataError, match="AccMetric needs predictions with scores"):
        AccMetric().update([Sample()], [Sample(label=1)])


def test_an_empty_batch_changes_nothing():
    for metric in (AccMetric(), ClassReport()):
        metric.update([], [])
        with pytest.raises(DataError, match="no samples"):
            metric.compute()


def test_confusion_matrix_of_scores_and_of_labels():
    predicted = SCORES.argmax(1)
    expected = F.confusion_matrix(predicted, LABELS, num_classes=6)
    assert np.array_equal(feed(ConfusionMatrix(), range(40)).matrix(), expected)
    metric = ConfusionMatrix(num_classes=8)
    metric.update(
        [Sample(label=int(p)) for p in predicted], [Sample(index=i, label=int(c)) for i, c in enumerate(LABELS)]
    )
    assert metric.matrix().shape == (8, 8)
    assert np.array_equal(metric.matrix()[:6, :6], expected)
    assert metric.matrix("all").sum() == pytest.approx(1)


def test_confusion_matrix_needs_the_number_of_classes():
    metric = ConfusionMatrix()
    metric.update([Sample(label=1)], [Sample(index=0, label=0)])
    with pytest.raises(DataError, match="needs num_classes"):
        metric.matrix()
    small = ConfusionMatrix(num_classes=3)
    with pytest.raises(DataError, match="found classes 0 to 5; allowed: 0 to 2"):
        feed(small, range(40)).matrix()


def test_confusion_matrix_writes_an_image_and_a_table(tmp_path):
    metric = feed(ConfusionMatrix(), range(40))
    assert metric.compute() == {}
    picture, table = metric.write(tmp_path)
    assert cv2.imread(str(picture)).shape[2] == 3
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["true / predicted", *NAMES]
    assert [[int(v) for v in row[1:]] for row in rows[1:]] == metric.matrix().tolist()


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def confused(classes):
    matrix = np.eye(classes, dtype=np.int64) * 50
    matrix[0, -1] += 30 * (classes > 1)
    return matrix


@pytest.mark.parametrize("classes", [1, 2, 60, 61, 1000])
def test_correct_cells_are_blue_and_wrong_cells_red(classes, tmp_path):
    figure = draw_confusion_matrix(confused(classes), [f"long class name number {i} of them" for i in range(classes)])
    red, _, blue = np.moveaxis(np.asarray(figure.axes[0].images[0].get_array()), 2, 0)
    size = len(red)
    assert size == (classes if classes < 1000 else 334), "a cell shows several of many classes"
    assert (blue - red > 0.5).tolist() == np.eye(size, dtype=bool).tolist()
    assert np.argwhere(red - blue > 0.3).tolist() == ([[0, size - 1]] if classes > 1 else [])
    save_figure(figure, tmp_path / "c.png")
    assert max(cv2.imread(str(tmp_path / "c.png")).shape) < 3000


def test_counts_and_names_of_few_classes_are_written():
    axes = draw_confusion_matrix(confused(3), ["$a_1$", "", "_b\nb"]).axes[0]
    assert labels(axes.xaxis) == ["$a_1$", "1", "_b b"]
    assert labels(axes.yaxis) == ["$a_1$ (80)", "1 (50)", "_b b (50)"]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "50"),
        ((2, 0), "30"),
        ((1, 1), "50"),
        ((2, 2), "50"),
    }


def test_long_names_are_wrapped_and_do_not_overlap(tmp_path):
    names = [f"putting something very heavy number {i} on a surface that is not strong enough {i}" for i in range(60)]
    figure = draw_confusion_matrix(confused(60), names)
    save_figure(figure, tmp_path / "c.png")
    axes = figure.axes[0]
    assert [label.replace("\n", " ") for label in labels(axes.xaxis)] == names
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in itertools.pairwise(boxes))


def test_many_classes_are_drawn_as_an_overview_with_the_worst_confusions(tmp_path):
    matrix = np.eye(400, dtype=np.int64) * 50
    matrix[3, 7], matrix[200, 100], matrix[5, 6] = 20, 30, 20
    matrix[5, 5] = 0
    figure = draw_confusion_matrix(matrix, [f"class {i}" for i in range(400)])
    axes = figure.axes[0]
    assert labels(axes.yaxis)[:3] == ["class 0  0", "class 20  20", "class 40  40"]
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "most frequent confusions"
    assert texts[1::2] == ["30\n38%", "20\n100%", "20\n29%"]
    assert texts[2] == "200  class 200\n→ 100  class 100"
    save_figure(figure, tmp_path / "c.png")
    assert len(draw_confusion_matrix(np.eye(99, dtype=np.int64), ["x"] * 99).axes[0].texts) == 0


def test_worst_confusions():
    matrix = np.array([[9, 1, 0], [0, 2, 2], [2, 0, 98]])
    assert worst_confusions(matrix, 2) == [(1, 2, 2, 0.5), (2, 0, 2, 0.02)]
    assert len(worst_confusions(matrix, 9)) == 3


def test_font_that_cannot_be_read(tmp_path):
    metric = feed(ConfusionMatrix(font=tmp_path / "no.ttf"), range(40))
    with pytest.raises(UserError, match=r"no\.ttf: is not a readable font"):
        metric.write(tmp_path)


def test_report_by_class():
    report = ClassReport()
    predicted, labels = [0, 0, 1, 1, 1, 3], [0, 1, 1, 1, 0, 2]
    scores = np.eye(5)[predicted]
    report.update([Sample(scores=s) for s in scores], [Sample(index=i, label=c) for i, c in enumerate(labels)])
    rows = report.table()
    assert [r["class"] for r in rows] == ["0", "1", "2", "3", "4"]
    assert [r["support"] for r in rows] == [2, 3, 1, 0, 0]
    assert [r["precision"] for r in rows] == pytest.approx([1 / 2, 2 / 3, 0, 0, 0])
    assert [r["recall"] for r in rows] == pytest.approx([1 / 2, 2 / 3, 0, 0, 0])
    assert [r["f1"] for r in rows] == pytest.approx([1 / 2, 2 / 3, 0, 0, 0])
    found = report.compute()
    assert found["class/recall"] == pytest.approx(F.mean_class_accuracy(scores, labels))
    assert found["class/f1"] == pytest.approx((1 / 2 + 2 / 3) / 4)


def test_report_is_written_with_names(tmp_path):
    report = feed(ClassReport(), range(40))
    (path,) = report.write(tmp_path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [r["class"] for r in rows] == list(NAMES)
    assert sum(int(r["support"]) for r in rows) == 40
