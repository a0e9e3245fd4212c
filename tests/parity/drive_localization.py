"""Proposals, their suppression and features; what needs a network is in ``drive_localization_models``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vid_localization import post
from vid_localization.overlaps import temporal_overlaps


def overlaps(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    many, one = np.stack((given["starts"], given["ends"]), 1), np.array([given["start"], given["end"]])
    first = list(given)[0]  # the length of the first of the two is what the second output is relative to
    iou, share = temporal_overlaps(many, one) if first == "starts" else temporal_overlaps(one, many)
    return {"iou": iou, "over_own_length": share}


def _suppression(settings: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in ("alpha", "low_threshold", "high_threshold", "top_k"))


def soft_nms(case: Any, row: Any) -> dict[str, Any]:
    return {"proposals": post.soft_nms(row.inputs["proposals"], *_suppression(row.settings))}
