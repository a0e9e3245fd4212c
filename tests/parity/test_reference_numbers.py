"""The reference numbers: every operator that has a driver, and a model of each method.

``hatch run parity`` runs all models, and lists cases that no package computes yet.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
PARITY = Path(os.environ.get("VIDCORE_SHARED", HERE.parents[2] / "shared")) / "parity"
MODELS = (
    "audioonly_r50_8xb160-64x1x1-100e_kinetics400-audio-feature",
    "c2d_r50-in1k-pre-nopool_8xb32-8x8x1-100e_kinetics400-rgb",
    "bsn_pem_1xb16-400x100-20e_activitynet-feature",
    "drn_2xb16-4096-10e_c3d-feature_third",
    "i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb",
    "slowfast_kinetics400-pretrained-r50-context_8xb16-4x16x1-20e_ava21-rgb",
    "slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb",
    "slowonly-lfb-nl_kinetics400-pretrained-r50_8xb12-4x16x1-20e_ava21-rgb",
    "tsm_imagenet-pretrained-r50_8xb16-1x1x8-100e_kinetics400-rgb",
    "tsn_imagenet-pretrained-r50_8xb32_5x1x3-110e_kinetics400-flow",
)

pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason=f"no reference numbers at {PARITY}")


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"vidcore_parity_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def check() -> Any:
    return module(PARITY / "check.py")


ADAPTER = module(HERE / "adapter.py")
OPERATORS = [name for name in sorted(ADAPTER.operators()) if (PARITY / "ops" / f"{name}.json").exists()]


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name: str, check: Any) -> None:
    passed, note = check.check_op(PARITY / "ops" / f"{name}.json", ADAPTER)
    assert passed, note


@pytest.mark.parametrize("name", MODELS)
def test_model(name: str, check: Any) -> None:
    deviation, which = check.check_model(PARITY / "models" / f"{name}.json", ADAPTER)
    assert deviation <= check.TOLERANCE, which


LOCALIZATION_SCORES = (
    "activitynet_detection",
    "activitynet_proposals",
    "average_recall_at_proposals",
    "grounding_recall",
    "interpolated_average_precision",
)


@pytest.mark.parametrize("name", LOCALIZATION_SCORES)
def test_localization_scores_are_equal_to_nine_digits(name: str, check: Any) -> None:
    case = check.opcase.load(PARITY / "ops" / f"metrics.{name}.json")
    compared = [row for row in case.rows if not row.fails and not row.doubtful]
    assert compared
    for row in compared:
        own = {key: {**rule, "rtol": 1e-9, "atol": 1e-9} for key, rule in row.compare.items() if isinstance(rule, dict)}
        row.compare |= {"rtol": 1e-9, "atol": 1e-9} | own
        check.opcase.check(row, ADAPTER.run_op(case, row))
