"""Temporal shift, non-local blocks, and conversion of the weights of image networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vid_recognition.models.c2d import C2D
from vid_recognition.models.densenet import DenseNet
from vid_recognition.models.mobileone import MobileOne, MobileOneTSM
from vid_recognition.models.non_local import Mode, NonLocal
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3d
from vid_recognition.models.resnet_tsm import ResNetTSM, TemporalShift, temporal_shift
from vid_recognition.models.swin import SwinTransformer
from vidcore.errors import CheckpointError, UserError


def test_shift_moves_channels_between_frames() -> None:
    x = torch.arange(1.0, 7.0).view(6, 1, 1, 1).expand(6, 4, 1, 1)  # two clips of three frames
    out = temporal_shift(x, num_segments=3, shift_div=4)[..., 0, 0]
    assert out[:, 0].tolist() == [2, 3, 0, 5, 6, 0]
    assert out[:, 1].tolist() == [0, 1, 2, 0, 4, 5]
    assert out[:, 2:].tolist() == x[:, 2:, 0, 0].tolist()


def test_shift_keeps_the_memory_format() -> None:
    x = torch.rand(4, 16, 3, 3).to(memory_format=torch.channels_last)
    assert temporal_shift(x, 2).is_contiguous(memory_format=torch.channels_last)


def test_shift_needs_whole_clips() -> None:
    with pytest.raises(UserError, match="6 frames do not divide into clips of 4 segments"):
        temporal_shift(torch.rand(6, 8, 1, 1), 4)


def test_deep_networks_shift_in_every_second_block() -> None:
    shifts = [k for k, m in ResNetTSM(101).named_modules() if isinstance(m, TemporalShift)]
    assert len(shifts) == 2 + 2 + 12 + 2
    assert "layer3.22.conv1.conv" in shifts
    assert "layer3.1.conv1.conv" not in shifts


def test_temporal_pooling_halves_the_frames() -> None:
    net = ResNetTSM(18, num_segments=4, temporal_pool=True, non_local=(0, 1, 0, 0), out_indices=(0, 3), with_cp=True)
    early, late = net(torch.rand(8, 3, 32, 32))
    assert (len(early), len(late)) == (8, 4)
    late.sum().backward()


MODES: tuple[Mode, ...] = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_new_non_local_blocks_are_the_identity(mode: Mode, dims: int) -> None:
    for norm in (True, False):
        block = NonLocal(mode=mode, sub_sample=True, norm=norm).block(8, dims)
        x = torch.rand(2, 8, *[4] * dims)
        torch.testing.assert_close(block(x), x)


def test_non_local_block_follows_its_equation() -> None:
    torch.manual_seed(0)
    block = NonLocal(mode="embedded_gaussian", use_scale=True, norm=False).block(4, 2)
    torch.nn.init.normal_(block.conv_out.conv.weight)
    x = torch.rand(1, 4, 2, 3)
    query, key, value = (m(x).flatten(2)[0].T for m in (block.theta, block.phi, block.g))
    y = (query @ key.T / 2**0.5).softmax(1) @ value
    expected = x + block.conv_out(y.T.view(1, 2, 2, 3))
    torch.testing.assert_close(block(x), expected)


# Weights of image networks


def torchvision_names(net: ResNet) -> dict[str, torch.Tensor]:
    """The state dict of a ResNet with the names of image classification libraries, with a classifier."""
    out = {"fc.weight": torch.rand(10, 512), "fc.bias": torch.rand(10)}
    for key, value in net.state_dict().items():
        name = key.replace("downsample.conv", "downsample.0").replace("downsample.bn", "downsample.1")
        if "downsample" not in name:
            name = name.replace(".conv.weight", ".weight").replace("conv1.bn", "bn1").replace("conv2.bn", "bn2")
        out[name] = value
    return out


def image_network(**options: Any) -> ResNet:
    torch.manual_seed(0)
    net = ResNet(18, **options).train()
    with torch.no_grad():
        net(torch.rand(4, 3, 64, 64))  # running statistics that differ from their initial values
    return net.eval()


def test_names_of_image_libraries_are_accepted() -> None:
    source = image_network()
    for target in (ResNet(18), ResNetTSM(18, is_shift=True), C2D(18)):
        weights = target.convert_2d_weights(torchvision_names(source))
        assert weights.keys() == target.state_dict().keys()
    copy = ResNet(18).eval()
    copy.load_state_dict(copy.convert_2d_weights(torchvision_names(source)))
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(copy(x), source(x))


def test_inflated_network_maps_a_still_video_like_the_image() -> None:
    source = image_network()
    net = ResNet3d(18, conv1_kernel=(1, 7, 7), inflate=(0, 0, 0, 0), non_local=(0, 1, 0, 0), with_pool2=False).eval()
    missing = net.load_state_dict(net.convert_2d_weights(torchvision_names(source)), strict=False)
    assert missing.unexpected_keys == []
    assert all("non_local" in k for k in missing.missing_keys)
    image = torch.rand(1, 3, 64, 64)
    still = image.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(net(still)[:, :, 1], source(image))

    inflated = ResNet3d(18, with_pool2=False).eval()  # kernels of three frames: equal except at the ends of the clip
    inflated.load_state_dict(inflated.convert_2d_weights(source.state_dict()))
    still = image.unsqueeze(2).expand(-1, -1, 39, -1, -1)
    torch.testing.assert_close(inflated(still)[:, :, 19], source(image), rtol=1e-3, atol=1e-4)


def test_flow_networks_get_the_mean_over_colours() -> None:
    source = image_network()
    weight = ResNet(18, in_channels=10).convert_2d_weights(source.state_dict())["conv1.conv.weight"]
    assert weight.shape[1] == 10
    torch.testing.assert_close(weight[:, 7], source.state_dict()["conv1.conv.weight"].mean(1))


def test_weights_of_a_different_network_are_refused() -> None:
    source = image_network().state_dict()
    with pytest.raises(CheckpointError, match=r"lack layer1\.2"):
        ResNet(34).convert_2d_weights(source)
    with pytest.raises(CheckpointError, match=r"have layer3\.0"):
        ResNet(18, num_stages=2, out_indices=(1,)).convert_2d_weights(source)
    with pytest.raises(CheckpointError, match="but this network needs"):
        ResNet3d(18, base_channels=32).convert_2d_weights(source)


def test_weights_of_other_image_networks_are_renamed() -> None:
    dense = DenseNet(121)
    old = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for k, v in dense.state_dict().items()}
    assert dense.convert_2d_weights(old | {"classifier.weight": torch.rand(2, 2)}).keys() == dense.state_dict().keys()

    swin = SwinTransformer(8, (1, 1, 1), (1, 1, 1))
    newer = {k.replace("1.down", "2.down").replace("0.down", "1.down"): v for k, v in swin.state_dict().items()}
    newer["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    assert swin.convert_2d_weights(newer).keys() == swin.state_dict().keys()

    one = {f"backbone.{k}": v for k, v in MobileOne("s0").state_dict().items()} | {"head.fc.weight": torch.rand(2, 2)}
    shifted = MobileOneTSM("s0")
    assert shifted.convert_2d_weights(one).keys() == shifted.state_dict().keys()
