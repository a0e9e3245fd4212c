"""Blocks of transformers, against PyTorch's own or the formulas of the papers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.nn import (
    Attention,
    ClipBlock,
    DropPath,
    Mlp,
    PackedAttention,
    PatchEmbed,
    QuickGELU,
    attend,
    drop_path_rates,
    init_transformer,
    layer_by_name,
    resize_positions,
    rotary_angles,
    rotate,
    run_blocks,
    sinusoids,
)


def reals(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, mask: Tensor | None) -> Tensor:
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    products = q @ k.transpose(-2, -1) * scale
    products = products if mask is None else products + mask
    return (products.softmax(-1) @ v).transpose(1, 2).flatten(2)


def test_attention_is_that_of_the_paper() -> None:
    q, k, v = reals(2, 3, 8), reals(2, 5, 8).cos(), reals(2, 5, 8)
    mask = torch.tensor([[0.0, 0, -math.inf, 0, -1]]).expand(3, 5)[None, None]
    for scale, given in ((None, 0.5), (2.0, 2.0)):
        found = attend(q, k, v, 2, scale=scale, mask=mask)
        torch.testing.assert_close(found, softmax_attention(q, k, v, 2, given, mask))


@pytest.mark.parametrize("bias", ["qkv", "qv", "none"])
def test_attention_with_the_names_of_image_transformers(bias: str) -> None:
    layer = Attention(8, 2, bias)
    names = {"qkv": {"qkv.bias"}, "qv": {"q_bias", "v_bias"}, "none": set()}[bias]
    assert set(layer.state_dict()) == {"qkv.weight", "proj.weight", "proj.bias"} | names
    for name in names:
        nn.init.normal_(layer.get_parameter(name))
    x = reals(2, 3, 8)
    q, k, v = F.linear(x, layer.qkv.weight).chunk(3, -1)
    if layer.q_bias is not None and layer.v_bias is not None:
        q, v = q + layer.q_bias, v + layer.v_bias
    elif bias == "qkv":
        q, k, v = ((a + b) for a, b in zip((q, k, v), layer.qkv.bias.chunk(3), strict=True))
    torch.testing.assert_close(layer(x), layer.proj(softmax_attention(q, k, v, 2, 0.5, None)))


def test_packed_attention_is_that_of_pytorch() -> None:
    theirs, ours = nn.MultiheadAttention(8, 2, batch_first=True), PackedAttention(8, 2)
    nn.init.normal_(theirs.in_proj_bias)
    ours.load_state_dict(theirs.state_dict())
    x, tokens = reals(2, 3, 8), reals(2, 5, 8).cos()
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])
    torch.testing.assert_close(ours(x, tokens), theirs(x, tokens, tokens)[0])


@pytest.mark.parametrize("kind", [Attention, PackedAttention])
def test_dropout_of_attention_works_in_training_only(kind: type[nn.Module]) -> None:
    layer, x = kind(8, 2, attn_dropout=0.9), reals(2, 3, 8)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))
    with pytest.raises(ValueError, match="num_heads must divide the 8 channels, got 3"):
        kind(8, 3)


def test_mlp_has_any_names() -> None:
    x = reals(2, 3, 4)
    nested = Mlp(4, 6, names=("layers.0.0", "layers.1"))
    assert list(nested.state_dict()) == ["layers.0.0.weight", "layers.0.0.bias", "layers.1.weight", "layers.1.bias"]
    flat = Mlp(4, 6)
    flat.load_state_dict(
        {k.replace("layers.0.0", "fc1").replace("layers.1", "fc2"): v for k, v in nested.state_dict().items()}
    )
    assert torch.equal(flat(x), nested(x))
    torch.testing.assert_close(flat(x), flat.get_submodule("fc2")(F.gelu(flat.get_submodule("fc1")(x))))
    quick = Mlp(4, 6, QuickGELU(), names=("c_fc", "c_proj"))
    hidden = quick.get_submodule("c_fc")(x)
    torch.testing.assert_close(quick(x), quick.get_submodule("c_proj")(hidden / (1 + torch.exp(-1.702 * hidden))))
    for dropped in (Mlp(4, 6, dropout=0.5), Mlp(4, 6, out_dropout=0.5)):
        assert not torch.equal(dropped(x), dropped(x))
        assert torch.equal(dropped.eval()(x), dropped(x))
    assert (Mlp(4, 6, out_dropout=0.5)(x) == 0).any()


def test_a_block_of_clip_is_causal_with_a_mask() -> None:
    block, x = ClipBlock(8, 2), reals(1, 4, 8)
    assert {name.rpartition(".")[0] for name in block.state_dict()} == {
        *("attn", "attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
    }
    causal = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    changed = torch.cat((x[:, :3], -x[:, 3:]), 1)
    torch.testing.assert_close(block(changed, causal)[:, :3], block(x, causal)[:, :3])
    assert not torch.allclose(block(changed)[:, :3], block(x)[:, :3])
    first = x + block.attn(block.ln_1(x))
    torch.testing.assert_close(block(x), first + block.mlp(block.ln_2(first)))


def test_patches_keep_their_places() -> None:
    image = torch.zeros(1, 1, 4, 6)
    image[..., 2:, 4:] = 1  # patch (1, 2)
    embed = PatchEmbed(1, 5, (2, 2))
    nn.init.zeros_(embed.get_parameter("projection.bias"))
    out = embed(image)
    assert out.shape == (1, 2, 3, 5)
    assert out.any(-1)[0].nonzero().tolist() == [[1, 2]]
    clips = PatchEmbed(3, 5, (3, 7, 7), (2, 4, 4), (1, 3, 3), name="proj")
    assert clips(reals(2, 3, 8, 16, 24)).shape == (2, 4, 4, 6, 5)
    with pytest.raises(ValueError, match=r"patch_size must have two or three entries, got \(2,\)"):
        PatchEmbed(3, 5, (2,))


def test_sinusoids_are_those_of_the_paper() -> None:
    table = sinusoids(5, 6)
    assert table.dtype == torch.float32
    for position in range(5):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-7)
            assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-7)


def test_positions_follow_a_grid_of_another_size() -> None:
    """A table that is linear in all coordinates stays so away from the borders."""

    def coordinates(frames: int, height: int, width: int) -> Tensor:
        axes = [(torch.arange(n) + 0.5) / n for n in (frames, height, width)]
        return torch.cartesian_prod(*axes)[None]  # a patch is at its centre

    old, new = (4, 8, 8), (8, 16, 12)
    table = torch.cat((torch.full((1, 1, 3), 9.0), coordinates(*old)), 1)
    found = resize_positions(table, old, new, prefix=1)
    assert torch.equal(found[:, :1], table[:, :1])
    inner = (slice(2, -2), slice(5, -5), slice(4, -4))
    got, wanted = (x.unflatten(1, new)[0][inner] for x in (found[:, 1:], coordinates(*new)))
    torch.testing.assert_close(got, wanted, atol=1e-2, rtol=0)
    frames = resize_positions(table[:, 1:], old, (8, 8, 8))
    torch.testing.assert_close(frames, resize_positions(table[:, 1:].reshape(1, 4, -1), (4,), (8,)).reshape(1, -1, 3))
    images = resize_positions(table[:, 1:65], (8, 8), (16, 12))
    torch.testing.assert_close(images, resize_positions(table[:, 1:65], (1, 8, 8), (1, 16, 12)))
    assert resize_positions(table, old, old, prefix=1) is table
    with pytest.raises(ValueError, match=r"a grid of 4 x 8 x 8 after 0 tokens needs 256 positions, the table has 257"):
        resize_positions(table, old, new)


class Residual(nn.Module):
    """A block with everything that checkpointing must repeat: random numbers and running statistics."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.norm, self.linear, self.drop = nn.BatchNorm1d(4), nn.Linear(4, 4), DropPath(rate)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x + self.drop(self.linear(self.norm(x)) * other)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    found = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        blocks = nn.ModuleList(Residual(rate) for rate in drop_path_rates(0.5, 3))
        torch.manual_seed(1)
        x, other = reals(8, 4).requires_grad_(), reals(8, 4).requires_grad_()
        run_blocks(blocks, x, other, with_cp=with_cp).square().sum().backward()
        found.append([x.grad, other.grad, *(p.grad for p in blocks.parameters()), *blocks.buffers()])
    for plain, saving in zip(*found, strict=True):
        torch.testing.assert_close(saving, plain, rtol=0, atol=0)


