"""Conversion of VindLU: tokens move from its models to the pipelines."""

from __future__ import annotations

from typing import Any

import pytest

from vid_mmaction2.config import convert_config
from vidcore.plugins.catalog import Catalog, load_plugins

STEPS = [{"type": "DecordInit"}, {"type": "DecordDecode"}, {"type": "PackActionInputs", "algorithm_keys": ["text"]}]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def model(kind: str, **changes: Any) -> dict[str, Any]:
    name = "bert-base-uncased"
    return {
        "type": kind,
        "data_preprocessor": {"type": "ActionDataPreprocessor", "mean": [128], "std": [64], "format_shape": "NCTHW"},
        "tokenizer": {"type": "VindLUTokenizer", "pretrained_model_name_or_path": name},
        "vision_encoder": {
            "type": "BeitModel3D",
            "config": "microsoft/beit-base-patch16-224-pt22k-ft22k",
            "tem_config": {"num_frames": 4, "temporal_model_block": "timesformer"},
            "encoder_width": 768,
            "add_ln": True,
        },
        "text_encoder": {"type": "XBertModel", "pretrained_model_name_or_path": name, "fusion_layer": 9},
        **changes,
    }


def config(table: dict[str, Any], dataset: str) -> dict[str, Any]:
    loader = {"batch_size": 2, "dataset": {"type": dataset, "ann_file": "a.json", "pipeline": STEPS}}
    return {"model": table, "train_dataloader": loader, "test_dataloader": loader}


def test_retrieval(catalog: Catalog) -> None:
    published = config(model("VindLURetrieval", max_txt_len=20, gradient_checkpointing=True), "MSRVTTRetrieval")
    published["test_evaluator"] = {"type": "RetrievalRecall", "topk": [1, 5]}
    published["test_cfg"] = {"type": "RetrievalTestLoop"}
    published["default_hooks"] = {"checkpoint": {"type": "CheckpointHook", "save_best": "i2t/retrieval/Recall@5"}}
    imported = convert_config(published, catalog)
    assert not imported.problems
    task = imported.task
    assert task["model"] == {
        "type": "VindLURetrieval",
        "vision_encoder": {"type": "BeitModel3D", "num_frames": 4, "with_cp": True},
        "text_encoder": {"type": "XBertModel", "fusion_layer": 9, "with_cp": True},
        "mean": [128, 128, 128],
        "std": [64, 64, 64],
    }
    tokens = {part: task["data"][part]["pipeline"]["bert_tokenize"] for part in ("train", "test")}
    step = {"type": "BertTokenize", "vocabulary": "vocab.txt", "max_length": 20}
    assert tokens == {"train": {**step, "texts": "one"}, "test": step}
    assert task["metrics"] == {"match_recall": {"type": "MatchRecall", "metric_list": ["R1", "R5"]}}
    assert task["train"]["best"] == "v2t/R5"


def test_questions(catalog: Catalog) -> None:
    decoder = {"type": "BertDecoder", "fusion_layer": 0, "num_hidden_layers": 2, "add_pooling_layer": True}
    table = model("VindLUVQA", text_decoder=decoder, max_question_len=9, max_answer_len=4, answer_list_path="l.json")
    imported = convert_config(config({**table, "proj_dim": 256}, "MSRVTTVQA"), catalog)
    assert not imported.problems
    converted = imported.task["model"]
    assert converted["text_decoder"] == {"type": "BertDecoder", "num_hidden_layers": 2}
    assert converted["answer_list"] == "l.json" and converted["vocabulary"] == "vocab.txt"
    step = imported.task["data"]["train"]["pipeline"]["bert_tokenize"]
    assert (step["max_length"], step["max_answer_length"]) == (9, 4)
    assert any(line.startswith("model.proj_dim: 256") for line in imported.left_out)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tokenizer": {"type": "VindLUTokenizer", "pretrained_model_name_or_path": "x"}}, "model.tokenizer: must be"),
        (
            {"text_encoder": {"type": "XBertModel", "pretrained_model_name_or_path": "x"}},
            "model.text_encoder.pretrained",
        ),
        ({"vision_encoder": {"type": "BeitModel3D", "config": "x"}}, "model.vision_encoder.config: must be microsoft"),
        (
            {"vision_encoder": {"type": "BeitModel3D", "tem_config": {"temporal_model_position": "first"}}},
            "model.vision_encoder.tem_config.temporal_model_position: must be last, found 'first'",
        ),
    ],
)
def test_other_networks_are_reported(catalog: Catalog, changes: dict[str, Any], problem: str) -> None:
    imported = convert_config(config(model("VindLURetrieval", **changes), "MSRVTTRetrieval"), catalog)
    assert [line for line in imported.problems if line.startswith(problem)]
