"""Heatmaps of joints and limbs."""

from __future__ import annotations

from typing import Any

import numpy as np

from vid_skeleton.transforms.heatmaps import GeneratePoseTarget
from vidcore.geometry import Geometry
from vidcore.records import Joints
from vidcore.sample import Sample

NAMES = {"joints": "with_kp", "limbs": "with_limb", "limb_list": "skeletons"}


def heatmaps(case: Any, row: Any) -> dict[str, Any]:
    step = GeneratePoseTarget(**{NAMES.get(name, name): value for name, value in row.settings.items()})
    if not row.inputs:
        return {
            "limbs": [list(limb) for limb in step.skeletons],
            "left_joints": list(step.left_kp),
            "right_joints": list(step.right_kp),
            "left_limbs": list(step.left_limb),
            "right_limbs": list(step.right_limb),
        }
    given = row.inputs
    joints = Joints(given["keypoint"], given.get("keypoint_score"))
    sample = Sample(joints=joints, geometry=Geometry.whole(tuple(given["img_shape"])))
    drawn = step(sample, np.random.default_rng(0)).heatmaps
    assert drawn is not None
    return {"maps": drawn.maps}


OPS = {"skeleton.heatmaps": heatmaps}
