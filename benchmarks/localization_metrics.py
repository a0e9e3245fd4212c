"""Time and memory of localization metrics and post-processing, compared with the algorithms of MMAction2.

Those are written plainly from their documents, and return the same results. They go over videos and thresholds (average
recall), predictions and thresholds (average precision), picked proposals (suppression), pairs of boundaries (proposals,
boundary matching), segments (labels), points (masks), proposals (features) and rows (result files). The data has the
size of ActivityNet's validation set: 4,728 videos with 100 proposals each. Times are the minima of some repeats.

    python benchmarks/localization_metrics.py [--videos 4728] [--proposals 100]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vid_localization.metrics.functional import average_recall, detection_average_precision
from vid_localization.metrics.segments import ANetMetric
from vid_localization.models.bmn import boundary_proposals
from vid_localization.models.boundary_matching import matching_labels, sample_mask
from vid_localization.overlaps import iou_and_coverage
from vid_localization.post.features import proposal_features
from vid_localization.post.proposals import generate_proposals
from vid_localization.post.suppression import soft_nms
from vid_localization.results import write_results
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)
CLASSES = 200


def data(videos: int, proposals: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return predicted and true segments of all videos, concatenated; half of the predictions are near a true one."""
    rng = np.random.default_rng(0)

    def spans(count: int) -> Array:
        start = rng.random(count) * 100
        return np.stack((start, start + rng.random(count) * 40), 1)

    numbers = rng.integers(1, 4, videos)
    of = np.repeat(np.arange(videos), numbers)
    true = {"segments": spans(len(of)), "videos": of, "labels": np.repeat(rng.integers(0, CLASSES, videos), numbers)}
    found = {"segments": spans(videos * proposals), "videos": np.repeat(np.arange(videos), proposals)}
    target = (np.cumsum(numbers) - numbers)[found["videos"]] + rng.integers(0, 99, videos * proposals) % numbers[
        found["videos"]
    ]
    near = rng.random(len(target)) < 0.5
    shaken = true["segments"][target] + rng.normal(0, 4, (len(target), 2))
    found["segments"] = np.where(near[:, None], shaken, found["segments"])
    found["labels"] = np.where(near, true["labels"][target], rng.integers(0, CLASSES, len(target)))
    found["scores"] = rng.random(len(target))
    return found, true


def mmaction2_average_recall(found: dict[str, Array], true: dict[str, Array], videos: int) -> float:
    """Compute the AUC by video and threshold."""
    limit = 100.0
    counts = np.bincount(found["videos"], minlength=videos)
    kept = np.minimum((counts * (limit * videos / counts.sum())).astype(int), counts)
    shares = np.arange(1, 101) / 100 * (limit * videos / kept.sum())
    recalled = np.zeros((len(THRESHOLDS), 100))
    for video in range(videos):
        mine = np.arange(counts[:video].sum(), counts[: video + 1].sum())
        order = mine[np.argsort(-found["scores"][mine], kind="stable")][: kept[video]]
        truth = true["segments"][true["videos"] == video]
        iou = iou_and_coverage(found["segments"][order].astype(np.float32), truth[:, None].astype(np.float32))[0]
        for row, threshold in enumerate(THRESHOLDS):
            hit = iou >= threshold
            for column, share in enumerate(shares):
                number = min(int(kept[video] * share), kept[video])
                recalled[row, column] += np.count_nonzero(hit[:, :number].sum(1) > 0)
    average = (recalled / len(true["segments"])).mean(0)
    numbers = shares * kept.sum() / videos
    return float(100 * np.trapezoid(average, numbers) / numbers[-1])


