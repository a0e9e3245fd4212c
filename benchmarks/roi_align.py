"""Time and memory of RoIAlign, compared with a loop over boxes, and with torchvision's operator if that is installed.

The loop samples all points of a box at once, and makes no more copies than it must. Maps and boxes have the sizes of
SlowFast on AVA: 2,304 channels, 16 x 22 cells, 8 x 8 bins, boxes of persons. Times are minima of some repeats, forward
and backward; results are compared.

    python benchmarks/roi_align.py [--clips 4] [--boxes 8] [--channels 2304] [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from vid_detection.models.roi_align import roi_align

SIZE = (8, 8)
SCALE = 1 / 16
REPEATS = 5


def data(clips: int, boxes: int, channels: int, device: str) -> tuple[Tensor, Tensor]:
    """Return maps (clips, channels, 16, 22) and boxes (clips, boxes, 4) of persons in 256 x 352 pixels."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn((clips, channels, 16, 22), generator=rng)
    corner = torch.rand((clips, boxes, 2), generator=rng) * torch.tensor([230.0, 100.0])
    extent = torch.rand((clips, boxes, 2), generator=rng) * torch.tensor([90.0, 120.0]) + torch.tensor([30.0, 35.0])
    return maps.to(device), torch.cat((corner, corner + extent), 2).to(device)


def loop(maps: Tensor, boxes: Tensor) -> Tensor:
    """Return the features of boxes, one box after another: the points of all bins, and the four cells around each."""
    height, width = maps.shape[2:]
    pooled = []
    for cells, found in zip(maps, boxes, strict=True):
        for x1, y1, x2, y2 in (found * SCALE - 0.5).tolist():
            ys, down = _points(y1, y2, SIZE[0], maps.device)
            xs, across = _points(x1, x2, SIZE[1], maps.device)
            inside = ((ys >= -1) & (ys <= height))[:, None] & ((xs >= -1) & (xs <= width))
            ys, xs = ys.clamp(0, height - 1), xs.clamp(0, width - 1)
            top, left = ys.long(), xs.long()
            below, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
            dy, dx = (ys - top)[:, None], xs - left
            first = cells[:, top][:, :, left] * (1 - dx) + cells[:, top][:, :, right] * dx
            second = cells[:, below][:, :, left] * (1 - dx) + cells[:, below][:, :, right] * dx
            values = (first * (1 - dy) + second * dy) * inside
            pooled.append(values.unflatten(2, (SIZE[1], across)).unflatten(1, (SIZE[0], down)).mean((2, 4)))
    return torch.stack(pooled).unflatten(0, boxes.shape[:2])


def _points(first: float, last: float, bins: int, device: torch.device) -> tuple[Tensor, int]:
    """Return where a side of a box is sampled, and the number of samples in each bin."""
    count = math.ceil((last - first) / bins)
    step = (last - first) / (bins * count)
    return first + (torch.arange(bins * count, device=device) + 0.5) * step, count


def torchvision(maps: Tensor, boxes: Tensor) -> Tensor:
    """Return the features of boxes by the operator of torchvision."""
    from torchvision.ops import roi_align as theirs  # type: ignore[import-not-found, import-untyped, unused-ignore]

    pooled: Tensor = theirs(maps, list(boxes), SIZE, SCALE, aligned=True)
    return pooled.unflatten(0, boxes.shape[:2])


def measure(pool: Callable[[Tensor, Tensor], Tensor], maps: Tensor, boxes: Tensor) -> tuple[Tensor, float, float]:
    """Return the result, and the seconds of the forward pass alone and with the backward pass."""
    leaf = maps.clone().requires_grad_()
    forward, both = math.inf, math.inf
    for _ in range(REPEATS):
        start = _now(maps)
        out = pool(leaf, boxes)
        middle = _now(maps)
        out.sum().backward()
        forward, both = min(forward, middle - start), min(both, _now(maps) - start)
    return out.detach(), forward, both


def _now(maps: Tensor) -> float:
    if maps.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print seconds, and how many times as long others take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--boxes", type=int, default=8)
    parser.add_argument("--channels", type=int, default=2304)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    maps, boxes = data(args.clips, args.boxes, args.channels, args.device)
    others: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"loop": loop}
    if find_spec("torchvision"):
        others["torchvision"] = torchvision
    mine, forward, both = measure(lambda m, b: roi_align(m, b, SIZE, SCALE), maps, boxes)
    report: dict[str, object] = {"seconds": {"forward": round(forward, 4), "with backward": round(both, 4)}}
    for name, pool in others.items():
        theirs, *seconds = measure(pool, maps, boxes)
        assert torch.allclose(mine, theirs, atol=1e-4), f"{name} has other features"
        report[f"times {name}"] = {
            "forward": round(seconds[0] / forward, 2),
            "with backward": round(seconds[1] / both, 2),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
