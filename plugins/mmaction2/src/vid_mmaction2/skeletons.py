"""Conversion of datasets and transforms of skeletons."""

from __future__ import annotations

from typing import Any

from vid_mmaction2.components import Converter, Rule, Table
from vid_mmaction2.data import convert_paths

__all__ = ["RULES"]


def _as_published(**arguments: Any) -> Rule:
    """Return a rule that sets how missing joints are treated; published weights need it."""

    def set_arguments(converter: Converter, table: Table, at: str) -> Table:
        return {**table, **arguments}

    return set_arguments


RULES: dict[str, Rule] = {
    "PoseDataset": convert_paths,
    "PreNormalize2D": _as_published(missing="corner"),
    "PreNormalize3D": _as_published(empty="keep"),
    **dict.fromkeys(("GenSkeFeat", "JointToBone", "ToMotion"), _as_published(missing="zero")),
}
