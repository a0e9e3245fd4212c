"""Layouts of joints that estimators write."""

from __future__ import annotations

from collections.abc import Mapping

from vid_skeleton.graphs import COCO, OPENPOSE, Layout

__all__ = ["BODY_25", "HALPE", "LAYOUTS"]

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
    first = body.num_node + 68
    left, right = (*body.left, *range(first, first + 21)), (*body.right, *range(first + 21, first + 42))
    return Layout(body.num_node + len(parts), body.inward, body.center, (*body.names, *parts), left, right)


LAYOUTS: Mapping[str, Layout] = {
    "coco": COCO,
    "openpose": OPENPOSE,
    "body_25": BODY_25,
    "halpe_26": HALPE,
    "halpe_136": _with_parts(HALPE),
    "coco_wholebody": _with_parts(
        Layout(23, COCO.inward, 0, (*COCO.names, *FEET), (*COCO.left, 17, 18, 19), (*COCO.right, 20, 21, 22))
    ),
}
"""Layouts that estimators write, beside those that a COCO file describes itself."""
