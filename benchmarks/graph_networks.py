"""Compare a training step of ST-GCN++ with a plain rendition, whose graph convolutions are the equation of the paper.

Both have the same weights and compute the same, which is checked first, and alternate in one process and one thread;
the smallest CPU time of several rounds counts. A step is forward, loss and backward for 4 samples of 2 persons, 100
frames and 25 joints.

    python benchmarks/graph_networks.py [ROUNDS]
"""

from __future__ import annotations

import copy
import sys
import time

import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph
from vid_skeleton.models.recognizer import GCNHead, RecognizerGCN
from vid_skeleton.models.stgcn import STGCN, GraphUnit

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5


class PlainGraph(nn.Module):
    """The sum over subsets as the paper writes it."""

    def __init__(self, unit: GraphUnit) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        unit = self.unit
        parts = unit.conv(x).unflatten(1, (unit.subsets, -1))
        y = unit.bn(torch.einsum("nkctv,kvw->nctw", parts, unit.A))
        out: Tensor = unit.act(y + unit.down(x))  # type: ignore[misc]
        return out


def plain(model: nn.Module) -> nn.Module:
    """Return a copy of a model with plain graph convolutions and the same weights."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, GraphUnit):
                setattr(module, name, PlainGraph(child))
    return model


def main() -> None:
    """Compare, and print the times of a step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = STGCN(Graph("nturgb+d"), gcn_adaptive="init", gcn_with_res=True, tcn_type="mstcn")
    ours = RecognizerGCN(network, GCNHead(60, 256)).train()
    models = {"ours": ours, "plain": plain(ours)}
    joints, labels = torch.rand(4, 1, 2, 100, 25, 3), torch.arange(4)
    torch.testing.assert_close(models["ours"](joints), models["plain"](joints), rtol=1e-3, atol=1e-4)
    best = dict.fromkeys(models, float("inf"))
    for _ in range(ROUNDS):
        for name, model in models.items():
            start = time.process_time()
            nn.functional.cross_entropy(model(joints).flatten(0, 1), labels).backward()
            best[name] = min(best[name], time.process_time() - start)
    ratio = best["plain"] / best["ours"]
    print(f"training step: {1000 * best['ours']:.0f} ms, plain {1000 * best['plain']:.0f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
