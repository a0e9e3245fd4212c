"""Whole localization models: inputs and outputs with the names of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from attrs import evolve

from vid_localization.models.spans import covered_seconds
from vid_localization.models.tcanet import BOUNDARY_WEIGHT
from vid_localization.records import proposal_bounds
from vid_localization.transforms.queries import FormatQuery
from vidcore.batch import Batch, collate
from vidcore.records import Segments, Text, Varying
from vidcore.sample import Sample


def run(model: Any, case: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Return the outputs of a model in evaluation mode."""
    kind = case["model"]["type"]
    if kind not in KINDS:
        raise NotImplementedError(f"{kind} does not exist yet")
    return KINDS[kind](model, case["input"], inputs)


def collated(model: Any, samples: list[Sample]) -> Batch:
    """Apply the sample step of the model and collate, as a loader does."""
    step = model.sample_step()
    return model.preprocess(collate([step(sample, np.random.default_rng(0)) for sample in samples]))


def video(record: dict[str, Any], features: Any) -> Sample:
    frames, seconds = record["duration_frame"], record["duration_second"]
    return Sample(
        inputs={"features": features},
        total_frames=frames,
        duration=seconds,
        feature_duration=record["feature_frame"] / frames * seconds,
        segments=Segments(np.array([a["segment"] for a in record["annotations"]], np.float64)),
    )


