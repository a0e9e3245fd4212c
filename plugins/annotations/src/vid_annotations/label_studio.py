"""Label Studio (JSON and JSON-MIN): rectangles and segments of videos.

Coordinates are per cent of the picture. Frames are counted from 1 at a rate of Label Studio's own, so times come from
the file: ``time`` of key frames, else the share of ``framesCount`` in ``duration``, else ``--fps``. A segment includes
its last frame. A rectangle stays in place after its last key frame, unless that is not enabled.

Formats: https://labelstud.io/guide/export, https://labelstud.io/tags/video
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from attrs import define, field, frozen

from vid_annotations.boxes import between, turned
from vid_annotations.places import name_of
from vid_annotations.source import Document, Options
from vid_annotations.table import MOST_FRAMES, Annotations, Box, Description, Span, checked_box
from vid_annotations.values import as_list, as_seconds, as_table, as_words
from vidcore.data.fields import finite_number, positive_number, whole_number
from vidcore.errors import AnnotationError, DataError
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["read_label_studio"]

RECTANGLES = "videorectangle"
SEGMENTS = ("labels", "timelinelabels")
OF_REGIONS = ("choices", "number", "rating", "taxonomy", "text")
"""What a region may be described with, beside its labels."""


@define
class Region:
    """All results with one id."""

    geometry: list[tuple[str, dict[str, Any]]] = field(factory=list)
    """Place and value of rectangles and segments."""
    labels: dict[str, None] = field(factory=dict)
    attributes: dict[str, tuple[str, ...]] = field(factory=dict)

    @property
    def about(self) -> Description:
        """What is said of the region."""
        return Description(tuple(self.labels), self.attributes)


@frozen
class Key:
    """A key frame of a rectangle."""

    where: str
    frame: int
    box: Box
    enabled: bool


def read_label_studio(documents: list[Document], options: Options) -> Annotations:
    """Read JSON files of Label Studio. Raises ``AnnotationError``, with file and path to the value."""
    result = Annotations("Label Studio", in_frames=False, relative=True)
    locations: dict[str, str] = {}
    for document in documents:
        for number, value in enumerate(as_list(document.name, document.json)):
            where = f"{document.name}: [{number}]"
            task = as_table(where, value)
            location = _location(where, task)
            video = options.video or name_of(location)
            if locations.setdefault(video, location) != location:
                raise DataError(f"{where}: {video} is the name of two videos: {locations[video]} and {location}")
            _add_task(result, video, _regions(result, where, task), options)
    return result


def _location(where: str, task: Mapping[str, Any]) -> str:
    """The path or URL of the video of a task."""
    texts = {key: v for key, v in as_table(f"{where}.data", task.get("data", task)).items() if isinstance(v, str)}
    videos = [v for v in texts.values() if name_of(v).lower().endswith(VIDEO_SUFFIXES)]
    found = [texts["video"]] if "video" in texts else videos or (list(texts.values()) if "data" in task else [])
    if len(set(found)) != 1:
        raise AnnotationError(f"{where}.data: must have one video, found {', '.join(map(repr, found)) or 'none'}")
    return found[0]


def _regions(result: Annotations, where: str, task: Mapping[str, Any]) -> dict[str, Region]:
    regions: dict[str, Region] = {}
    for number, (place, kind, name, entry) in enumerate(_results(result, where, task)):
        value = as_table(f"{place}.value", entry.get("value"))
        region = regions.setdefault(str(entry.get("id") or f"#{number}"), Region())
        region.labels |= dict.fromkeys(label for key in ("labels", *SEGMENTS) for label in as_words(value.get(key)))
        if _is_region(value) and not any(known == value for _, known in region.geometry):
            region.geometry.append((f"{place}.value", value))
        for key in OF_REGIONS:
            if key in value and entry.get("id"):
                region.attributes[name] = region.attributes.get(name, ()) + as_words(value[key])
        if kind not in (RECTANGLES, *SEGMENTS, *OF_REGIONS, "textarea"):
            result.lost[f"results of type {kind}"] += 1
    return regions


def _is_region(value: Mapping[str, Any]) -> bool:
    """Whether a value has a rectangle or segments: the second result of a region has only words."""
    return "sequence" in value or "ranges" in value or {"start", "end"} <= value.keys()


def _results(
    result: Annotations, where: str, task: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Place, type, control and content of the results of a task."""
    if "annotations" not in task:  # JSON-MIN: regions by control
        for name, regions in task.items():
            for number, value in enumerate(regions if isinstance(regions, list) else []):
                if isinstance(value, dict) and _is_region(value):
                    place = f"{where}.{name}[{number}]"
                    yield place, RECTANGLES if "sequence" in value else "labels", name, {"value": value}
        return
    annotations = [
        (f"{where}.annotations[{i}]", as_table(f"{where}.annotations[{i}]", entry))
        for i, entry in enumerate(as_list(f"{where}.annotations", task["annotations"]))
    ]
    kept = [entry for entry in annotations if not entry[1].get("was_cancelled")]
    result.lost["skipped annotations"] += len(annotations) - len(kept)
    result.lost["annotations of the same video by others"] += max(len(kept) - 1, 0)
    if not kept:
        return
    place, chosen = max(kept, key=lambda e: (bool(e[1].get("ground_truth")), str(e[1].get("updated_at") or "")))
    for number, entry in enumerate(as_list(f"{place}.result", chosen.get("result"))):
        found = as_table(f"{place}.result[{number}]", entry)
        if found.get("type") != "relation":
            yield f"{place}.result[{number}]", str(found.get("type")), str(found.get("from_name")), found


