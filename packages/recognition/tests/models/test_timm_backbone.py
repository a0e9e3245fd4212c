"""Networks of timm, with a stand-in that has the same interface."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidcore.config.bind import build_component
from vidcore.errors import MissingLibraryError, UserError


class Patches(nn.Module):
    """Features with channels last, as those of Swin."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, 6, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out.movedim(1, -1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def create_model(
        name: str, pretrained: bool, in_chans: int, num_classes: int, global_pool: str, width: int = 1
    ) -> Any:
        if name != "patches":
            raise RuntimeError(f"Unknown model ({name})")
        found.append({"pretrained": pretrained, "num_classes": num_classes, "pool": global_pool, "width": width})
        return Patches(in_chans)

    module = ModuleType("timm")
    vars(module).update(create_model=create_model, list_models=lambda: ["patches"])
    monkeypatch.setitem(sys.modules, "timm", module)
    return found


def test_a_network_keeps_its_names_and_gets_the_axes_of_ours(calls: list[dict[str, Any]]) -> None:
    table = {"type": "TimmBackbone", "name": "patches", "layout": "NHWC", "arguments": {"width": 2}}
    network = build_component(table, "models")
    assert calls == [{"pretrained": False, "num_classes": 0, "pool": "", "width": 2}]
    assert set(network.state_dict()) == {"proj.weight", "proj.bias"}
    frames = torch.rand(2, 3, 8, 12)
    assert torch.equal(network(frames), network.proj(frames))


def test_a_recognizer_with_it(calls: list[dict[str, Any]]) -> None:
    backbone = {"type": "TimmBackbone", "name": "patches", "layout": "NHWC"}
    head = {"type": "TSNHead", "num_classes": 5, "in_channels": 6}
    model = build_component({"type": "Recognizer2D", "backbone": backbone, "cls_head": head}, "models")
    assert model(torch.rand(2, 3, 3, 8, 8)).shape == (2, 1, 5)
    assert "backbone.proj.weight" in model.state_dict()


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "patch"}, r"TimmBackbone: patch: Unknown model \(patch\); did you mean 'patches'"),
        (
            {"name": "patches", "arguments": {"depth": 2}},
            "TimmBackbone: patches: .*unexpected keyword argument 'depth'",
        ),
    ],
)
def test_what_timm_refuses(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_component({"type": "TimmBackbone", **table}, "models")


def test_without_timm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingLibraryError, match="TimmBackbone needs timm: pip install timm"):
        build_component({"type": "TimmBackbone", "name": "x"}, "models")
