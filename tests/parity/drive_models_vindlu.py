"""VindLU's models: inputs and outputs with the names of the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vidcore.batch import Batch, collate
from vidcore.sample import Sample


def padded(lists: list[list[int]], length: int, end: int | None = None) -> Any:
    ids = np.zeros((len(lists), length), np.int64)
    for row, listed in zip(ids, lists, strict=True):
        kept = listed if len(listed) <= length or end is None else [*listed[: length - 1], end]
        row[: min(len(kept), length)] = kept[:length]
    return ids


def batch_of(model: Any, samples: list[Sample]) -> Batch:
    step = model.sample_step()
    return model.preprocess(collate([step(sample, np.random.default_rng(0)) for sample in samples]))


def retrieval(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    length, given = case["model"]["max_txt_len"], case["input"]["token_ids"]
    pair, candidates = padded(given["pair"], length), padded(given["candidates"], length)
    batch = batch_of(model, [Sample(inputs={"imgs": x, "text": t[None]}) for x, t in zip(inputs, pair, strict=True)])
    outputs = model(batch.inputs)
    with torch.no_grad():
        frames = batch.inputs["imgs"]
        texts = torch.from_numpy(candidates)
        found = model.embed(frames, texts.expand(len(frames), -1, -1))
        similarity = torch.stack(
            [s @ f.mean(0) for s, f in zip(found.text_features, found.frame_features, strict=True)]
        )
        videos = [v[None].expand(len(texts), -1, -1) for v in found.video_tokens]
        matches = torch.stack([model.match(s, texts, v)[:, 1] for s, v in zip(found.text_states, videos, strict=True)])
    return {
        "image_feat": outputs.frame_features.detach().numpy(),
        "text_feat": outputs.text_features[:, 0].detach().numpy(),
        "image_embeds": outputs.video_tokens.detach().numpy(),
        "text_embeds": outputs.text_states[:, 0].detach().numpy(),
        "similarity_i2t": similarity.numpy(),
        "match_score_i2t": matches.numpy(),
        "pred_label_i2t": matches.argmax(1).numpy(),
        "candidate_text_feat": found.text_features[0].numpy(),
        **losses(model, outputs, batch),
    }


def questions(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    table, given = case["model"], case["input"]
    asked = padded(given["question_ids"], table["max_question_len"])
    answers = padded(given["answer_ids"], table["max_answer_len"], end=102)
    samples = [
        Sample(inputs={"imgs": x, "text": q[None], "answers": answers[a], "answer_weights": np.float32(w)})
        for x, q, a, w in zip(inputs, asked, given["gt_answer"], given["gt_answer_weight"], strict=True)
    ]
    batch = batch_of(model, samples)
    outputs = model(batch.inputs)
    model.answer_ids = torch.from_numpy(answers)
    with torch.no_grad():
        probability, numbers = model.rate(outputs)
        first = model.first_logits(outputs)
    return {
        "question_states": outputs.states.detach().numpy(),
        "first_token_logits": first.numpy(),
        "topk_ids": numbers.numpy(),
        "topk_probs": probability.numpy(),
        "pred_answer": numbers[:, 0].numpy(),
        **losses(model, outputs, batch),
    }


def choices(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    lists = [padded(options, case["model"]["max_txt_len"]) for options in case["input"]["option_ids"]]
    batch = batch_of(model, [Sample(inputs={"imgs": x, "text": ids}) for x, ids in zip(inputs, lists, strict=True)])
    with torch.no_grad():
        scores = np.stack([sample.scores for sample in model.predict(model(batch.inputs), batch)])
    return {"score": scores, "pred_label": scores.argmax(1)}


def losses(model: Any, outputs: Any, batch: Batch) -> dict[str, Any]:
    found = model.loss(outputs, batch)
    sum(value for key, value in found.items() if "loss" in key).backward()
    norms = [p.grad.double().norm() for p in model.parameters() if p.grad is not None]
    named = {f"loss.{key}": value.item() for key, value in found.items()}
    return named | {"loss.grad_norm": torch.stack(norms).norm().item()}


KINDS: dict[str, Callable[[Any, dict[str, Any], Any], dict[str, Any]]] = {
    "VindLURetrieval": retrieval,
    "VindLURetrievalMC": choices,
    "VindLUVQA": questions,
}


def run(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Return the outputs of a model in evaluation mode."""
    return KINDS[case["model"]["type"]](model, case, inputs)
