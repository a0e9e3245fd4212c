"""Preprocessing and blending of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vid_recognition.models.blending import cutmix, mixup, soft_labels
from vid_recognition.models.preprocessor import ActionDataPreprocessor, MultiModalDataPreprocessor
from vidcore.batch import collate
from vidcore.sample import Sample
from vidcore.transforms.formatting import Pad


def model_preprocessing(case: Any, row: Any) -> dict[str, Any]:
    inputs = [row.inputs[k] for k in sorted(row.inputs) if k.startswith("sample_")]
    if "heatmap" in row.inputs:  # the same heatmap for each sample; frames with the default mean and std
        inputs = [{"imgs": x, "heatmaps": row.inputs["heatmap"]} for x in inputs]
        frames = ActionDataPreprocessor(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
        both = MultiModalDataPreprocessor({"imgs": frames, "heatmaps": ActionDataPreprocessor()})
        return {k: v.numpy() for k, v in both(collate([Sample(inputs=x) for x in inputs])).inputs.items()}
    preprocessor = ActionDataPreprocessor(**row.settings)
    pad, rng = Pad((-2, -1)), np.random.default_rng(0)  # heights and widths may differ
    out = preprocessor(collate([pad(Sample(inputs={"imgs": x}), rng) for x in inputs])).inputs
    return {"batch": out.numpy(), "dtype": str(out.dtype)}


def batch_blending(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    batch = torch.from_numpy(row.inputs["batch"])
    labels = soft_labels(torch.as_tensor(row.inputs["labels"]), given["num_classes"])
    permutation = torch.tensor(given["permutation"])
    if "centre" in given:
        out = cutmix(batch, labels, given["coefficient"], permutation, tuple(given["centre"]))
    else:
        out = mixup(batch, labels, given["coefficient"], permutation)
    return {"batch": out[0].numpy(), "labels": out[1].numpy()}


OPS = {"video.model_preprocessing": model_preprocessing, "video.batch_blending": batch_blending}
