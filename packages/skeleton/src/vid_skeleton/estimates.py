"""What pose estimators write: COCO keypoints, OpenPose, AlphaPose, Kinetics-Skeleton and MMSkeleton, all of it JSON.

Every reader ends in ``Estimates``: the persons in the frames of a video, with ids if the file has some. Sources of the
formats: cocodataset.org (format-data, format-results), OpenPose doc/02_output.md, AlphaPose doc/output.md,
Halpe-FullBody, COCO-WholeBody (arXiv:2007.11858), ST-GCN (arXiv:1801.07455), MMSkeleton doc/SKELETON_DATA.md and
doc/CUSTOM_DATASET.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import define, evolve, field, frozen

from vid_skeleton.graphs import COCO, OPENPOSE, Layout
from vid_skeleton.graphs import LAYOUTS as LAYOUTS_OF_MODELS
from vid_skeleton.linking import link
from vid_skeleton.transforms.layouts import ConvertJoints
from vidcore.data.classes import MOST_CLASSES
from vidcore.data.fields import finite_number, positive_number, whole_number
from vidcore.data.text import read_json_value
from vidcore.errors import AnnotationError, DataError, nearest
from vidcore.persons import Persons
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["BODY_25", "FORMATS", "HALPE", "Estimates", "Images", "Options", "Source", "find_sources", "read_estimates"]

FORMATS = ("coco", "openpose", "alphapose", "kinetics-skeleton", "mmskeleton")
MOST_FRAMES = 10_000_000
"""Frames of a video: higher numbers are taken for something else."""
MOST_PERSONS = 1000
"""Persons in a frame."""
FARTHEST = 1e6
"""Coordinates beyond it are taken for damage."""
BIGGEST = 1 << 31
"""Bytes that the tracks of a video may take."""

# fmt: off
FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
BODY_25 = Layout(
    25,
    ((0, 1), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 6), (8, 1), (9, 8), (10, 9), (11, 10), (12, 8), (13, 12),
     (14, 13), (15, 0), (16, 0), (17, 15), (18, 16), (19, 14), (20, 19), (21, 14), (22, 11), (23, 22), (24, 11)),
    center=1,
    names=(
     "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
     "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
     "left_eye", "right_ear", "left_ear", *FEET),
    left=(5, 6, 7, 12, 13, 14, 16, 18, 19, 20, 21),
    right=(2, 3, 4, 9, 10, 11, 15, 17, 22, 23, 24),
)
"""The 25 joints of OpenPose's default model."""

HALPE = Layout(
    26,
    ((1, 0), (2, 0), (3, 1), (4, 2), (5, 18), (6, 18), (7, 5), (8, 6), (9, 7), (10, 8), (11, 19), (12, 19), (13, 11),
     (14, 12), (15, 13), (16, 14), (17, 0), (0, 18), (19, 18), (20, 15), (21, 16), (22, 20), (23, 21), (24, 15),
     (25, 16)),
    center=18,
    names=(
     *COCO.names, "head", "neck", "mid_hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
     "left_heel", "right_heel"),
    left=(*COCO.left, 20, 22, 24),
    right=(*COCO.right, 21, 23, 25),
)
"""The 26 body joints of Halpe, which AlphaPose has."""
# fmt: on


def _with_parts(body: Layout) -> Layout:
    """Return a body with 68 points of the face and 21 of each hand, which are not connected."""
    parts = [
        f"{part}_{i}" for part, count in (("face", 68), ("left_hand", 21), ("right_hand", 21)) for i in range(count)
    ]
    return Layout(body.num_node + len(parts), body.inward, body.center, (*body.names, *parts), body.left, body.right)


LAYOUTS: Mapping[str, Layout] = {
    "coco": COCO,
    "openpose": OPENPOSE,
    "body_25": BODY_25,
    "halpe_26": HALPE,
    "halpe_136": _with_parts(HALPE),
    "coco_wholebody": _with_parts(Layout(23, COCO.inward, 0, (*COCO.names, *FEET), COCO.left, COCO.right)),
}
"""Layouts that estimators write, beside those that a COCO file describes itself."""
Coordinates = Literal["pixels", "0..1", "-1..1"]
SPANS: Mapping[str, tuple[float, float]] = {"0..1": (0, 1), "-1..1": (1, 2)}
"""Coordinates -> what is added to them, and their range: both in units of the file."""


@frozen(kw_only=True)
class Options:
    """What the files do not say. ``None``: what the format says, or is seen in the numbers."""

    size: tuple[int, int] | None = None
    """Height and width of the frames in pixels."""
    coordinates: Coordinates | None = None
    fps: float | None = None
    relink: bool = False
    """Link persons by their joints, even if the file has ids."""
    images: Images | None = None
    """Images that the results of COCO are of."""


