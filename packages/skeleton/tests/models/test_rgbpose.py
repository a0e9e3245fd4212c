"""Frames and heatmaps together: MMRecognizer3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_recognition.metrics.accuracy import AccMetric
from vid_recognition.models.preprocessor import ActionDataPreprocessor, MultiModalDataPreprocessor
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vid_skeleton.models.rgbpose import MMRecognizer3D, PosePathway, RGBPathway, RGBPoseConv3D, RGBPoseHead
from vidcore.batch import collate
from vidcore.engine.options import TrainOptions
from vidcore.errors import CheckpointError, UserError
from vidcore.plugins.catalog import load_plugins
from vidcore.sample import Sample
from vidcore.task.initial import load_initial_weights


def model(**head: Any) -> MMRecognizer3D:
    torch.manual_seed(0)
    backbone = RGBPoseConv3D(
        rgb_pathway=RGBPathway(base_channels=8), pose_pathway=PosePathway(base_channels=4, stage_blocks=(1, 1, 1))
    )
    preprocessors: dict[str, torch.nn.Module] = {
        "imgs": ActionDataPreprocessor([120.0] * 3, [60.0] * 3),
        "heatmap_imgs": ActionDataPreprocessor(),
    }
    return MMRecognizer3D(
        backbone,
        RGBPoseHead(3, (256, 64), **head),
        data_preprocessor=MultiModalDataPreprocessor(preprocessors),
    )


def samples(views: int = 1, heatmaps: tuple[int, int, int] = (8, 8, 8)) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            index=i,
            label=i,
            inputs={
                "imgs": rng.integers(0, 256, (views, 3, 2, 32, 32), np.uint8),
                "heatmap_imgs": rng.random((views, 17, *heatmaps), np.float32),
            },
        )
        for i in range(2)
    ]


def test_both_heads_have_losses_with_weights() -> None:
    net = model(loss_weights=[1.0, 0.5], topk=[1]).eval()
    batch = net.preprocess(collate(samples(views=2)))
    outputs = net(batch.inputs)
    losses = net.loss(outputs, batch)
    assert set(losses) == {"rgb_loss_cls", "rgb_top1_acc", "pose_loss_cls", "pose_top1_acc"}
    assert batch.labels is not None
    plain = torch.nn.functional.cross_entropy(outputs[1].flatten(0, 1), batch.labels.repeat_interleave(2))
    assert torch.allclose(losses["pose_loss_cls"], plain / 2)
    only = model(loss_components=["pose"]).eval()
    assert {name.partition("_")[0] for name in only.loss(outputs, batch)} == {"pose"}


def test_accuracies_are_those_of_each_stream_and_of_their_sums() -> None:
    net = model().eval()
    batch = net.preprocess(collate(samples(views=2)))
    with torch.no_grad():
        predictions = net.predict(net(batch.inputs), batch)
    streams = predictions[0].extra["streams"].by_name  # type: ignore[attr-defined]
    assert predictions[0].scores == pytest.approx((streams["rgb"] + streams["pose"]) / 2)
    assert streams["rgb"].sum() == pytest.approx(1)
    metric = AccMetric(["top_k_accuracy"], [1])
    metric.update(predictions, samples())
    found = " ".join(metric.compute())
    assert all(name in found for name in ("rgb_top1", "pose_top1", "RGBPose_1:1_top1", "RGBPose_2:1_top1"))


@pytest.mark.parametrize(
    ("heatmaps", "message"), [((4, 8, 8), "needs 4 frames of heatmaps"), ((8, 16, 16), "a quarter of the size")]
)
def test_sizes_that_do_not_match_are_named(heatmaps: tuple[int, int, int], message: str) -> None:
    net = model().eval()
    with pytest.raises(UserError, match=message):
        net(net.preprocess(collate(samples(heatmaps=heatmaps))).inputs)


def test_one_input_is_refused() -> None:
    with pytest.raises(UserError, match="takes the inputs imgs and heatmap_imgs, got one"):
        model()(torch.zeros(1, 1, 3, 2, 32, 32))


def test_detached_features_give_no_gradients_to_the_other_network() -> None:
    for detach in (False, True):
        net = RGBPoseConv3D(
            rgb_detach=detach,
            rgb_pathway=RGBPathway(base_channels=8),
            pose_pathway=PosePathway(base_channels=4, stage_blocks=(1, 1, 1)),
        )
        net(torch.rand(2, 3, 2, 32, 32), torch.rand(2, 17, 8, 8, 8))[0].sum().backward()
        stem = next(net.pose_path.parameters()).grad
        assert (stem is None or not stem.any()) is detach


def test_views_in_parts_give_the_same_scores() -> None:
    network = model().eval()
    inputs = {
        "imgs": torch.rand(2, 3, 3, 2, 32, 32),
        "heatmap_imgs": torch.rand(2, 3, 17, 8, 8, 8),
    }
    seen: list[int] = []
    network.backbone.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    with torch.no_grad():
        whole = network(inputs)
        network.max_testing_views = 4
        parts = network(inputs)
    assert seen == [6, 4, 2]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_each_network_starts_from_the_weights_of_one_that_was_trained_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolutions that read the other network have the channels of the file, and random values for the others."""
    torch.manual_seed(1)
    alone = {
        "rgb": ResNet3dSlowOnly(base_channels=8),
        "pose": ResNet3dSlowOnly(
            in_channels=17,
            base_channels=4,
            num_stages=3,
            out_indices=(2,),
            stage_blocks=(1, 1, 1),
            conv1_stride_s=1,
            pool1_stride_s=1,
            inflate=(0, 1, 1),
            spatial_strides=(2, 2, 2),
        ),
    }
    for name, network in alone.items():
        for value in network.parameters():
            torch.nn.init.uniform_(value, -0.3, 0.3)
        state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
        torch.save({"state_dict": state | {"cls_head.fc_cls.weight": torch.ones(3, 8)}}, tmp_path / f"{name}.pth")
    files = {f"backbone.{name}_path": tmp_path / f"{name}.pth" for name in alone}
    net = model()
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    lines = load_initial_weights(net, TrainOptions(weights=files), load_plugins())
    widened = {
        "rgb_path.layer3.0": (64, 16),
        "rgb_path.layer4.0": (128, 32),
        "pose_path.layer2.0": (16, 4),
        "pose_path.layer3.0": (32, 8),
    }
    for place, (own, added) in widened.items():
        for unit in ("conv1", "downsample"):
            key = f"backbone.{place}.{unit}.conv.weight"
            assert f"{key} has {own} of its {own + added} input channels from the file" in lines
            path, _, inner = key.removeprefix("backbone.").partition("_path.")
            assert torch.equal(net.state_dict()[key][:, :own], alone[path].state_dict()[inner])
            assert torch.equal(net.state_dict()[key][:, own:], fresh[key][:, own:])
    laterals = [f"backbone.{n}_lateral is missing from the file" for n in ("rgb_path.layer2", "rgb_path.layer3")]
    laterals += [f"backbone.{n}_lateral is missing from the file" for n in ("pose_path.layer1", "pose_path.layer2")]
    assert set(laterals) < set(lines) and len(lines) == 8 + 4 + 3
    monkeypatch.setattr(net.backbone, "_dropped", lambda x, share: torch.zeros_like(x))
    net.eval()
    imgs, heatmaps = torch.rand(2, 3, 2, 32, 32), torch.rand(2, 17, 8, 8, 8)
    with torch.no_grad():
        rgb, pose = net.backbone(imgs, heatmaps)
        torch.testing.assert_close(rgb, alone["rgb"].eval()(imgs))
        torch.testing.assert_close(pose, alone["pose"].eval()(heatmaps))


def test_weights_of_a_joined_network_fill_it(tmp_path: Path) -> None:
    trained, net = model(), model()
    for value in trained.parameters():
        torch.nn.init.uniform_(value)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "joined.pth")
    parts = {f"backbone.{name}_path": tmp_path / "joined.pth" for name in ("rgb", "pose")}
    lines = load_initial_weights(net, TrainOptions(weights=parts), load_plugins())
    assert not any("input channels" in line or "missing" in line for line in lines)
    for key, value in net.backbone.state_dict().items():
        assert torch.equal(value, trained.backbone.state_dict()[key])


def test_weights_of_other_channels_are_refused(tmp_path: Path) -> None:
    torch.save(ResNet3dSlowOnly(base_channels=4).state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r'train.weights."backbone.rgb_path": .* belongs to a different model'):
        load_initial_weights(model(), TrainOptions(weights={"backbone.rgb_path": tmp_path / "a.pth"}), load_plugins())


def test_scores_of_single_views_are_refused() -> None:
    with pytest.raises(UserError, match="average_clips must be score or prob"):
        model(average_clips="none")
