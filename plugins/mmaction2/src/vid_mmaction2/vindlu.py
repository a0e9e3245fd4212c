"""Conversion of VindLU, whose models cut texts into tokens, to pipelines that do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, strip_scope, without
from vid_mmaction2.retrieval import normalisation

__all__ = ["RULES", "with_words"]

VOCABULARY = "vocab.txt"
"""The file of BERT's tokens, which published code downloads."""
VISION, TEXT = "microsoft/beit-base-patch16-224-pt22k-ft22k", "bert-base-uncased"
"""The networks with the sizes of ``BeitModel3D`` and of ``XBertModel`` by default."""
LENGTHS = {"VindLURetrieval": "max_txt_len", "VindLURetrievalMC": "max_txt_len", "VindLUVQA": "max_question_len"}
"""Models, and their argument with the number of tokens of a text."""


def with_words(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration of VindLU with steps that cut texts into tokens, and the metric that matches pairs."""
    model = config.get("model")
    kind = strip_scope(str(model.get("type"))) if isinstance(model, Mapping) else ""
    if kind not in LENGTHS or not isinstance(model, Mapping):
        return config
    changed = dict(config)
    for part in ("train", "val", "test"):
        loader = config.get(at := f"{part}_dataloader")
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        if isinstance(loader, Mapping) and isinstance(dataset, Mapping) and isinstance(dataset.get("pipeline"), list):
            pipeline = [*dataset["pipeline"], _step(kind, model, part)]
            changed[at] = {**loader, "dataset": {**dataset, "pipeline": pipeline}}
    if kind != "VindLURetrieval":
        return changed
    for part in ("val", "test"):
        evaluator, loop = config.get(f"{part}_evaluator"), config.get(f"{part}_cfg")
        if isinstance(evaluator, Mapping) and evaluator.get("type") == "RetrievalRecall":
            topk = evaluator.get("topk", [1, 5, 10])
            names = [f"R{k}" for k in (topk if isinstance(topk, list | tuple) else [topk])]
            rest = without(evaluator, "type", "topk")
            changed[f"{part}_evaluator"] = {"type": "MatchRecall", "metric_list": names, **rest}
        if isinstance(loop, Mapping) and loop.get("type") == f"Retrieval{part.capitalize()}Loop":
            changed[f"{part}_cfg"] = without(loop, "type")
    return _with_best(changed)


def _step(kind: str, model: Mapping[str, Any], part: str) -> Table:
    step: Table = {"type": "BertTokenize", "vocabulary": VOCABULARY, "max_length": model.get(LENGTHS[kind], 32)}
    if part == "train" and kind == "VindLURetrieval":
        step["texts"] = "one"
    if part == "train" and kind == "VindLUVQA":
        step["max_answer_length"] = model.get("max_answer_len", 5)
    return step


def _with_best(config: Table) -> Table:
    """Rename the score that selects the best weights: ``t2i/retrieval/Recall@1`` is ``t2v/R1``."""
    match config.get("default_hooks"):
        case {"checkpoint": {"save_best": str(best), **options}, **hooks}:
            direction, found, k = best.partition("/retrieval/Recall@")
            if found and direction in ("t2i", "i2t"):
                name = {"t2i": "t2v", "i2t": "v2t"}[direction]
                return {**config, "default_hooks": {**hooks, "checkpoint": {**options, "save_best": f"{name}/R{k}"}}}
    return config


def _matching(converter: Converter, table: Table, at: str) -> Table:
    table = _network(converter, table, at)
    if (decoder := table.pop("text_decoder", None)) is not None:
        converter.leave_out(f"{at}.text_decoder", decoder, "only questions are decoded")
    return table


def _questions(converter: Converter, table: Table, at: str) -> Table:
    table = _network(converter, table, at)
    for key in ("proj_dim", "temperature"):
        converter.leave_out(f"{at}.{key}", table.pop(key, None), "questions are not compared by embeddings")
    if (answers := table.pop("answer_list_path", None)) is not None:
        table["answer_list"] = answers
    return {**table, "vocabulary": VOCABULARY}


def _network(converter: Converter, table: Table, at: str) -> Table:
    """Convert what all models have: frames, tokens, and gradient checkpointing of all networks."""
    table = dict(table)
    table |= normalisation(converter, table.pop("data_preprocessor", None), f"{at}.data_preprocessor", "NCTHW")
    tokenizer = converter.table(table.pop("tokenizer", None), f"{at}.tokenizer")
    name = tokenizer.get("pretrained_model_name_or_path", TEXT)
    if converter.kind(tokenizer, f"{at}.tokenizer", "VindLUTokenizer") != "VindLUTokenizer" or name != TEXT:
        converter.report(f"{at}.tokenizer", f"must be VindLUTokenizer of {TEXT}, found {tokenizer}")
    converter.notes.append(f"{at}.tokenizer: the vocabulary is {VOCABULARY}, a file of {TEXT}; put it beside the Task")
    for key in ("max_txt_len", "max_question_len"):
        converter.imply(f"{at}.{key}", table.pop(key, None))  # the pipelines have it
    if table.pop("gradient_checkpointing", False):
        for part in ("vision_encoder", "text_encoder", "text_decoder"):
            if isinstance(table.get(part), Mapping):
                table[part] = {**table[part], "with_cp": True}
    return table


def _beit(converter: Converter, table: Table, at: str) -> Table:
    _require(converter, table, at, config=VISION, encoder_width=768, add_ln=True)
    time = converter.table(table.get("tem_config"), f"{at}.tem_config")
    fixed = {
        "temporal_model_block": "timesformer",
        "temporal_model_position": "last",
        "temporal_model_config": {"input_dim": 768},
        "use_temporal_position_embedding": True,
    }
    _require(converter, time, f"{at}.tem_config", **fixed)
    converter.leave_rest(time, f"{at}.tem_config", "num_frames", *fixed)
    frames = {"num_frames": time["num_frames"]} if "num_frames" in time else {}
    return {**frames, **without(table, "config", "encoder_width", "add_ln", "tem_config")}


def _bert(converter: Converter, table: Table, at: str) -> Table:
    _require(converter, table, at, pretrained_model_name_or_path=TEXT)
    converter.leave_out(f"{at}.add_pooling_layer", table.get("add_pooling_layer"), "the pooled output was not used")
    return without(table, "pretrained_model_name_or_path", "add_pooling_layer")


def _decoder(converter: Converter, table: Table, at: str) -> Table:
    table = _bert(converter, table, at)
    _require(converter, table, at, fusion_layer=0)
    return without(table, "fusion_layer")


def _require(converter: Converter, table: Mapping[str, Any], at: str, **wanted: Any) -> None:
    """Report arguments that have another value than the only one that is converted."""
    for key, value in wanted.items():
        if table.get(key, value) != value:
            converter.report(f"{at}.{key}", f"must be {value}, found {table[key]!r:.60}")


RULES: dict[str, Rule] = {
    "BeitModel3D": _beit,
    "BertDecoder": _decoder,
    "VindLURetrieval": _matching,
    "VindLURetrievalMC": _matching,
    "VindLUVQA": _questions,
    "XBertModel": _bert,
}
