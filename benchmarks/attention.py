"""Compare attention of Video Swin and MViT with plain attention, which has the matrix of all scores.

Both compute the same, which is checked first, and alternate in one process and one thread; the smallest CPU time of
several rounds counts. Blocks and sizes are those of the published networks on clips of 224 x 224.

Training Swin on a CPU takes as long as plain attention, or 6 % longer: the fused kernel of PyTorch for CPUs has no
gradient of the position bias, and its replacement checks each row of scores. Without gradients, and on a GPU, the
kernel is fused.

    python benchmarks/attention.py [ROUNDS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vid_recognition.models.mvit import MViT, PoolingAttention, relative_positions
from vid_recognition.models.swin3d import SwinTransformer3D
from vid_recognition.models.swin_blocks import SwinBlock, WindowAttention, Windows

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5


def plain_windows(attention: WindowAttention, x: Tensor, windows: Windows) -> Tensor:
    """Attention in windows with explicit scores."""
    query, key, value = attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    scores = scores + attention.relative_position_bias_table[windows.index].permute(2, 0, 1)
    if windows.mask is not None:
        scores = (scores.unflatten(0, (-1, len(windows.mask))) + windows.mask[:, None]).flatten(0, 1)
    out: Tensor = attention.proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    return out


def plain_pooling(attention: PoolingAttention, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Attention with pooling and explicit scores of products and relative positions."""
    qkv = attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, grid_q = attention.pool("q", qkv[0], grid)
    key, grid_k = attention.pool("k", qkv[1], grid)
    value, _ = attention.pool("v", qkv[2], grid)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    patches = query[:, :, 1:].unflatten(2, grid_q)
    inner = scores[:, :, 1:, 1:].unflatten(3, grid_k).unflatten(2, grid_q)
    for axis, letter in enumerate("thw"):
        table = relative_positions(attention.get_parameter(f"rel_pos_{letter}"), grid_q[axis], grid_k[axis])
        part = torch.einsum(f"bythwc,{letter}kc->bythwk", patches, table)
        inner = inner + part[(..., *(slice(None) if i == axis else None for i in range(3)))]
    inside = inner.flatten(5).flatten(2, 4)
    scores = torch.cat((scores[:, :, :1], torch.cat((scores[:, :, 1:, :1], inside), 3)), 2)
    out = scores.softmax(-1) @ value
    out = torch.cat((out[:, :, :1], out[:, :, 1:] + query[:, :, 1:]), 2)
    return attention.proj(out.transpose(1, 2).flatten(2))


def compare(name: str, ours: Callable[[], Tensor], plain: Callable[[], Tensor]) -> None:
    """Print the time of both and their ratio, forward, and forward with backward."""
    with torch.no_grad():
        torch.testing.assert_close(ours(), plain(), rtol=1e-3, atol=1e-4)
    for what, backward in (("forward", False), ("forward and backward", True)):
        best = {"ours": float("inf"), "plain": float("inf")}
        for _ in range(ROUNDS):
            for key, run in (("ours", ours), ("plain", plain)):
                start = time.process_time()
                with torch.set_grad_enabled(backward):
                    out = run()
                    if backward:
                        out.sum().backward()
                best[key] = min(best[key], time.process_time() - start)
        ratio = best["plain"] / best["ours"]
        print(f"{name}, {what}: {1000 * best['ours']:.0f} ms, plain {1000 * best['plain']:.0f} ms, ratio {ratio:.2f}")


def compare_windows(name: str, block: SwinBlock, tokens: Tensor) -> None:
    """Compare a block with one whose masks are computed in each call."""
    fused = block.attn.forward

    def plain() -> Tensor:
        block.cache.known.clear()
        block.attn.forward = lambda x, windows: plain_windows(block.attn, x, windows)
        try:
            return block.attend(tokens)
        finally:
            block.attn.forward = fused

    compare(name, lambda: block.attend(tokens), plain)


def compare_pooling(name: str, attention: PoolingAttention, grid: tuple[int, int, int]) -> None:
    """Compare attention with one that adds the scores of relative positions."""
    tokens = torch.randn(1, 1 + grid[0] * grid[1] * grid[2], attention.qkv.in_features)
    compare(name, lambda: attention(tokens, grid)[0], lambda: plain_pooling(attention, tokens, grid))


def main() -> None:
    """Compare an early and a late block of each network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    swin, mvit = SwinTransformer3D("tiny"), MViT("small")
    for stage, side in ((0, 56), (2, 14)):
        block = swin.layers[stage].get_submodule("blocks.1")
        assert isinstance(block, SwinBlock)
        tokens = torch.randn(1, 16, side, side, swin.widths[stage])
        compare_windows(f"Swin-T on 32 frames, shifted block of stage {stage + 1}", block, tokens)
    for number, side in ((0, 56), (5, 14)):
        attention = mvit.blocks[number].get_submodule("attn")
        assert isinstance(attention, PoolingAttention)
        compare_pooling(f"MViTv2-S on 16 frames, block {number}", attention, (8, side, side))


if __name__ == "__main__":
    main()
