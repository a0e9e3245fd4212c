"""Records of recognition, stored in ``Sample.extra``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from attrs import field, frozen

from vidcore.records import Record, shape
from vidcore.typing import Array

__all__ = ["HVU_CATEGORIES", "HVU_CATEGORY_NUMS", "ClipFiles", "StreamScores", "TagCategories", "ViewScores"]

HVU_CATEGORIES = ("action", "attribute", "concept", "event", "object", "scene")
HVU_CATEGORY_NUMS = (739, 117, 291, 69, 1678, 248)
"""Number of tags in each category of HVU."""


@frozen(eq=False)
class ViewScores(Record):
    """``extra["views"]``: scores of each view of a video, if they are not averaged."""

    values: Array = field(validator=shape(None, None))
    """(views, classes) float32."""


@frozen(eq=False)
class StreamScores(Record):
    """``extra["streams"]``: scores of several streams of one model, such as ``rgb`` and ``pose``."""

    values: Array = field(validator=shape(None, None))
    """(streams, classes) float32."""
    names: tuple[str, ...] = ()
    """Name of each stream."""

    @property
    def by_name(self) -> dict[str, Array]:
        """Scores (classes,) of each stream."""
        return dict(zip(self.names, self.values, strict=True))

    def arrays(self) -> dict[str, Array]:
        return {"values": self.values, "names": np.array(self.names, np.str_)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        return cls(arrays["values"], tuple(arrays["names"].tolist()))


@frozen(eq=False)
class TagCategories(Record):
    """``extra["tags"]``: categories that the classes of a sample belong to, and which of them are annotated (HVU)."""

    sizes: Array = field(validator=shape(None))
    """(categories,) int64: number of classes in each, in the order of the classes."""
    annotated: Array = field(validator=shape(None))
    """(categories,) bool."""
    names: tuple[str, ...] = ()
    """Name of each category."""

    def arrays(self) -> dict[str, Array]:
        return {"sizes": self.sizes, "annotated": self.annotated, "names": np.array(self.names, np.str_)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        return cls(arrays["sizes"], arrays["annotated"], tuple(arrays["names"].tolist()))


@frozen(eq=False)
class ClipFiles(Record):
    """``extra["clip_files"]``: the clips that a long video was cut into, files in one folder."""

    positive: Array = field(validator=shape(None))
    """(n,) integers: numbers of those that show the action."""
    count: int = 0
    """Number of all."""
    template: str = "part_{}.mp4"
    """Name of a file, with a field for its number."""

    def arrays(self) -> dict[str, Array]:
        """Return nothing: they are not saved with predictions."""
        return {}
