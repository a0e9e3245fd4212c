"""Adapter from the reference numbers to vidcore's public API, imported by ``check.py`` of the references.

Each driver in this folder translates one area; it only reshapes and renames.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from vidcore.errors import UserError

HERE = Path(__file__).resolve().parent


def driver(name: str) -> ModuleType:
    """Import a module of this folder, which is not a package."""
    full = f"vidcore_parity_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


def operators(area: str = "") -> dict[str, Callable[[Any, Any], dict[str, Any]]]:
    """Return the functions of the operator cases of an area, or of all areas."""
    modules = [driver(path.stem) for path in sorted(HERE.glob(f"drive_{area}*.py"))]
    return {name: run for module in modules for name, run in getattr(module, "OPS", {}).items()}


def run_model(case: dict[str, Any], checkpoint: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """Build ``case["model"]`` as the importer does, load the checkpoint, and return scores, features and losses."""
    model = driver("drive_models").build(case, checkpoint)
    own = f"drive_models_{'vindlu' if case['model']['type'].startswith('VindLU') else case['package']}"
    outputs = driver(own if (HERE / f"{own}.py").exists() else "drive_models").run(model, case, inputs)
    counted = list(model.parameters())
    if (case["model"].get("test_cfg") or {}).get("fcn_test"):  # the published head keeps its classifier twice
        counted += model.cls_head.fc_cls.parameters()
    return {"num_params": sum(p.numel() for p in counted), "outputs": outputs}


def run_op(case: Any, row: Any) -> dict[str, Any]:
    """Compute one row of one operator case."""
    name = f"{case.area}.{case.name}"
    known = operators(case.area)
    if name not in known:
        raise NotImplementedError(f"no package computes {name} yet")
    try:
        return known[name](case, row)
    except UserError:
        if row.doubtful and not row.fails:  # vidcore refuses a doubtful case of the reference
            return dict.fromkeys(row.outputs)
        raise
