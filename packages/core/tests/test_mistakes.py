"""predictions.csv: every sample of an evaluation, the worst first."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np

from vidcore.metrics import Mistakes
from vidcore.records import Cut, Segments
from vidcore.sample import Sample

NAMES = ("run", "sit", "eat")


def rows(metric: Mistakes, folder: Path) -> list[dict[str, str]]:
    (path,) = metric.write(folder)
    assert path == folder / "predictions.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def samples(truth: list[int], scores: list[list[float]]) -> tuple[list[Sample], list[Sample]]:
    targets = [Sample(index=i, path=f"{i}.mp4", label=k, class_names=NAMES) for i, k in enumerate(truth)]
    return [t.replace(scores=np.array(s)) for t, s in zip(targets, scores, strict=True)], targets


def test_classes(tmp_path: Path) -> None:
    predicted, targets = samples(
        [0, 0, 2, 1, 1], [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.5, 0.45, 0.05]]
    )
    halves = Mistakes(), Mistakes()
    halves[0].update(predicted[:3], targets[:3])
    halves[1].update(predicted[2:], targets[2:])  # one is repeated, as by a padded sampler
    halves[0].merge([pickle.loads(pickle.dumps(halves[1]))])
    assert halves[0].compute() == {}
    found = rows(halves[0], tmp_path)
    assert list(found[0]) == ["path", "true", "predicted", "score", "rank"]
    assert list(found[0].values()) == ["2.mp4", "eat", "run", "0.6", "3"]
    assert [row["path"] for row in found] == ["2.mp4", "1.mp4", "4.mp4", "0.mp4", "3.mp4"]
    assert found[2] == {"path": "4.mp4", "true": "sit", "predicted": "run", "score": "0.5", "rank": "2"}
    assert [row["rank"] for row in found] == ["3", "3", "2", "1", "1"]


def test_parts_of_videos_are_told_apart(tmp_path: Path) -> None:
    predicted, targets = samples([0, 1, 2], [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    targets[0], targets[1] = (t.replace(path="a.mp4", cut=Cut(k, k + 1.5)) for k, t in enumerate(targets[:2]))
    metric = Mistakes()
    metric.update(predicted, targets)
    found = rows(metric, tmp_path)
    assert list(found[0]) == ["path", "start", "end", "true", "predicted", "score", "rank"]
    assert [(row["path"], row["start"], row["end"]) for row in found] == [
        ("a.mp4", "0", "1.5"),
        ("a.mp4", "1", "2.5"),
        ("2.mp4", "", ""),
    ]


def test_several_labels(tmp_path: Path) -> None:
    labels = [[1, 0, 1], [1, 0, 0]]
    targets = [Sample(index=i, path=f"{i}.mp4", labels=np.array(k, np.float32)) for i, k in enumerate(labels)]
    metric = Mistakes()
    metric.update([t.replace(scores=np.array([0.6, 0.3, 0.1])) for t in targets], targets)
    first, second = rows(metric, tmp_path)
    assert list(first.values()) == ["0.mp4", "0; 2", "0; 1", "0.833333", "3"]
    assert list(second.values()) == ["1.mp4", "0", "0", "1.0", "1"]


def test_segments(tmp_path: Path) -> None:
    true = Segments(np.array([[0.0, 4.0], [10, 14]]), np.array([0, 1]))
    targets = [Sample(index=i, path=f"{i}.mp4", segments=true) for i in range(3)]
    good = Segments(np.array([[10.0, 14], [0, 2]]), np.array([1, 0]), np.array([0.2, 0.9]))
    swapped = Segments(good.spans, good.labels[::-1], good.scores)
    none = Segments(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0))
    metric = Mistakes()
    metric.update([t.replace(segments=s) for t, s in zip(targets, (good, swapped, none), strict=True)], targets)
    found = rows(metric, tmp_path)
    assert list(found[-1].values()) == ["0.mp4", "2", "2", "2", "0.75"]
    assert [list(row.values())[1:] for row in found[:2]] == [["2", "2", "0", "0.0"], ["2", "0", "0", "0.0"]]


def test_samples_that_cannot_be_compared_give_no_file(tmp_path: Path) -> None:
    metric = Mistakes()
    metric.update([Sample(index=0)], [Sample(index=0, label=1)])
    assert metric.write(tmp_path) == []
