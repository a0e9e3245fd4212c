"""Text on frames: it fits, names stay apart, and labels neither overlap nor leave the frame."""

from __future__ import annotations

import numpy as np
import pytest

from vidcore.tools.drawers import Canvas, Layer
from vidcore.tools.lettering import Typeface, place_labels, shorten

SIDES = [(240, 320), (240, 240), (480, 640), (1080, 1920), (1920, 1080), (2160, 3840)]


def covers(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


@pytest.mark.parametrize("seed", range(30))
def test_labels_of_random_boxes_neither_overlap_nor_leave_the_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = SIDES[seed % len(SIDES)]
    count = int(rng.integers(1, 30))
    corners = rng.uniform(-0.2, 1.2, (count, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    sizes = rng.integers([20, 10], [max(width // 5, 21), max(height // 14, 11)], (count, 2))
    taken = [(0, 0, width // 3, height // 4)]
    places = place_labels(boxes, sizes, (height, width), taken)
    assert (places >= 0).all(), "there is space for all"
    labels = np.concatenate([places, places + sizes], 1)
    assert (labels[:, 2:] <= [width, height]).all()
    everything = [np.array(taken[0]), *labels]
    pairs = [(i, j) for i in range(count + 1) for j in range(i)]
    assert not [pair for pair in pairs if covers(everything[pair[0]], everything[pair[1]])]


def test_labels_are_at_their_boxes_if_there_is_space() -> None:
    boxes = np.array([[100, 100, 150, 200], [10, 2, 60, 90], [190, 150, 300, 300]])
    sizes = np.array([[40, 12]] * 3)
    places = place_labels(boxes, sizes, (240, 200))
    assert places.tolist() == [[100, 88], [10, 0], [160, 138]]


def test_labels_of_equal_boxes_are_side_by_side() -> None:
    boxes, sizes = np.tile([50, 60, 90, 120], (20, 1)), np.tile([40, 10], (20, 1))
    places = place_labels(boxes, sizes, (200, 200))
    assert len({tuple(p) for p in places.tolist()}) == 20
    assert np.abs(places - [50, 60]).sum(1).max() <= 150, "near their box"


def test_labels_without_a_place_are_left_out() -> None:
    nan, many = [[np.nan] * 4], np.tile([0, 0, 20, 20], (9, 1))
    assert place_labels(np.array(nan), np.array([[5, 5]]), (20, 20)).tolist() == [[-1, -1]]
    assert place_labels(many[:1], np.array([[21, 5]]), (20, 20)).tolist() == [[-1, -1]]
    placed = place_labels(many, np.tile([10, 10], (9, 1)), (20, 20))
    assert (placed >= 0).all(1).sum() == 4
    assert place_labels(np.zeros((0, 4)), np.zeros((0, 2)), (20, 20)).shape == (0, 2)


def test_names_are_shortened_and_stay_apart() -> None:
    names = [f"opening the {kind} door of a house number {i}" for i in range(40) for kind in ("front", "back")]
    for space in (60, 25, 8):
        short = shorten(names, lambda name, space=space: len(name) <= space)
        assert len(set(short)) == len(names)
        assert all(len(name) <= space for name in short)
        assert shorten(names, lambda name, space=space: len(name) <= space, shown=[7, 3]) == [short[7], short[3]]
    assert shorten(["same", "same"], lambda name: True) == ["same", "same"]


@pytest.mark.parametrize("size", [12, 34, 72])
def test_text_is_as_large_as_it_says(size: int) -> None:
    face = Typeface(size, ["é"])
    mask = face.mask("Hájg")
    assert mask.shape == (face.height, face.width("Hájg"))
    assert mask.min() >= 0 and 0.9 < mask.max() <= 1
    rows = np.flatnonzero(mask.max(1) > 0.5)
    assert size * 0.8 <= rows[-1] - rows[0] <= size * 1.3 and rows[-1] < face.height - 1, "nothing is cut off"
    for line in face.names(["a name that is much too long for this", "$x_1$"], 8 * size, lines=2):
        assert all(face.width(part) <= 8 * size for part in line.split("\n")) and line.count("\n") < 2
    assert face.names(["$x_1$"], 8 * size) == ["$x_1$"]


def test_characters_that_no_font_has_give_the_name_its_number() -> None:
    with pytest.warns(UserWarning, match="no font has"):
        face = Typeface(12, ["\U0010fffc"])
    assert face.names(["run", "\U0010fffc"], 200) == ["run", "1 \ufffd"]


def test_text_scales_with_the_frame() -> None:
    sizes = [Canvas(side).typeface.size for side in SIDES]
    assert sizes[0] == 12 and sizes == sorted(sizes) and sizes[-1] == 72


def test_corners_are_reserved_once() -> None:
    canvas = Canvas((100, 200))
    places = [canvas.reserve(150, 40) for _ in range(3)]
    assert places == [(0, 0), (0, 60), None]
    assert Canvas((100, 200)).reserve(201, 10) is None
    canvas.begin_frame()
    assert canvas.place(np.array([[0, 0, 10, 10]]), np.array([[50, 20]])).tolist() == [[0, 40]]
    assert canvas.place(np.array([[0, 0, 10, 10]]), np.array([[150, 10]])).tolist() == [[50, 40]]
    canvas.begin_frame()
    assert canvas.place(np.array([[0, 0, 10, 10]]), np.array([[50, 20]])).tolist() == [[0, 40]]


@pytest.mark.parametrize("background", [0, 128, 255])
def test_text_is_readable_on_any_background(background: int) -> None:
    layer = Layer(60, 20)
    layer.fill("#000000", 0.65)
    layer.write(2, 2, "HHH", Typeface(12))
    image = np.full((40, 80, 3), background, np.uint8)
    layer.over(image, 10, 10)
    area = image[10:30, 10:70, 0].astype(int)
    assert area.max() - area[0, 0] > 120
    assert (image[:10] == background).all() and (image[:, :10] == background).all()
