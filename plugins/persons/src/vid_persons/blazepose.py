"""BlazePose: a network that finds persons, and one that finds 33 points of a body (arXiv:2006.10204).

The second one also finds the square around the person in the next frame, so that a person is followed where the first
one fails.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import field, frozen

from vid_persons.boxes import distinct, letterbox, warp
from vid_persons.weights import opening, requires
from vidcore.errors import UserError
from vidcore.persons import Persons, existing_weights
from vidcore.typing import Array

__all__ = ["BlazeDetector", "BlazePose"]

WEIGHTS = (
    "give a folder with pose_detection.tflite and pose_landmark_full.tflite (they come with the wheel mediapipe 0.10.21"
    " on PyPI), or a pose_landmarker file (.task), which Google's page of the MediaPipe pose landmarker links to"
)
COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Points of the body that are COCO's 17 keypoints, in COCO's order."""
BODY, CENTRE, TOP = 33, 33, 34
"""Number of points of the body; after them, the two that give the next square."""
SEEN, CROP = 224, 256
"""Pixels of the sides of the two inputs."""
NETWORKS = {"detection": (SEEN, {1, 12}), "landmarks": (CROP, {1, 195})}
"""Network -> side of its input, and numbers that its outputs have for each anchor or picture."""
MAP, REACH, CERTAIN = 64, 3, 0.5
"""Cells of the sides of heat maps; cells around a point that refine it; probability from which a map is used."""
MARGIN = 2 * 1.25
"""Side of a square, divided by the distance of its two points."""
SAME = 0.08
"""Mean distance of points, as a share of the square's side, below which two bodies are one person."""

Run = Callable[[Array], list[Array]]


@frozen(eq=False)
class _Body:
    """A person in a frame."""

    points: Array
    """(39, 2) float64 in pixels of the frame."""
    joint_scores: Array
    """(39,) float64."""
    score: float

    @property
    def pair(self) -> Array:
        """(2, 2): the two points that give the square in the next frame."""
        return self.points[[CENTRE, TOP]]

    def has_face(self, face: Array) -> bool:
        """Return whether the nose is in a box."""
        return bool((face[:2] <= self.points[0]).all() and (self.points[0] <= face[2:]).all())

    def is_same(self, other: _Body, side: float) -> bool:
        return float(np.linalg.norm(self.points[:BODY] - other.points[:BODY], axis=1).mean()) < SAME * side


class BlazePose:
    """Finds persons and their joints, and follows them from frame to frame.

    It finds large, near persons. Joints beyond the edge of a frame are estimated, too, with a low score.

    Args:
        weights: folder with the two ``.tflite`` files, or a ``.task`` file with both.
        min_score: probability from which something is a person.
        max_persons: at most this many are followed.
        threads: of the networks.
    """

    layout = "coco"
    needs_boxes = False

    def __init__(self, weights: Path, min_score: float = 0.5, max_persons: int = 10, threads: int = 2) -> None:
        detection, landmarks = _networks("BlazePose", weights, threads, ("detection", "landmarks"))
        self._detect = _Detection(detection, min_score)
        self._run = landmarks
        self.min_score, self.max_persons = min_score, max_persons
        self.begin()

    def begin(self) -> None:
        """Forget the persons of the last frame: the next one belongs to a different video."""
        self._followed: list[Array] = []

    def __call__(self, frames: Array, persons: Sequence[Persons] | None = None) -> list[Persons]:
        """Return the persons in each frame with COCO's 17 joints; ``persons`` is not used."""
        return [self._persons(frame) for frame in frames]

    def _persons(self, frame: Array) -> Persons:
        bodies: list[_Body] = []
        for pair in self._followed:
            self._add(bodies, self._body(frame, pair))
        faces, _, pairs = self._detect(frame)
        for face, pair in zip(faces, pairs, strict=True):  # its other points are often between two persons
            if not any(body.has_face(face) for body in bodies):
                rough = self._body(frame, pair)  # its own square fits better
                self._add(bodies, self._body(frame, rough.pair))
        self._followed = [body.pair for body in bodies]
        if not bodies:
            return Persons.nobody(len(COCO))
        points = np.stack([body.points for body in bodies]).astype(np.float32)
        body_points = points[:, :BODY]
        return Persons(
            np.concatenate([body_points.min(1), body_points.max(1)], 1),
            np.array([body.score for body in bodies], np.float32),
            points[:, COCO],
            np.stack([body.joint_scores for body in bodies]).astype(np.float32)[:, COCO],
        )

    def _add(self, bodies: list[_Body], body: _Body) -> None:
        """Add a body if it is a person who is not among the others."""
        person = body.score >= self.min_score and _side(body.pair) >= 1
        new = not any(body.is_same(other, _side(other.pair)) for other in bodies)
        if person and new and len(bodies) < self.max_persons:
            bodies.append(body)

    def _body(self, frame: Array, pair: Array) -> _Body:
        matrix = _square(pair)
        crop = warp(frame, matrix, (CROP, CROP)).astype(np.float32) / 255
        outputs = {output.size: output.reshape(-1) for output in self._run(crop)}
        rows = outputs[39 * 5].reshape(39, 5).astype(np.float64)
        places = rows[:, :2]
        if 39 * MAP * MAP in outputs:
            maps = outputs[39 * MAP * MAP].reshape(MAP, MAP, 39)[..., :BODY]
            places = np.concatenate([refined(places[:BODY], _sigmoid(maps.astype(np.float64))), places[BODY:]])
        points = places @ matrix[:, :2].T + matrix[:, 2]
        return _Body(points, _sigmoid(rows[:, 3]), float(outputs[1][0]))


