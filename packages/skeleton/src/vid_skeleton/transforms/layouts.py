"""Layouts as arguments of transforms: a name, or a table; and the conversion of joints from one to another."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import field, frozen

from vid_skeleton.graphs import LAYOUTS, Layout
from vid_skeleton.missing import joints_of, present, title
from vidcore.errors import AnnotationError, UserError, nearest
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["ConvertJoints", "LayoutName", "check_count", "known_layout", "layout_of"]

LayoutName = Literal["coco", "nturgb+d", "openpose"]


def known_layout(given: LayoutName | Layout) -> LayoutName | Layout:
    """Return the argument. Raises ``UserError`` if it is not a layout or the name of one."""
    if not isinstance(given, Layout) and given not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        hint = nearest(str(given), LAYOUTS)
        raise UserError(f"a layout must be one of {known}, or a table with num_node and inward, got {given!r}{hint}")
    return given


def layout_of(given: LayoutName | Layout) -> Layout:
    """Return the layout of an argument."""
    return given if isinstance(given, Layout) else LAYOUTS[given]


def check_count(sample: Sample, joints: int, given: LayoutName | Layout, step: object) -> None:
    """Raise ``AnnotationError`` if a sample does not have the number of joints of a layout."""
    count = layout_of(given).num_node
    if joints == count:
        return
    name = "the layout" if isinstance(given, Layout) else repr(given)
    fits = [known for known, layout in LAYOUTS.items() if layout.num_node == joints]
    hint = f": those of {fits[0]!r}, from which ConvertJoints makes others" if fits else ""
    raise AnnotationError(f"{title(sample)}: {name} of {type(step).__name__} has {count} joints, got {joints}{hint}")


@frozen
class ConvertJoints:
    """Reorder joints from one layout to another, by their names.

    A neck is the middle of the shoulders if both were found, otherwise it is missing; its score is the lower of both.
    Raises ``UserError`` if the target has other joints that the source lacks.
    """

    source: LayoutName | Layout = field(converter=known_layout)
    """Layout of the sample: a name, or a table with ``names``."""
    target: LayoutName | Layout = field(converter=known_layout)
    """Layout to make, likewise."""

    def __attrs_post_init__(self) -> None:
        for name, layout in (("source", layout_of(self.source)), ("target", layout_of(self.target))):
            if not layout.names:
                raise UserError(f"ConvertJoints: {name} has no names of joints: add names to its table")
        lacking = [name for name in layout_of(self.target).names if not self._sources(name)]
        if lacking:
            raise UserError(f"ConvertJoints: source has no joint {', '.join(lacking)}, which target needs")

    def _sources(self, name: str) -> tuple[int, ...]:
        """Return the joint with a name, or the two in whose middle it is; nothing if there are none."""
        names = layout_of(self.source).names
        if name in names:
            return (names.index(name),)
        shoulders = ("left_shoulder", "right_shoulder")
        return tuple(map(names.index, shoulders)) if name == "neck" and {*shoulders} <= {*names} else ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        check_count(sample, joints.points.shape[2], self.source, self)
        pairs = np.array([(found[0], found[-1]) for found in map(self._sources, layout_of(self.target).names)])
        first, second = joints.points[:, :, pairs[:, 0]], joints.points[:, :, pairs[:, 1]]
        found = present(first) & present(second)
        points: Array = (first + second) / 2 * found[..., None]
        scores = joints.scores
        if scores is not None:
            scores = np.minimum(scores[:, :, pairs[:, 0]], scores[:, :, pairs[:, 1]])
        return sample.replace(joints=Joints(points, scores))
