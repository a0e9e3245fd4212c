"""ViTPose on a tiny network with random weights, held to the library's own steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_persons.vitpose import ViTPose
from vidcore.errors import PluginError, UserError
from vidcore.persons import Persons

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    torch.manual_seed(0)
    size = {"image_size": [64, 48], "patch_size": [16, 16], "hidden_size": 16}
    backbone = VitPoseBackboneConfig(
        **size, num_hidden_layers=1, num_attention_heads=2, out_indices=[1], num_experts=2, part_features=4
    )
    config = VitPoseConfig(backbone_config=backbone, num_labels=17, use_simple_decoder=True)
    folder = tmp_path_factory.mktemp("vitpose")
    VitPoseForPoseEstimation(config).save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)
    return folder


def test_joints_equal_those_of_the_library(weights: Path) -> None:
    from transformers import VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    frames = np.random.default_rng(0).integers(0, 256, (3, 120, 160, 3), np.uint8)
    boxes = np.array([[10, 10, 70, 110], [80, 20, 150, 100], [30, 5, 60, 90]], np.float32)
    persons = [Persons(boxes[:2], np.ones(2, np.float32)), Persons.nobody(), Persons(boxes[2:], np.ones(1, np.float32))]
    made = ViTPose(weights, batch_size=2)(frames, persons)
    assert [len(found) for found in made] == [2, 0, 1]

    model = VitPoseForPoseEstimation.from_pretrained(weights).eval()
    processor = VitPoseImageProcessorPil.from_pretrained(weights)
    for found, frame in zip(made, frames, strict=True):
        assert found.points is not None and found.joint_scores is not None
        for box, points, scores in zip(found.boxes, found.points, found.joint_scores, strict=True):
            given = [[[*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]]]
            inputs = processor([frame], boxes=given, return_tensors="pt", input_data_format="channels_last")
            with torch.inference_mode():
                outputs = model(inputs["pixel_values"].float(), dataset_index=torch.zeros(1, dtype=torch.int64))
            (((wanted),),) = processor.post_process_pose_estimation(outputs, boxes=given)
            seen = wanted["scores"].numpy() > 0
            assert seen.any()
            np.testing.assert_allclose(points[seen], wanted["keypoints"].numpy()[seen], atol=1e-2)
            np.testing.assert_allclose(scores[seen], np.clip(wanted["scores"].numpy()[seen], 0, 1), atol=1e-4)
            assert np.isnan(points[~seen]).all() and (scores[~seen] == 0).all()


def test_missing_weights_and_libraries(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"ViTPose: weights .*none do not exist; download a model such as usyd-comm"):
        ViTPose(tmp_path / "none")
    with pytest.raises(UserError, match=r"ViTPose: weights .* cannot be read"):
        ViTPose(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PluginError, match=r"ViTPose needs transformers: pip install 'vid-persons\[transformers\]'"):
        ViTPose(weights)
