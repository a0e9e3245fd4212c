"""Annotation files of videos and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vid_retrieval.datasets.captions import MSRVTTRetrieval, VideoTextDataset
from vid_retrieval.datasets.cleaning import clean_text
from vid_retrieval.datasets.questions import MSRVTTVQA, MSRVTTVQAMC
from vidcore.sample import Sample


def common(sample: Sample) -> dict[str, Any]:
    return {"filename": sample.path, "modality": sample.modality, "start_index": sample.start_index}


def video_text_pairs(case: Any, row: Any) -> dict[str, Any]:
    root = row.settings["data_prefix"]["video"]
    dataset = VideoTextDataset(case.path(row.inputs["file"]), Path(root) if root else None)
    samples = [common(s) | {"text": s.extra["texts"].strings[0]} for s in dataset]
    return {"length": len(dataset), "samples": samples}


def video_question_lists(case: Any, row: Any) -> dict[str, Any]:
    if "texts" in row.inputs:
        texts = row.inputs["texts"]
        cut = [name for name in row.outputs if name.startswith("clean_max")]
        return {"clean": [clean_text(t) for t in texts]} | {
            name: [clean_text(t, int(name.split("_")[2])) for t in texts] for name in cut
        }
    file, root = case.path(row.inputs["file"]), Path(row.settings["prefix"])
    kind = {"questions": MSRVTTVQA, "multiple choice": MSRVTTVQAMC, "retrieval": MSRVTTRetrieval}[row.what]
    dataset = kind(file, root)
    found = {"length": len(dataset), "samples": [AS_PUBLISHED[kind](s) for s in dataset]}
    if isinstance(dataset, MSRVTTRetrieval):
        found |= {"num_videos": dataset.num_videos, "num_texts": dataset.num_texts}
    return found


def question(sample: Sample) -> dict[str, Any]:
    texts, answers = sample.extra["texts"], sample.extra["answers"]
    listed = {"gt_answer": list(answers.strings), "gt_answer_weight": answers.weights.tolist()}
    return common(sample) | {"question_id": texts.ids[0], "question": texts.strings[0]} | listed


def choice(sample: Sample) -> dict[str, Any]:
    return common(sample) | {"label": sample.label, "caption_options": list(sample.extra["texts"].strings)}


def captions(sample: Sample) -> dict[str, Any]:
    texts = sample.extra["texts"]
    numbers = {"gt_video_id": [texts.video] * len(texts), "gt_text_id": texts.ids.tolist()}
    return common(sample) | {"text": list(texts.strings)} | numbers


AS_PUBLISHED = {MSRVTTVQA: question, MSRVTTVQAMC: choice, MSRVTTRetrieval: captions}
OPS = {f"annotations.{f.__name__}": f for f in (video_text_pairs, video_question_lists)}