class BlazeDetector:
    """Finds persons with the first network of BlazePose: boxes around whole bodies, for other pose estimators.

    Args:
        weights: folder with ``pose_detection.tflite``, or that file, or a ``.task`` file.
        min_score: probability from which something is a person.
        threads: of the network.
    """

    def __init__(self, weights: Path, min_score: float = 0.5, threads: int = 2) -> None:
        (network,) = _networks("BlazeDetector", weights, threads, ("detection",))
        self._detect = _Detection(network, min_score)

    def begin(self) -> None:
        """Do nothing: frames do not depend on each other."""

    def __call__(self, frames: Array) -> list[Persons]:
        """Return the persons in each frame, best first: squares that are as high as a standing person."""
        return [self._persons(frame) for frame in frames]

    def _persons(self, frame: Array) -> Persons:
        _, scores, pairs = self._detect(frame)
        half = np.array([_side(pair) / MARGIN for pair in pairs]).reshape(-1, 1)
        boxes = np.concatenate([pairs[:, 0] - half, pairs[:, 0] + half], 1)
        return Persons(boxes.astype(np.float32), scores.astype(np.float32))


@frozen
class _Detection:
    """The network that finds persons."""

    run: Run
    min_score: float
    anchors: Array = field(init=False)

    @anchors.default
    def _centres(self) -> Array:
        """Return (2254, 2): centres of the cells of three grids, in pixels of the input."""
        grids = []
        for cells, each in ((28, 2), (14, 2), (7, 6)):
            middles = (np.arange(cells) + 0.5) * SEEN / cells
            rows, columns = np.meshgrid(middles, middles, indexing="ij")
            grids.append(np.repeat(np.stack([columns.ravel(), rows.ravel()], 1), each, 0))
        return np.concatenate(grids)

    def __call__(self, frame: Array) -> tuple[Array, Array, Array]:
        """Return (n, 4) boxes of faces, (n,) scores, and (n, 2, 2) points: middle of the hips, and top of the body."""
        image, factor, corner = letterbox(frame, (SEEN, SEEN), centred=True)
        outputs = {output.shape[-1]: output for output in self.run(image.astype(np.float32) / 127.5 - 1)}
        scores = _sigmoid(outputs[1].reshape(-1).astype(np.float64))
        rows = np.flatnonzero(scores >= self.min_score)
        found = outputs[12].reshape(-1, 12)[rows].astype(np.float64)
        middle = found[:, :2] + self.anchors[rows]
        points = found[:, 4:8].reshape(-1, 2, 2) + self.anchors[rows][:, None]
        half = found[:, 2:4] / 2
        boxes = np.concatenate([middle - half, middle + half], 1)
        kept = distinct(boxes, scores[rows], 0.3)
        return (boxes[kept] - np.tile(corner, 2)) / factor, scores[rows][kept], (points[kept] - corner) / factor


