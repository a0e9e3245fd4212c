"""Signatures are read from source, by Python's rules, without importing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vidcore.config.signature import read_signature
from vidcore.config.types import ANY, Choice, DictOf, ListOf, Record, Scalar, TupleOf, Union
from vidcore.errors import PluginError

SAMPLES = """from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

raise ImportError("only its source may be read")

Size = tuple[int, int]


@frozen
class Pathway:
    depth: int = 50
    lateral: bool = False


@frozen(kw_only=True)
class Resize:
    scale: Size
    mode: Literal["a", "b"] = "a"
    sizes: Sequence[float] = (1.0,)
    made: list[str] = field(factory=list)
    hidden: int = field(init=False, default=3)
    path: Path | None = None
    _private: int = 1


class Base:
    def __init__(self, depth: int, width: float = 1.0, *, slow: Pathway | None = None, free: Any = None) -> None: ...


class Child(Base):
    "A child."

    def __init__(self, extra: dict[str, int], depth: int = 18, **kwargs: Any) -> None: ...


class Grandchild(Child):
    pass


def function(a: int, b="x") -> None: ...
"""


@pytest.fixture(autouse=True)
def _samples_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "signature_samples.py").write_text(SAMPLES)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_attrs_fields() -> None:
    p = read_signature("signature_samples:Resize").parameters
    assert list(p) == ["scale", "mode", "sizes", "made", "path", "private"]
    assert p["scale"].type == TupleOf((Scalar("int"), Scalar("int"))) and p["scale"].required
    assert p["mode"].type == Choice(("a", "b")) and p["mode"].default == "a"
    assert p["sizes"].type == ListOf(Scalar("float"), as_tuple=True)
    assert p["made"].type == ListOf(Scalar("str")) and not p["made"].required
    assert p["path"].type == Union((Scalar("Path"), Choice((None,))))
    assert "signature_samples" not in sys.modules


def test_keyword_arguments_stand_for_those_of_the_base_class() -> None:
    for name in ("Child", "Grandchild"):
        p = read_signature(f"signature_samples:{name}").parameters
        assert list(p) == ["extra", "depth", "width", "slow", "free"]
        assert p["extra"].type == DictOf(Scalar("int"))
        assert p["depth"].default == 18 and not p["depth"].required
        assert p["slow"].type == Union((Record("signature_samples:Pathway"), Choice((None,))))
        assert p["free"].type == ANY


def test_functions_and_missing_annotations() -> None:
    p = read_signature("signature_samples:function").parameters
    assert (p["a"].untyped, bool(p["b"].untyped), p["b"].default) == ("", True, "x")


@pytest.mark.torch
def test_reexports_are_followed_and_builtins_imported() -> None:
    assert "lr" in read_signature("torch.optim:SGD").parameters
    assert "iterable" in read_signature("itertools:accumulate").parameters


def test_missing_targets_are_named() -> None:
    with pytest.raises(PluginError, match="nowhere:Nothing"):
        read_signature("nowhere:Nothing")
    with pytest.raises(PluginError, match="pathlib:Nothing"):
        read_signature("pathlib:Nothing")