def bmn(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    samples = [video(v, a) for v, a in zip(given["videos"], inputs, strict=True)]
    batch = collated(model, samples)
    outputs = model(batch.inputs)
    found = model.loss(outputs, batch)
    out = {f"confidence_map[{i}]": m.detach().numpy() for i, m in enumerate(outputs[0])}
    out |= {"start": outputs[1].detach().numpy(), "end": outputs[2].detach().numpy()}
    out |= {f"labels.confidence[{i}]": m.numpy() for i, m in enumerate(batch.targets["overlaps"])}
    out |= {f"labels.{name}": batch.targets[name].numpy() for name in ("start", "end")}
    out |= proposals(model, outputs, batch)
    out |= {f"loss.{name}_loss": found[name].item() for name in ("tem", "pem_cls")}
    dense = np.array(given["dense_gt_bbox"])
    samples = [s.replace(segments=Segments(dense * s.feature_duration)) for s in samples]
    found = model.loss(outputs, collated(model, samples))
    found["loss"].backward()
    names = {"loss": "loss"} | {name: f"{name}_loss" for name in ("tem", "pem_reg", "pem_cls")}
    out |= {f"loss.dense_gt.{name}": found[key].item() for key, name in names.items()}
    return out | {"loss.dense_gt.grad_norm": gradient(model)}


def tem(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    batch = collated(model, [video(v, a) for v, a in zip(given["videos"], inputs, strict=True)])
    outputs = model(batch.inputs)
    out = {"scores": outputs.detach().numpy()}
    out |= {f"predict[{i}].rows": s.extra["boundaries"].table for i, s in enumerate(model.predict(outputs, batch))}
    out |= {f"labels.{name}": batch.targets[name].numpy() for name in ("action", "start", "end")}
    return out | losses(model, outputs, batch)


def pem(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    samples = []
    for record, array, rows in zip(given["videos"], inputs, given["rows"], strict=True):
        sample = video(record, Varying(array))
        sample = sample.with_targets(overlaps=Varying(np.float32(rows["reference_temporal_iou"])))
        listed = Segments(
            np.stack((rows["tmin"], rows["tmax"]), 1) * sample.feature_duration,
            scores=np.multiply(rows["tmin_score"], rows["tmax_score"]),
        )
        samples.append(sample.replace(proposals=listed))
    batch = collated(model, samples)
    outputs = model(batch.inputs)
    return {"iou": outputs.detach().numpy()} | proposals(model, outputs, batch) | losses(model, outputs, batch)


def tcanet(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    samples = []
    for record, array, rows in zip(given["videos"], inputs, given["proposals"], strict=True):
        sample, table = video(record, array), np.array(rows)
        listed = Segments(table[:, :2] * sample.feature_duration, scores=table[:, 2])
        samples.append(sample.replace(proposals=listed))
    batch = collated(model, samples)
    encoded = model.encode(batch.inputs["features"])
    out = {"encoder": encoded.detach().numpy()}
    for i, sample in enumerate(samples):
        for k, (*_, overlap, after) in enumerate(model(collated(model, [sample]).inputs)):
            out |= {f"predict[{i}].stages[{k}].segments": after[0].detach().numpy()}
            out |= {f"predict[{i}].stages[{k}].iou": overlap[0].detach().numpy()}
    stages = model.refine(encoded, batch.inputs["proposals"], BOUNDARY_WEIGHT[True])
    for k, (*_, overlap, after) in enumerate(stages):
        for name, padded in (("segments", after), ("iou", overlap)):
            rows = [row[: len(s.proposals)] for row, s in zip(padded, samples, strict=True)]
            out[f"train_stages[{k}].{name}"] = torch.cat(rows).detach().numpy()
    return out | losses(model, stages, batch)


def drn(model: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    samples = []
    for record, array in zip(given["samples"], inputs, strict=True):
        frames = record["num_frames"]
        parts = proposal_bounds(frames, len(array)) / frames
        sample = Sample(
            inputs={"features": array},
            duration=1.0,
            segments=Segments(np.array([record["gt_bbox"]])),
            proposals=Segments(parts),
            text=Text(("",), np.array(record["query_tokens"])),
        )
        samples.append(FormatQuery()(sample, np.random.default_rng(0)))
    batch = collated(model, samples)
    outputs = model(batch.inputs)
    order = np.argsort([-len(record["query_tokens"]) for record in given["samples"]], kind="stable")
    logits, distances, quality = (y.detach().numpy()[order] for y in outputs)
    levels = model.places(outputs[0])[1].numpy()
    out: dict[str, Any] = {}
    for i in range(levels.max() + 1):
        at = levels == i
        out[f"head.logits[{i}]"], out[f"head.iou_logits[{i}]"] = logits[:, None, at], quality[:, None, at]
        out[f"head.regression[{i}]"] = distances[:, at].swapaxes(1, 2)
    for i, (rows, sample) in enumerate(zip(model.candidates(outputs), model.predict(outputs, batch), strict=True)):
        out[f"predict[{i}].candidates"] = rows
        out[f"predict[{i}].predictions"] = np.column_stack((sample.segments.spans, sample.segments.scores))
    out |= losses(model, outputs, batch)
    model.zero_grad()
    model.train()
    return out | {f"train_{key}": value for key, value in losses(model, model(batch.inputs), batch).items()}


def proposals(model: Any, outputs: Any, batch: Batch) -> dict[str, Any]:
    samples = tuple(as_published(s, model.selection.interval) for s in batch.samples)
    found = enumerate(model.predict(outputs, batch.replace(samples=samples)))
    return {f"predict[{i}].proposals": np.column_stack((s.segments.scores, s.segments.spans)) for i, s in found}


def as_published(sample: Sample, interval: int) -> Sample:
    """Round the duration down to whole features of ``interval`` frames, as published prediction does."""
    covered, seconds = sample.feature_duration, covered_seconds(sample.replace(feature_duration=None), interval)
    if covered == seconds:
        return sample
    if sample.proposals is not None:
        sample = sample.replace(proposals=evolve(sample.proposals, spans=sample.proposals.spans / covered * seconds))
    return sample.replace(feature_duration=seconds)


def losses(model: Any, outputs: Any, batch: Batch) -> dict[str, Any]:
    found = model.loss(outputs, batch)
    sum(value for key, value in found.items() if "loss" in key).backward()
    return {f"loss.{key}": value.item() for key, value in found.items()} | {"loss.grad_norm": gradient(model)}


def gradient(model: Any) -> float:
    norms = [p.grad.double().norm() for p in model.parameters() if p.grad is not None]
    return torch.stack(norms).norm().item()


KINDS = {"BMN": bmn, "TEM": tem, "PEM": pem, "TCANet": tcanet, "DRN": drn}