@frozen(eq=False, kw_only=True)
class Estimates:
    """The persons in the frames of one video."""

    name: str
    layout: str
    """Key of ``LAYOUTS``, or ``own`` if the file describes it."""
    joints: Layout
    persons: Persons
    """With points, joint scores, frames and tracks."""
    total: int
    """Number of frames."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the frames; 0: unknown."""
    fps: float | None = None
    label: str | int | None = None
    """Class that the file names, or its number."""
    notes: Mapping[str, int] = field(factory=Counter)
    """What was odd -> how often."""

    def converted(self, layout: str) -> Estimates:
        """Return the persons with the joints of a layout of models, by name; see ``ConvertJoints``."""
        target = LAYOUTS_OF_MODELS[layout]
        if self.joints == target:
            return self
        convert = ConvertJoints(self.joints, target)
        points, scores = self.persons.points, self.persons.joint_scores
        assert points is not None and scores is not None
        if not len(points):
            persons = evolve(
                self.persons, points=points[:, : target.num_node], joint_scores=scores[:, : target.num_node]
            )
            return evolve(self, layout=layout, joints=target, persons=persons)
        given = Sample(index=0, key=self.name, joints=Joints(np.nan_to_num(points)[None], scores[None]))
        made = convert(given, np.random.default_rng(0)).joints
        assert made is not None and made.scores is not None
        found = made.points[0].any(-1)
        points = np.where(found[..., None], made.points[0], np.nan)
        persons = evolve(self.persons, points=points, joint_scores=np.where(found, made.scores[0], 0))
        return evolve(self, layout=layout, joints=target, persons=persons.select(found.any(-1)))


@frozen
class Source:
    """The file of one or more videos, or the files of the frames of one."""

    name: str
    path: Path
    """File, or folder of the frames."""
    folder: str | None
    """First folder below the one that was searched, which may name the class."""
    frames: tuple[Path, ...] = ()


def find_sources(source: Path) -> list[Source]:
    """Return what a file or a folder holds: a folder is searched with the folders in it.

    A folder in which the files of single frames lie is one video; if they are named like those of OpenPose,
    ``NAME_000000000000_keypoints.json``, it is one for each NAME.

    Raises ``DataError`` if nothing is found.
    """
    if source.is_file():
        return [Source(_stem(source), source, None)]
    folders: dict[Path, list[Path]] = {}
    for file in sorted(source.rglob("*.json")):
        if file.is_file():
            folders.setdefault(file.parent, []).append(file)
    found: list[Source] = []
    for folder, files in folders.items():
        place = folder.resolve().name if folder == source else folder.name
        below = folder.relative_to(source).parts
        top = below[0] if below else None
        named: dict[str, list[Path]] = {}
        for file in files:
            if parts := FRAME.fullmatch(file.name):
                named.setdefault(parts[1].rstrip("_") or place, []).append(file)
        for name, frames in named.items():
            alone = len(named) == 1 and len(frames) == len(files)
            inner = top if len(below) > alone else None
            found.append(Source(name, folder, inner, tuple(frames)))
        others = [file for file in files if not FRAME.fullmatch(file.name)]
        if others and _is_frame(others):
            found.append(Source(place, folder, top if len(below) > 1 else None, tuple(others)))
        else:
            found.extend(Source(_stem(file), file, top) for file in others)
    if not found:
        raise DataError(f"{source}: has no .json file")
    counts = Counter(item.name for item in found)
    return [item if counts[item.name] == 1 else evolve(item, name=_relative(item, source)) for item in found]


FRAME = re.compile(r"(.*?)(\d+)_keypoints\.json", re.DOTALL)


def _stem(file: Path) -> str:
    return file.resolve().parent.name if file.stem == "alphapose-results" else file.stem


def _relative(item: Source, source: Path) -> str:
    path = item.path.relative_to(source)
    return (path / item.name if item.frames and item.path.name != item.name else path.with_suffix("")).as_posix()


def _is_frame(files: Sequence[Path]) -> bool:
    """Return whether the first file that can be read holds one frame."""
    for file in files[:10]:
        try:
            content = read_json_value(file, "file of joints")
        except (DataError, OSError):
            continue
        return isinstance(content, dict) and _people(content) is not None
    return False