def refined(places: Array, maps: Array) -> Array:
    """Return points at the centres of what heat maps show near them; unchanged where a map shows nothing.

    Args:
        places: (n, 2) in pixels of the input.
        maps: (64, 64, n) probabilities.
    """
    made = places.copy()
    for i, (x, y) in enumerate((places * MAP / CROP).astype(np.int64).tolist()):
        top, left = max(y - REACH, 0), max(x - REACH, 0)
        near = maps[top : max(y + REACH + 1, 0), left : max(x + REACH + 1, 0), i]
        if near.size and near.max() >= CERTAIN:
            rows, columns = np.indices(near.shape)
            made[i, 0] = (left + 0.5 + (near * columns).sum() / near.sum()) * CROP / MAP
            made[i, 1] = (top + 0.5 + (near * rows).sum() / near.sum()) * CROP / MAP
    return made


def _side(pair: Array) -> float:
    """Return the side of the square around a person."""
    return MARGIN * float(np.linalg.norm(pair[1] - pair[0]))


def _square(pair: Array) -> Array:
    """Return the matrix (2, 3) from the input to the frame: the first point in the middle, the second above it."""
    up = (pair[1] - pair[0]) / max(float(np.linalg.norm(pair[1] - pair[0])), 1e-6)
    turned = np.array([[-up[1], -up[0]], [up[0], -up[1]]])  # columns: to the right, and down
    scaled = turned * _side(pair) / CROP
    return np.concatenate([scaled, (pair[0] - scaled.sum(1) * CROP / 2)[:, None]], 1)


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def _networks(
    component: str, weights: Path, threads: int, wanted: Sequence[Literal["detection", "landmarks"]]
) -> list[Run]:
    """Return the networks of a folder or file."""
    existing_weights(component, weights, WEIGHTS)
    files = _files(component, weights)
    made = []
    for part in wanted:
        found = [content for name, content in files.items() if ("landmark" in name) == (part == "landmarks")]
        if not found:
            raise UserError(f"{component}: {weights} has no .tflite file of the {part} network; {WEIGHTS}")
        made.append(_network(component, weights, found[0], threads, part))
    return made


def _files(component: str, weights: Path) -> dict[str, bytes]:
    """Return the ``.tflite`` files in a folder or an archive, or the file itself, by name."""
    with opening(component, weights):
        if weights.is_dir():
            return {path.name: path.read_bytes() for path in sorted(weights.glob("*.tflite"))}
        if weights.suffix == ".tflite":
            return {weights.name: weights.read_bytes()}
        with zipfile.ZipFile(weights) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".tflite"))
            return {name: archive.read(name) for name in names}


def _network(component: str, weights: Path, content: bytes, threads: int, part: str) -> Run:
    with requires(component, "LiteRT", "litert"):
        from ai_edge_litert.interpreter import Interpreter
    with opening(component, weights):
        interpreter: Any = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    entrance_details = interpreter.get_input_details()[0]
    entrance = entrance_details["index"]
    exits = [one["index"] for one in interpreter.get_output_details()]
    side, sizes = NETWORKS[part]
    seen, made = entrance_details["shape"].tolist(), [one["shape"][-1] for one in interpreter.get_output_details()]
    if seen != [1, side, side, 3] or not sizes <= set(made):
        raise UserError(
            f"{component}: {weights} has no {part} network of BlazePose: the input has the shape {seen}, "
            f"expected {[1, side, side, 3]}, and the outputs have {', '.join(map(str, made))} numbers, expected "
            f"{', '.join(map(str, sorted(sizes)))}"
        )

    def run(image: Array) -> list[Array]:
        interpreter.set_tensor(entrance, image[None])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return run
