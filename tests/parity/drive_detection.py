"""Parts of detectors: pooling of boxes, matching, heads, feature banks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vid_detection.boxes import class_boxes, published_fractions, suppress_boxes
from vid_detection.models.acrn import ACRNHead
from vid_detection.models.assigning import MaxIoUAssignerAVA, RandomSampler, box_targets
from vid_detection.models.bbox_head import BBoxHeadAVA, recall_precision
from vid_detection.models.feature_bank import FBO, LFB, FBOHead
from vid_detection.models.roi_align import roi_align
from vid_detection.models.roi_extractor import SingleRoIExtractor3D


def read_bank() -> Any:
    return sys.modules["vidcore_parity_adapter"].driver("drive_models_detection").read_bank(thinned=True)


def boxes_by_clip(rois: Any, clips: int) -> tuple[torch.Tensor, tuple[Any, Any]]:
    """Return boxes (clips, n, 4) of rows with the clip first, and the place of each row in them."""
    owners = rois[:, 0].astype(np.int64)
    places = np.array([np.sum(owners[:i] == owner) for i, owner in enumerate(owners)], np.int64)
    boxes = torch.zeros(clips, int(places.max(initial=-1)) + 1, 4)
    boxes[owners, places] = torch.from_numpy(rois[:, 1:])
    return boxes, (owners, places)


def align(case: Any, row: Any) -> dict[str, Any]:
    given, features = row.settings, torch.from_numpy(row.inputs["feat"]).requires_grad_()
    boxes, at = boxes_by_clip(row.inputs["rois"], len(features))
    settings = {name: value for name, value in given.items() if name != "output_size"}
    y = roi_align(features, boxes, tuple(given["output_size"]), **settings)[at]
    out = {"y": y.detach().numpy()}
    if "grad_y" in row.inputs:
        y.backward(torch.from_numpy(row.inputs["grad_y"]))
        out["grad_feat"] = features.grad.numpy()
    return out


def extract(case: Any, row: Any) -> dict[str, Any]:
    paths = [torch.from_numpy(row.inputs[name]) for name in ("feat_0", "feat_1") if name in row.inputs]
    boxes, at = boxes_by_clip(row.inputs["rois"], len(paths[0]))
    size = row.settings["output_size"]
    settings = {**row.settings, "output_size": tuple(size) if isinstance(size, list) else size}
    pooled, whole = SingleRoIExtractor3D(**settings)(paths, boxes)
    return {"roi_feats": pooled[at].numpy(), "feat": whole.numpy()}


def suppress(case: Any, row: Any) -> dict[str, Any]:
    boxes, scores = row.inputs["boxes"], row.inputs["scores"]
    settings = {name: value for name, value in row.settings.items() if name != "offset"}
    kept = suppress_boxes(boxes, scores, pixels=row.settings.get("offset") == 1, **settings)
    return {"indices": kept, "boxes_and_scores": np.column_stack((boxes[kept], scores[kept])), "number_kept": len(kept)}


def figures(case: Any, row: Any) -> dict[str, Any]:
    topk = row.settings["topk"]
    topk = [topk] if isinstance(topk, int) else topk or []
    logits, targets = torch.from_numpy(row.inputs["logits"]), torch.from_numpy(row.inputs["targets"]) > 0
    recall, precision = recall_precision(logits, targets, topk, row.settings["multilabel"], row.settings["thr"])
    values = {"recall": [v.numpy() for v in recall], "prec": [v.numpy() for v in precision]}
    return {
        name: value
        for key, (first, *rest) in values.items()
        for name, value in ((f"{key}_thr", first), (f"{key}_topk", np.array(rest)))
    }


def assign(case: Any, row: Any) -> dict[str, Any]:
    limits = dict(row.settings)
    if isinstance(limits["neg_iou_thr"], list):
        limits["neg_iou_thr"] = tuple(limits["neg_iou_thr"])
    boxes, truth, labels = (row.inputs[name] for name in ("boxes", "true_boxes", "true_labels"))
    found = MaxIoUAssignerAVA(**limits).assign(boxes, truth, labels)
    chosen = RandomSampler(num=1000).sample(found, boxes, truth, labels, np.random.default_rng(0))
    return {
        "assigned": found.truth,
        "overlaps": found.overlaps,
        "labels": found.labels,
        "positives": chosen.positives,
        "negatives": chosen.negatives,
        "true_box_of_positive": chosen.truth,
    }


def targets(case: Any, row: Any) -> dict[str, Any]:
    labels = [row.inputs["labels_0"], row.inputs["labels_1"]]
    negatives = [number for _, number in row.settings["positives_and_negatives"]]
    found, weights = box_targets(labels, negatives, row.settings["pos_weight"])
    return {"labels": found, "weights": weights}


def results(case: Any, row: Any) -> dict[str, Any]:
    found = class_boxes(row.inputs["boxes"], row.inputs["scores"], row.settings["threshold"])
    return {f"class_{number}": rows for number, rows in enumerate(found, 1)}


def action_head(case: Any, row: Any) -> dict[str, Any]:
    background = int(row.settings["background_class"])
    head = BBoxHeadAVA(**{**row.settings, "num_classes": row.settings["num_classes"] - background}).eval()
    load(head, row.inputs["checkpoint"])
    scores = head(torch.from_numpy(row.inputs["x"]))
    labels = torch.from_numpy(row.inputs["labels_of_positives"])[:, background:]
    rows = torch.cat((labels, labels.new_zeros(len(scores) - len(labels), labels.shape[1])))
    found = head.loss(scores, rows)
    found["loss_action_cls"].backward()
    gradients = {f"grad.{name}": p.grad.numpy() for name, p in head.named_parameters() if name.endswith("bias")}
    values = {name: value.detach().numpy() for name, value in found.items()}
    return {"cls_score": scores.detach().numpy(), **values, **gradients}


def decode(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    crop = {"crop_quadruple": tuple(given["crop_quadruple"])} if "crop_quadruple" in given else {}
    boxes = published_fractions(row.inputs["rois"][:, 1:], tuple(given["img_shape"]), given.get("flip", False), **crop)
    head = BBoxHeadAVA(1, row.inputs["cls_score"].shape[1] - 1, multilabel=given["multilabel"])
    return {"boxes": boxes, "scores": head.probabilities(torch.from_numpy(row.inputs["cls_score"])).numpy()}


def context(case: Any, row: Any) -> dict[str, Any]:
    head = ACRNHead(**row.settings).eval()
    load(head, row.inputs["checkpoint"])
    with torch.no_grad():
        y = head(*(torch.from_numpy(row.inputs[name]) for name in ("x", "feat", "batch_index")))
    return {"y": y.numpy()}


def feature_bank(case: Any, row: Any) -> dict[str, Any]:
    given = dict(row.settings)
    keys = [(name, int(second)) for name, second in (key.split(",") for key in given.pop("img_key"))]
    fbo = {
        name: v
        for name, v in given.pop("operator").items()
        if name not in ("lt_feat_channels", "num_st_feat", "num_lt_feat")
    }
    head = FBOHead(LFB(**given), FBO(operator=fbo.pop("type"), **fbo)).eval()
    load(head, row.inputs["checkpoint"])
    bank, rng = read_bank(), np.random.default_rng(0)
    rows = torch.from_numpy(np.stack([head.lfb.window(bank, *key, rng) for key in keys]))
    x, owners = (torch.from_numpy(row.inputs[name]) for name in ("x", "batch_index"))
    with torch.no_grad():
        return {"y": head(x, x, owners, rows).numpy()}


def load(module: torch.nn.Module, checkpoint: dict[str, Any]) -> None:
    weights = {key: torch.from_numpy(value) for key, value in checkpoint.items()}
    missing = module.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)


OPS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "detection.action_head": action_head,
    "detection.assignment": assign,
    "detection.box_decoding": decode,
    "detection.box_targets": targets,
    "detection.boxes_to_results": results,
    "detection.context_head": context,
    "detection.feature_bank": feature_bank,
    "detection.non_maximum_suppression": suppress,
    "detection.recall_precision": figures,
    "detection.roi_align": align,
    "detection.roi_extractor": extract,
}