def read_estimates(source: Source, options: Options, form: str | None = None) -> list[Estimates]:
    """Read the persons of a source, linked over time.

    Args:
        source: from ``find_sources``.
        options: what the files do not say.
        form: one of ``FORMATS``; default: what the content looks like.

    Returns:
        One video, or several if a COCO file has images of several.

    Raises:
        AnnotationError: something is wrong; the message names file and key.
    """
    try:
        if source.frames:
            if form not in (None, "openpose", "alphapose"):
                raise AnnotationError(f"{source.path}: has files of single frames, as of OpenPose, not of {form}")
            return [_openpose(source, options)]
        content = read_json_value(source.path, "file of joints")
        found = _detect(source.path, content) if form is None else form
        return READERS[found](source, content, options)
    except OSError as error:
        raise AnnotationError(f"{source.path}: cannot be read: {error.strerror}") from None


def _detect(file: Path, content: Any) -> str:
    if isinstance(content, list):
        first = next(iter(content), None)
        if first is None:
            raise AnnotationError(f"{file}: is an empty list: it has nobody, and does not say how many frames")
        if isinstance(first, dict) and "image_id" in first and "keypoints" in first:
            text = isinstance(first["image_id"], str)
            return "alphapose" if text else "coco"
    elif isinstance(content, dict):
        if isinstance(content.get("data"), list):
            return "kinetics-skeleton"
        if isinstance(content.get("annotations"), list):
            return "coco" if isinstance(content.get("images"), list) else "mmskeleton"
        if _people(content) is not None:
            raise AnnotationError(f"{file}: holds one frame; name the folder of the frames of the video")
        if content and all(isinstance(v, dict) and _people(v) is not None for v in content.values()):
            return "alphapose"
    known = ", ".join(FORMATS)
    raise AnnotationError(f"{file}: looks like none of {known}: {_short(content)}")


def _people(content: Mapping[str, Any]) -> list[Any] | None:
    """Return the persons in a frame of OpenPose, or of AlphaPose's ``open`` and ``cmu``."""
    return next((content[key] for key in ("people", "bodies") if isinstance(content.get(key), list)), None)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(repr(key)[:30] for key in list(value)[:5])
        return f"an object with {keys}" if keys else "an empty object"
    if isinstance(value, list):
        return (
            f"a list of {len(value)}, first {_short(value[0])}"
            if value and not isinstance(value[0], list)
            else (f"a list of {len(value)}")
        )
    return repr(value)[:40]


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: expected an object, found {_short(value)}")
    return value


