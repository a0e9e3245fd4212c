"""Converting pipelines: a list of steps becomes a table of named steps."""

from __future__ import annotations

from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, snake, unscoped

__all__ = ["RULES", "convert_pipeline", "free_name"]

OPENERS = {"DecordInit", "OpenCVInit", "PyAVInit", "PIMSInit"}
DECODERS = {"DecordDecode", "OpenCVDecode", "PyAVDecode", "PIMSDecode", "RawFrameDecode", "ImageDecode", "ArrayDecode"}

STEP_NAMES = {
    "OpenVideo": "open",
    "SampleFrames": "sample",
    "DenseSampleFrames": "sample",
    "UniformSample": "sample",
    "UntrimmedSampleFrames": "sample",
    "SampleAVAFrames": "sample",
    "RandomCrop": "crop",
    "RandomResizedCrop": "crop",
    "MultiScaleCrop": "crop",
    "CenterCrop": "crop",
    "ThreeCrop": "crop",
    "TenCrop": "crop",
    "FormatShape": "format",
    "ColorJitter": "jitter",
    "RandomErasing": "erase",
}
"""Steps that do the same job have the same name, so that one can take the place of the other."""


def convert_pipeline(converter: Converter, steps: Any, at: str) -> Table:
    """Convert a published list of steps.

    Opening and decoding are one step each here, whatever the decoder; packing is left out where
    there is nothing to choose, because a sample carries everything it knows. A second step of one
    name gets a number (``resize_2``).
    """
    if not isinstance(steps, list):
        converter.problem(at, "a pipeline is a list of steps")
        return {}
    named: Table = {}
    for position, step in enumerate(steps):
        place = f"{at}[{position}]"
        kind = unscoped(step["type"]) if isinstance(step, dict) and isinstance(step.get("type"), str) else ""
        if kind == "PackActionInputs":
            if not step.get("collect_keys"):
                continue
            step = {"type": kind, "collect_keys": step["collect_keys"]}
        elif kind in OPENERS:
            step = {"type": "OpenVideo", **_threads(step)}
        elif kind in DECODERS:
            step = {"type": "Decode"}
        converted = converter.component(step, place)
        if converted is not None:
            named[free_name(STEP_NAMES.get(converted["type"], snake(converted["type"])), named)] = converted
    return named


def _threads(step: Table) -> Table:
    return {"threads": step["num_threads"]} if step.get("num_threads", 1) != 1 else {}


def free_name(name: str, taken: Table) -> str:
    """The name, or the first of ``name_2``, ``name_3``, ... that is not taken."""
    number = 1
    numbered = name
    while numbered in taken:
        number += 1
        numbered = f"{name}_{number}"
    return numbered


def _sampling(converter: Converter, table: Table, at: str) -> Table:
    """``start_index`` moved from the sampling step to the data set long ago."""
    return {k: v for k, v in table.items() if k != "start_index"}


RULES: dict[str, Rule] = {"SampleFrames": _sampling, "DenseSampleFrames": _sampling}
