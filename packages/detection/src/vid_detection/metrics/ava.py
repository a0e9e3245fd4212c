"""Frame mAP of AVA (Gu et al. 2018, arXiv:1705.08421): average precision of boxes at an overlap of 0.5."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen

from vid_detection.ava import AVATable, Key, read_excluded, read_table, write_table
from vid_detection.classes import (
    AVA_CATEGORIES,
    AVA_CLASSES,
    AVA_EVALUATED,
    class_index,
    names_by_id,
    read_label_map,
)
from vid_detection.metrics.collect import CollectedBoxes, FlatBoxes, FlatTruth
from vid_detection.metrics.functional import ClassScores, Ranked, best_of_frames, rank_classes, scores_of
from vid_detection.metrics.mistakes import MISTAKE_COLUMNS, worst_mistakes
from vidcore.errors import DataError, UserError, nearest
from vidcore.files import write_csv
from vidcore.typing import Array

__all__ = ["OFFICIAL", "PUBLISHED", "AVAMetric", "AVARules", "ava_average_precision", "ava_means", "join_tables"]

THRESHOLD = 0.5
"""Least overlap of a correct detection."""


@frozen
class AVARules:
    """Where evaluations of AVA differ."""

    name: str
    empty_frames: bool
    """Whether detections in key frames without truth count, as wrong."""
    excluded_truth: bool
    """Whether true boxes of excluded key frames count, as missed."""
    silent_classes: bool
    """Whether a class with truth but without detections counts, with 0."""
    limit: int | None
    """Detections of a key frame that count, the best."""
    digits: int
    """Digits after the point that boxes and scores are rounded to, as they are written to files."""


OFFICIAL = AVARules("official", empty_frames=True, excluded_truth=False, silent_classes=True, limit=50, digits=6)
"""ActivityNet's evaluation of AVA."""
PUBLISHED = AVARules("published", empty_frames=False, excluded_truth=True, silent_classes=False, limit=None, digits=4)
"""What scores published with MMAction2 follow."""
RULES = {rules.name: rules for rules in (OFFICIAL, PUBLISHED)}


def _considered(found: FlatBoxes, true: FlatTruth, excluded: Array, rules: AVARules) -> tuple[FlatBoxes, FlatTruth]:
    """Return the detections and true boxes that count under the rules."""
    counts = ~excluded
    if not rules.empty_frames:
        with_truth = np.zeros(len(excluded), bool)
        with_truth[true.frames] = True
        counts = counts & with_truth
    scores = np.where(counts[found.frames].reshape(-1, *[1] * (found.scores.ndim - 1)), found.scores, -np.inf)
    if rules.limit is not None:
        scores = np.where(best_of_frames(found.frames, scores, rules.limit), scores, -np.inf)
    if found.labels is not None:
        rows = np.flatnonzero(scores > -np.inf)
        found = FlatBoxes(found.boxes[rows], found.frames[rows], scores[rows], found.labels[rows])
    else:
        found = FlatBoxes(found.boxes, found.frames, scores)
    rows = np.flatnonzero(rules.excluded_truth | ~excluded[true.frames])
    return found, FlatTruth(true.boxes[rows], true.frames[rows], true.labels[rows])


def ava_average_precision(
    found: FlatBoxes, true: FlatTruth, excluded: Array, num_classes: int, rules: AVARules = OFFICIAL
) -> ClassScores:
    """Average precision of every class in key frames.

    Args:
        found: detections of the evaluated classes.
        true: true boxes of the evaluated classes.
        excluded: (key frames,) bool: key frames that are not evaluated.
        num_classes: number of classes.
        rules: see ``AVARules``.

    Returns:
        Scores; the average precision is nan for classes without truth, and for others that the rules leave out.
    """
    found, true = _considered(found, true, excluded, rules)
    return _with_rules(scores_of(_ranked(found, true, num_classes)), rules)


