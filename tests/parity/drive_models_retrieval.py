"""Whole models of video and language: inputs and outputs with the names of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vidcore.batch import collate
from vidcore.sample import Sample


def run(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Return the outputs of a model in evaluation mode."""
    kind = case["model"]["type"]
    if kind not in KINDS:
        raise NotImplementedError(f"{kind} does not exist yet")
    return KINDS[kind](model, case["input"], inputs)


def clip_similarity(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    rows = zip(inputs, given["token_ids"], strict=True)
    samples = [Sample(inputs={"imgs": frames, "text": np.array([ids])}) for frames, ids in rows]
    batch = model.preprocess(collate(samples))
    videos, texts, _ = outputs = model(batch.inputs)
    with torch.no_grad():
        frames = model.clip.encode_images(batch.inputs["imgs"][0])
        unit = [model.clip_features(batch.inputs), model.text_features(batch.inputs["text"][:, 0])]
    return {
        "video_embedding": videos.detach().numpy(),
        "text_embedding": texts[:, 0].detach().numpy(),
        "video_feature_normalised": unit[0].numpy(),
        "text_feature_normalised": unit[1].numpy(),
        "frame_embedding_first_video": frames.numpy(),
        "similarity": (unit[0] @ unit[1].T).numpy(),
        **losses(model, outputs, batch),
    }


def action_clip(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    prompts = model.prompt_ids.unflatten(0, (given["num_prompt"], -1))
    drawn = zip(inputs, given["gt"], given["prompt_of_sample"], strict=True)
    samples = [Sample(inputs={"imgs": a, "text": prompts[p, k].numpy()}, label=k) for a, k, p in drawn]
    batch = model.preprocess(collate(samples))
    outputs = model(batch.inputs)
    joined = model.preprocess(collate([Sample(inputs={"imgs": np.concatenate(inputs)})]))
    with torch.no_grad():
        scores = np.stack([s.scores for s in model.predict(model(batch.inputs), batch)])
        (both,) = model.predict(model(joined.inputs), joined)
        texts = model.clip.encode_texts(model.prompt_ids)
    return {
        "video_embedding": outputs[0][:, 0].detach().numpy(),
        "text_embedding": texts.numpy(),
        "pred_scores": scores,
        "pred_scores_two_views_of_one_sample": both.scores,
        **losses(model, outputs, batch),
    }


def losses(model: Any, outputs: Any, batch: Any) -> dict[str, Any]:
    found = model.loss(outputs, batch)
    sum(value for key, value in found.items() if "loss" in key).backward()
    norms = [p.grad.double().norm() for p in model.parameters() if p.grad is not None]
    named = {f"loss.{key}": value.item() for key, value in found.items()}
    return named | {"loss.grad_norm": torch.stack(norms).norm().item()}


KINDS = {"CLIPSimilarity": clip_similarity, "ActionClip": action_clip}
