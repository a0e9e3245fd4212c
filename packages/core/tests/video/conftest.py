"""Videos whose frames carry their number, made once for all tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    """Import a module next to this file (tests are not a package)."""
    full = f"vidcore_tests_video_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The module that makes numbered videos."""
    return _load("make")


@pytest.fixture(scope="session")
def videos(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file, made by ``make.RECIPES`` on first use."""
    folder = tmp_path_factory.mktemp("videos")

    class Made(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            self[name] = make.RECIPES[name](folder / name)
            return self[name]

    return Made()
