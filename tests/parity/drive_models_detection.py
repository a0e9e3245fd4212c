"""Whole detectors: inputs and outputs with the names of the reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vid_detection.banks import FeatureBank, bank_key
from vidcore.batch import Batch, collate
from vidcore.geometry import Geometry
from vidcore.records import Boxes
from vidcore.sample import Sample

DATA = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


def run(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Return the outputs of a detector in evaluation mode."""
    samples = [sample_of(case, *pair) for pair in zip(case["input"]["samples"], inputs, strict=True)]
    if model.roi_head.shared_head is not None and hasattr(model.roi_head.shared_head, "lfb"):
        bank = read_bank(case["input"]["feature_bank"]["rows"].startswith("second t keeps"))
        options = model.roi_head.shared_head.lfb
        samples = [s.with_inputs(bank=options.window(bank, *bank_key(s), np.random.default_rng(0))) for s in samples]
    out: dict[str, Any] = {}
    with torch.no_grad():
        for i, sample in enumerate(samples):
            batch = collated(model, [sample])
            logits = model(batch.inputs)
            (found,) = model.predict(logits, batch)
            out |= {f"predict[{i}].bboxes": found.boxes.xyxy, f"predict[{i}].cls_score": logits[0].numpy()}
            out[f"predict[{i}].scores"] = model.roi_head.bbox_head.probabilities(logits[0]).numpy()
            if i == 0:
                out |= features(model, batch.inputs)
    batch = model.with_training_boxes(collated(model, samples))
    logits = model(batch.inputs)
    labels = batch.targets["labels"]
    out["train_cls_score"] = logits[labels.owners, labels.places].detach().numpy()
    found = model.loss(logits, batch)
    found["loss_action_cls"].backward()
    norms = [p.grad.double().norm() for p in model.parameters() if p.grad is not None]
    return (
        out | {f"loss.{k}": v.item() for k, v in found.items()} | {"loss.grad_norm": torch.stack(norms).norm().item()}
    )


def sample_of(case: dict[str, Any], record: dict[str, Any], clip: Any) -> Sample:
    labels = np.zeros((len(record["gt_bboxes"]), case["input"]["num_classes"]), np.float32)
    for row, classes in zip(labels, record["gt_label_ids"], strict=True):
        row[classes] = 1
    labels = labels[:, int(case["model"]["roi_head"]["bbox_head"]["background_class"]) :]
    return Sample(
        key=record["img_key"],
        geometry=Geometry.whole(tuple(record["img_shape"])),
        boxes=Boxes(np.array(record["gt_bboxes"], np.float32), labels),
        proposals=Boxes(np.array(record["proposals"], np.float32)),
        inputs={"imgs": clip},
    )


def collated(model: Any, samples: list[Sample]) -> Batch:
    """Apply the sample step of the model and collate, as a loader does."""
    step = model.sample_step()
    return model.preprocess(collate([step(sample, np.random.default_rng(0)) for sample in samples]))


def features(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.backbone(inputs["imgs"])
    boxes, head = inputs["boxes"], model.roi_head
    pooled, whole = head.bbox_roi_extractor(maps, boxes)
    several = {f"features.backbone[{i}]": m.numpy() for i, m in enumerate(maps)} if isinstance(maps, tuple) else {}
    return {
        **(several or {"features.backbone": maps.numpy()}),
        "features.roi_extractor[0]": pooled[0].numpy(),
        "features.roi_extractor[1]": whole.numpy(),
        "features.bbox_head.input": head.box_features(maps, boxes, None, inputs.get("bank")).numpy(),
    }


def read_bank(thinned: bool) -> FeatureBank:
    """Read the bank of the references, ``video/second``: all rows, or the first second % 6."""
    with np.load(DATA / "lfb_unittest.npz") as file:
        rows = {(name, int(second)): file[f"{name}/{second}"] for name, second in (k.rsplit("/", 1) for k in file)}
    if thinned:
        rows = {(name, second): array[: second % 6] for (name, second), array in rows.items() if second % 6}
    return FeatureBank.of(rows)
