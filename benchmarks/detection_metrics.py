"""Time and memory of detection metrics, compared with plain loops over boxes, frames and tubes, in one process.

The loops are written plainly from the definitions and return the same values. The frame mAP has the size of AVA's
validation set: 57,000 key frames and 240,000 detections of 80 classes. Times are the minima of some repeats.

    python benchmarks/detection_metrics.py [--frames 57000] [--detections 240000] [--videos 200]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from vid_detection.metrics.ava import OFFICIAL, ava_average_precision
from vid_detection.metrics.collect import FlatBoxes, FlatTruth
from vid_detection.metrics.tubes import video_average_precision
from vid_detection.tubes import Linking, Tubes, link
from vidcore.typing import Array

CLASSES = 80
THRESHOLDS = tuple(np.arange(1, 10) / 10)


def key_frames(frames: int, detections: int) -> tuple[FlatBoxes, FlatTruth]:
    """Return detections with one class each, half of them near a true box of the class, and true boxes."""
    rng = np.random.default_rng(0)
    of = np.sort(rng.integers(0, frames, detections * 3 // 4))
    start = rng.random((len(of), 2)) * 0.6
    truth = np.concatenate((start, start + 0.1 + rng.random((len(of), 2)) * 0.3), 1)
    labels = (rng.random(len(of)) ** 2 * CLASSES).astype(np.int64)
    near = rng.integers(0, len(of), detections)
    right = rng.random(detections) < 0.5
    found = FlatBoxes(
        truth[near] + rng.normal(0, 0.02, (detections, 4)),
        of[near],
        rng.random(detections),
        np.where(right, labels[near], rng.integers(0, CLASSES, detections)),
    )
    return found, FlatTruth(truth, of, labels)


def plain_iou(a: Any, b: Any) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def area(correct: list[bool], truths: int) -> float:
    """Average precision of detections, best first."""
    hits = np.cumsum(correct)
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1] if len(hits) else precision
    return float((best * correct).sum() / truths)


def plain_frame_map(found: FlatBoxes, true: FlatTruth, limit: int) -> float:
    """Compute frame mAP box by box: the best detections of each frame, then those of each class by score."""
    of_frame = defaultdict(list)
    for i, (frame, score) in enumerate(zip(found.frames.tolist(), found.scores.tolist(), strict=True)):
        of_frame[frame].append((-score, i))
    listed = defaultdict(list)
    for rows in of_frame.values():
        for score, i in sorted(rows)[:limit]:
            listed[int(found.labels[i])].append((score, i))  # type: ignore[index]
    truths = defaultdict(list)
    counts = defaultdict(int)
    for j, (frame, label) in enumerate(zip(true.frames.tolist(), true.labels.tolist(), strict=True)):
        truths[label, frame].append(j)
        counts[label] += 1
    values = []
    for label, count in sorted(counts.items()):
        taken: set[int] = set()
        correct = []
        for _, i in sorted(listed[label]):
            box = found.boxes[i]
            near = truths.get((label, int(found.frames[i])), [])
            overlaps = [plain_iou(box, true.boxes[j]) for j in near]
            best = max(overlaps, default=0.0)
            hit = best >= 0.5 and near[overlaps.index(best)] not in taken
            if hit:
                taken.add(near[overlaps.index(best)])
            correct.append(hit)
        values.append(area(correct, count))
    return float(np.mean(values))


def video_frames(videos: int) -> tuple[list[Array], Tubes]:
    """Return detections of four persons and some noise in videos of 150 frames, and the true tubes."""
    rng = np.random.default_rng(0)
    rows, tubes = [], []
    for video in range(videos):
        for _ in range(4):
            label, length = int(rng.integers(0, 5)), int(rng.integers(20, 120))
            frames = np.arange(1, length + 1) + rng.integers(0, 150 - length)
            corner = rng.random(2) * [400, 200] + np.cumsum(rng.normal(0, 1, (length, 2)), 0)
            box = np.concatenate((corner, corner + np.array([60, 120])), 1)
            tubes.append((video, label, frames, box))
            for copy in range(3):
                kept = rng.random(length) < 0.95
                moved = box[kept] + rng.normal(0, 3 + 2 * copy, (kept.sum(), 4))
                rows.append((moved, frames[kept], rng.random(kept.sum()), np.full(kept.sum(), label), video))
    lengths = [len(t[2]) for t in tubes]
    truth = Tubes(
        np.array([t[0] for t in tubes]),
        np.array([t[1] for t in tubes]),
        np.ones(len(tubes)),
        np.cumsum([0, *lengths]),
        np.concatenate([t[2] for t in tubes]),
        np.concatenate([t[3] for t in tubes]),
        np.ones(sum(lengths)),
    )
    parts = [(*r[:4], np.full(len(r[1]), r[4])) for r in rows]
    return [np.concatenate(column) for column in zip(*parts, strict=True)], truth


def plain_pixels(a: Any, b: Any) -> float:
    """Intersection over union, with the last pixel as part of a box."""
    return plain_iou((a[0], a[1], a[2] + 1, a[3] + 1), (b[0], b[1], b[2] + 1, b[3] + 1))


def plain_link(detections: list[Array], linking: Linking) -> list[tuple[int, int, float, list[tuple[int, Any, float]]]]:
    """Link detections video by video, class by class, frame by frame, tube by tube."""
    places = defaultdict(list)
    for box, frame, score, label, video in zip(*detections, strict=True):
        places[int(label), int(video)].append((int(frame), box, float(score)))
    out = []
    for (label, video), rows in places.items():
        by_frame = defaultdict(list)
        for frame, box, score in rows:
            by_frame[frame].append([score, box])
        live: list[list[tuple[int, Any, float]]] = []
        done = []
        for frame in range(1, max(by_frame) + 1):
            boxes = sorted(by_frame.get(frame, []), key=lambda b: -b[0])
            lost = [False] * len(boxes)
            for i, (_, box) in enumerate(boxes):
                for j in range(i + 1, len(boxes)) if not lost[i] else ():
                    shared = 0.0 if lost[j] else plain_pixels(box, boxes[j][1])
                    if shared > linking.suppression:
                        boxes[j][0] *= 1 - shared
                        lost[j] = True
            boxes = sorted(boxes, key=lambda b: -b[0])[: linking.boxes_per_frame]
            live.sort(key=lambda tube: -sum(t[2] for t in tube) / len(tube))
            reached = []
            for tube in live:
                place = next((k for k, b in enumerate(boxes) if plain_iou(tube[-1][1], b[1]) >= linking.overlap), None)
                if place is None:
                    done.append(tube)
                else:
                    score, box = boxes.pop(place)
                    tube.append((frame, box, score))
                    reached.append(tube)
            live = reached + [[(frame, box, score)] for score, box in boxes]
        for tube in done + live:
            mean = sum(t[2] for t in tube) / len(tube)
            if len(tube) >= linking.min_length and mean >= linking.min_score:
                out.append((label, video, mean, tube))
    return out


def plain_video_map(detections: list[Array], truth: Tubes, linking: Linking) -> float:
    """Compute video mAP, the mean over thresholds, tube by tube and frame by frame."""
    tubes = plain_link(detections, linking)
    values = []
    for threshold in THRESHOLDS:
        of_classes = []
        for label in range(5):
            free = [i for i in range(len(truth)) if truth.labels[i] == label]
            count = len(free)
            correct = []
            for _, video, _, rows in sorted((t for t in tubes if t[0] == label), key=lambda t: -t[2]):
                best, chosen = 0.0, None
                for i in free:
                    if truth.videos[i] == video:
                        overlap = plain_tube_overlap(rows, truth, i)
                        if overlap > best:
                            best, chosen = overlap, i
                hit = best >= threshold
                if hit:
                    free.remove(chosen)  # type: ignore[arg-type]
                correct.append(hit)
            of_classes.append(area(correct, count))
        values.append(np.mean(of_classes))
    return float(np.mean(values))


def plain_tube_overlap(rows: list[tuple[int, Any, float]], truth: Tubes, i: int) -> float:
    """Overlap of a tube with a true one in space and time."""
    part = slice(truth.offsets[i], truth.offsets[i + 1])
    frames, boxes = truth.frames[part], truth.boxes[part]
    start, end = max(rows[0][0], int(frames[0])), min(rows[-1][0], int(frames[-1]))
    if start >= end:
        return 0.0
    union = rows[-1][0] - rows[0][0] + int(frames[-1] - frames[0]) - (end - start)
    of = {frame: box for frame, box, _ in rows}
    shared = [plain_iou(of[f], boxes[f - int(frames[0])]) for f in range(start, end + 1)]
    return (end - start) / union * float(np.mean(shared))


def measure(function: Callable[[], float], repeats: int) -> tuple[float, float, float]:
    """Return wall time and CPU time, the least of the repeats, and the result."""
    walls, cpus, result = [], [], 0.0
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus), result


def compare(name: str, ours: Callable[[], float], plain: Callable[[], float], target: float) -> bool:
    """Print the times of both, and return whether the ratio reaches the target."""
    wall, cpu, value = measure(ours, 3)
    plain_wall, plain_cpu, plain_value = measure(plain, 1)
    assert abs(value - plain_value) < 1e-9, f"{name}: {value} instead of {plain_value}"
    print(
        f"{name:34} {wall:8.3f} s, CPU {cpu:8.3f} s   plain loop {plain_wall:8.3f} s, CPU {plain_cpu:8.3f} s"
        f"   {plain_wall / wall:6.1f} x, CPU {plain_cpu / cpu:6.1f} x (target: {target:g} x)"
    )
    return plain_cpu / cpu >= target


def peak(function: Callable[[], float]) -> int:
    """Return the most bytes that NumPy and Python hold at once."""
    tracemalloc.start()
    function()
    out = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return out


def main() -> int:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=57_000)
    parser.add_argument("--detections", type=int, default=240_000)
    parser.add_argument("--videos", type=int, default=200)
    args = parser.parse_args()

    def frame_map(found: FlatBoxes, true: FlatTruth, frames: int) -> float:
        return float(np.nanmean(ava_average_precision(found, true, np.zeros(frames, bool), CLASSES, OFFICIAL).ap))

    found, true = key_frames(args.frames, args.detections)
    good = compare(
        f"AVA mAP, {args.detections} boxes",
        lambda: frame_map(found, true, args.frames),
        lambda: plain_frame_map(found, true, OFFICIAL.limit or 0),
        20,
    )
    half = key_frames(args.frames // 2, args.detections // 2)
    whole, part = peak(lambda: frame_map(found, true, args.frames)), peak(lambda: frame_map(*half, args.frames // 2))
    print(f"peak memory {whole / 2**20:.0f} MiB, of half of the boxes {part / 2**20:.0f} MiB")
    detections, truth = video_frames(args.videos)

    def video_map() -> float:
        tubes = link(*detections, Linking())
        return float(np.nanmean(video_average_precision(tubes, truth, THRESHOLDS, 5)))

    good &= compare(
        f"video mAP, {len(detections[1])} boxes", video_map, lambda: plain_video_map(detections, truth, Linking()), 5
    )
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
