"""Operators of video and language: tokens and adapters."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from vid_retrieval.clip_tokens import ClipTokenizer
from vidcore.config.bind import build_component
from vidcore.engine.weights import load_state


def clip_tokens(case: Any, row: Any) -> dict[str, Any]:
    shared = Path(importlib.import_module("fill").__file__ or "").parents[1]
    vocabulary = shared / "data/text/bpe_simple_vocab_16e6.txt.gz"
    too_long = "cut" if row.settings.get("truncate") else "refuse"
    ids, _ = ClipTokenizer(vocabulary, row.settings["context_length"], too_long)(row.settings["text"])  # type: ignore[arg-type]
    return {"ids": ids}


def frame_adapters(case: Any, row: Any) -> dict[str, Any]:
    kind = "SimpleMeanAdapter" if "dim" in row.settings else "TransformerAdapter"
    adapter = build_component({"type": kind, **row.settings}, kind="models").eval()
    load_state(adapter, row.inputs.get("checkpoint", {}))
    with torch.no_grad():
        return {"y": adapter(torch.from_numpy(row.inputs["x"])).numpy()}


OPS = {"retrieval.clip_tokens": clip_tokens, "retrieval.frame_adapters": frame_adapters}
