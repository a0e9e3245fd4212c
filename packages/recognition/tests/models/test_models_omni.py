"""One network for clips and images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vid_recognition.models.omni import OmniHead, OmniResNet, RecognizerOmni
from vid_recognition.models.preprocessor import ActionDataPreprocessor
from vidcore.batch import collate
from vidcore.sample import Sample


def recognizer() -> RecognizerOmni:
    torch.manual_seed(0)
    head = OmniHead(image_classes=2, video_classes=3, in_channels=1024)
    preprocessor = ActionDataPreprocessor([120] * 3, [60] * 3, format_shape="MIX2d3d")
    return RecognizerOmni(OmniResNet((1, 1, 1)), head, preprocessor).eval()


def test_an_image_is_a_video_that_stands_still() -> None:
    backbone = recognizer().backbone
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        still = backbone(image.unsqueeze(2).expand(-1, -1, 9, -1, -1))
        torch.testing.assert_close(backbone(image), still[:, :, 4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "views", "classes"), [((3, 32, 32), 1, 2), ((3, 4, 32, 32), 1, 3), ((2, 3, 4, 32, 32), 2, 3)]
)
def test_clips_and_images_have_their_own_classes(shape: tuple[int, ...], views: int, classes: int) -> None:
    model = recognizer()
    rng = np.random.default_rng(0)
    samples = [Sample(inputs=rng.integers(0, 256, shape, np.uint8), label=i) for i in range(2)]
    batch = model.preprocess(collate(samples))
    scores = model(batch.inputs)
    assert scores.shape == (2, views, classes)
    model.loss(scores, batch)["loss_cls"].backward()
    other = model.cls_head.get_submodule("fc3d" if classes == 2 else "fc2d")
    assert all(p.grad is None for p in other.parameters())
    found = model.predict(scores, batch)
    assert found[0].scores is not None
    assert found[0].scores.sum() == pytest.approx(1)


def test_linear_classifier_of_clips() -> None:
    head = OmniHead(2, 3, 8, video_nl_head=False)
    assert [k for k in head.state_dict() if k.startswith("fc3d")] == ["fc3d.3.weight", "fc3d.3.bias"]
