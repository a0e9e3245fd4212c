"""Conversion of models of video and language."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vid_mmaction2.checkpoints import convert_weights
from vid_mmaction2.models import convert_model
from vidcore.errors import ConfigError

FRAMES = {"type": "ActionDataPreprocessor", "mean": [1, 2, 3], "std": [4, 5, 6], "format_shape": "NCHW"}


def similarity(**changes: Any) -> dict[str, Any]:
    text = {"type": "ActionDataPreprocessor", "to_float32": False}
    parts = {"type": "MultiModalDataPreprocessor", "preprocessors": {"imgs": FRAMES, "text": text}}
    table = {"type": "CLIPSimilarity", "clip_arch": "ViT-B/16", "to_float32": True, "data_preprocessor": parts}
    return {**table, "adapter": {"type": "SimpleMeanAdapter"}, **changes}


def test_similarity() -> None:
    wanted = {
        "type": "CLIPSimilarity",
        "clip": {"type": "CLIP", "arch": "ViT-B/16"},
        "adapter": {"type": "SimpleMeanAdapter"},
        "mean": [1, 2, 3],
        "std": [4, 5, 6],
    }
    assert convert_model(similarity()) == wanted
    loss = {"type": "CrossEntropyLoss", "loss_weight": 1.0}
    assert convert_model(similarity(frozen_layers=0, loss=loss)) == {**wanted, "loss_weight": 1.0, "frozen_layers": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_arch": "RN50"}, r"model\.clip_arch: must be one of ViT-B/32, .*, found 'RN50'"),
        ({"loss": {"type": "BCELossWithLogits"}}, r"model\.loss: must be CrossEntropyLoss"),
        ({"data_preprocessor": FRAMES}, r"model\.data_preprocessor\.type: must be MultiModalDataPreprocessor"),
    ],
)
def test_what_has_no_equivalent_is_reported(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert_model(similarity(**changes))


def test_actionclip() -> None:
    table = {"type": "ActionClip", "clip_arch": "ViT-L/14", "num_adapter_segs": 8, "num_adapter_layers": 4}
    converted = convert_model({**table, "labels_or_label_file": ["a", "b"], "data_preprocessor": FRAMES})
    assert converted == {
        "type": "ActionClip",
        "clip": {"type": "CLIP", "arch": "ViT-L/14"},
        "adapter": {
            "type": "TransformerAdapter",
            "num_segs": 8,
            "transformer_width": 768,
            "transformer_heads": 12,
            "transformer_layers": 4,
        },
        "labels": ["a", "b"],
        "mean": [1, 2, 3],
        "std": [4, 5, 6],
        "vocabulary": "bpe_simple_vocab_16e6.txt.gz",
    }


def test_the_adapter_of_actionclip_gets_our_name() -> None:
    positions = torch.rand(8, 512)
    assert convert_weights({"adapter.frame_position_embeddings.weight": positions}).keys() == {
        "adapter.positional_embedding"
    }
