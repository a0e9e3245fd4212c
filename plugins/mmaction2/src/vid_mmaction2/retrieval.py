"""Conversion of models and transforms of video and language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, without

__all__ = ["RULES", "normalisation"]

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
"""The file of CLIP's tokens, which the published code brings along."""
WIDTHS = {"ViT-B/32": 512, "ViT-B/16": 512, "ViT-L/14": 768, "ViT-L/14@336px": 768}
"""Channels of the joint space of each network."""


def _similarity(converter: Converter, table: Table, at: str) -> Table:
    """Convert the name of the towers to a component, and the preprocessors to the normalisation of frames."""
    table = _towers(converter, table, at)
    parts = converter.table(table.pop("data_preprocessor", None), f"{at}.data_preprocessor")
    _check_kind(converter, parts, "MultiModalDataPreprocessor", f"{at}.data_preprocessor")
    inner = converter.table(parts.get("preprocessors"), f"{at}.data_preprocessor.preprocessors")
    converter.imply(f"{at}.data_preprocessor.preprocessors.text", inner.get("text"))
    return table | normalisation(converter, inner.get("imgs"), f"{at}.data_preprocessor.preprocessors.imgs")


def _actionclip(converter: Converter, table: Table, at: str) -> Table:
    table = _towers(converter, table, at)
    parts = table.pop("data_preprocessor", None)
    table |= normalisation(converter, parts, f"{at}.data_preprocessor")
    width = WIDTHS.get(table["clip"]["arch"], 512)
    table["adapter"] = {
        "type": "TransformerAdapter",
        "num_segs": table.pop("num_adapter_segs"),
        "transformer_width": width,
        "transformer_heads": width // 64,
        "transformer_layers": table.pop("num_adapter_layers", 6),
    }
    for old, new in (("labels_or_label_file", "labels"), ("templates_or_template_file", "templates")):
        if (value := table.pop(old, None)) is not None:
            table[new] = value
    return _with_vocabulary(converter, table, at)


def _towers(converter: Converter, table: Table, at: str) -> Table:
    table = dict(table)
    converter.imply(f"{at}.to_float32", table.pop("to_float32", None))  # weights are float32; train.amp decides
    arch = table.pop("clip_arch", "ViT-B/32")
    if arch not in WIDTHS:
        converter.report(f"{at}.clip_arch", f"must be one of {', '.join(WIDTHS)}, found {arch!r}")
    loss = converter.table(table.pop("loss", None), f"{at}.loss")
    if converter.kind(loss, f"{at}.loss", "CrossEntropyLoss") != "CrossEntropyLoss" or without(
        loss, "type", "loss_weight"
    ):
        converter.report(f"{at}.loss", f"must be CrossEntropyLoss with a loss_weight, found {loss}")
    if (weight := loss.get("loss_weight", 1.0 if loss else 0.5)) != 0.5:
        table["loss_weight"] = weight
    return {"clip": {"type": "CLIP", "arch": arch}, **table}


def normalisation(converter: Converter, preprocessor: Any, at: str, layout: str = "NCHW") -> Table:
    """Return mean and std; a network without them gets frames from 0 to 255, and one number is that of all channels."""
    table: Mapping[str, Any] = converter.table(preprocessor, at)
    _check_kind(converter, table, "ActionDataPreprocessor", at)
    for name in ("to_rgb", "blending"):
        if table.get(name):
            converter.report(f"{at}.{name}", "has no equivalent here")
    if table.get("format_shape", layout) != layout:
        converter.report(f"{at}.format_shape", f"must be {layout}, found {table['format_shape']!r}")
    converter.leave_rest(table, at, "type", "mean", "std", "to_rgb", "blending", "format_shape", "to_float32")
    found = {"mean": table.get("mean", [0.0]), "std": table.get("std", [1.0])}
    return {key: list(v) * 3 if len(v) == 1 else v for key, v in found.items()}


def _published_ranks(converter: Converter, table: Table, at: str) -> Table:
    """Published scores rank the videos of all pairs."""
    return {"ties": "published", **table}


def _check_kind(converter: Converter, table: Mapping[str, Any], wanted: str, at: str) -> None:
    if (found := converter.kind(table, at, wanted)) != wanted:
        converter.report(f"{at}.type", f"must be {wanted}, found {found}")


def _with_vocabulary(converter: Converter, table: Table, at: str) -> Table:
    converter.notes.append(f"{at}: vocabulary is {VOCABULARY}, a file of OpenAI's CLIP; put it beside the Task")
    return {**table, "vocabulary": VOCABULARY}


RULES: dict[str, Rule] = {
    "ActionClip": _actionclip,
    "CLIPSimilarity": _similarity,
    "CLIPTokenize": _with_vocabulary,
    "RetrievalMetric": _published_ranks,
}