def _add_task(result: Annotations, video: str, regions: Mapping[str, Region], options: Options) -> None:
    result.look(video)
    clock = Clock(options.fps)
    tracks: dict[str, list[Key]] = {}
    for number, region in regions.items():
        for where, value in region.geometry:
            if "sequence" in value:
                tracks[number] = _keys(result, where, value, clock, video, options)
    if clock.duration:
        result.durations[video] = clock.duration
    if clock.frames:
        result.frame_counts[video] = clock.frames
    for number, keys in tracks.items():
        _add_track(result, video, number, keys, regions[number].about, clock)
    for region in regions.values():
        for where, value in region.geometry:
            for start, end in _times(where, value, clock):
                result.spans.append(Span(video, start, end, region.about))


@define
class Clock:
    """Times of Label Studio's frames in one video."""

    fps: float | None
    frames: int = 0
    duration: float = 0.0
    known: dict[int, float] = field(factory=dict)
    """Seconds by frame, as written beside key frames."""
    _sorted: list[int] = field(factory=list)

    def time(self, where: str, frame: int) -> float:
        """Seconds of a frame, counted from 1. Raises ``DataError`` if nothing tells."""
        if frame in self.known:
            return self.known[frame]
        if len(self._sorted) != len(self.known):
            self._sorted = sorted(self.known)
        at = bisect_left(self._sorted, frame)
        if 0 < at < len(self._sorted):
            low, high = self._sorted[at - 1], self._sorted[at]
            return self.known[low] + (self.known[high] - self.known[low]) * (frame - low) / (high - low)
        return frame * self.seconds(where)

    def seconds(self, where: str) -> float:
        """Seconds per frame. Raises ``DataError`` if nothing tells."""
        if self.fps is not None:
            return 1 / self.fps
        if self.frames and self.duration:
            return self.duration / self.frames
        raise DataError(
            f"{where}: the file has frames but no rate: give --fps, the frameRate of <Video> in the labelling interface"
        )


def _keys(
    result: Annotations, where: str, value: Mapping[str, Any], clock: Clock, video: str, options: Options
) -> list[Key]:
    if value.get("framesCount") and value.get("duration"):
        clock.frames = whole_number(f"{where}.framesCount", value["framesCount"], 1, MOST_FRAMES)
        clock.duration = positive_number(f"{where}.duration", value["duration"])
    keys: dict[int, Key] = {}
    for number, item in enumerate(as_list(f"{where}.sequence", value["sequence"])):
        place = f"{where}.sequence[{number}]"
        entry = as_table(place, item)
        frame = whole_number(f"{place}.frame", entry.get("frame"), 0, MOST_FRAMES)
        if frame in keys:
            raise AnnotationError(f"{place}: frame {frame} has another box: {keys[frame].where}")
        if entry.get("time") is not None:
            clock.known.setdefault(frame, as_seconds(f"{place}.time", entry["time"]))
        sides = {
            side: finite_number(f"{place}.{side}", entry.get(side)) / 100 for side in ("x", "y", "width", "height")
        }
        left, top = sides["x"], sides["y"]
        box = checked_box(place, [left, top, left + sides["width"], top + sides["height"]])
        if angle := finite_number(f"{place}.rotation", entry.get("rotation") or 0):
            box = _turned(result, place, box, angle, video, options)
        keys[frame] = Key(place, frame, box, entry.get("enabled", True) is not False)
    return [keys[frame] for frame in sorted(keys)]


def _turned(result: Annotations, where: str, box: Box, angle: float, video: str, options: Options) -> Box:
    """Label Studio turns a box about its left upper corner; the picture's shape matters, as sides are fractions."""
    facts = options.videos.facts(video)
    if facts is None:
        raise DataError(f"{where}: the box is turned; the one around it needs the shape of the picture: give --videos")
    width, height = facts.size
    result.lost["angles of boxes, which become the boxes around them"] += 1
    pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    left, top, right, bottom = turned(pixels, angle, pixels[:2])
    return left / width, top / height, right / width, bottom / height


def _add_track(result: Annotations, video: str, number: str, keys: list[Key], about: Description, clock: Clock) -> None:
    for key, following in zip_longest(keys, keys[1:]):
        result.add(key.where, video, clock.time(key.where, key.frame), key.box, about, number, (1.0, 1.0))
        if not key.enabled:
            continue
        if following is None:  # it stays until the end, as Label Studio shows it
            following = Key(key.where, clock.frames + 1, key.box, enabled=False)
            result.open_tracks += not clock.frames
        for frame in range(key.frame + 1, following.frame):
            box = between(key.box, following.box, (frame - key.frame) / (following.frame - key.frame))
            result.add(key.where, video, clock.time(key.where, frame), box, about, number, (1.0, 1.0))
            result.interpolated += 1


def _times(where: str, value: Mapping[str, Any], clock: Clock) -> Iterator[tuple[float, float]]:
    """Start and end, in seconds, of the segments of a region."""
    if "ranges" in value:
        for number, item in enumerate(as_list(f"{where}.ranges", value["ranges"])):
            place = f"{where}.ranges[{number}]"
            entry = as_table(place, item)
            first, last = (whole_number(f"{place}.{k}", entry.get(k), 0, MOST_FRAMES) for k in ("start", "end"))
            if last < first:
                raise AnnotationError(f"{place}: ends before it starts: frames {first} to {last}")
            unit = clock.seconds(place)
            yield max(first - 1, 0) * unit, last * unit
    elif "sequence" not in value:
        start, end = (as_seconds(f"{where}.{k}", value[k]) for k in ("start", "end"))
        if end < start:
            raise AnnotationError(f"{where}: ends before it starts: {start:g} to {end:g} s")
        yield start, end
