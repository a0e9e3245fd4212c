"""Whole models: converted by the importer, built by the binder, with strictly loaded weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vid_mmaction2.checkpoints import convert_weights
from vid_mmaction2.models import convert_model
from vidcore.batch import Batch, collate
from vidcore.config.bind import build_component
from vidcore.engine.weights import load_state
from vidcore.errors import ConfigError
from vidcore.sample import Sample


def build(case: dict[str, Any], checkpoint: dict[str, np.ndarray]) -> Any:
    """Return the model of a case with its weights, in evaluation mode."""
    try:
        table = convert_model(case["model"])
    except ConfigError as error:
        if "no installed plugin offers" in str(error):
            raise NotImplementedError(str(error)) from error
        raise
    if "vocabulary" in table:  # a file that users name
        table["vocabulary"] = str(vocabulary())
    model = build_component(table, kind="models").eval()
    load_state(model, convert_weights({key: torch.from_numpy(value) for key, value in checkpoint.items()}))
    return model


def vocabulary() -> Path:
    """Return the file of CLIP's tokens beside the references."""
    return Path(importlib.import_module("fill").__file__ or "").parents[1] / "data/text/bpe_simple_vocab_16e6.txt.gz"


def run(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Return scores, features, losses and the gradient norm of a recognizer."""
    named = inputs if isinstance(inputs, dict) else {_input(case): inputs}
    rows = [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]
    samples = [Sample(inputs=row, label=label) for row, label in zip(rows, case["labels"], strict=True)]
    batch = model.preprocess(collate(samples))
    with torch.no_grad():
        features = model.extract_features(batch.inputs)
        predictions = model.predict(model(batch.inputs), batch)
    features = features if isinstance(features, tuple) else (features,)
    return {
        "pred_scores": _scores(predictions),
        **{f"features[{i}]": feature.numpy() for i, feature in enumerate(features)},
        **losses(model, training_batches(case, model, batch)),
    }


def _input(case: dict[str, Any]) -> str:
    return "joints" if case["input"]["format"] == "NMTVC" else "imgs"


def _first_view(inputs: Any) -> Any:
    if isinstance(inputs, torch.Tensor):
        return inputs[:, :1]
    return {name: tensor[:, :1] for name, tensor in inputs.items()}


def _scores(predictions: list[Any]) -> Any:
    """Return scores of each sample; of several streams one after the other."""
    if "streams" not in predictions[0].extra:
        return np.stack([sample.scores for sample in predictions])
    return np.stack([sample.extra["streams"].values.ravel() for sample in predictions])


def training_batches(case: dict[str, Any], model: Any, batch: Batch) -> list[Batch]:
    """Return training batches: one clip, or all segments of a 2D network, per sample; then images, if any."""
    spec = case["input"]
    batches = [batch if spec["format"] == "NCHW" else batch.replace(inputs=_first_view(batch.inputs))]
    if images := spec.get("images"):
        draw = getattr(importlib.import_module("fill"), images["kind"])
        arrays = [draw(tuple(images["shape"]), seed) for seed in images["seeds"]]
        samples = [
            Sample(inputs={"imgs": array}, label=label) for array, label in zip(arrays, images["labels"], strict=True)
        ]
        batches.append(model.preprocess(collate(samples)))
    return batches


def losses(model: Any, batches: list[Batch]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for i, batch in enumerate(batches):
        found = model.loss(model(batch.inputs), batch)
        sum(value for key, value in found.items() if "loss" in key).backward()
        ending = f"_{i}" if len(batches) > 1 else ""
        out |= {f"loss.{key}{ending}": value.item() for key, value in found.items()}
    # float32 sums over millions of elements have errors of 1e-4
    norms = [p.grad.double().norm() for p in model.parameters() if p.grad is not None]
    return out | {"loss.grad_norm": torch.stack(norms).norm().item()}
