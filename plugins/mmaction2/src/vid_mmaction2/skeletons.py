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


def _dataset(converter: Converter, table: Table, at: str) -> Table:
    """The prefix is the folder of the videos, or that of the separate files of joints."""
    separate = isinstance(table.get("data_prefix"), dict) and "skeleton" in table["data_prefix"]
    table = convert_paths(converter, table, at, kind="skeleton" if separate else "video")
    return {"kp_root" if separate and name == "data_root" else name: value for name, value in table.items()}


RULES: dict[str, Rule] = {
    "PoseDataset": _dataset,
    "PreNormalize2D": _as_published(missing="corner"),
    "PreNormalize3D": _as_published(empty="keep"),
    **dict.fromkeys(("GenSkeFeat", "JointToBone", "ToMotion"), _as_published(missing="zero")),
}