def _list(where: str, content: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(content.get(key), list):
        raise AnnotationError(f"{where}: {key} must be a list, found {_short(content.get(key))}")
    value: list[Any] = content[key]
    return value


def _numbers(where: str, value: Any, count: int | None = None) -> Array:
    """Return a list of numbers, or of lists of equal length, as one row of float64."""
    try:
        found = np.asarray(value) if isinstance(value, list) else np.zeros(0, object)
    except (ValueError, OverflowError):
        found = np.zeros(0, object)
    if found.dtype.kind not in "iuf" or found.ndim > 2:
        raise AnnotationError(f"{where}: expected a list of numbers, found {_short(value)}")
    row: Array = found.astype(np.float64).ravel()
    if count is not None and len(row) != count:
        raise AnnotationError(f"{where}: expected {count} numbers, found {len(row)}")
    return row


@define
class _Rows:
    """Collects the persons of a video: rows in any order."""

    file: Path
    known: tuple[str, ...]
    """Layouts that the format may have."""
    own: Layout | None = None
    """The layout that the file describes."""
    rows: list[Array] = field(factory=list)
    places: list[str] = field(factory=list)
    frames: list[int] = field(factory=list)
    scores: list[float] = field(factory=list)
    boxes: list[Array] = field(factory=list)
    ids: list[Any] = field(factory=list)

    def add(
        self, where: str, frame: int, joints: Array, score: Any = None, box: Any = None, identity: Any = None
    ) -> None:
        """Add a person.

        Args:
            where: key of the person, for messages.
            frame: from 0.
            joints: (3V,): x, y, score of each joint.
            score: of the person.
            box: left, top, width, height.
            identity: of the person over time.
        """
        if self.rows and len(joints) != len(self.rows[0]):
            raise AnnotationError(
                f"{self.file}: {where}: has {len(joints)} numbers, but {self.places[0]} has {len(self.rows[0])}"
            )
        if not self.rows:
            self._check_count(where, len(joints))
        self.boxes.append(np.full(4, np.nan) if box is None else _numbers(f"{self.file}: {where}: box", box, 4))
        self.scores.append(1.0 if score is None else finite_number(f"{self.file}: {where}: score", score))
        self.rows.append(joints)
        self.places.append(where)
        self.frames.append(frame)
        self.ids.append(identity)

    def _check_count(self, where: str, numbers: int) -> None:
        if numbers % 3 or self.layout(numbers // 3) is None:
            counts = [str(3 * joints.num_node) for joints in self._layouts().values()]
            named = " or ".join(f"{n} ({name})" for n, name in zip(counts, self._layouts(), strict=True))
            raise AnnotationError(
                f"{self.file}: {where}: has {numbers} numbers, expected x, y, score of joints: {named}"
            )

    def _layouts(self) -> dict[str, Layout]:
        return {"own": self.own} if self.own else {name: LAYOUTS[name] for name in self.known}

    def layout(self, joints: int) -> str | None:
        return next((name for name, layout in self._layouts().items() if layout.num_node == joints), None)

    def finish(
        self,
        name: str,
        options: Options,
        total: int | None = None,
        size: tuple[int, int] | None = None,
        unit: Coordinates | None = None,
        fps: float | None = None,
        label: str | int | None = None,
        scored: bool = True,
        scale: float = 1,
        notes: Mapping[str, int] | None = None,
    ) -> Estimates:
        """Return what was collected.

        Args:
            name: of the video.
            options: of the user.
            total: number of frames; default: up to the last one with a person.
            size: height and width in the file.
            unit: of the coordinates, by the format; default: seen in the numbers.
            fps: of the format.
            label: class in the file.
            scored: whether the scores mean something; otherwise each joint that is not at 0, 0 has the score 1.
            scale: of the scores, which are at most 1 in the result.
            notes: what was odd so far.
        """
        count, counted = len(self.rows), Counter(notes or {})
        size = options.size or size
        layout = self.layout(len(self.rows[0]) // 3) if count else next(iter(self._layouts()))
        assert layout is not None
        joints = self._layouts()[layout]
        values = np.stack(self.rows).reshape(count, -1, 3) if count else np.zeros((0, joints.num_node, 3))
        frames = np.array(self.frames, np.int64)
        self._check(values, frames, total)
        points, scores = values[..., :2], values[..., 2] if scored else np.ones(values.shape[:2])
        lost = np.isnan(values).any(-1)
        counted["joints with NaN, taken as missing"] += int(lost.sum())
        found = ~lost & (np.where(lost, 0, scores) > 0) & points.any(-1)
        boxes = np.stack(self.boxes) if count else np.zeros((0, 4))
        points, boxes = _in_pixels(self.file, points, boxes, found, size, options.coordinates or unit, counted)
        points = np.where(found[..., None], points, np.nan).astype(np.float32)
        scores = np.where(found, np.clip(np.where(lost, 0, scores) / scale, 0, 1), 0).astype(np.float32)
        kept = found.any(-1)
        counted["persons without a joint, left out"] += int((~kept).sum())
        with np.errstate(invalid="ignore"):
            boxes[:, 2:] += boxes[:, :2]
        none = kept & np.isnan(boxes).any(-1)
        boxes[none] = np.concatenate([np.nanmin(points[none], 1), np.nanmax(points[none], 1)], 1)
        persons = Persons(
            boxes=boxes.astype(np.float32),
            scores=np.array(self.scores, np.float32),
            points=points,
            joint_scores=scores,
            frames=frames,
        )
        rows = np.flatnonzero(kept)
        ids = [self.ids[row] for row in rows]
        persons = _linked(persons.select(rows), ids, options.relink, counted)
        total = max(int(frames.max(initial=-1)) + 1, 0) if total is None else total
        self._check_memory(persons)
        return Estimates(
            name=name,
            layout=layout,
            joints=joints,
            persons=persons,
            total=total,
            size=size or (0, 0),
            fps=options.fps or fps,
            label=label,
            notes=+counted,
        )

    def _check(self, values: Array, frames: Array, total: int | None) -> None:
        """Raise ``AnnotationError`` for numbers that no estimator writes."""
        with np.errstate(invalid="ignore"):
            wrong = np.argwhere(np.abs(values) > FARTHEST)
        if len(wrong):
            row, joint, axis = wrong[0].tolist()
            what = ("x", "y", "score")[axis]
            raise AnnotationError(
                f"{self.file}: {self.places[row]}: {what} of joint {joint} is {values[row, joint, axis]:g}"
            )
        crowded, many = np.unique(frames, return_counts=True)
        if many.max(initial=0) > MOST_PERSONS:
            raise AnnotationError(
                f"{self.file}: frame {crowded[many.argmax()]} has {many.max()} persons, at most {MOST_PERSONS} are read"
            )
        if total is not None and len(frames) and frames.max() >= total:
            row = int(frames.argmax())
            raise AnnotationError(
                f"{self.file}: {self.places[row]}: is in frame {frames[row]}, but the video has {total} frames"
            )

    def _check_memory(self, persons: Persons) -> None:
        assert persons.tracks is not None and persons.frames is not None and persons.points is not None
        rows = 0
        if len(persons):
            last, first = np.zeros((2, int(persons.tracks.max()) + 1), np.int64)
            first[:] = MOST_FRAMES
            np.maximum.at(last, persons.tracks, persons.frames)
            np.minimum.at(first, persons.tracks, persons.frames)
            rows = int((last - first + 1).sum())
        if rows * persons.points.shape[1] * 12 > BIGGEST:
            raise AnnotationError(
                f"{self.file}: its {len(first)} tracks take more than 2 GiB ({rows:,} rows): is the video that long?"
            )


def _in_pixels(
    file: Path,
    points: Array,
    boxes: Array,
    found: Array,
    size: tuple[int, int] | None,
    unit: Coordinates | None,
    notes: Counter[str],
) -> tuple[Array, Array]:
    """Return joints and boxes (left, top, width, height) in pixels."""
    seen = points[found]
    if unit is None:
        unit = "pixels"
        if len(seen) and np.abs(seen).max() <= 1.5:  # nobody is that small
            unit = "-1..1" if seen.min() < -0.1 else "0..1"
            notes[f"videos with coordinates of {unit}"] += 1
    if unit == "pixels":
        return points, boxes
    if size is None:
        raise AnnotationError(f"{file}: has coordinates of {unit}, and no size of the frames: give --size WIDTHxHEIGHT")
    shift, span = SPANS[unit]
    if len(seen) and np.abs(seen).max() > 3:
        raise AnnotationError(f"{file}: has coordinates up to {np.abs(seen).max():g}, not of {unit}: see --coordinates")
    factor = np.array(size[::-1], np.float64) / span
    corner = np.array([shift, shift, 0, 0])
    return (points + shift) * factor, (boxes + corner) * np.tile(factor, 2)


def _linked(persons: Persons, ids: list[Any], relink: bool, notes: Counter[str]) -> Persons:
    """Return persons with ``tracks``: those of the file if each has one, and nobody is twice in a frame."""
    assert persons.frames is not None
    order = np.lexsort((*persons.boxes.T, -persons.scores, persons.frames))
    persons = persons.select(order)
    assert persons.frames is not None
    if not len(persons):
        return evolve(persons, tracks=np.zeros(0, np.int64))
    named = [ids[row] for row in order]
    if not relink and all(isinstance(n, int | str | float) and n != -1 for n in named):
        numbers: dict[Any, int] = {}
        tracks = np.array([numbers.setdefault(n, len(numbers)) for n in named], np.int64)
        pairs = np.stack([persons.frames, tracks], 1)
        if len(np.unique(pairs, axis=0)) == len(pairs):
            return evolve(persons, tracks=tracks)
        notes["videos with an id twice in a frame, linked by their joints instead"] += 1
    return link(persons)


def _triples(where: str, value: Any) -> Array:
    row = _numbers(where, value)
    if not len(row):
        raise AnnotationError(f"{where}: is an empty list")
    return row


def _identity(value: Any) -> Any:
    """Return an id, which may be in lists: OpenPose writes ``[-1]``, AlphaPose ``[[0.0], [0.0]]``."""
    for _ in range(3):
        if isinstance(value, list):
            value = value[0] if value else None
    return None if isinstance(value, list | dict | bool) else value


def _digits(where: str, text: str) -> int:
    """Return the last number in the name of a file, which is that of the frame."""
    found = re.findall(r"\d+", re.sub(r"\.\w+$", "", text))
    if not found:
        raise AnnotationError(f"{where}: {text[:40]!r} has no number of a frame")
    return whole_number(where, found[-1][-15:], most=MOST_FRAMES)


# --------------------------------------------------------------------------------------------------------- OpenPose


def _openpose(source: Source, options: Options) -> Estimates:
    rows = _Rows(source.path, ("body_25", "openpose", "coco"))
    numbers = [_digits(str(file), file.name.removesuffix("_keypoints.json")) for file in source.frames]
    first = min(numbers)
    for file, number in zip(source.frames, numbers, strict=True):
        content = _object(str(file), read_json_value(file, "file of joints"))
        _add_frame(rows, file.name, number - first, content)
    total = max(numbers) - first + 1
    if len(set(numbers)) < len(numbers):
        twice = next(n for n, count in Counter(numbers).items() if count > 1)
        raise AnnotationError(f"{source.path}: two files are of frame {twice}")
    notes = {"frames without a file, taken as without persons": total - len(numbers)}
    return rows.finish(source.name, options, total, notes=notes)


def _add_frame(rows: _Rows, where: str, frame: int, content: Mapping[str, Any]) -> None:
    people = _people(content)
    if people is None:
        raise AnnotationError(f"{rows.file}: {where}: has no list 'people' or 'bodies', found {_short(content)}")
    for i, person in enumerate(people):
        place = f"{where}: {'people' if 'people' in content else 'bodies'}.{i}"
        key = next((k for k in ("pose_keypoints_2d", "pose_keypoints", "joints") if k in _object(place, person)), None)
        if key is None:
            raise AnnotationError(f"{rows.file}: {place}: has no pose_keypoints_2d, found {_short(person)}")
        joints = _triples(f"{rows.file}: {place}.{key}", person[key])
        identity = _identity(person.get("person_id", person.get("idx")))
        rows.add(place, frame, joints, identity=identity)


# -------------------------------------------------------------------------------------------------------- AlphaPose


def _alphapose(source: Source, content: Any, options: Options) -> list[Estimates]:
    if isinstance(content, dict):
        rows = _Rows(source.path, ("openpose", "body_25", "coco"))
        frames = {image: _digits(f"{source.path}: {image[:40]}", image) for image in content}
        _check_distinct(source.path, frames)
        for image, number in frames.items():
            _add_frame(rows, image, number, _object(f"{source.path}: {image}", content[image]))
        return [rows.finish(source.name, options, max(frames.values(), default=-1) + 1)]
    rows = _Rows(source.path, ("coco", "halpe_26", "halpe_136", "coco_wholebody"))
    found: dict[str, int] = {}
    for i, item in enumerate(_items(source.path, content)):
        image = str(item["image_id"])
        if image not in found:
            found[image] = _digits(f"{source.path}: {i}: image_id", image)
        joints = _triples(f"{source.path}: {i}: keypoints", item["keypoints"])
        rows.add(str(i), found[image], joints, item.get("score"), item.get("box"), _identity(item.get("idx")))
    _check_distinct(source.path, found)
    if len(set(map(str, rows.ids))) == 1:  # all are 0 without tracking
        rows.ids = [None] * len(rows.ids)
    return [rows.finish(source.name, options)]


def _check_distinct(file: Path, frames: Mapping[str, int]) -> None:
    first: dict[int, str] = {}
    for image, number in frames.items():
        if (other := first.setdefault(number, image)) != image:
            raise AnnotationError(f"{file}: {other!r} and {image!r} are both frame {number}")


def _items(file: Path, content: Any) -> Iterator[dict[str, Any]]:
    """Yield the persons in a list of results."""
    if not isinstance(content, list):
        raise AnnotationError(f"{file}: expected a list of persons, found {_short(content)}")
    if not content:
        raise AnnotationError(f"{file}: is an empty list: it has nobody, and does not say how many frames")
    for i, item in enumerate(content):
        for key in ("image_id", "keypoints"):
            if key not in _object(f"{file}: {i}", item):
                raise AnnotationError(f"{file}: {i}: has no {key}{nearest(key, item)}")
        yield item


# ------------------------------------------------------------------------------------------------------------- COCO


@frozen
class _Image:
    video: str
    frame: int
    size: tuple[int, int] | None


@frozen(eq=False)
class Images:
    """The images of a COCO file: which frame of which video each is.

    Videos are those of ``video_id``, or else the folders in ``file_name``; frames are ``frame_id``, or else the order
    of the names.
    """

    by_id: Mapping[int, _Image]
    totals: Mapping[str, int]
    """Video -> number of frames."""

    @classmethod
    def read(cls, file: Path) -> Images:
        """Read the images of a file of COCO's ground truth."""
        content = _object(str(file), read_json_value(file, "file of images"))
        return cls.of(file, content, file.stem)

    @classmethod
    def of(cls, file: Path, content: Mapping[str, Any], name: str) -> Images:
        """Return the images of a file's content; ``name`` is that of a video without a folder."""
        names = {}
        for i, video in enumerate(content.get("videos") or []):
            video = _object(f"{file}: videos.{i}", video)
            names[_key(f"{file}: videos.{i}.id", video.get("id"))] = str(video.get("name", video.get("id")))
        rows: dict[str, list[tuple[Any, str, int, tuple[int, int] | None]]] = {}
        by_id: dict[int, _Image] = {}
        for i, image in enumerate(_list(str(file), content, "images")):
            where = f"{file}: images.{i}"
            image = _object(where, image)
            number, path = _key(f"{where}.id", image.get("id")), str(image.get("file_name", i)).replace("\\", "/")
            folder, _, leaf = path.rpartition("/")
            video = folder or name
            if image.get("video_id") is not None:
                key = _key(f"{where}.video_id", image["video_id"])
                video = names.get(key, str(key))
            sides = [image.get(side) for side in ("height", "width")]
            size = None
            if sides != [None, None]:
                height, width = (
                    whole_number(f"{where}.{side}", value, 1, 1 << 20)
                    for side, value in zip(("height", "width"), sides, strict=True)
                )
                size = height, width
            frame = image.get("frame_id")
            order = _natural(leaf) if frame is None else whole_number(f"{where}.frame_id", frame, most=MOST_FRAMES)
            rows.setdefault(video, []).append((order, where, number, size))
        totals = {}
        for video, members in rows.items():
            numbered = [isinstance(order, int) for order, *_ in members]
            if any(numbered) and not all(numbered):
                raise AnnotationError(
                    f"{members[numbered.index(False)][1]}: has no frame_id, but others of {video} have"
                )
            members.sort(key=lambda member: member[0])
            first = members[0][0] if numbered[0] else 0
            for rank, (order, where, number, size) in enumerate(members):
                if number in by_id:
                    raise AnnotationError(f"{where}: its id {number} is listed twice")
                if rank and order == members[rank - 1][0]:
                    raise AnnotationError(f"{where}: is the same frame of {video} as {members[rank - 1][1]}")
                by_id[number] = _Image(video, order - min(first, 1) if numbered[0] else rank, size)
            totals[video] = by_id[members[-1][2]].frame + 1
        if not by_id:
            raise AnnotationError(f"{file}: images is empty")
        return cls(by_id, totals)


def _key(where: str, value: Any) -> int:
    return whole_number(where, value, most=2**53)


def _natural(text: str) -> tuple[Any, ...]:
    """Return a key by which ``img10`` comes after ``img9``."""
    return tuple((int(p[-18:]), p) if p.isdigit() else (-1, p) for p in re.findall(r"\d+|\D+", text))


def _coco(source: Source, content: Any, options: Options) -> list[Estimates]:
    file = source.path
    if isinstance(content, dict):
        images = Images.of(file, content, source.name)
        people, where, layouts = _list(str(file), content, "annotations"), "annotations.", _own_layouts(file, content)
        return _by_image(source, people, where, images, options, layouts, truth=True)
    people = list(_items(file, content))
    if options.images is not None:
        return _by_image(source, people, "", options.images, options, {})
    rows = _Rows(file, ("coco", "coco_wholebody", "halpe_26", "halpe_136"))
    for i, item in enumerate(people):
        frame = _frame_of_id(f"{file}: {i}: image_id", item["image_id"])
        _add_item(rows, str(i), frame, item)
    return [rows.finish(source.name, options, scored=_scored(rows))]


def _frame_of_id(where: str, value: Any) -> int:
    try:
        return whole_number(where, value, most=MOST_FRAMES)
    except AnnotationError as error:
        raise AnnotationError(
            f"{error}; if it is no number of a frame, name the file of images with --images"
        ) from None


def _add_item(rows: _Rows, where: str, frame: int, item: Mapping[str, Any]) -> None:
    joints = _triples(f"{rows.file}: {where}: keypoints", item["keypoints"])
    attributes = item.get("attributes")
    inner = attributes.get("track_id") if isinstance(attributes, dict) else None
    rows.add(where, frame, joints, item.get("score"), item.get("bbox"), _identity(item.get("track_id", inner)))


def _scored(rows: _Rows) -> bool:
    """Return whether results of COCO, which does not use the scores of joints, have some."""
    return any(row[2::3].any() for row in rows.rows)


def _by_image(
    source: Source,
    people: Sequence[Any],
    prefix: str,
    images: Images,
    options: Options,
    layouts: Mapping[int, Layout],
    truth: bool = False,
) -> list[Estimates]:
    file = source.path
    own = next(iter(layouts.values()), None)
    known = ("coco", "coco_wholebody", "halpe_26", "halpe_136")
    videos = {video: _Rows(file, known, own) for video in images.totals}
    for i, item in enumerate(people):
        where = f"{prefix}{i}"
        if "keypoints" not in _object(f"{file}: {where}", item):
            continue  # a box of something that has no joints
        number = _key(f"{file}: {where}: image_id", item.get("image_id"))
        if number not in images.by_id:
            raise AnnotationError(f"{file}: {where}: image_id {number} is not among the images")
        image = images.by_id[number]
        _add_item(videos[image.video], where, image.frame, item)
    sizes: dict[str, set[tuple[int, int]]] = {}
    for image in images.by_id.values():
        if image.size:
            sizes.setdefault(image.video, set()).add(image.size)
    made = []
    for video, rows in videos.items():
        found = sorted(sizes.get(video, ()))
        if len(found) > 1:
            shown = " and ".join(f"{w} x {h}" for h, w in found[:2])
            raise AnnotationError(f"{file}: the images of {video} have different sizes: {shown}")
        size = found[0] if found else None
        made.append(
            rows.finish(video, options, images.totals[video], size, scored=truth or _scored(rows), scale=1 + truth)
        )
    return made


def _own_layouts(file: Path, content: Mapping[str, Any]) -> dict[int, Layout]:
    """Return the layouts of the categories that have joints; there is at most one, and none for COCO's own."""
    found: dict[int, Layout] = {}
    for i, category in enumerate(content.get("categories") or []):
        where = f"{file}: categories.{i}"
        if "keypoints" not in _object(where, category):
            continue
        names = _list(where, category, "keypoints")
        if not names or not all(isinstance(name, str) for name in names):
            raise AnnotationError(f"{where}.keypoints: expected names of joints, found {_short(names)}")
        edges = _numbers(f"{where}.skeleton", category.get("skeleton") or []).reshape(-1)
        if len(edges) % 2 or ((edges < 1) | (edges > len(names)) | (edges != np.floor(edges))).any():
            raise AnnotationError(f"{where}.skeleton: expected pairs of joints from 1 to {len(names)}")
        pairs = tuple((int(a) - 1, int(b) - 1) for a, b in edges.reshape(-1, 2))
        layout = COCO if tuple(names) == COCO.names else Layout(len(names), pairs, names=tuple(names))
        if found and layout.names != next(iter(found.values())).names:
            raise AnnotationError(f"{where}: has other keypoints than the category before it: convert them one by one")
        found[i] = layout
    return {} if COCO in found.values() else found


# ------------------------------------------------------------------------------- Kinetics-Skeleton and MMSkeleton


def _kinetics(source: Source, content: Any, options: Options) -> list[Estimates]:
    file = source.path
    rows, last = _Rows(file, ("openpose",)), 0
    for i, frame in enumerate(_list(str(file), _object(str(file), content), "data")):
        where = f"data.{i}"
        number = whole_number(
            f"{file}: {where}.frame_index", _object(f"{file}: {where}", frame).get("frame_index"), 1, MOST_FRAMES
        )
        last = max(last, number)
        for j, person in enumerate(_list(f"{file}: {where}", frame, "skeleton")):
            place = f"{where}.skeleton.{j}"
            person = _object(f"{file}: {place}", person)
            pose = _numbers(f"{file}: {place}.pose", person.get("pose"), 36).reshape(-1, 2)
            score = _numbers(f"{file}: {place}.score", person.get("score"), 18)
            rows.add(place, number - 1, np.concatenate([pose, score[:, None]], 1).ravel())
    label = content.get("label")
    if label is not None and not isinstance(label, str):
        raise AnnotationError(f"{file}: label must be the name of a class, found {_short(label)}")
    return [rows.finish(source.name, options, last, options.size or (256, 340), "0..1", 30.0, label)]


def _mmskeleton(source: Source, content: Any, options: Options) -> list[Estimates]:
    file = source.path
    info = _object(f"{file}: info", _object(str(file), content).get("info", {}))
    rows, size = _Rows(file, ("coco", "openpose", "body_25")), None
    if info.get("resolution") is not None:
        width, height = _numbers(f"{file}: info.resolution", info["resolution"], 2)
        size = (
            whole_number(f"{file}: info.resolution.1", height, 1, 1 << 20),
            whole_number(f"{file}: info.resolution.0", width, 1, 1 << 20),
        )
    total = info.get("num_frame")
    total = None if total is None else whole_number(f"{file}: info.num_frame", total, most=MOST_FRAMES)
    for i, person in enumerate(_list(str(file), content, "annotations")):
        where = f"annotations.{i}"
        person = _object(f"{file}: {where}", person)
        frame = whole_number(f"{file}: {where}.frame_index", person.get("frame_index"), most=MOST_FRAMES)
        joints = _triples(f"{file}: {where}.keypoints", person.get("keypoints"))
        rows.add(where, frame, joints, identity=_identity(person.get("person_id")))
    fps = info.get("fps")
    rate = None if fps is None else positive_number(f"{file}: info.fps", fps)
    label = content.get("category_id")
    named = None if label in (None, -1) else whole_number(f"{file}: category_id", label, most=MOST_CLASSES)
    return [rows.finish(source.name, options, total, size, fps=rate, label=named)]


READERS: Mapping[str, Callable[[Source, Any, Options], list[Estimates]]] = {
    "coco": _coco,
    "alphapose": _alphapose,
    "kinetics-skeleton": _kinetics,
    "mmskeleton": _mmskeleton,
}
