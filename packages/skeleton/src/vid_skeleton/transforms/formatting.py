"""The last steps before a graph network, and the choice of people: FormatGCNInput, KeepPersons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import field, frozen

from vid_skeleton.missing import check_finite, joints_of, present, title
from vidcore.errors import AnnotationError
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least, one_of

__all__ = ["FormatGCNInput", "KeepPersons"]


@frozen
class KeepPersons:
    """Keep the people who matter if a sample has more than a model takes; their numbers become ``meta["persons"]``.

    Put it first in all three pipelines, so that training, evaluation and prediction choose alike. People are kept in
    their old order.
    """

    num_person: int = field(default=2, validator=at_least(1))
    """People to keep at most."""
    rule: Literal["motion", "largest", "longest", "scores", "first"] = field(
        default="motion", validator=one_of("motion", "largest", "longest", "scores", "first")
    )
    """Who is kept: ``motion``: those whose joints vary most over time, in parts of their own size; ``largest``: those
    with the largest bodies; ``longest``: those found in most frames; ``scores``: those with the highest sums of scores;
    ``first``: the first of the file."""
    persons: Sequence[int] = ()
    """Numbers of people to choose from, for example of tracks; default: all."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        people = len(joints.points)
        if wrong := [person for person in self.persons if not 0 <= person < people]:
            raise AnnotationError(
                f"{title(sample)}: has {people} people, counted from 0, so person {wrong[0]} does not exist"
            )
        chosen = np.array(self.persons or range(people), np.int64)
        if len(chosen) > self.num_person:
            worth = self._worth(joints.points[chosen], None if joints.scores is None else joints.scores[chosen])
            best = np.argsort(-worth, kind="stable")[: self.num_person]
            chosen = chosen[np.sort(best)]
        if len(chosen) == people:
            return sample
        meta = {**sample.meta, "persons": chosen.tolist()}
        return sample.replace(joints=joints.select(chosen), meta=meta)

    def _worth(self, points: Array, scores: Array | None) -> Array:
        """Return what to order people by: (people,) float."""
        if self.rule == "first":
            return -np.arange(len(points))
        found = present(points)
        if self.rule == "longest":
            return found.any(axis=2).sum(axis=1)
        if self.rule == "scores":
            return found.sum(axis=(1, 2)) if scores is None else scores.sum(axis=(1, 2))
        known = np.where(found[..., None], points, np.nan).astype(np.float64)
        with np.errstate(all="ignore"):
            return np.array([_spread(person, self.rule == "motion") for person in known])


def _spread(person: Array, over_time: bool) -> float:
    """Return the size of a person, or how much the joints vary over time in parts of it.

    Args:
        person: (frames, joints, coordinates) float64, not-a-number where missing.
        over_time: which of the two.
    """
    seen = ~np.isnan(person[..., 0])
    frames = person[seen.any(axis=1)]
    if not len(frames):
        return -1.0
    size = float(np.median(np.linalg.norm(np.nanmax(frames, axis=1) - np.nanmin(frames, axis=1), axis=-1)))
    if not over_time:
        return size
    tracks = person[:, seen.sum(axis=0) > 1]
    return float(np.nansum(np.nanvar(tracks, axis=0))) / max(size, 1e-6) ** 2 if tracks.size else 0.0


@frozen
class FormatGCNInput:
    """Make the input ``joints`` of a graph network: (clips, people, frames, joints, channels) float32.

    ``joints`` is removed from the sample. Scores, if there are any, become the last channel. People beyond
    ``num_person`` are cut: put ``KeepPersons`` first for another rule.

    Raises ``AnnotationError`` if there is nobody, or a number is not finite.
    """

    num_person: int = field(default=2, validator=at_least(1))
    """People that the network takes."""
    mode: Literal["zero", "loop"] = field(default="zero", validator=one_of("zero", "loop"))
    """Missing people: ``zero``: all joints are 0; ``loop``: copies of the only person (0 if there are several)."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        points, clips = joints.points, sample.clip.count if sample.clip else 1
        people, frames, count, channels = points.shape
        if frames % clips:
            raise AnnotationError(f"{title(sample)}: {frames} frames cannot be divided into {clips} clips")
        scored = joints.scores is not None
        shape = (clips, self.num_person, frames // clips, count, channels + scored)
        made = np.zeros(shape, np.float32)
        kept = min(people, self.num_person)
        by_person = made.transpose(1, 0, 2, 3, 4)
        split = (kept, clips, frames // clips, count)
        by_person[:kept, ..., :channels] = points[:kept].reshape(*split, channels)
        if joints.scores is not None:
            by_person[:kept, ..., channels] = joints.scores[:kept].reshape(split)
        if self.mode == "loop" and people == 1:
            by_person[1:] = by_person[:1]
        check_finite(sample, points)
        meta = sample.meta if people == kept else {"persons": list(range(kept)), **sample.meta}
        extra = {name: record for name, record in sample.extra.items() if not record.follows_crops}
        return sample.replace(joints=None, geometry=None, extra=extra, meta=meta).with_inputs(joints=made)
