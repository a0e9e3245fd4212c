"""Transforms of skeletons; heatmaps, graphs and pairs of frames and skeletons have drivers of their own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from attrs import evolve

from vid_mmaction2.components import Converter
from vid_mmaction2.config import RULES
from vid_mmaction2.pipelines import convert_pipeline
from vid_skeleton.records import Detections
from vid_skeleton.transforms.compact import PoseCompact
from vid_skeleton.transforms.decoding import DecompressPose, PadTo, PoseDecode
from vid_skeleton.transforms.features import GenSkeFeat, JointToBone, MergeSkeFeat, ToMotion
from vid_skeleton.transforms.formatting import FormatGCNInput
from vid_skeleton.transforms.normalising import PreNormalize2D, PreNormalize3D
from vid_skeleton.transforms.sampling import UniformSampleFrames
from vidcore.config.bind import build_component
from vidcore.geometry import Geometry
from vidcore.plugins.catalog import load_plugins
from vidcore.records import Clip, Joints
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import CenterCrop
from vidcore.transforms.flipping import Flip
from vidcore.transforms.resizing import Resize

RNG = np.random.default_rng(0)


def _sample(row: Any) -> Sample:
    given = row.inputs
    points = given["keypoint"]
    sample = Sample(
        joints=Joints(points, given.get("keypoint_score")),
        total_frames=given.get("total_frames", points.shape[1]),
        frame_offset=given.get("offset", 0),
        start_index=given.get("start_index", 0),
    )
    if "img_shape" in given:
        geometry = Geometry.whole(tuple(given["img_shape"]))
        if "crop_quadruple" in given:
            geometry = evolve(geometry, crop_quadruple=tuple(given["crop_quadruple"]))
        sample = sample.replace(geometry=geometry)
    if "frame_inds" in given:
        indices = given["frame_inds"].reshape(-1)
        sample = sample.replace(clip=Clip(indices, len(indices)))
    return sample


def _outputs(sample: Sample, row: Any) -> dict[str, Any]:
    assert sample.joints is not None
    found: dict[str, Any] = {"keypoint": sample.joints.points, "total_frames": sample.total_frames}
    if sample.joints.scores is not None:
        found["keypoint_score"] = sample.joints.scores
    if sample.geometry is not None:
        found["img_shape"] = list(sample.geometry.size)
        found["crop_quadruple"] = list(sample.geometry.crop_quadruple)
    if "frame_inds" in row.outputs:
        found["frame_inds"] = sample.clip.indices if sample.clip else np.arange(sample.total_frames or 0)
    return {name: value for name, value in found.items() if name in row.outputs}


def select_frames(case: Any, row: Any) -> dict[str, Any]:
    return _outputs(PoseDecode()(_sample(row), RNG), row)


def unpack_detections(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    found = Detections(given["keypoint"][..., :2], given["keypoint"][..., 2], given["frame_inds"])
    sample = Sample(total_frames=given.get("total_frames"))
    if "anno_inds" in given:
        found = found.select(given["anno_inds"])
    return _outputs(DecompressPose(**row.settings)(sample.with_extra(detections=found), RNG), row)


def uniform_frame_sampling(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    sample = Sample(total_frames=given["total_frames"], start_index=given.get("start_index", 0))
    sample = UniformSampleFrames(test_mode=True, **row.settings)(sample, RNG)
    assert sample.clip is not None
    indices = sample.clip.indices
    if "keypoint" in given:
        with_joints = sample.replace(joints=Joints(given["keypoint"]), frame_offset=sample.start_index)
        PoseDecode()(with_joints, RNG)  # refuses frames without joints
    return {"frame_inds": indices if isinstance(row.outputs.get("frame_inds"), np.ndarray) else indices.tolist()}


def uniform_frame_sampling_train(case: Any, row: Any) -> dict[str, Any]:
    settings = dict(row.settings)
    count = settings.pop("draws")
    step, rng = UniformSampleFrames(**settings), np.random.default_rng(0)
    draws = np.stack([step(Sample(**row.inputs), rng).clip.indices for _ in range(count)])  # type: ignore[union-attr]
    return {"smallest": draws.min(0).tolist(), "largest": draws.max(0).tolist(), "mean": draws.mean(0)}


def pad_tracks(case: Any, row: Any) -> dict[str, Any]:
    return _outputs(PadTo(**row.settings)(_sample(row), RNG), row)


def compact_box(case: Any, row: Any) -> dict[str, Any]:
    settings = dict(row.settings)
    settings["allow_imgpad"] = settings.pop("allow_outside")
    return _outputs(PoseCompact(**settings)(_sample(row), RNG), row)


def flip(case: Any, row: Any) -> dict[str, Any]:
    if not row.inputs:
        sample = Sample(joints=Joints(np.ones((1, 1, 17, 2), np.float32)), geometry=Geometry.whole((1, 1)))
        return _outputs(Flip(1.0, direction="vertical")(sample, RNG), row)
    pairs = {"left_kp": row.settings["left"] or (), "right_kp": row.settings["right"] or ()}
    return _outputs(Flip(1.0, **pairs)(_sample(row), RNG), row)


def resize_and_crop(case: Any, row: Any) -> dict[str, Any]:
    numbers = [int(number) for number in re.findall(r"\d+", row.what)]
    if row.what.startswith("short side"):
        step: Any = Resize((-1, numbers[0]))
    elif "ratio not kept" in row.what:
        step = Resize((numbers[0], numbers[1]), keep_ratio=False)
    elif row.what.startswith("centre crop"):
        step = CenterCrop(numbers[0])
    else:
        raise NotImplementedError(f"no step for {row.what!r}")
    return _outputs(step(_sample(row), RNG), row)


def normalize_2d(case: Any, row: Any) -> dict[str, Any]:
    return _outputs(PreNormalize2D(**row.settings, missing="corner")(_sample(row), RNG), row)


def normalize_3d(case: Any, row: Any) -> dict[str, Any]:
    names = {"spine": "zaxis", "shoulders": "xaxis"}
    settings = {names.get(name, name): value for name, value in row.settings.items()}
    sample = PreNormalize3D(**settings, empty="keep")(_sample(row), RNG)
    return {**_outputs(sample, row), "body_center": sample.meta.get("body_center")}


def bones(case: Any, row: Any) -> dict[str, Any]:
    made = JointToBone(row.settings["layout"], "bone", missing="zero")(_sample(row), RNG)
    return {"bone": made.extra["bone"].points}  # type: ignore[attr-defined]


def motion(case: Any, row: Any) -> dict[str, Any]:
    made = ToMotion(row.settings["layout"], missing="zero")(_sample(row), RNG)
    return {"motion": made.extra["motion"].points}  # type: ignore[attr-defined]


def features(case: Any, row: Any) -> dict[str, Any]:
    if "names" in row.settings:
        sample = Sample(extra={name: Joints(array) for name, array in row.inputs.items()})
        return _outputs(MergeSkeFeat(row.settings["names"], axis=row.settings["axis"])(sample, RNG), row)
    step = GenSkeFeat(row.settings["layout"], row.settings["features"], missing="zero")
    return _outputs(step(_sample(row), RNG), row)


def format_graph_input(case: Any, row: Any) -> dict[str, Any]:
    sample, clips = _sample(row), row.inputs["num_clips"]
    frames = sample.total_frames or 0
    if frames % clips == 0:
        sample = sample.replace(clip=Clip(np.arange(frames), frames // clips, clips))
    else:
        sample = sample.replace(clip=Clip(np.arange(clips), 1, clips))  # it is refused
    made = FormatGCNInput(row.settings["people"], row.settings["mode"])(sample, RNG)
    return {"keypoint": made.inputs["joints"]}


def pipelines(case: Any, row: Any) -> dict[str, Any]:
    sample = _sample(row).replace(label=3)
    catalog = load_plugins()
    steps = convert_pipeline(Converter(catalog, RULES), row.settings["steps"], "steps")
    sample = Pipeline({name: build_component(step, "transforms", catalog) for name, step in steps.items()})(sample, RNG)
    (inputs,) = sample.inputs.values()
    return {"inputs": inputs, "label": [sample.label]} if "label" in row.outputs else {"inputs": inputs}


OPS = {
    f"skeleton.{f.__name__}": f
    for f in (
        bones,
        compact_box,
        features,
        flip,
        format_graph_input,
        motion,
        normalize_2d,
        normalize_3d,
        pad_tracks,
        pipelines,
        resize_and_crop,
        select_frames,
        uniform_frame_sampling,
        uniform_frame_sampling_train,
        unpack_detections,
    )
}
