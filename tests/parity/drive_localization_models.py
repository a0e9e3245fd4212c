"""Operators of the proposal networks, with the models and functions of training and prediction."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from vid_localization.models import boundary_matching
from vid_localization.models.bmn import BMN, boundary_proposals
from vid_localization.models.boundary_matching import (
    BoundaryMatching,
    position_zones,
    proposal_cells,
    sample_mask,
    valid_proposals,
)
from vid_localization.models.bsn import PEM, TEM, temporal_labels
from vid_localization.models.losses import BinaryLogisticRegressionLoss, BMNLoss
from vid_localization.models.refinement import (
    centre_width_offsets,
    move_boundaries,
    move_centre_width,
    paired_iou,
    sample_regions,
    start_end_offsets,
)
from vid_localization.models.spans import covered_seconds, with_predictions
from vid_localization.models.ssn_loss import SSNLoss, hard_hinge_loss
from vid_localization.models.tcanet import window_mask
from vid_localization.post.suppression import post_processing
from vidcore.batch import Batch, collate
from vidcore.engine.weights import load_state
from vidcore.records import Segments
from vidcore.sample import Sample


def tensors(row: Any, *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(row.inputs[name]) for name in names]


def mask(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    size = (s["T"], s["samples"], s["points_per_sample"], s["extension"])
    if "x" in row.inputs:  # channels and samples are independent: one kernel for each pair
        (x,) = tensors(row, "x")
        channels, samples = x.shape[1], s["samples"]
        kernel = torch.eye(channels * samples).view(channels * samples, channels, samples)
        y = BoundaryMatching(*size)(x, kernel)
        return {"y": y.unflatten(1, (channels, samples)).numpy()}
    found = sample_mask(*size)
    wide = found.astype(np.float64)
    out: dict[str, Any] = {"mask": found}
    for name, axes in (("duration", (0, 1, 3)), ("start", (0, 1, 2)), ("position", (1, 2, 3)), ("sample", (0, 2, 3))):
        out[f"sum_by_{name}"] = wide.sum(axes)
    out |= {"sum": float(wide.sum()), "nonzero": int((found != 0).sum()), "max": float(found.max())}
    cells = row.inputs.get("duration_start", [])
    out["slices"] = np.stack([found[:, :, d, t] for d, t in cells]) if cells else None
    return {name: out[name] for name in row.outputs if name in out}


def matching_labels(case: Any, row: Any) -> dict[str, Any]:
    length = row.settings["T"]
    if not row.inputs:
        starts, ends = position_zones(length).T
        return {
            "valid": valid_proposals(length).numpy(),
            "segments": proposal_cells(length).reshape(-1, 2),
            "anchor_starts": starts,
            "anchor_ends": ends,
        }
    found = [boundary_matching.matching_labels(segments, length) for segments in segments_of(row)]
    return stacked(("overlap_map", "start", "end"), found)


def stacked(names: tuple[str, ...], found: list[tuple[np.ndarray, ...]]) -> dict[str, Any]:
    """Stack the labels of each sample to arrays by name."""
    return {name: np.stack(arrays) for name, arrays in zip(names, zip(*found, strict=True), strict=True)}


def segments_of(row: Any) -> list[np.ndarray]:
    return [v for k, v in sorted(row.inputs.items()) if k.startswith("segments_")]


def matching_predictions(case: Any, row: Any) -> dict[str, Any]:
    s, video = row.settings, row.inputs["video"]
    rows = boundary_proposals(row.inputs["maps"][0], row.inputs["start"][0], row.inputs["end"][0])
    kept = post_processing(rows, s["alpha"], s["low_threshold"], s["high_threshold"], s["top_k"])
    sample = Sample(total_frames=video["duration_frame"], duration=video["duration_second"])
    return {"proposals": listed(with_predictions(sample, kept, covered_seconds(sample, s["interval"])))}


def listed(found: Sample) -> list[dict[str, Any]]:
    rows = zip(found.segments.scores.tolist(), found.segments.spans.tolist(), strict=True)
    return [{"score": score, "segment": segment} for score, segment in rows]


def network(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    shapes = {k: v.shape for k, v in row.inputs["weights"].items()}
    model = BMN(
        temporal_dim=s["T"],
        boundary_ratio=s["extension"],
        num_samples=s["samples"],
        num_samples_per_bin=s["points_per_sample"],
        feat_dim=s["feature_channels"],
        soft_nms_alpha=0.4,
        soft_nms_low_threshold=0.5,
        soft_nms_high_threshold=0.9,
        post_process_top_k=100,
        hidden_dim_1d=shapes["x_1d_b.0.weight"][0],
        hidden_dim_2d=shapes["x_2d_p.0.weight"][0],
        hidden_dim_3d=shapes["x_3d_p.0.weight"][0],
    ).eval()
    load_state(model, row.inputs["weights"])
    with torch.no_grad():
        maps, start, end = model(torch.from_numpy(row.inputs["x"]))
    return {"maps": maps.numpy(), "start": start.numpy(), "end": end.numpy()}


def matching_loss(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    loss = BMNLoss(
        weight_outside_bands=s.get("weight_outside_the_bands", "maps" in row.inputs)
    )  # the sum, as published
    if "maps" in row.inputs:
        names = ("maps", "pred_start", "pred_end", "overlap", "true_start", "true_end", "valid")
        found = loss(*tensors(row, *names))
        parts = {"boundary": "tem", "regression": "pem_reg", "classification": "pem_cls"}
        return {"loss": found["loss"].item()} | {name: found[key].item() for name, key in parts.items()}
    if "pred_start" in row.inputs:
        return {"loss": loss.boundary_loss(*tensors(row, "pred_start", "pred_end", "true_start", "true_end")).item()}
    inputs = tensors(row, "pred", "overlap", "valid")
    if "threshold" in s:
        return {"loss": loss.classification_loss(*inputs, s["threshold"]).item()}
    return {"loss": loss.regression_loss(*inputs).item()}


def matching_loss_draws(case: Any, row: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    inputs = tensors(row, "pred", "overlap", "valid")
    found = [BMNLoss().regression_loss(*inputs).item() for _ in range(row.settings["draws"])]
    return {"mean_of_draws": float(np.mean(found)), "std_of_draws": float(np.std(found))}


def boundary_network(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    first, second, third = s["output_scale_of_layers"]
    model = TEM(
        temporal_dim=s["T"],
        boundary_ratio=s["boundary_ratio"],
        tem_feat_dim=s["feature_channels"],
        tem_hidden_dim=s["hidden"],
        tem_match_threshold=s["match_threshold"],
        loss_weight=s["action_loss_weight"],
        conv1_ratio=first,
        conv2_ratio=second,
        conv3_ratio=third,
    ).eval()
    segments = segments_of(row)
    if "x" not in row.inputs:
        found = [temporal_labels(rows, s["T"], s["boundary_ratio"]) for rows in segments]
        return stacked(("action", "start", "end"), found)
    load_state(model, row.inputs["weights"])
    x = torch.from_numpy(row.inputs["x"])
    step = model.sample_step()
    samples = [Sample(inputs={"features": features}, duration=1.0) for features in row.inputs["x"]]
    if segments:
        samples = [s.replace(segments=Segments(rows)) for s, rows in zip(samples, segments, strict=True)]
    batch = collate([step(sample, np.random.default_rng(0)) for sample in samples])
    with torch.no_grad():
        y = model(x)
    if segments:
        return {name: value.item() for name, value in model.loss(y, batch).items()}
    tables = {f"v_{i}": sample.extra["boundaries"].table for i, sample in enumerate(model.predict(y, batch))}
    return {name: value for name, value in {"y": y.numpy(), **tables}.items() if name in row.outputs}


def evaluation_network(case: Any, row: Any) -> dict[str, Any]:
    s, inputs = row.settings, row.inputs
    model = PEM(
        pem_feat_dim=s["feature_length"],
        pem_hidden_dim=s["hidden"],
        pem_u_ratio_m=1,
        pem_u_ratio_l=2,
        pem_high_temporal_iou_threshold=0.6,
        pem_low_temporal_iou_threshold=0.2,
        soft_nms_alpha=s["alpha"],
        soft_nms_low_threshold=s["low_threshold"],
        soft_nms_high_threshold=s["high_threshold"],
        post_process_top_k=s["top_k"],
        fc1_ratio=s["scale_of_layers"][0],
        fc2_ratio=s["scale_of_layers"][1],
        feature_extraction_interval=s["interval"],
        subsampling="none",
    ).eval()
    load_state(model, inputs["weights"])
    features = torch.from_numpy(inputs["features"])[None]
    with torch.no_grad():
        y = model(features)
    if "overlap" in inputs:
        return {"loss": model.overlap_loss(y[0], torch.from_numpy(inputs["overlap"])).item()}
    if "video" not in inputs:
        return {"y": y[0, :, None].numpy()}
    video = inputs["video"]
    sample = Sample(total_frames=video["duration_frame"], duration=video["duration_second"])
    listed_ones = Segments(
        np.stack((inputs["start"], inputs["end"]), 1) * covered_seconds(sample, s["interval"]),
        scores=inputs["start_score"] * inputs["end_score"],
    )
    (found,) = model.predict(y, Batch(inputs=features, samples=(sample.replace(proposals=listed_ones),)))
    return {"proposals": listed(found)}


def logistic_loss(case: Any, row: Any) -> dict[str, Any]:
    probability, label = tensors(row, "prob", "label")
    probability.requires_grad_()
    loss = BinaryLogisticRegressionLoss()(probability, label, row.settings["threshold"])
    loss.backward()
    return {"loss": loss.item(), "grad": probability.grad.numpy()}


def refinement(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    if "heads" in s:
        return {"mask": window_mask(s["heads"], s["T"], s["window"])[None].numpy()}
    if "features" in row.inputs:
        segments, features = tensors(row, "segments", "features")
        sizes = (s["extension"], s["boundary_samples"], s["inside_samples"])
        found = sample_regions(features, segments[:, None], *sizes)
        return {name: y[:, :, 0].numpy() for name, y in zip(("start", "inside", "end"), found, strict=True)}
    segments, wanted, offsets = tensors(row, "segments", "truth", "offsets")
    found = {
        "overlap": paired_iou(segments, wanted),
        "encode_centre_width": centre_width_offsets(segments, wanted),
        "encode_start_end": start_end_offsets(segments, wanted),
    }
    moves = {"decode_centre_width": move_centre_width, "decode_start_end": move_boundaries}
    for name in row.outputs:  # names end with those of weights
        kind, *weights = re.split(r"_(?=[\d.])", name)
        if kind in moves:
            found[name] = moves[kind](segments, offsets, *map(float, weights))
    return {name: y.numpy() for name, y in found.items()}


def structured_loss(case: Any, row: Any) -> dict[str, Any]:
    s = row.settings
    if "scores" in row.inputs:
        scores, labels = tensors(row, "scores", "labels")
        scores.requires_grad_()
        loss = hard_hinge_loss(scores, labels, s.get("sign", 1), s.get("keep_ratio", 1.0), s.get("group_size", 1))
        (2 * loss).backward()
        return {"loss": loss.item(), "grad": scores.grad.numpy()}
    activity, completeness, types, labels, targets = tensors(
        row, "activity", "completeness", "types", "labels", "targets"
    )
    types, labels, targets = types.flatten(), labels.flatten(), targets.flatten(0, 1)
    regression = tensors(row, "regression")[0] if "regression" in row.inputs else None
    if "positives" in s:
        model = SSNLoss(foreground=s["positives"], incomplete=s["incomplete"], keep_ratio=s["keep_ratio"])
        return {
            "activity": model.activity_loss(activity, types, labels).item(),
            "completeness": model.completeness_loss(completeness, types, labels).item(),
            "regression": model.regression_loss(regression, types, labels, targets).item(),
        }
    share = s["per_video"] // sum(s["ratios"])
    foreground, _, incomplete = (share * ratio for ratio in s["ratios"])
    model = SSNLoss(s["completeness_weight"], s["regression_weight"], foreground, incomplete)
    return {k: v.item() for k, v in model(activity, completeness, types, labels, targets, regression).items()}


OPS = {
    "localization.boundary_matching_mask": mask,
    "localization.boundary_matching_labels": matching_labels,
    "localization.boundary_matching_predictions": matching_predictions,
    "localization.boundary_matching_network": network,
    "localization.boundary_matching_loss": matching_loss,
    "localization.boundary_matching_loss_subsampling": matching_loss_draws,
    "localization.boundary_probability_network": boundary_network,
    "localization.proposal_evaluation_network": evaluation_network,
    "localization.segment_network_loss": structured_loss,
    "localization.segment_refinement": refinement,
    "localization.weighted_logistic_loss": logistic_loss,
}
