"""Models without a classifier, and batch norm over parts of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vid_recognition.models.heads import FeatureHead, I3DHead
from vid_recognition.models.norms import SubBatchNorm3D
from vid_recognition.models.recognizers import Recognizer2D, Recognizer3D
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vidcore.batch import collate
from vidcore.engine.weights import load_state
from vidcore.errors import UserError
from vidcore.sample import Sample


def test_model_without_a_head_makes_features() -> None:
    torch.manual_seed(0)
    whole = Recognizer3D(ResNet3dSlowOnly(base_channels=8), I3DHead(num_classes=3, in_channels=256)).eval()
    bare = Recognizer3D(ResNet3dSlowOnly(base_channels=8)).eval()
    load_state(bare, whole.state_dict())  # the weights of the classifier are not used
    clips = torch.rand(2, 2, 3, 4, 32, 32)
    batch = collate([Sample(inputs={"imgs": np.zeros((2, 3, 4, 32, 32), np.uint8)}, label=0)] * 2)
    with torch.no_grad():
        torch.testing.assert_close(bare.clip_features(clips), whole.clip_features(clips))
        for use in (bare.clip_logits, lambda x: bare.predict(bare(x), batch), lambda x: bare.loss(bare(x), batch)):
            with pytest.raises(UserError, match="no classifier"):
                use(clips)


@pytest.mark.parametrize("temporal", ["avg", "max"])
@pytest.mark.parametrize("spatial", ["avg", "max"])
def test_pooling_of_features(spatial: str, temporal: str) -> None:
    head = FeatureHead(spatial, temporal)
    clips = torch.rand(4, 5, 3, 2, 2)  # two samples of two views
    space = clips.mean((3, 4)) if spatial == "avg" else clips.flatten(3).max(3).values
    time = space.mean(2) if temporal == "avg" else space.max(2).values
    torch.testing.assert_close(head(clips, 2), time.view(2, 2, 5))
    frames = clips[:, :, 0]  # two samples of two frames
    space = frames.mean((2, 3)) if spatial == "avg" else frames.flatten(2).max(2).values
    both = space.view(2, 2, 5)
    torch.testing.assert_close(head(frames, 2)[:, 0], both.mean(1) if temporal == "avg" else both.max(1).values)
    slow, fast = torch.rand(4, 5, 2, 2, 2), torch.rand(4, 3, 8, 2, 2)
    assert head((slow, fast), 2).shape == (2, 2, 8)


def test_features_of_frames_are_pooled_over_the_sample() -> None:
    model = Recognizer2D(ResNet(18), FeatureHead(temporal_type="max")).eval()
    assert model.clip_features(torch.rand(2, 3, 3, 32, 32)).shape == (2, 512)


def test_parts_of_a_batch_have_their_own_statistics() -> None:
    norm = SubBatchNorm3D(2, num_splits=2)
    x = torch.cat([torch.zeros(1, 2, 1, 2, 2), torch.full((1, 2, 1, 2, 2), 9.0)]).repeat(2, 1, 1, 1, 1)
    torch.testing.assert_close(norm(x), torch.zeros_like(x), rtol=0, atol=1e-4)  # each part is constant
    norm.eval()
    assert norm.bn.running_mean is not None and norm.bn.running_var is not None
    torch.testing.assert_close(norm.bn.running_mean, torch.full((2,), 0.45))
    torch.testing.assert_close(norm.bn.running_var, torch.full((2,), 0.9 + 0.45**2))
    with pytest.raises(UserError, match="cannot divide a batch of 3 into 2 parts"):
        norm.train()(x[:3])
