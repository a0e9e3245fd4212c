"""Boxes of persons on frames, with labels that are readable."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vid_detection.drawer import HEAD, PersonDrawer
from vidcore.geometry import Box
from vidcore.persons import Persons, PersonScores
from vidcore.sample import Sample
from vidcore.tools.drawers import Canvas, Layer
from vidcore.typing import Array

SIZE = (240, 320)
NAMES = ("stand", "talk to (e.g., self, a person, a group)", "watch (a person)", "carry/hold (an object)", "sit")


def sample(boxes: Array, actions: int = 4) -> Sample:
    """Return persons in one frame, at 0.5 s, who all do the same, less and less surely."""
    count = len(boxes)
    persons = Persons(
        boxes.astype(np.float32),
        np.ones(count, np.float32),
        tracks=np.arange(1, count + 1),
        frames=np.full(count, 5),
        times=np.full(count, 0.5),
    )
    scores = PersonScores(
        np.tile([[0.0, 1.0]], (count, 1)),
        np.tile(np.arange(5), (count, 1)),
        np.tile(np.where(np.arange(5) < actions, 0.9 - 0.1 * np.arange(5), 0.1), (count, 1)),
        tracks=np.arange(1, count + 1),
    )
    return Sample(path="a.mp4", fps=10.0, class_names=NAMES).with_extra(persons=persons, person_scores=scores)


def drawn(one: Sample, monkeypatch: pytest.MonkeyPatch, time: float = 0.5) -> tuple[Array, list[Box], list[str]]:
    """Return a frame, and the places of its labels and their lines."""
    places: list[Box] = []
    lines: list[str] = []
    over, write = Layer.over, Layer.write

    def placed(self: Layer, image: Array, left: int = 0, top: int = 0) -> None:
        places.append((left, top, left + self.size[1], top + self.size[0]))
        over(self, image, left, top)

    def written(self: Layer, left: int, top: int, text: str, *others: object) -> None:
        lines.append(text)
        write(self, left, top, text, *others)  # type: ignore[arg-type]

    canvas = Canvas(SIZE, NAMES)
    drawer = PersonDrawer(one, canvas)
    monkeypatch.setattr(Layer, "over", placed)
    monkeypatch.setattr(Layer, "write", written)
    canvas.begin_frame()
    image = drawer.draw(np.zeros((*SIZE, 3), np.uint8), time)
    monkeypatch.undo()
    return image, places, lines


def meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("crowd", [1, 2, 4, 12])
def test_labels_meet_neither_each_other_nor_heads(crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(crowd)
    corner = rng.uniform(0, (220, 90), (crowd, 2))
    boxes = np.concatenate([corner, corner + rng.uniform((30, 80), (90, 150), (crowd, 2))], 1)
    _, places, _ = drawn(sample(boxes), monkeypatch)
    assert len(places) == crowd if crowd < 12 else places
    assert not any(meet(a, b) for a, b in combinations(places, 2))
    heads = [(x1, y1, x2, y1 + HEAD * (y2 - y1)) for x1, y1, x2, y2 in boxes.round().tolist()]
    assert not any(meet(place, (a, b, c, int(d))) for place in places for a, b, c, d in heads)
    assert all(x1 >= 0 and y1 >= 0 and x2 <= SIZE[1] and y2 <= SIZE[0] for x1, y1, x2, y2 in places)


def test_all_actions_are_written_where_there_is_space_and_counted_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, lines = drawn(sample(np.array([[10, 120, 70, 230]])), monkeypatch)
    assert [line.split()[-1] for line in lines[-1].split("\n")] == ["0.90", "0.80", "0.70", "0.60"]
    assert lines[-1].startswith("1  stand 0.90\ntalk")
    _, _, lines = drawn(sample(np.array([[0, 0, 320, 240]])), monkeypatch)
    assert lines[-1].count("\n") == 3, "beside the head of a person who fills the picture"
    tall = np.array([[x, 0, x + 80, 240] for x in range(0, 320, 80)])
    _, places, lines = drawn(sample(tall), monkeypatch)
    assert len(places) == 4 and any(line.endswith(("+1", "+2", "+3")) for line in lines)


def test_the_best_action_is_always_written_and_doubtful_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, lines = drawn(sample(np.array([[10, 120, 70, 230]]), actions=0), monkeypatch)
    assert lines == ["1  stand 0.10"]


def test_frames_without_persons_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    one = sample(np.array([[10, 120, 70, 230]]))
    assert not drawn(one, monkeypatch, time=0.0)[0].any() and drawn(one, monkeypatch)[0].any()
    nobody = Sample(path="a.mp4", fps=10.0).with_extra(persons=sample(np.zeros((0, 4))).extra["persons"])
    assert PersonDrawer.can_draw(nobody) and not drawn(nobody, monkeypatch)[0].any()
    assert not PersonDrawer.can_draw(Sample(path="a.mp4"))
