"""A parameter may take a component by its name, and components of a kind that a plugin adds."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from vidcore.config.bind import build_component
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog, Component, kind_of

PARTS = """
from __future__ import annotations
from pathlib import Path
from typing import Literal, Protocol
from attrs import define, frozen
from vidcore.typing import Named

class Decoder(Protocol):
    def __call__(self, path: str, threads: int = 1) -> str: ...

@define
class Tracker:
    memory: int = 30

@frozen
class Sort(Tracker):
    iou: float = 0.3

def open_fast(path: str, threads: int = 1) -> str:
    return f"{path} by {threads}"

@frozen
class Reader:
    decoder: Literal["auto"] | Named[Decoder] = "auto"

@frozen
class Strict:
    decoder: Named["Decoder"]

@frozen
class Follow:
    tracker: Tracker
    spare: Tracker | None = None
"""
KINDS = {"Reader": "transforms", "Strict": "transforms", "Follow": "transforms", "Sort": "trackers", "Net": "models"}


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    (tmp_path / "named_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "named_parts", raising=False)
    offered = {n: Component(n, k, f"named_parts:{n}", "test") for n, k in KINDS.items()}
    return Catalog((), offered | {"fast": Component("fast", "decoders", "named_parts:open_fast", "test")}, {})


@pytest.mark.parametrize("name", ["Reader", "Strict"])
def test_a_name_becomes_the_function_itself(catalog: Catalog, name: str) -> None:
    reader = build_component({"type": name, "decoder": "fast"}, catalog=catalog)
    assert reader.decoder is importlib.import_module("named_parts").open_fast
    assert reader.decoder("a.mp4", threads=2) == "a.mp4 by 2"


def test_literal_strings_are_not_components(catalog: Catalog) -> None:
    assert build_component({"type": "Reader", "decoder": "auto"}, catalog=catalog).decoder == "auto"
    assert build_component({"type": "Reader"}, catalog=catalog).decoder == "auto"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("fats", r"decoder: no installed plugin offers a decoders component named 'fats'; did you mean 'fast'\?"),
        ("Net", r"decoder: 'Net' \(test\) belongs to models, but one of decoders is needed here"),
        ({"type": "fast"}, r"decoder: must be .*the name of a component \(Decoder\), got a table"),
        (3, r"decoder: must be .*the name of a component \(Decoder\), got 3"),
    ],
)
@pytest.mark.parametrize("name", ["Reader", "Strict"])
def test_a_wrong_name_is_reported_before_anything_is_imported(
    catalog: Catalog, name: str, value: Any, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        build_component({"type": name, "decoder": value}, catalog=catalog)
    assert "named_parts" not in sys.modules


def test_the_name_of_a_protocol_gives_the_kind(catalog: Catalog) -> None:
    follow = build_component({"type": "Follow", "tracker": {"type": "Sort", "memory": 3}}, catalog=catalog)
    assert (follow.tracker.memory, follow.tracker.iou, follow.spare) == (3, 0.3, None)


def test_a_component_of_another_kind_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ConfigError) as caught:
        build_component({"type": "Follow", "tracker": {"type": "Net"}, "spare": {"type": "Srt"}}, catalog=catalog)
    assert caught.value.problems == (
        "task: tracker.type: 'Net' (test) belongs to models, but one of trackers is needed here",
        "task: spare.type: no installed plugin offers a trackers component named 'Srt'; did you mean 'Sort'?",
    )
    assert "named_parts" not in sys.modules


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [("Dataset", "datasets"), ("Module", "models"), ("PoseEstimator", "pose_estimators"), ("Job", "jobs")],
)
def test_the_kind_is_the_name_in_the_plural(annotation: str, kind: str) -> None:
    assert kind_of(annotation) == kind
