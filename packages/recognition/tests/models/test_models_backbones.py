"""Backbones: shapes, frozen stages, gradient checkpointing, pickling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vid_recognition.audio.resnet import ResNetAudio
from vid_recognition.models.c2d import C2D
from vid_recognition.models.c3d import C3D
from vid_recognition.models.csn import ResNet3dCSN
from vid_recognition.models.densenet import DenseNet
from vid_recognition.models.heads import TSMHead
from vid_recognition.models.layers import Backbone
from vid_recognition.models.mobilenet_v2 import MobileNetV2, MobileNetV2TSM
from vid_recognition.models.mobileone import MobileOne, MobileOneTSM
from vid_recognition.models.mvit import MViT, MViTSize
from vid_recognition.models.non_local import NonLocal
from vid_recognition.models.r2plus1d import ResNet2Plus1d
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3d, ResNet3dSlowOnly
from vid_recognition.models.resnet_tsm import ResNetTSM
from vid_recognition.models.resnext import ResNeXt
from vid_recognition.models.slowfast import FastPathway, ResNet3dSlowFast, SlowPathway
from vid_recognition.models.swin import SwinTransformer
from vid_recognition.models.swin3d import SwinSize, SwinTransformer3D
from vid_recognition.models.tanet import TANet
from vid_recognition.models.timesformer import TimeSformer
from vid_recognition.models.tin import ResNetTIN
from vid_recognition.models.uniformer import UniFormer
from vid_recognition.models.uniformerv2 import UniFormerV2
from vid_recognition.models.vit_videomae import VisionTransformer
from vid_recognition.models.x3d import X3D
from vidcore.engine.optim import LayerDecayGroups
from vidcore.errors import UserError
from vidcore.nn import DropPath

Build = Callable[..., Backbone]

ON_FRAMES: dict[str, Build] = {
    "ResNet": lambda **k: ResNet(18, num_stages=2, out_indices=(1,), **k),
    "ResNet50": lambda **k: ResNet(50, num_stages=2, out_indices=(1,), style="caffe", **k),
    "ResNetTSM": lambda **k: ResNetTSM(
        18, num_segments=2, num_stages=2, out_indices=(1,), non_local=(0, [0, 1]), non_local_cfg=NonLocal(), **k
    ),
    "MobileNetV2": lambda **k: MobileNetV2(0.25, **k),
    "MobileNetV2TSM": lambda **k: MobileNetV2TSM(num_segments=2, widen_factor=0.25, **k),
    "MobileOne": lambda **k: MobileOne("s0", **k),
    "MobileOneTSM": lambda **k: MobileOneTSM("s0", num_segments=2, **k),
    "ResNeXt": lambda **k: ResNeXt(50, groups=4, width_per_group=4, num_stages=2, out_indices=(1,), **k),
    "DenseNet": lambda **k: DenseNet(121, **k),
    "ResNetTIN": lambda **k: ResNetTIN(18, num_segments=2, shift_div=4, num_stages=2, out_indices=(1,), **k),
    "TANet": lambda **k: TANet(50, num_segments=2, num_stages=2, out_indices=(1,), **k),
}
ON_CLIPS: dict[str, Build] = {
    "C2D": lambda **k: C2D(18, num_stages=2, out_indices=(1,), **k),
    "ResNet3d": lambda **k: ResNet3d(
        18, num_stages=2, base_channels=8, out_indices=(1,), non_local=(0, [0, 1]), inflate=(1, [1, 0]), **k
    ),
    "ResNet3dSlowOnly": lambda **k: ResNet3dSlowOnly(
        depth=50, num_stages=2, stage_blocks=(1, 2), base_channels=4, out_indices=(1,), inflate=(0, 1), **k
    ),
    "ResNet3dCSN": lambda **k: ResNet3dCSN(
        50, "ip", num_stages=2, stage_blocks=(1, 2), base_channels=4, out_indices=(1,), **k
    ),
    "ResNet2Plus1d": lambda **k: ResNet2Plus1d(18, num_stages=2, base_channels=8, out_indices=(1,), **k),
    "X3D": lambda **k: X3D(gamma_b=2.25, num_stages=2, base_channels=8, **k),
    "SwinTransformer3D": lambda **k: SwinTransformer3D(
        SwinSize(8, (2, 2), (1, 2)), window_size=(2, 3, 3), drop_path_rate=0.0, out_indices=(1,), **k
    ),
    "MViT": lambda **k: MViT(MViTSize(8, 3, 1, (1, 2)), 64, 4, output_cls_token=False, **k),
    "UniFormer": lambda **k: UniFormer((1, 1, 1, 1), embed_dim=(8, 8, 16, 16), head_dim=8, **k),
}
ON_SOUND: dict[str, Build] = {"ResNetAudio": lambda **k: ResNetAudio(50, num_stages=2, base_channels=4, **k)}
OF_ONE_SIZE: dict[str, Build] = {
    "VisionTransformer": lambda **k: VisionTransformer(
        img_size=32, embed_dims=8, depth=2, num_heads=2, num_frames=4, init_values=0.5, **k
    ),
    "VisionTransformer with learned positions": lambda **k: NETS["VisionTransformer"](use_learnable_pos_emb=True, **k),
    **{
        f"TimeSformer, {kind}": lambda kind=kind, **k: TimeSformer(
            4, 32, 16, embed_dims=8, num_heads=2, num_transformer_layers=2, attention_type=kind, **k
        )
        for kind in ("divided_space_time", "joint_space_time", "space_only")
    },
    "UniFormerV2": lambda **k: UniFormerV2(
        32, 16, 8, 2, 2, t_size=4, return_list=(0, 1), n_head=2, mlp_dropout=(0.5, 0.5), **k
    ),
    "UniFormerV2 with local blocks": lambda **k: NETS["UniFormerV2"](no_lmhra=False, double_lmhra=True, **k),
}
"""Networks with learned positions, for clips of 4 frames of 32 x 32 pixels."""
NETS = ON_FRAMES | ON_CLIPS | ON_SOUND | OF_ONE_SIZE


def images(name: str, size: int = 32) -> Tensor:
    size = 32 if name in OF_ONE_SIZE else size
    shape = (4, 3, size, size) if name in ON_FRAMES else (2, 3, 4, size, size)
    shape = (2, 1, size, size) if name in ON_SOUND else shape
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def net(name: str, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return NETS[name](**options)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    backbone = net(name)
    for module in backbone.modules():  # layers initialised with zeros block the gradients of earlier layers
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
    for parameter in backbone.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter)
    out = backbone(images(name, 64))
    assert isinstance(out, Tensor)
    assert out.shape[0] == images(name).shape[0]
    out.pow(2).sum().backward()
    assert [k for k, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NETS)
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    plain, saving = net(name), net(name, with_cp=True)
    for backbone in (plain, saving):
        torch.manual_seed(1)  # of dropout
        backbone(images(name)).square().mean().backward()
    for (key, a), (_, b) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=lambda text, key=key: f"{key}: {text}")
    # running statistics are updated once, not twice
    for (key, a), (_, b) in zip(plain.named_buffers(), saving.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", NETS)
def test_frozen_stages_do_not_change(name: str) -> None:
    backbone = net(name, frozen_stages=1).train()
    frozen = {k for k, p in backbone.named_parameters() if not p.requires_grad}
    parts = [part for parts in backbone.freezable()[:2] for part in parts]
    expected = [p for part in parts for p in (part.parameters() if isinstance(part, nn.Module) else [part])]
    assert len(frozen) == len(expected) > 0
    before = copy.deepcopy(backbone.state_dict())
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(images(name)).square().mean().backward()
    optimizer.step()
    after = backbone.state_dict()
    statistics = {f"{k}.{s}" for k, m in backbone.named_modules() if not m.training for s in ("running_mean",)}
    for key in before:
        if key in frozen or key in statistics:
            assert torch.equal(before[key], after[key]), key
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_frozen_stages_beyond_the_network_are_refused() -> None:
    with pytest.raises(ValueError, match="frozen_stages is 5, but there are 4 stages"):
        ResNet(18, frozen_stages=5)


def test_norm_eval_keeps_statistics_while_weights_are_trained() -> None:
    backbone = net("ResNet", norm_eval=True).train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(images("ResNet")).sum().backward()
    after = backbone.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.grad is not None for p in backbone.parameters())


def test_partial_bn_freezes_all_batch_norms_but_the_first() -> None:
    backbone = net("ResNetTSM", partial_bn=True).train()
    norms = {k: m for k, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d)}
    learning = [k for k, m in norms.items() if m.training and m.weight.requires_grad]
    assert learning == ["conv1.bn"]
    others = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm3d)]
    assert others
    assert all(m.training and m.weight.requires_grad for m in others)


@pytest.mark.parametrize("name", NETS)
def test_pickled_backbone_computes_the_same(name: str) -> None:
    backbone = net(name).eval()
    again = pickle.loads(pickle.dumps(backbone))
    with torch.no_grad():
        assert torch.equal(backbone(images(name)), again(images(name)))


def test_multiple_stages_are_a_tuple() -> None:
    outputs = ResNet(18, out_indices=(0, 3))(torch.rand(1, 3, 64, 64))
    assert [tuple(o.shape) for o in outputs] == [(1, 64, 16, 16), (1, 512, 2, 2)]
    clips = C2D(18, out_indices=(0, 1), num_stages=2)(torch.rand(1, 3, 5, 67, 67))
    assert [tuple(o.shape) for o in clips] == [(1, 64, 2, 16, 16), (1, 128, 2, 8, 8)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNet(19), "depth must be one of"),
        (lambda: ResNet(18, out_indices=(4,)), "out_indices must name stages 0 to 3"),
        (lambda: ResNet(18, num_stages=5), "num_stages must be 1 to 4"),
        (lambda: ResNet(18, strides=(1, 2)), "need one entry for each of 4 stages"),
        (lambda: ResNet3d(18, inflate=(1, 1, 1, [1])), r"inflate\[3\] must be a number or 2 numbers"),
        (lambda: ResNet3d(18, temporal_strides=(1,)), "temporal_strides needs one entry"),
        (lambda: ResNetTSM(18, non_local=(0, 0)), "non_local needs one entry for each of the 4 stages"),
        (lambda: ResNet3dSlowFast(resample_rate=8, speed_ratio=3), "must be a multiple of speed_ratio"),
        (lambda: ResNet3dSlowFast(resample_rate=8, speed_ratio=0), r"must be a multiple of speed_ratio \(0\)"),
        (lambda: ResNetTSM(18, num_segments=0), "num_segments must be positive, got 0"),
        (lambda: ResNetTSM(18, shift_div=1), "shift_div must be at least 2, got 1"),
        (lambda: ResNetTSM(18, num_segments=7, temporal_pool=True), "temporal_pool halves num_segments, got 7"),
        (lambda: TSMHead(2, 3, num_segments=1, temporal_pool=True), "num_segments must be positive, got 1"),
        (lambda: MobileOne("s9"), "arch must be one of"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# Residual networks on clips


def test_strides_and_pooling_in_time() -> None:
    backbone = ResNet3d(
        18, base_channels=4, conv1_stride_t=2, pool1_stride_t=2, temporal_strides=(1, 1, 2, 1), out_indices=(0, 1, 2, 3)
    )
    outputs = backbone.eval()(torch.rand(1, 3, 32, 64, 64))
    assert [o.shape[2] for o in outputs] == [4, 4, 2, 2]
    assert [o.shape[-1] for o in outputs] == [16, 8, 4, 2]


def test_inflate_selects_the_temporal_kernels() -> None:
    backbone = ResNet3d(50, base_channels=4, inflate=(0, [1, 0, 1, 0], 1, 0), inflate_style="3x3x3")
    state = backbone.state_dict()
    reach = [state[f"layer2.{i}.conv2.conv.weight"].shape[2] for i in range(4)]
    assert reach == [3, 1, 3, 1]
    assert {v.shape[2] for k, v in state.items() if "conv1.conv" in k and "layer" in k} == {1}


def test_new_residual_blocks_are_the_identity() -> None:
    x = torch.rand(1, 16, 2, 4, 4)  # after ReLU
    block = ResNet3d(50, base_channels=4).stages[0][1].eval()
    torch.testing.assert_close(block(x), x)
    other = ResNet3d(50, base_channels=4, zero_init_residual=False).stages[0][1].eval()
    assert not torch.allclose(other(x), x)


def slowfast(**options: Any) -> ResNet3dSlowFast:
    small: dict[str, Any] = {"depth": 18, "stage_blocks": (1, 1, 1, 1)}
    slow = SlowPathway(**small, base_channels=8, lateral_norm=True, **options)
    return ResNet3dSlowFast(4, 2, slow, FastPathway(**small, base_channels=2))


def test_slowfast_has_two_frame_rates() -> None:
    backbone = slowfast()
    video = torch.rand(1, 3, 9, 32, 32)  # the last frame is dropped
    slow, fast = backbone(video)
    assert slow.shape == (1, 64, 2, 1, 1)
    assert fast.shape == (1, 16, 4, 1, 1)
    (slow.sum() + fast.sum()).backward()
    laterals = [k for k, _ in backbone.named_parameters() if "_lateral.conv" in k]
    assert len(laterals) == 4
    with pytest.raises(ValueError, match="needs at least 4 frames"):
        backbone(video[:, :, :3])
    with pytest.raises(UserError, match="needs a multiple of 4 frames"):
        backbone(torch.rand(1, 3, 10, 32, 32))


def test_lateral_connections_are_frozen_with_the_stage_before_them() -> None:
    backbone = slowfast(frozen_stages=1).train()
    frozen = {k.split(".")[1] for k, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1", "conv1_lateral", "layer1_lateral"}
    assert not backbone.slow_path.get_submodule("layer1_lateral").training
    assert backbone.slow_path.get_submodule("layer2_lateral").training


# Image networks


def test_deployed_mobileone_computes_the_same() -> None:
    torch.manual_seed(0)
    for arch in ("s0", "s4"):
        training = MobileOne(arch, out_indices=(0,))
        x = torch.rand(2, 3, 32, 32)
        training(x)  # running statistics that differ from their initial values
        training.eval()
        expected = training(x)
        loaded = MobileOne(arch, out_indices=(0,), deploy=True).eval()
        loaded.load_state_dict(training.state_dict())
        torch.testing.assert_close(loaded(x), expected, rtol=1e-4, atol=1e-5)
        training.switch_to_deploy()
        assert training.state_dict().keys() == loaded.state_dict().keys()
        torch.testing.assert_close(training(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(56, 56), (40, 72), (28, 28)])
def test_swin_windows_tile_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    backbone = SwinTransformer(8, (2, 2), (2, 2), window_size=7, drop_path_rate=0.5)
    out = backbone(torch.rand(2, 3, *size))
    assert isinstance(out, Tensor)
    assert out.shape == (2, 16, -(-size[0] // 8), -(-size[1] // 8))
    out.square().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_swin_shifted_windows_attend_to_neighbours_only() -> None:
    torch.manual_seed(0)
    block = SwinTransformer(8, (2,), (2,), window_size=4).eval().layers[0].blocks[1]
    x = torch.rand(1, 8, 8, 8, requires_grad=True)
    block(x)[0, 0, 0].sum().backward()  # the window of the corner has 2 x 2 positions after the shift
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1) > 0
    assert seen.nonzero().amax(0).tolist() == [1, 1]


def test_stochastic_depth_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(4000, 2))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(out[:, 0], out[:, 1])  # whole samples
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(torch.ones(3)), torch.ones(3))


def test_gradient_checkpointing_of_compiled_networks() -> None:
    plain, compiled = net("ResNet"), torch.compile(net("ResNet", with_cp=True), backend="aot_eager")
    for backbone in (plain, compiled):
        backbone(images("ResNet")).square().mean().backward()
    for a, b in zip(plain.state_dict().values(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_swin_has_layers_for_their_own_rates() -> None:
    net = SwinTransformer(embed_dim=8, depths=(2, 1), num_heads=(1, 2))
    layers = {name: net.layer_of(name) for name, _ in net.named_parameters()}
    assert layers["patch_embed.proj.weight"] == 0
    assert layers["layers.0.blocks.1.attn.qkv.weight"] == layers["layers.0.downsample.reduction.weight"] == 2
    assert layers["layers.1.blocks.0.mlp.fc1.bias"] == 3
    assert layers["norm.weight"] is None
    model = torch.nn.ModuleDict({"backbone": net, "cls_head": torch.nn.Linear(2, 2)})
    groups = LayerDecayGroups(decay_rate=0.5, num_layers=3)(model, 1.0, 0.1)
    assert sorted({group["lr"] for group in groups}) == [0.0625, 0.125, 0.25, 0.5, 1.0]


def test_bn_frozen_fixes_the_weights_of_batch_norm_in_training() -> None:
    backbone = net("ResNet3dCSN", norm_eval=True, bn_frozen=True)
    assert all(p.requires_grad for p in backbone.parameters())
    backbone.train()
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in backbone.named_parameters() if ".bn." in name}
    with pytest.raises(ValueError, match="bn_frozen needs norm_eval"):
        net("ResNet3dCSN", bn_frozen=True)


def test_c3d_names_the_clips_that_fit() -> None:
    backbone = C3D(out_dim=512 * 1 * 2 * 2).eval()
    assert backbone(torch.rand(1, 3, 16, 32, 32)).shape == (1, 4096)
    with pytest.raises(UserError, match=r"out_dim is 2048, but these clips give 4608 numbers: 8192 if they have"):
        backbone(torch.rand(1, 3, 16, 64, 64))