def mmaction2_average_precision(found: dict[str, Array], true: dict[str, Array], videos: int) -> float:
    """Compute mean average precision by class, prediction and threshold."""
    rows = []
    for label in range(CLASSES):
        truths = {v: true["segments"][at] for v, at in _by_video(true, label).items()}
        if not truths:
            continue
        taken = {v: np.zeros((len(THRESHOLDS), len(s)), bool) for v, s in truths.items()}
        mine = np.flatnonzero(found["labels"] == label)
        mine = mine[np.argsort(-found["scores"][mine], kind="stable")]
        right = np.zeros((len(THRESHOLDS), len(mine)), bool)
        for column, i in enumerate(mine):
            video = int(found["videos"][i])
            if video not in truths:
                continue
            iou = iou_and_coverage(found["segments"][i], truths[video])[0].astype(np.float32)
            for row, threshold in enumerate(THRESHOLDS):
                for best in np.argsort(-iou):
                    if iou[best] < threshold:
                        break
                    if not taken[video][row, best]:
                        taken[video][row, best] = right[row, column] = True
                        break
        total = sum(map(len, truths.values()))
        precision = right.cumsum(1) / np.arange(1, len(mine) + 1)
        best_later = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        rows.append((best_later * right).sum(1) / total)
    return float(np.mean(rows))


def _by_video(true: dict[str, Array], label: int) -> dict[int, Array]:
    at = np.flatnonzero(true["labels"] == label)
    return {int(v): at[true["videos"][at] == v] for v in np.unique(true["videos"][at])}


def mmaction2_suppression(rows: Array, alpha: float, low: float, high: float, top_k: int) -> Array:
    """Soft-NMS: the overlaps of a picked proposal with all others at once."""
    start, end, score = rows[:, 0].copy(), rows[:, 1].copy(), rows[:, -1].copy()
    picked = []
    while len(score) and len(picked) <= top_k:
        best = int(score.argmax())
        picked.append((start[best], end[best], score[best]))
        width = end[best] - start[best]
        shared = np.maximum(np.minimum(end, end[best]) - np.maximum(start, start[best]), 0)
        iou = shared / (end - start + width - shared)
        decay = np.exp(-(iou**2) / alpha)
        for i in range(len(score)):
            if i != best and iou[i] > low + (high - low) * width:
                score[i] *= decay[i]
        start, end, score = (np.delete(column, best) for column in (start, end, score))
    return np.array(picked)


def mmaction2_proposals(start: Array, end: Array, segments: Array) -> Array:
    """Generate proposals between peaks by pairs."""
    length, rows = len(start), []
    for last in sorted({*peaks(end), length - 1}):
        for first in sorted({0, *peaks(start)}):
            if first < last:
                a, b = (first + 0.5) / length, (last + 0.5) / length
                shared = np.maximum(np.minimum(segments[:, 1], b) - np.maximum(segments[:, 0], a), 0)
                best = (shared / (b - a + segments[:, 1] - segments[:, 0] - shared)).max()
                share = (shared / (b - a)).max()
                rows.append((a, b, start[first], end[last], start[first] * end[last], best, share))
    return np.array(sorted(rows, key=lambda row: row[4], reverse=True))


def peaks(p: Array) -> list[int]:
    """Return positions of boundary candidates."""
    inner = [i for i in range(1, len(p) - 1) if p[i] > p[i - 1] and p[i] > p[i + 1]]
    return sorted({*inner, *(i for i in range(len(p)) if p[i] > 0.5 * p.max())})


def mmaction2_matching(maps: Array, start: Array, end: Array) -> Array:
    """Generate the proposals of a boundary-matching network by pairs of positions."""
    length, rows = len(start), []
    begins, finishes = {0, *peaks(start)}, {len(end) - 1, *peaks(end)}
    for first in range(length):
        for last in range(first + 1, length):
            if first in begins and last in finishes:
                confidence = maps[0, last - first - 1, first] * maps[1, last - first - 1, first]
                rows.append((first / length, last / length, start[first] * end[last] * confidence))
    return np.array(rows)


