"""Video Swin, MViT and UniFormer: windows, relative positions, weights of image networks, layers, scales."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vid_recognition.models.heads import MViTHead
from vid_recognition.models.mvit import MViT, MViTSize, PoolingAttention, relative_positions
from vid_recognition.models.swin import SwinTransformer
from vid_recognition.models.swin3d import SwinSize, SwinTransformer3D
from vid_recognition.models.swin_blocks import (
    SwinOptions,
    WindowCache,
    Windows,
    merge_windows,
    relative_index,
    shift_mask,
    split_windows,
)
from vid_recognition.models.uniformer import UniFormer
from vidcore.engine.optim import LayerDecayGroups
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import resize_tables

SMALL = SwinSize(8, (2, 2), (1, 2))


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


# Windows


@pytest.mark.parametrize(("grid", "size"), [((4, 6), (2, 3)), ((4, 6, 2), (2, 3, 2))])
def test_windows_are_boxes_and_merge_again(grid: tuple[int, ...], size: tuple[int, ...]) -> None:
    x = draw(2, *grid, 3)
    windows = split_windows(x, size)
    first = x[(0, *(slice(part) for part in size))].flatten(0, -2)
    assert torch.equal(windows[0], first)
    assert torch.equal(merge_windows(windows, size, grid), x)


def test_position_biases_depend_on_the_offset() -> None:
    full = (3, 3, 3)
    index = relative_index(full, full, "offset").view(3, 3, 3, 3, 3, 3)
    assert len(index.unique()) == 5**3
    assert index[0, 1, 2, 0, 0, 0] == index[1, 2, 2, 1, 1, 0]
    small = relative_index((3, 2, 2), full, "offset").view(3, 2, 2, 3, 2, 2)
    assert torch.equal(small, index[:, :2, :2, :, :2, :2])
    short = relative_index((2, 3, 3), full, "first")
    assert torch.equal(short, relative_index((2, 3, 3), full, "offset"))
    published = relative_index((3, 2, 2), full, "first")
    assert torch.equal(published, index.view(27, 27)[:12, :12])
    assert not torch.equal(published, small.view(12, 12))


def test_short_axes_are_not_shifted() -> None:
    windows = Windows.of((2, 9, 4), SwinOptions((4, 4, 4)), True, torch.device("cpu"))
    assert (windows.size, windows.shift, windows.grid) == ((2, 4, 4), (0, 2, 0), (2, 12, 4))
    assert windows.mask is not None
    assert windows.mask.shape == (3, 32, 32)
    assert windows.mask[:2].eq(0).all(), "only the last window has patches from both ends"
    halves = torch.arange(4).repeat_interleave(4).repeat(2) >= 2
    assert torch.equal(windows.mask[2] == 0, halves[:, None] == halves)
    assert Windows.of((2, 4, 4), SwinOptions((4, 4, 4)), True, torch.device("cpu")).mask is None


def test_windows_of_a_size_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: object) -> Tensor:
        calls.append(args)
        return shift_mask(*args)

    monkeypatch.setattr("vid_recognition.models.swin_blocks.shift_mask", counted)
    net = SwinTransformer3D(SMALL, window_size=(2, 3, 3), out_indices=(1,)).eval()
    with torch.inference_mode():
        net(draw(1, 3, 8, 64, 64))
    made = len(calls)
    assert made == 2, "one shifted block in each stage"
    net.train()(draw(1, 3, 8, 64, 64)).sum().backward()  # with what was made in inference mode
    assert len(calls) == made
    net(draw(1, 3, 8, 96, 64))
    assert len(calls) == made + 2
    cache = WindowCache(SwinOptions((2, 2)))
    for side in range(4, 24):
        cache((side, side), True, torch.device("cpu"))
    assert len(cache.known) <= WindowCache.LIMIT


def test_swin_on_clips_is_causal_within_windows_of_time() -> None:
    net = SwinTransformer3D(SwinSize(8, (1,), (1,)), window_size=(2, 4, 4), out_indices=(0,)).eval()
    clip = draw(1, 3, 8, 16, 16).requires_grad_()
    net(clip)[:, :, 0].sum().backward()
    assert clip.grad is not None
    seen = clip.grad[0].abs().sum((0, 2, 3)) > 0
    assert seen.tolist() == [True] * 4 + [False] * 4, "a window has two patches of two frames"


def test_outputs_of_several_stages() -> None:
    clip = draw(1, 3, 7, 30, 34)  # padded to 8 x 32 x 36
    shapes = [tuple(o.shape) for o in SwinTransformer3D(SMALL, window_size=(2, 3, 3), out_indices=(0, 1))(clip)]
    assert shapes == [(1, 8, 4, 8, 9), (1, 16, 4, 4, 5)]
    after = SwinTransformer3D(SMALL, window_size=(2, 3, 3), out_indices=(0,), out_after_downsample=True)(clip)
    assert after.shape == (1, 16, 4, 4, 5)


def test_weights_of_image_swin_are_inflated() -> None:
    torch.manual_seed(0)
    picture = SwinTransformer(8, (2, 2), (1, 2), window_size=3).eval()
    net = SwinTransformer3D(SMALL, window_size=(2, 3, 3), out_indices=(1,)).eval()
    weights = net.convert_2d_weights({f"backbone.{k}": v for k, v in picture.state_dict().items()})
    assert weights.keys() == net.state_dict().keys()
    net.load_state_dict(weights)
    frame = draw(1, 3, 24, 24)
    still = net(frame[:, :, None].repeat(1, 1, 4, 1, 1))  # every frame of a still clip has the features of the frame
    torch.testing.assert_close(still, picture(frame)[:, :, None].expand_as(still), rtol=1e-4, atol=1e-5)


def test_position_biases_are_resized_only_on_request() -> None:
    picture = SwinTransformer(8, (2, 2), (1, 2), window_size=4).state_dict()
    net = SwinTransformer3D(SMALL, window_size=(2, 3, 3), out_indices=(0, 1))
    with pytest.raises(CheckpointError, match=r"for windows of 4 x 4 patches, .*weights_resize = true resizes it"):
        net.convert_2d_weights(picture)
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    picture[key] = torch.full_like(picture[key], 0.5)
    whole = {f"backbone.{k}": v for k, v in picture.items()}
    resized = resize_tables(net, whole)
    assert len(resized) == 4
    weights = net.convert_2d_weights(whole | resized)
    assert weights.keys() == net.state_dict().keys(), "the norm of the first stage is kept"
    torch.testing.assert_close(weights[key], torch.full((3 * 5 * 5, 1), 0.5))
    assert resize_tables(net, weights) == {}
    other = SwinTransformer3D(SMALL, window_size=(4, 3, 3), out_indices=(0, 1))
    other.load_state_dict({**weights, **resize_tables(other, weights)})
    wrong = {key: torch.zeros(77, 1)}
    with pytest.raises(CheckpointError, match=f"{key}: has 77 positions, which do not form a grid like 3 x 5 x 5"):
        resize_tables(net, wrong)


def test_tables_of_distances_are_resized() -> None:
    short, long = (MViT(MViTSize(8, 2, 1, (1,)), 32, frames) for frames in (4, 8))
    resized = resize_tables(long, short.state_dict())
    assert [*resized] == [f"blocks.{i}.attn.rel_pos_t" for i in range(2)]
    long.load_state_dict({**short.state_dict(), **resized})
    table = short.state_dict()["blocks.0.attn.rel_pos_t"]
    torch.testing.assert_close(resized["blocks.0.attn.rel_pos_t"][[0, 3, 6]], table)


def test_weights_of_maskfeat_and_of_images_start_mvit() -> None:
    net = MViT(MViTSize(8, 2, 1, (1,)), 32, 4)
    own = net.state_dict()
    masked = {**{f"backbone.{k}": v for k, v in own.items()}, "backbone.mask_token": draw(1, 8), "head.weight": draw(8)}
    assert net.convert_2d_weights(masked).keys() == own.keys()
    pictures = {k: v[:, :, 0] if v.ndim == 5 else v for k, v in own.items() if not k.endswith("rel_pos_t")}
    inflated = net.convert_2d_weights(pictures)
    assert {k: v.shape for k, v in inflated.items()} == {k: v.shape for k, v in own.items()}
    with pytest.raises(CheckpointError, match="they lack cls_token"):
        net.convert_2d_weights({k: v for k, v in own.items() if k != "cls_token"})


def test_weights_of_image_uniformer_are_inflated() -> None:
    net = UniFormer((1, 1, 1, 1), embed_dim=(8, 8, 8, 8), head_dim=8)
    own = net.state_dict()
    pictures = {k: v[:, :, 0] if v.ndim == 5 else v for k, v in own.items()} | {"head.weight": draw(3, 8)}
    inflated = net.convert_2d_weights(pictures)
    assert {k: v.shape for k, v in inflated.items()} == {k: v.shape for k, v in own.items()}
    torch.testing.assert_close(inflated["blocks1.0.attn.weight"].sum(2), pictures["blocks1.0.attn.weight"])


# Relative positions of MViT


def test_a_long_vector_has_the_scores_of_relative_positions() -> None:
    torch.manual_seed(0)
    net = MViT(MViTSize(8, 2, 1, (1,)), 32, 4, adaptive_kv_stride=(1, 4, 4))
    attention = net.blocks[1].get_submodule("attn")
    assert isinstance(attention, PoolingAttention)
    attention.double()
    grid = (2, 8, 8)
    x = draw(2, 1 + 2 * 8 * 8, 8).double()
    got, grid_q = attention(x, grid)
    assert grid_q == (2, 4, 4)

    qkv = attention.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    query, _ = attention.pool("q", qkv[0], grid)
    key, grid_k = attention.pool("k", qkv[1], grid)
    value, _ = attention.pool("v", qkv[2], grid)
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid_q))
    others = torch.cartesian_prod(*(torch.arange(n) for n in grid_k))
    for axis, letter in enumerate("thw"):
        table = relative_positions(attention.get_parameter(f"rel_pos_{letter}"), grid_q[axis], grid_k[axis])
        pairs = table[places[:, axis][:, None], others[:, axis]]  # (queries, keys, d)
        scores[:, :, 1:, 1:] += torch.einsum("nhqd,qkd->nhqk", query[:, :, 1:], pairs)
    out = scores.softmax(-1) @ value
    out[:, :, 1:] += query[:, :, 1:]
    torch.testing.assert_close(got, attention.proj(out.transpose(1, 2).flatten(2)))


def test_relative_positions_are_measured_on_the_finer_grid() -> None:
    table = torch.arange(7.0)[:, None]  # distances -3 to 3
    assert relative_positions(table, 4, 2)[..., 0].tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]
    assert relative_positions(table, 2, 4)[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 3, 2]]
    longer = relative_positions(table, 8, 8)[..., 0]
    assert longer[7, 0] == 6 and longer[0, 7] == 0, "a table of another length is interpolated"


@pytest.mark.parametrize("options", [{}, {"use_abs_pos_embed": True}, {"rel_pos_embed": False}])
def test_mvit_takes_clips_of_other_sizes(options: dict[str, bool]) -> None:
    net = MViT(MViTSize(8, 3, 1, (1, 2)), (64, 32), 8, **options)
    for shape, grid in (((8, 64, 32), (4, 4, 2)), ((4, 32, 64), (2, 2, 4))):
        patches, token = net(draw(1, 3, *shape))
        assert (tuple(patches.shape), tuple(token.shape)) == ((1, 32, *grid), (1, 32))


def test_channels_of_maskfeat_grow_before_a_stage() -> None:
    size = MViTSize(8, 3, 1, (1, 2))
    v2, maskfeat = MViT(size, 32, 4), MViT(size, 32, 4, dim_mul_in_attention=False)
    assert v2.state_dict()["blocks.1.attn.qkv.weight"].shape == (48, 8)
    assert maskfeat.state_dict()["blocks.1.attn.qkv.weight"].shape == (48, 16)
    assert maskfeat.state_dict()["blocks.0.mlp.fc2.weight"].shape == (16, 32)
    outputs = MViT(size, 32, 4, out_scales=(0, 2), dim_mul_in_attention=False)(draw(1, 3, 4, 32, 32))
    assert [tuple(o.shape) for o in outputs] == [(1, 16, 2, 8, 8), (1, 32, 2, 2, 2), (1, 32)]


def test_mvit_head_reads_the_class_token_or_the_patches() -> None:
    patches, token = draw(2, 8, 1, 2, 2), draw(2, 8)
    head = MViTHead(3, 8, init_scale=0.5).eval()
    assert head.fc_cls.bias.unique().tolist() == pytest.approx([0.01])
    torch.testing.assert_close(head((patches, token), 2)[:, 0], head.fc_cls(token))
    mean = MViTHead(3, 8, with_cls_token=False).eval()
    torch.testing.assert_close(mean((patches, token), 2)[:, 0], mean.fc_cls(patches.mean((2, 3, 4))))
    torch.testing.assert_close(mean(patches, 2), mean((patches, token), 2))
    with pytest.raises(UserError, match=r"with_cls_token needs backbone.output_cls_token"):
        head(patches, 2)


# Layers, arguments


def test_layers_of_their_own_rates() -> None:
    mvit = MViT(MViTSize(8, 2, 1, (1,)), 32, 4)
    layers = {name: mvit.layer_of(name) for name, _ in mvit.named_parameters()}
    assert layers["cls_token"] == layers["patch_embed.projection.bias"] == 0
    assert layers["blocks.1.attn.rel_pos_h"] == 2
    assert layers["norm1.weight"] is None
    model = torch.nn.ModuleDict({"backbone": mvit, "cls_head": torch.nn.Linear(2, 2)})
    groups = LayerDecayGroups(decay_rate=0.5, num_layers=2)(model, 1.0, 0.1)
    assert sorted({group["lr"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]


def test_frozen_tokens_of_mvit() -> None:
    net = MViT(MViTSize(8, 2, 1, (1,)), 32, 4, use_abs_pos_embed=True, frozen_stages=0)
    frozen = {name.split(".")[0] for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"patch_embed", "cls_token", "pos_embed"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SwinTransformer3D(SwinSize(8, (1,), (3,)), out_indices=(0,)), "num_heads must divide the channels"),
        (lambda: SwinTransformer3D(SwinSize(8, (1, 1), (1,)), out_indices=(0,)), "one entry for each stage"),
        (lambda: MViT(MViTSize(8, 2, 1, (2,))), "downscale_indices must be blocks after the first, got"),
        (lambda: MViT(MViTSize(8, 2, 3, (1,))), "num_heads must divide the channels; 3 does not divide 8"),
        (lambda: MViT(with_cls_token=False), "output_cls_token needs with_cls_token"),
        (lambda: UniFormer(embed_dim=(64, 128, 300, 512)), "embed_dim must be multiples of head_dim"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build()


def test_fused_attention_in_windows_has_the_plain_scores() -> None:
    torch.manual_seed(0)
    net = SwinTransformer3D(SwinSize(8, (2,), (2,)), window_size=(2, 4, 4), out_indices=(0,)).double()
    block = net.layers[0].get_submodule("blocks.1")
    windows = Windows.of((4, 8, 8), SwinOptions((2, 4, 4)), True, torch.device("cpu"))
    assert windows.mask is not None
    attention = block.get_submodule("attn")
    x = draw(2 * 8, 32, 8).double()
    query, key, value = attention.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-2, -1) * 0.5
    scores = scores + attention.relative_position_bias_table[windows.index].permute(2, 0, 1)
    scores = (scores.unflatten(0, (2, 8)) + windows.mask[:, None]).flatten(0, 1)
    expected = attention.proj((F.softmax(scores, -1) @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, windows), expected)
