"""What ``data.labels`` says about the parts of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from vidcore.errors import ConfigError, UserError
from vidcore.protocols import ChecksLabels
from vidcore.task.label_checks import check_labels


class Head(ChecksLabels):
    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        if labels == "multi":
            raise UserError("needs one class")
        return "softmax"


class Silent(ChecksLabels):
    pass


def task(labels: str | None) -> Any:
    return SimpleNamespace(get=lambda key: labels if key == "data.labels" else {})


def test_parts_say_what_they_do_and_others_nothing() -> None:
    assert check_labels(task("single"), {"model": Head(), "metrics.a": Silent()}) == (
        'data.labels = "single": model: softmax'
    )
    assert check_labels(task("single"), {"metrics.a": Silent()}) is None
    assert check_labels(task(None), {"model": Head()}) is None
    with pytest.raises(ConfigError, match="model: needs one class, but"):
        check_labels(task("multi"), {"model": Head()})