def mmaction2_mask(length: int, samples: int, per_sample: int, extension: float) -> Array:
    """Compute the sampling mask of a boundary-matching layer by points."""
    mask = np.zeros((length, samples, length, length))
    for start in range(length):
        for duration in range(length - start):
            margin = extension * (duration + 1)
            step = (duration + 2 * margin) / (samples * per_sample - 1)
            for point in range(samples * per_sample):
                at = start - margin + step * point
                at = 0.0 if -1 < at < 0 else at
                left = math.floor(at)
                for position, weight in ((left, 1 - (at - left)), (left + 1, at - left)):
                    if 0 <= position < length:
                        mask[position, point // per_sample, duration, start] += weight / per_sample
    return mask


def mmaction2_labels(segments: Array, length: int) -> Array:
    """Compute the overlap of each cell of the map with its best segment, segment by segment."""
    first = np.arange(length)[None] / length
    last = first + np.arange(1, length + 1)[:, None] / length
    maps = []
    for start, end in segments:
        shared = np.maximum(np.minimum(last, end) - np.maximum(first, start), 0)
        maps.append(shared / (last - first + end - start - shared))
    out: Array = np.max(maps, 0)
    return out


def mmaction2_features(action: Array, proposals: Array) -> Array:
    """Compute the features of proposals one by one: interpolation at all points of a part, then means over bins."""
    positions, padded = (np.arange(-1, len(action) + 1) + 0.5) / len(action), np.pad(action, 1)
    rows = []
    for start, end in proposals[:, :2].tolist():
        margin, row = 0.2 * (end - start), []
        for first, last, bins in (
            (start, end, 16),
            (start - margin, start + margin, 8),
            (end - margin, end + margin, 8),
        ):
            width = (last - first) / (bins - 1)
            points = first + width * (np.arange(bins)[:, None] - 0.5 + np.arange(4) / 3)
            row.append(np.interp(points, positions, padded).mean(1))
        rows.append(np.concatenate(row))
    return np.array(rows)


def mmaction2_results(predictions: Sequence[Sample], path: Path) -> None:
    """Write a result file: a table for each segment, and ``json.dump``."""
    results: dict[str, list[dict[str, Any]]] = {}
    for sample in predictions:
        found = sample.segments
        assert found is not None and found.scores is not None and sample.key is not None
        results[sample.key] = []
        for span, score in zip(found.spans.tolist(), found.scores.tolist(), strict=True):
            results[sample.key].append({"score": score, "segment": span})
    with path.open("w") as file:
        json.dump({"version": "VERSION 1.3", "results": results, "external_data": {}}, file)


def evaluation(predictions: Sequence[Sample], targets: Sequence[Sample], folder: Path) -> Seconds:
    """Return the seconds of ``ANetMetric`` over batches, with its file, and print them."""
    start = Seconds.now()
    metric = ANetMetric()
    for i in range(0, len(targets), 16):
        metric.update(predictions[i : i + 16], targets[i : i + 16])
    metric.compute()
    (path,) = metric.write(folder)
    spent = Seconds.since(start)
    print(f"{'ANetMetric with its file':<34} {spent}   ({path.stat().st_size >> 20} MiB)")
    return spent


@frozen
class Seconds:
    """Wall and CPU time."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def since(cls, start: Seconds) -> Seconds:
        now = cls.now()
        return cls(now.wall - start.wall, now.cpu - start.cpu)

    def __str__(self) -> str:
        return f"{self.wall:9.4f} s, CPU {self.cpu:9.4f} s"


def timed(function: Callable[..., Any], *arguments: Any, repeat: int = 1) -> tuple[Any, Seconds]:
    """Return the result and the minimum times."""
    found, out = [], None
    for _ in range(repeat):
        start = Seconds.now()
        out = function(*arguments)
        found.append(Seconds.since(start))
    return out, Seconds(min(f.wall for f in found), min(f.cpu for f in found))


def compare(
    what: str, ours: tuple[Any, Seconds], theirs: tuple[Any, Seconds], target: float, precision: Any = np.float64
) -> None:
    """Check that both results are equal, and print their times."""
    close = {np.float64: (1e-9, 1e-12), np.float32: (1e-5, 1e-6)}[precision]
    np.testing.assert_allclose(ours[0], theirs[0], *close)
    ratios = f"{theirs[1].wall / ours[1].wall:7.1f} x, CPU {theirs[1].cpu / max(ours[1].cpu, 1e-9):7.1f} x"
    print(f"{what:<34} {ours[1]}   MMAction2 {theirs[1]}   {ratios} (target: {target:g} x)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=4728)
    parser.add_argument("--proposals", type=int, default=100)
    options = parser.parse_args(arguments)
    found, true = data(options.videos, options.proposals)
    recall = found["segments"], found["scores"], found["videos"], true["segments"], true["videos"], options.videos
    precision = (
        *(found[n] for n in ("segments", "scores", "labels", "videos")),
        *(true[n] for n in ("segments", "labels", "videos")),
    )

    def our_recall() -> float:
        return average_recall(*recall, THRESHOLDS.tolist(), 100).auc

    def our_precision() -> float:
        return float(np.nanmean(detection_average_precision(*precision, THRESHOLDS.tolist())))

    print(f"{options.videos} videos, {options.proposals} proposals each, {len(THRESHOLDS)} thresholds")
    compare(
        "average recall (AUC)",
        timed(our_recall, repeat=3),
        timed(mmaction2_average_recall, found, true, options.videos),
        20,
    )
    compare(
        "mean average precision",
        timed(our_precision, repeat=3),
        timed(mmaction2_average_precision, found, true, options.videos),
        20,
    )
    for part in (1, 2):
        some = found["videos"] < options.videos * part // 2
        tracemalloc.start()
        average_recall(*(a[some] for a in recall[:3]), *recall[3:], THRESHOLDS.tolist(), 100)
        detection_average_precision(*(a[some] for a in precision[:4]), *precision[4:], THRESHOLDS.tolist())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"peak memory, {some.sum():7} proposals   {peak / 2**20:.0f} MiB, {peak / some.sum():.0f} bytes each")

    bounds = np.searchsorted(found["videos"], np.arange(options.videos + 1))
    predictions = [
        Sample(index=i, key=f"v{i}", segments=Segments(found["segments"][a:b], scores=found["scores"][a:b]))
        for i, (a, b) in enumerate(pairwise(bounds))
    ]
    edges = np.searchsorted(true["videos"], np.arange(options.videos + 1))
    targets = [
        Sample(index=i, key=f"v{i}", segments=Segments(true["segments"][a:b]))
        for i, (a, b) in enumerate(pairwise(edges))
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = timed(write_results, folder / "a.json", predictions)
        theirs = timed(mmaction2_results, predictions, folder / "b.json")
        assert json.loads((folder / "a.json").read_text()) == json.loads((folder / "b.json").read_text())
        compare("result file", (0, ours[1]), (0, theirs[1]), 3)
        evaluation(predictions, targets, folder)

    rng = np.random.default_rng(1)
    start, end = rng.random((2, 100))
    segments = np.array([[0.1, 0.4], [0.5, 0.9]])
    compare(
        "proposals of 100 positions",
        timed(lambda: generate_proposals(start, end, segments)[:, 4:], repeat=20),
        timed(lambda: mmaction2_proposals(start, end, segments)[:, 4:], repeat=3),
        10,
    )
    compare(
        "features of these proposals",
        timed(proposal_features, start, generate_proposals(start, end), repeat=20),
        timed(mmaction2_features, start, generate_proposals(start, end)),
        10,
    )
    maps, masked = rng.random((2, 100, 100)), (100, 32, 3, 0.5)
    compare(
        "boundary matching: proposals",
        timed(boundary_proposals, maps, start, end, repeat=20),
        timed(mmaction2_matching, maps, start, end, repeat=3),
        10,
    )
    compare(
        "boundary matching: labels",
        timed(lambda: matching_labels(segments, 100)[0], repeat=20),
        timed(lambda: mmaction2_labels(segments, 100).astype(np.float32)),
        10,
    )
    compare(
        "boundary matching: mask", timed(sample_mask, *masked, repeat=3), timed(mmaction2_mask, *masked), 10, np.float32
    )
    rows = generate_proposals(start, end)
    print(f"{len(rows)} proposals of one video, top 100:")
    settings = 0.4, 0.5, 0.9, 100
    compare(
        "soft suppression",
        timed(soft_nms, rows, *settings, repeat=20),
        timed(mmaction2_suppression, rows, *settings, repeat=3),
        10,
    )


if __name__ == "__main__":
    main()
