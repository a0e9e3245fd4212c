"""Makes ``engine/toy.py`` importable: tests here are not a package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

spec = importlib.util.spec_from_file_location("vidcore_toy", Path(__file__).parent / "engine" / "toy.py")
assert spec is not None and spec.loader is not None
_toy = importlib.util.module_from_spec(spec)
sys.modules["vidcore_toy"] = _toy  # worker processes look it up by name
if importlib.util.find_spec("torch"):  # the tests without PyTorch need no toy
    spec.loader.exec_module(_toy)


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    return _toy
