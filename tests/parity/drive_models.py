"""Whole models: published tables through the importer and the binder, checkpoints through strict loading."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vidcore.batch import collate
from vidcore.sample import Sample


def build(table: dict[str, Any]) -> Any:
    """Build a published model table as ``vidcore import`` and ``vidcore run`` would."""
    import importlib

    from vid_recognition.plugin import vidcore_models

    names = vidcore_models()
    DROP = {
        "pretrained",
        "pretrained2d",
        "conv_cfg",
        "norm_cfg",
        "act_cfg",
        "init_cfg",
        "consensus",
        "train_cfg",
        "test_cfg",
        "is_shift",
        "lateral",
        "channel_ratio",
        "torchvision_pretrain",
    }

    def make(t: Any, keep=()) -> Any:
        if isinstance(t, dict) and "type" in t:
            if t["type"] not in names:
                raise NotImplementedError(t["type"])
            m, a = names[t["type"]].split(":")
            cls = getattr(importlib.import_module(m), a)
            kw = {}
            for k, v in t.items():
                if (
                    k == "type"
                    or (k in DROP and not (k == "is_shift" and "TSM" in t["type"] and "Head" not in t["type"]))
                    or v is None
                ):
                    continue
                if k == "non_local_cfg":
                    from vid_recognition.models.non_local import NonLocal

                    v = {**v}
                    v["norm"] = v.pop("norm_cfg", None) is not None
                    kw[k] = NonLocal(**v)
                elif k in ("slow_pathway", "fast_pathway"):
                    from vid_recognition.models.slowfast import FastPathway, SlowPathway

                    C = SlowPathway if k[0] == "s" else FastPathway
                    kw[k] = C(
                        **{
                            a: b
                            for a, b in v.items()
                            if a not in ("type", "pretrained") and not (a == "lateral" and C is FastPathway)
                        }
                    )
                else:
                    kw[k] = make(v)
            return cls(**kw)
        return t

    return make(table)


def run_model(case: dict[str, Any], checkpoint: dict[str, np.ndarray], inputs: Any) -> dict[str, Any]:
    model = build(case["model"]).eval()
    tensors = {k: torch.from_numpy(v) for k, v in checkpoint.items()}
    missing, extra = model.load_state_dict(tensors, strict=False)
    missing = [m for m in missing if "num_batches" not in m]
    assert not missing and not extra, (missing[:5], extra[:5])
    batch = model.preprocess(collate([Sample(inputs=x, label=y) for x, y in zip(inputs, case["labels"], strict=True)]))
    outputs: dict[str, Any] = {}
    with torch.no_grad():
        features = model.extract_features(batch.inputs)
        scores = model(batch.inputs)
    for i, feature in enumerate(features if isinstance(features, tuple) else (features,)):
        outputs[f"features[{i}]"] = feature.numpy()
    outputs["pred_scores"] = np.stack([s.scores for s in model.predict(scores, batch)])
    first = batch if case["input"]["format"] == "NCHW" else batch.replace(inputs=batch.inputs[:, :1])
    losses = model.loss(model(first.inputs), first)
    sum(v for k, v in losses.items() if "loss" in k).backward()
    grads = [p.grad.double().norm() for p in model.parameters() if p.grad is not None]
    outputs |= {f"loss.{k}": v.item() for k, v in losses.items()}
    outputs["loss.grad_norm"] = torch.stack(grads).norm().item()
    return {"num_params": sum(p.numel() for p in model.parameters()), "outputs": outputs}
