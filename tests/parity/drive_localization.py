"""Proposals, their suppression and features; ``drive_localization_models`` has the networks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.models.spans import covered_seconds, target_segments
from vid_localization.overlaps import iou_and_coverage
from vid_localization.post import suppression
from vid_localization.prepare.proposals import PROPOSAL_COLUMNS, GenerateProposals
from vid_localization.transforms.loading import LoadLocalizationFeature, LoadProposals, ProposalFile
from vidcore.batch import collate
from vidcore.features.files import read_table
from vidcore.files import write_json
from vidcore.records import Segments
from vidcore.sample import Sample

RNG = np.random.default_rng(0)


def temporal_overlaps(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    many, one = np.stack((given["starts"], given["ends"]), 1), np.array([given["start"], given["end"]])
    iou, share = iou_and_coverage(many, one) if next(iter(given)) == "starts" else iou_and_coverage(one, many)
    return {"iou": iou, "over_own_length": share}


def _suppression_arguments(settings: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in ("alpha", "low_threshold", "high_threshold", "top_k"))


def soft_nms(case: Any, row: Any) -> dict[str, Any]:
    return {"proposals": suppression.soft_nms(row.inputs["proposals"], *_suppression_arguments(row.settings))}


def post_processing(case: Any, row: Any) -> dict[str, Any]:
    video = row.inputs["video"]
    sample = Sample(total_frames=video["duration_frame"], duration=video["duration_second"])
    seconds = covered_seconds(sample, row.settings["interval"])
    rows = suppression.post_processing(row.inputs["proposals"], *_suppression_arguments(row.settings))
    return {"proposals": [{"score": s, "segment": [a * seconds, b * seconds]} for a, b, s in rows.tolist()]}


def _sample(video: dict[str, Any]) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder, "a.json"), {video.get("video_name", "v"): video})
        return ActivityNetDataset(Path(folder, "a.json"), bad_segments="keep")[0]


def candidate_proposals(case: Any, row: Any) -> dict[str, Any]:
    _, rows = read_table(case.path(row.inputs["boundary_file"]))
    assert len(rows) == row.settings["temporal_scale"]
    step = GenerateProposals(Path(), peak_threshold=row.settings["peak_threshold"])
    return {"proposals": step.proposals(rows, _sample(row.inputs["video"]))}


def proposal_features(case: Any, row: Any) -> dict[str, Any]:
    _, boundaries = read_table(case.path(row.inputs["boundary_file"]))
    names, proposals = read_table(case.path(row.inputs["proposal_file"]))
    assert names == list(PROPOSAL_COLUMNS)
    settings = {n: v for n, v in row.settings.items() if n.startswith("num_")}
    settings |= {name: row.settings[name] for name in ("top_k", "bsp_boundary_ratio")}
    return {"features": GenerateProposals(Path(), **settings).features(boundaries, proposals)}


def feature_files(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    if "feature_file" in given:
        sample = LoadLocalizationFeature()(Sample(path=str(case.path(given["feature_file"]))), RNG)
        return {"x": sample.inputs["features"].array}
    if "duration_second" in given:
        return {"segments": target_segments(_sample(given))}
    if "proposal_file" in given:
        return _loaded_proposals(case, row)
    sample = Sample(inputs={"features": given["raw_feature"]}, fps=given["fps"], key=given["video_name"])
    batch = collate([sample.replace(segments=Segments(given["gt_bbox"]))])
    (collated,) = batch.samples
    return {
        "inputs": batch.inputs[0].numpy(),
        "gt_bbox": collated.segments.spans,
        "meta": {"fps": collated.fps, "video_name": collated.key},
    }


def _loaded_proposals(case: Any, row: Any) -> dict[str, Any]:
    file, top_k = case.path(row.inputs["proposal_file"]), row.settings["top_k"]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, f"{file.stem}.npy"), row.inputs["features"])
        step = LoadProposals(top_k, file.parent, Path(folder))
        loaded = step(Sample(path=file.name, duration=1.0), RNG)
    table = ProposalFile.read(file, top_k)
    return {
        "bsp_feature": loaded.inputs["features"].array,
        "tmin": table.tmin,
        "tmax": table.tmax,
        "tmin_score": table.tmin_score,
        "tmax_score": table.tmax_score,
        "reference_temporal_iou": loaded.targets["overlaps"].array,
    }


OPS = {
    f"localization.{f.__name__}": f
    for f in (
        candidate_proposals,
        feature_files,
        post_processing,
        proposal_features,
        soft_nms,
        temporal_overlaps,
    )
}
