"""Detection transformers on tiny networks with random weights, held to the library's own steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_persons.detr import TransformersDetector
from vidcore.errors import PluginError, UserError

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")
CLASSES = {"id2label": {0: "cat", 1: "person", 2: "car"}, "label2id": {"cat": 0, "person": 1, "car": 2}}
WIDTHS: dict[str, Any] = {"hidden_sizes": [8, 16, 32, 64], "depths": [1] * 4, "embedding_size": 8}
STAGES = ["stage2", "stage3", "stage4"]


def network(family: str) -> Any:
    """A network with random weights for frames of 64 or 56 pixels, whose scores differ more than those of a new one."""
    import transformers as library

    torch.manual_seed(0)
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 1, "decoder_layers": 2}
    sizes = {"d_model": 32, "encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 20}
    both = {"encoder_in_channels": [16, 32, 64], "decoder_in_channels": [32] * 3, **heads, **sizes, **CLASSES}
    resnet = library.RTDetrResNetConfig(**WIDTHS, layer_type="basic", out_features=STAGES)
    if family == "rt_detr":
        model = library.RTDetrForObjectDetection(library.RTDetrConfig(backbone_config=resnet, **both))
    elif family == "rt_detr_v2":
        model = library.RTDetrV2ForObjectDetection(library.RTDetrV2Config(backbone_config=resnet, **both))
    elif family == "d_fine":
        backbone = library.HGNetV2Config(
            **WIDTHS,
            stem_channels=[3, 8, 8],
            stage_in_channels=[8, 8, 16, 32],
            stage_mid_channels=[8] * 4,
            stage_out_channels=[8, 16, 32, 64],
            stage_num_blocks=[1] * 4,
            stage_numb_of_layers=[1] * 4,
            out_features=STAGES,
        )
        model = library.DFineForObjectDetection(library.DFineConfig(backbone_config=backbone, **both))
    else:
        dino = {"model_type": "rf_detr_dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        seen = {"image_size": 56, "patch_size": 14, "num_windows": 2, "out_indices": [1, 2], "mlp_ratio": 1}
        decoder = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "decoder_n_points": 2}
        few = {"d_model": 32, "decoder_ffn_dim": 32, "decoder_layers": 1, "num_queries": 12, "group_detr": 2}
        config = library.RfDetrConfig(backbone_config={**dino, **seen}, **decoder, **few, **CLASSES)
        model = library.RfDetrForObjectDetection(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "class" in name:
                weight.normal_()
    return model.eval()


@pytest.fixture(scope="module", params=["rt_detr", "rt_detr_v2", "d_fine", "rf_detr"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    folder = tmp_path_factory.mktemp(request.param)
    network(request.param).save_pretrained(folder)
    side = 56 if request.param == "rf_detr" else 64
    normal = request.param == "rf_detr"
    RTDetrImageProcessorPil(size={"height": side, "width": side}, do_normalize=normal).save_pretrained(folder)
    return folder


def test_boxes_equal_those_of_the_library(weights: Path) -> None:
    from transformers import AutoModelForObjectDetection
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    frames = np.random.default_rng(0).integers(0, 256, (3, 90, 160, 3), np.uint8)
    model = AutoModelForObjectDetection.from_pretrained(weights).eval()
    processor = RTDetrImageProcessorPil.from_pretrained(weights)
    everybody = 0
    for number, name in enumerate(("cat", "person", "car")):
        made = TransformersDetector(weights, min_score=0.4, person=name, batch_size=2)(frames)
        everybody += sum(map(len, made))
        for found, frame in zip(made, frames, strict=True):
            inputs = processor([frame], return_tensors="pt", input_data_format="channels_last")
            with torch.inference_mode():
                outputs = model(inputs["pixel_values"].float())
            (wanted,) = processor.post_process_object_detection(outputs, threshold=0.4, target_sizes=[(90, 160)])
            rows = (wanted["labels"] == number).numpy()
            order = np.argsort(-wanted["scores"].numpy()[rows], kind="stable")
            np.testing.assert_allclose(found.scores, wanted["scores"].numpy()[rows][order], atol=1e-5)
            np.testing.assert_allclose(found.boxes, wanted["boxes"].numpy()[rows][order], atol=1e-2)
            scores = outputs.logits[0].sigmoid().numpy().ravel()  # and by hand: the best of all queries and classes
            best = np.argsort(-scores, kind="stable")[: outputs.logits.shape[1]]
            best = best[(best % 3 == number) & (scores[best] > 0.4)]
            x, y, width, height = outputs.pred_boxes[0].numpy()[best // 3].T
            edges = [(x - width / 2) * 160, (y - height / 2) * 90, (x + width / 2) * 160, (y + height / 2) * 90]
            np.testing.assert_allclose(found.boxes, np.stack(edges, 1), atol=1e-2)
    assert everybody > 3


def test_folders_that_do_not_fit_are_refused(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"weights .*none do not exist; download a model such as PekingU/"):
        TransformersDetector(tmp_path / "none")
    with pytest.raises(UserError, match=r"TransformersDetector: weights .* cannot be read"):
        TransformersDetector(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError, match=r"is a vit; known are rt_detr, rt_detr_v2, d_fine, rf_detr"):
        TransformersDetector(tmp_path)
    with pytest.raises(UserError, match=r"has no class 'persons'; did you mean 'person'\?"):
        TransformersDetector(weights, person="persons")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PluginError, match=r"needs transformers: pip install 'vid-persons\[transformers\]'"):
        TransformersDetector(weights)