def test_checkpointed_blocks_run_twice_if_there_are_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = Residual.forward
    monkeypatch.setattr(Residual, "forward", lambda self, x, other: calls.append(1) or forward(self, x, other))
    blocks, x = [Residual(0.0).eval()], reals(8, 4)
    with torch.no_grad():
        run_blocks(blocks, x, x, with_cp=True)
    assert len(calls) == 1
    run_blocks(blocks, x, x, with_cp=True).sum().backward()
    assert len(calls) == 3
    run_blocks(blocks, x, x).sum().backward()
    assert len(calls) == 4


def test_initial_weights() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(100, 100), nn.LayerNorm(100), nn.Linear(100, 100, bias=False))
    nn.init.normal_(net[1].weight)
    init_transformer(net)
    assert net[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net[0].bias.any()
    assert (net[1].weight == 1).all()


def test_drop_path_grows_to_the_last_block() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]


def test_layers_by_name() -> None:
    embeddings = ["cls_token", "patch_embed."]
    names = ["patch_embed.projection.bias", "cls_token", "net.layers.11.norm.bias", "net.norm.bias", "layers.0.x"]
    assert [layer_by_name(n, embeddings, "net.layers") for n in names] == [0, 0, 12, None, None]


@pytest.mark.parametrize("grid", [(5,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("dim", [12, 20])
def test_rotary_positions_multiply_complex_numbers(grid: tuple[int, ...], dim: int) -> None:
    """Each pair of channels is a complex number, which turns by its position times its frequency (RoFormer, eq. 12)."""
    tokens = torch.randn(2, 3, 1 + math.prod(grid), dim, generator=torch.Generator().manual_seed(0))
    found = rotate(tokens, rotary_angles(grid, dim, base=100.0, prefix=1))
    assert torch.equal(found[..., 0, :], tokens[..., 0, :]), "a class token has no position"
    pairs = dim // 2 // len(grid)
    for row, position in enumerate(itertools.product(*map(range, grid)), 1):
        wanted = tokens[..., row, :].double().numpy().copy()
        for axis, place in enumerate(position):
            for j in range(pairs):
                at = 2 * (axis * pairs + j)
                number = wanted[..., at] + 1j * wanted[..., at + 1]
                number = number * np.exp(1j * place * 100.0 ** (-j / pairs))
                wanted[..., at], wanted[..., at + 1] = number.real, number.imag
        np.testing.assert_allclose(found[..., row, :].numpy(), wanted, atol=1e-6)


def test_attention_with_rotary_positions_depends_on_distances_only() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 16)
    angles = rotary_angles((9,), 8)
    for layer in (Attention(16, 2), PackedAttention(16, 2), ClipBlock(16, 2)):
        near, far = layer(x, angles=angles[:6]), layer(x, angles=angles[3:])
        torch.testing.assert_close(near, far)
        assert (near - layer(x)).abs().max() > 1e-4, "positions matter"
        assert layer.bfloat16()(x.bfloat16(), angles=angles[:6]).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="a head needs 6 channels for 3 axes of positions, got 4"):
        rotary_angles((2, 2, 2), 4)
