"""Connects the reference numbers to vidcore's public API; ``check.py`` of the references imports it.

The drivers beside this file translate one area each. They reshape and rename, nothing more.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent


def _driver(name: str) -> ModuleType:
    full = f"vidcore_parity_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


def run_model(case: dict[str, Any], checkpoint: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Build ``case["model"]`` as an import would, load the checkpoint, return scores, features and losses."""
    result: dict[str, Any] = _driver("drive_models").run_model(case, checkpoint, inputs)
    return result


def run_op(case: Any, row: Any) -> dict[str, Any]:
    """Compute one row of one operator case."""
    name = f"{case.area}.{case.name}"
    for path in sorted(HERE.glob(f"drive_{case.area}*.py")):
        ops: dict[str, Callable[[Any, Any], dict[str, Any]]] = getattr(_driver(path.stem), "OPS", {})
        if name in ops:
            return ops[name](case, row)
    raise NotImplementedError(f"no package computes {name} yet")
