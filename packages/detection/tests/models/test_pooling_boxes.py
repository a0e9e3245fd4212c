"""RoIAlign and box features: against a plain loop over boxes and samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vid_detection.models.roi_align import roi_align
from vid_detection.models.roi_extractor import SingleRoIExtractor3D
from vidcore.errors import DataError

BOXES = torch.tensor(
    [
        [
            [0.0, 0.0, 5.0, 4.0],
            [1.3, 2.7, 6.1, 3.9],
            [-3.0, -2.0, 2.0, 2.5],
            [3.0, 3.0, 3.0, 3.0],
            [20.0, 20.0, 30.0, 25.0],
        ],
        [
            [2.0, 1.0, 30.0, 40.0],
            [0.2, 0.1, 0.4, 0.3],
            [5.0, 4.0, 7.0, 6.0],
            [1.0, 2.0, 1.0, 5.0],
            [0.0, 0.0, 7.0, 6.0],
        ],
    ]
)


def features(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def bilinear(cells: Tensor, y: float, x: float) -> Tensor:
    """Return (C,) values of a map (C, H, W) at a place, by definition."""
    height, width = cells.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(len(cells))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    first = cells[:, top, left] * (1 - dx) + cells[:, top, right] * dx
    return first * (1 - dy) + (cells[:, below, left] * (1 - dx) + cells[:, below, right] * dx) * dy


def loop(maps: Tensor, boxes: Tensor, size: tuple[int, int], ratio: int, mode: str, aligned: bool) -> Tensor:
    out = torch.zeros(*boxes.shape[:2], maps.shape[1], *size)
    for b, cells in enumerate(maps):
        for n, box in enumerate(boxes[b].double().tolist()):
            x1, y1, x2, y2 = (v - (0.5 if aligned else 0) for v in box)
            width, height = ((x2 - x1), (y2 - y1)) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
            down, across = ratio or math.ceil(height / size[0]), ratio or math.ceil(width / size[1])
            for p in range(size[0]):
                for q in range(size[1]):
                    found = [
                        bilinear(
                            cells,
                            y1 + (p + (i + 0.5) / down) * height / size[0],
                            x1 + (q + (j + 0.5) / across) * width / size[1],
                        )
                        for i in range(down)
                        for j in range(across)
                    ]
                    stacked = (
                        torch.stack(found) if found else torch.full((1, maps.shape[1]), {"max": -1e4}.get(mode, 0.0))
                    )
                    out[b, n, :, p, q] = stacked.mean(0) if mode == "avg" else stacked.amax(0)
    return out


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "as in 2015"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_box_pooling_equals_a_loop_over_samples(mode: str, ratio: int, aligned: bool) -> None:
    maps = features(2, 3, 6, 7)
    wanted = loop(maps, BOXES, (2, 3), ratio, mode, aligned)
    torch.testing.assert_close(roi_align(maps, BOXES, (2, 3), 1.0, ratio, mode, aligned), wanted, atol=2e-6, rtol=1e-5)


def test_gradients_of_box_pooling_are_right() -> None:
    maps = features(1, 2, 4, 5).double().requires_grad_()
    for mode in ("avg", "max"):
        assert torch.autograd.gradcheck(lambda m, mode=mode: roi_align(m, BOXES[:1, :3], (2, 2), 0.5, 0, mode), maps)


def test_clips_without_boxes_have_no_features() -> None:
    maps = features(2, 3, 6, 7).requires_grad_()
    for mode in ("avg", "max"):
        pooled = roi_align(maps, torch.zeros(2, 0, 4), (2, 3), pool_mode=mode)
        assert pooled.shape == (2, 0, 3, 2, 3)
        pooled.sum().backward()


def test_boxes_that_end_before_they_begin_are_refused() -> None:
    with pytest.raises(DataError, match="a box ends before it begins"):
        roi_align(features(1, 1, 4, 4), torch.tensor([[[3.0, 0.0, 2.0, 2.0]]]), (2, 2))


def test_box_pooling_exports_with_any_number_of_boxes() -> None:
    class Pool(torch.nn.Module):
        def forward(self, maps: Tensor, boxes: Tensor) -> Tensor:
            return roi_align(maps, boxes, (2, 3))

    clips, number = torch.export.Dim("clips", min=2, max=16), torch.export.Dim("number", min=2, max=64)
    sizes = {"maps": {0: clips}, "boxes": {0: clips, 1: number}}
    maps = features(2, 3, 6, 7)
    exported = torch.export.export(Pool(), (maps, BOXES), dynamic_shapes=sizes).module()
    more = torch.cat((BOXES, BOXES + 1), 1)
    torch.testing.assert_close(exported(maps, more), roi_align(maps, more, (2, 3)))


def test_pathways_are_joined_along_time_and_channels() -> None:
    slow, fast = features(1, 3, 2, 4, 4), features(1, 2, 4, 4, 4)
    boxes = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]])
    pooled, whole = SingleRoIExtractor3D(output_size=4)([slow, fast], boxes)
    assert (pooled.shape, whole.shape) == ((1, 1, 5, 1, 4, 4), (1, 5, 1, 4, 4))
    torch.testing.assert_close(whole[:, :, 0], torch.cat((slow.mean(2), fast.mean(2)), 1))
    torch.testing.assert_close(pooled[0, 0], whole[0], msg="a box over the whole frame, a bin for each cell")
    pooled, whole = SingleRoIExtractor3D(output_size=(2, 1), with_temporal_pool=False, with_global=True)(
        [slow, fast], boxes
    )
    assert (pooled.shape, whole.shape) == ((1, 1, 10, 4, 2, 1), (1, 5, 4, 4, 4))
    torch.testing.assert_close(whole[:, :3], slow.repeat_interleave(2, 2))
    torch.testing.assert_close(pooled[0, 0, 5:, :, :, 0], whole[0].unflatten(2, (2, 2)).mean((3, 4)))