def join_tables(found: AVATable, true: AVATable, classes: Container[int]) -> tuple[FlatBoxes, FlatTruth, list[Key]]:
    """Return the boxes of a table of detections and a table of truth that have one of the classes, from 1.

    Labels are those numbers less 1; frames are indices of the key frames, which are returned, too.
    """
    numbers = {key: number for number, key in enumerate(dict.fromkeys((*true.keys, *found.keys)))}
    parts = []
    for table in (found, true):
        rows = np.flatnonzero([action in classes for action in table.actions.tolist()])
        frames = np.array([numbers[key] for key in table.keys], np.int64)[table.frames[rows]]
        parts.append((table.boxes[rows], frames, table.last[rows], table.actions[rows] - 1))
    (boxes, frames, scores, labels), (true_boxes, true_frames, _, true_labels) = parts
    return FlatBoxes(boxes, frames, scores, labels), FlatTruth(true_boxes, true_frames, true_labels), list(numbers)


def _ranked(found: FlatBoxes, true: FlatTruth, num_classes: int) -> Iterator[Any]:
    return rank_classes(
        found.boxes,
        found.frames,
        found.scores,
        true.boxes,
        true.frames,
        true.labels,
        num_classes,
        THRESHOLD,
        labels=found.labels,
    )


def _with_rules(scores: ClassScores, rules: AVARules) -> ClassScores:
    if rules.silent_classes:
        return scores
    return ClassScores(np.where(scores.detections > 0, scores.ap, np.nan), scores.truths, scores.detections)


def ava_means(ap: Array, numbers: Sequence[int]) -> dict[str, float]:
    """Return the mean over all classes (``overall``) and over each category of AVA; nan if it has no class.

    Args:
        ap: (classes,) average precision, nan for classes that do not count.
        numbers: position of each class in AVA's list, from 0.
    """
    groups = {"overall": np.ones(len(ap), bool)}
    of = np.asarray(numbers)
    last = list(AVA_CATEGORIES)[-1]
    for name, members in AVA_CATEGORIES.items():
        groups[name] = (of >= members.start) & ((of < members.stop) | (name == last))
    counted = ~np.isnan(ap)
    return {name: float(ap[m & counted].mean()) if (m & counted).any() else float("nan") for name, m in groups.items()}


