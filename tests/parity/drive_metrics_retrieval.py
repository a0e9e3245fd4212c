"""Metrics of retrieval and of answers to questions."""

from __future__ import annotations

from typing import Any

import numpy as np

from vid_retrieval.answers import answer_accuracy, normal_answer
from vid_retrieval.metrics.answers import VQAMCACC, VQAAcc
from vid_retrieval.metrics.functional import recall_at
from vid_retrieval.metrics.retrieval import RetrievalMetric, RetrievalRecall
from vid_retrieval.records import Answers, Embeddings, Texts
from vidcore.sample import Sample


def retrieval(case: Any, row: Any) -> dict[str, Any]:
    metric = RetrievalMetric(row.settings.get("entries", ("R1", "R5", "R10", "MdR", "MnR")), ties="published")
    for i, (video, text) in enumerate(zip(row.inputs["video"], row.inputs["text"], strict=True)):
        target = Sample(index=i, extra={"texts": Texts((str(i),))})
        found = target.with_extra(video_embedding=Embeddings(video[None]), text_embeddings=Embeddings(text[None]))
        metric.update([found], [target])
    return {"report": metric.compute()}


def retrieval_recall(case: Any, row: Any) -> dict[str, Any]:
    given, k = row.inputs, row.settings["k"]
    if "ranked" in given:
        ranked = np.array(given["ranked"])
        return {"recall": [recall_at(ranked, given["targets"], n) for n in k]}
    metric = RetrievalRecall(k)
    targets = [
        Sample(index=i, labels=given["targets"][i]) if "targets" in given else Sample(index=i, label=given["labels"][i])
        for i in range(len(given["scores"]))
    ]
    metric.update([t.replace(scores=s) for t, s in zip(targets, given["scores"], strict=True)], targets)
    report = metric.compute()
    return {"report": report, "recall": list(report.values())}


def vqa_accuracy(case: Any, row: Any) -> dict[str, Any]:
    if "answers" in row.inputs:
        return {"normalised": [normal_answer(answer) for answer in row.inputs["answers"]]}
    if "pred" in row.inputs:
        choice = VQAMCACC()
        pairs = enumerate(zip(row.inputs["pred"].tolist(), row.inputs["labels"].tolist(), strict=True))
        for i, (found, true) in pairs:
            choice.update([Sample(index=i, label=found)], [Sample(index=i, label=true)])
        return {"report": choice.compute()}
    full = row.settings["full_score_weight"]
    metric, scores = VQAAcc(full), []
    for i, sample in enumerate(row.inputs["samples"]):
        listed = sample["gt_answer"] if isinstance(sample["gt_answer"], list) else [sample["gt_answer"]]
        weights = np.array(sample.get("gt_answer_weight", [1 / len(listed)] * len(listed)))
        target = Sample(index=i, extra={"answers": Answers(tuple(listed), weights)})
        found = Sample(index=i, extra={"answers": Answers((sample["pred_answer"],), np.ones(1))})
        metric.update([found], [target])
        scores.append(100 * answer_accuracy(sample["pred_answer"], listed, weights.tolist(), full))
    return {"report": metric.compute(), "per_sample": scores}


OPS = {f"metrics.{f.__name__}": f for f in (retrieval, retrieval_recall, vqa_accuracy)}