class AVAMetric(CollectedBoxes):
    """Frame mAP of AVA at an overlap of 0.5: ``mAP``, and for AVA's classes the mean of each category.

    Rules differ, and the score with them. ``official`` is ActivityNet's program: at most 50 detections of a key frame
    count, also those in key frames where nobody acts; excluded key frames do not count; a class without detections
    counts with 0. ``published`` is MMAction2's, which all of its scores follow: key frames without truth are left out,
    and so are classes without detections; true boxes of excluded key frames count as missed; boxes and scores have 4
    digits. The notes give both values.

    Args:
        ann_file: AVA's table with the truth; default: the truth of the samples. With the file, key frames whose video
            could not be read count as missed.
        exclude_file: key frames that are not evaluated: a video and a second per line.
        label_file: ``.pbtxt`` list of the evaluated classes; default: of AVA's 80 classes the 60 that AVA is scored on,
            and all of other classes.
        action_thr: least score of a detection.
        custom_classes: AVA's numbers of the classes, from 1, if the samples have only these; needed with ``ann_file``
            if ``label_file`` does not name them.
        rules: see above.
    """

    def __init__(
        self,
        ann_file: Path | None = None,
        exclude_file: Path | None = None,
        label_file: Path | None = None,
        action_thr: float = 0.002,
        custom_classes: Sequence[int] | None = None,
        rules: Literal["official", "published"] = "official",
    ) -> None:
        super().__init__()
        if rules not in RULES:
            raise UserError(f"rules of AVAMetric must be official or published, got {rules!r}{nearest(rules, RULES)}")
        self.rules = RULES[rules]
        self.action_thr = action_thr
        self.listed = None if label_file is None else read_label_map(label_file)
        self.excluded = frozenset() if exclude_file is None else read_excluded(exclude_file)
        self.ann_file = ann_file
        self.custom_classes = None if custom_classes is None else tuple(custom_classes)
        self._scores: ClassScores | None = None

    def _evaluated(self, names: Sequence[str]) -> Array:
        """Return which classes are evaluated: (classes,) bool."""
        if self.custom_classes is not None and self.listed is not None:
            wanted = [self.listed[n] for n in self.custom_classes if n in self.listed]
        elif self.listed is not None:
            wanted = list(self.listed.values())
        else:
            wanted = list(AVA_EVALUATED if set(names) <= set(AVA_CLASSES) else names)
        mask = np.isin([n.replace("_", " ") for n in names], [n.replace("_", " ") for n in wanted])
        if not mask.any():
            raise DataError(
                f"AVAMetric: no class of the samples ({', '.join(names[:3])}, ...) is listed for evaluation "
                f"({', '.join(wanted[:3])}, ...), so the score could only be 0"
            )
        return mask

    def _truth(self, names: Sequence[str]) -> tuple[FlatTruth, list[Key]]:
        """Return the true boxes and the names of all key frames: those of the samples, then others of ``ann_file``."""
        keys = self.keys()
        if self.ann_file is None:
            return self.true(), keys
        table = read_table(self.ann_file)
        numbers = {key: number for number, key in enumerate(keys)}
        for key in table.keys:
            numbers.setdefault(key, len(numbers))
        by_id = names_by_id(self.listed if self.listed is not None else dict(enumerate(AVA_CLASSES, 1)))
        place = class_index(names)
        columns = np.full(max(len(by_id), int(table.actions.max(initial=0))) + 1, -1)
        columns[1 : len(by_id) + 1] = [place.get(name.replace("_", " "), -1) for name in by_id]
        labels = columns[table.actions]
        if len(labels) and not (labels >= 0).any():
            raise DataError(
                f"AVAMetric: no box of {self.ann_file} has a class of the predictions ({', '.join(names[:3])}, ...)"
            )
        frames = np.array([numbers[key] for key in table.keys], np.int64)[table.frames]
        known = labels >= 0
        return FlatTruth(table.boxes[known], frames[known], labels[known]), list(numbers)

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        self._notes = []
        names = self._names() or tuple(f"class {k + 1}" for k in range(self.found().scores.shape[1]))
        evaluated = self._evaluated(names)
        true, keys = self._truth(names)
        rows = evaluated[true.labels]
        true = FlatTruth(true.boxes[rows], true.frames[rows], true.labels[rows])
        if not len(true.boxes):
            raise DataError("AVAMetric: no key frame has a true box of an evaluated class")
        excluded = np.array([key in self.excluded for key in keys])
        found = self._above(evaluated)
        self._evaluation = names, keys, found, true, excluded
        self._scores = self._computed(self.rules)
        means = ava_means(self._scores.ap, [number - 1 for number in self._ids(names)])
        self._describe(names, evaluated, keys, found, true, means["overall"])
        named = {f"mAP/{name}": mean for name, mean in means.items() if name != "overall"}
        return {"mAP": means["overall"], **(named if self.listed or set(names) <= set(AVA_CLASSES) else {})}

    def _above(self, evaluated: Array) -> FlatBoxes:
        """Return the detections of evaluated classes above the threshold, rounded as they are written."""
        found, digits = self.found(), self.rules.digits
        kept = (found.scores > self.action_thr) & evaluated
        scores = np.where(kept, np.round(found.scores.astype(np.float64), digits), -np.inf)
        return FlatBoxes(np.round(found.boxes, digits), found.frames, scores)

    def _computed(self, rules: AVARules) -> ClassScores:
        names, _, found, true, excluded = self._evaluation
        return ava_average_precision(found, true, excluded, len(names), rules)

    def _describe(
        self,
        names: Sequence[str],
        evaluated: Array,
        keys: Sequence[Key],
        found: FlatBoxes,
        true: FlatTruth,
        mean: float,
    ) -> None:
        assert self._scores is not None
        counted = int(np.count_nonzero(~np.isnan(self._scores.ap)))
        other = next(rules for rules in RULES.values() if rules is not self.rules)
        theirs = ava_means(self._computed(other).ap, range(len(names)))["overall"]
        self._notes.append(
            f"mAP is the mean over {counted} of {len(names)} classes by the {self.rules.name} rules; "
            f"by the {other.name} rules it is {theirs:.4f}"
        )
        samples = len(self.pairs())
        silent = len(set(range(samples)) - set(true.frames.tolist()))
        if silent:
            told = "count" if self.rules.empty_frames else "do not count"
            self._notes.append(f"in {silent} of {samples} key frames nobody acts; false alarms there {told}")
        if len(keys) > samples:
            self._notes.append(f"{len(keys) - samples} key frames of {self.ann_file} have no sample: missed")
        without = samples - len(np.unique(found.frames))
        if without:
            self._notes.append(f"{without} of {samples} key frames have no predicted box")

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return average precision and counts of each class, the worst first."""
        if self._scores is None:
            return ()
        names, scores = self._evaluation[0], self._scores
        order = [i for i in np.argsort(scores.ap, kind="stable").tolist() if not np.isnan(scores.ap[i])]
        return [
            {
                "class": names[i],
                "AP": round(float(scores.ap[i]), 4),
                "boxes": int(scores.truths[i]),
                "detections": int(scores.detections[i]),
            }
            for i in order
        ]

    def write(self, folder: Path) -> list[Path]:
        """Write ``detections.csv`` in AVA's format, ``classes.csv``, ``mistakes.csv``, the worst first, and curves."""
        names, keys, found, true, excluded = self._evaluation
        numbers = self._ids(names)
        written = folder / "detections.csv"
        kept = found
        if self.rules.limit is not None:  # the others do not count, and are many
            best = best_of_frames(found.frames, found.scores, self.rules.limit)
            kept = FlatBoxes(found.boxes, found.frames, np.where(best, found.scores, -np.inf))
        write_table(written, self._written(keys, kept, numbers), self.rules.digits)
        files = [written, folder / "classes.csv", folder / "mistakes.csv"]
        table = self.table()
        write_csv(files[1], [list(table[0]) if table else ["class"], *(list(row.values()) for row in table)])
        considered = _considered(found, true, excluded, self.rules)
        ranked = list(_ranked(*considered, len(names)))
        worst = worst_mistakes(ranked, considered[0], considered[1], THRESHOLD)
        write_csv(files[2], [MISTAKE_COLUMNS, *(m.row(keys, names) for m in worst)])
        return [*files, *self._draw(ranked, names, folder / "precision_recall.png")]

    def _draw(self, ranked: Sequence[Ranked], names: Sequence[str], path: Path) -> list[Path]:
        from vid_detection.metrics.picture import draw_precision_recall
        from vidcore.tools.draw import save_figure

        assert self._scores is not None
        figure = draw_precision_recall(ranked, names, self._scores.ap)
        if figure is None:
            return []
        save_figure(figure, path)
        return [path]

    def _ids(self, names: Sequence[str]) -> list[int]:
        """Return AVA's number of each class, or its place in the list of classes."""
        if self.custom_classes is not None:
            return list(self.custom_classes)
        by_id = names_by_id(self.listed if self.listed is not None else dict(enumerate(AVA_CLASSES, 1)))
        place = class_index(by_id)
        found = [place.get(name.replace("_", " "), -1) + 1 for name in names]
        return found if all(found) else list(range(1, len(names) + 1))

    def _written(
        self, keys: Sequence[Key], found: FlatBoxes, numbers: Sequence[int]
    ) -> Iterator[tuple[Key, Sequence[float], int, float]]:
        starts = np.searchsorted(found.frames, np.arange(len(keys) + 1))
        for frame, key in enumerate(keys):
            rows = slice(starts[frame], starts[frame + 1])
            column, row = np.nonzero(-np.inf < found.scores[rows].T)
            for c, r in zip(column.tolist(), (row + rows.start).tolist(), strict=True):
                yield key, found.boxes[r].tolist(), numbers[c], float(found.scores[r, c])
