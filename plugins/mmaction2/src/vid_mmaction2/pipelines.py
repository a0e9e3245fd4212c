"""Conversion of pipelines: a list of steps becomes a table of named steps."""

from __future__ import annotations

from typing import Any

from vid_mmaction2.components import (
    LOCAL_BACKENDS,
    NO_SERVERS,
    Converter,
    Rule,
    Table,
    drop_arguments,
    snake_case,
    strip_scope,
    without,
)

__all__ = ["RULES", "convert_pipeline", "free_name"]

OPENERS = {"DecordInit", "OpenCVInit", "PyAVInit", "PIMSInit"}
DECODERS = {"DecordDecode", "OpenCVDecode", "PyAVDecode", "PIMSDecode"}
DECODERS |= {"RawFrameDecode", "ImageDecode", "ArrayDecode", "LoadRGBFromFile"}
EXACT = {"mode": "accurate", "color_type": "color"}
"""Arguments of openers and decoders that change frames, with the value that changes nothing; others affect speed."""
WRAPPERS = {"PytorchVideoWrapper", "TorchVisionWrapper"}

LIGHTING = {"color_space_aug", "alpha_std", "eig_val", "eig_vec"}
COLOUR_SPACE = {"brightness": 0.25, "contrast": 0.4, "saturation": 0.4, "hue": 0.05}
"""Arguments of ``ColorJitter`` in 0.x, and of the jitter here that stands for ``color_space_aug``."""

PACKERS = {"InferencerPackInput", "PackLocalizationInputs"}
LABELS = {"GenerateLocalizationLabels"}
"""Steps that are not needed: a sample has all its fields, and a model makes its own labels."""

WAVE = {"AudioDecodeInit", "AudioDecode", "AudioAmplify", "MelSpectrogram"}
"""Steps of 0.x, for features that no published network uses."""

STEP_NAMES = {
    "OpenVideo": "open",
    "SampleFrames": "sample",
    "DenseSampleFrames": "sample",
    "UniformSample": "sample",
    "UntrimmedSampleFrames": "sample",
    "SampleAVAFrames": "sample",
    "SampleProposalFrames": "sample",
    "RandomCrop": "crop",
    "RandomResizedCrop": "crop",
    "MultiScaleCrop": "crop",
    "CenterCrop": "crop",
    "ThreeCrop": "crop",
    "TenCrop": "crop",
    "MultiGroupCrop": "crop",
    "PCALighting": "lighting",
    "FormatShape": "format",
    "LoadAudioFeature": "load",
    "AudioFeatureSelector": "select",
    "FormatAudioShape": "format",
    "ColorJitter": "jitter",
    "DecodeMotionVectors": "decode",
    **dict.fromkeys(("AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide"), "augment"),
    "RandomErasing": "erase",
    "FormatQuery": "query",
    "LoadLocalizationFeature": "features",
    "LoadProposalFeatures": "features",
    "LoadProposals": "proposals",
    "PreNormalize2D": "normalize",
    "PreNormalize3D": "normalize",
    "GenSkeFeat": "stream",
    **dict.fromkeys(("UniformSampleFrames", "MMUniformSampleFrames"), "sample"),
    **dict.fromkeys(("PoseDecode", "MMDecode"), "decode"),
    **dict.fromkeys(("PoseCompact", "MMCompact"), "compact"),
    "GeneratePoseTarget": "heatmaps",
    "FormatGCNInput": "format",
}
"""Alternative steps have the same name, so that one can replace another."""


def convert_pipeline(converter: Converter, steps: Any, at: str) -> Table:
    """Convert a published list of steps.

    Opening and decoding are one step each, for all decoders; packing is dropped unless it selects keys. A second
    step of the same name gets a number (``resize_2``).
    """
    if not isinstance(steps, list):
        converter.report(at, "must be a list of steps")
        return {}
    named: Table = {}
    parts = (
        (position, part)
        for position, whole in enumerate(steps)
        for part in _split_step(converter, whole, f"{at}[{position}]")
    )
    for position, step in parts:
        place = f"{at}[{position}]"
        kind = strip_scope(step["type"]) if isinstance(step, dict) and isinstance(step.get("type"), str) else ""
        if kind in PACKERS | LABELS or (kind == "PackActionInputs" and not step.get("collect_keys")):
            converter.imply_all(step, place)
            continue
        if kind == "ImgAug" and step.get("transforms") != "default":
            why = "this augmenter of imgaug is not converted; add a step Albumentations"
            converter.report(f"{place}.transforms", why)
            continue
        if kind in WAVE:
            converter.report(f"{place}.type", f"{kind} has no equivalent; use LoadAudioFeature, AudioFeatureSelector")
            continue
        converted = converter.component(_translate(converter, kind, step, place), place)
        if converted is not None:
            named[free_name(STEP_NAMES.get(converted["type"], snake_case(converted["type"])), named)] = converted
    return named


def _split_step(converter: Converter, step: Any, at: str) -> list[Any]:
    """Return the one or two steps that replace a published step."""
    match step:
        case {"type": "ImgAug", "transforms": list(augmenters), **rest} if not rest:
            return [_augmenter(augmenter) for augmenter in augmenters]
        case {"type": "mmcls.RandomResizedCrop", "scale": int(size), **rest}:
            resize = {"type": "Resize", "scale": [size, size], "keep_ratio": False}
            return [{"type": "RandomResizedCrop", **rest}, resize]
        case {"type": "mmcls.RandomFlip", "direction": "horizontal", "prob": float(share), **rest} if not rest:
            return [{"type": "Flip", "flip_ratio": share}]
        case {"type": "ColorJitter", **rest} if LIGHTING & rest.keys():  # of 0.x
            lighting = {key: value for key, value in rest.items() if key != "color_space_aug"}
            if not rest.get("color_space_aug"):
                return [{"type": "PCALighting", **lighting}]
            converter.notes.append(f"{at}: color_space_aug is a ColorJitter of about the same strength")
            return [{"type": "ColorJitter", **COLOUR_SPACE}, {"type": "PCALighting", **lighting}]
        case {"type": "mmcls.PackClsInputs", **rest} if not rest:
            return [{"type": "FormatShape", "input_format": "NCHW", "collapse": True}]
        case {"type": "PackLocalizationInputs", "meta_keys": list(keys)} if "query_tokens" in keys:
            return [step, {"type": "LoadProposalFeatures"}, {"type": "FormatQuery"}]  # the published dataset loads them
    return [step]


def _augmenter(table: Any) -> Any:
    """Convert an augmenter of imgaug; return a step that is reported if it is not known."""
    match table:
        case {"type": "Fliplr" | "Flipud" as name, **rest} if rest.keys() <= {"p"}:
            vertical = {"direction": "vertical"} if name == "Flipud" else {}
            return {"type": "Flip", "flip_ratio": rest.get("p", 1), **vertical}
        case {"type": "Rotate", "rotate": list() | tuple() | int() | float() as angles, **rest} if not rest:
            limit = list(angles) if isinstance(angles, list | tuple) else [angles, angles]
            return {"type": "Albumentations", "op": "Rotate", "arguments": {"limit": limit, "border_mode": 0, "p": 1.0}}
    return {"type": "ImgAug", "transforms": table}


def _leave_out(converter: Converter, step: Table, at: str, *converted: str) -> None:
    """List the options of a step that opens or decodes, other than those that are converted."""
    for key, value in without(step, "type", *converted).items():
        place = f"{at}.{key}"
        if value == EXACT.get(key, ...) or (key == "io_backend" and value in LOCAL_BACKENDS):
            converter.imply(place, value)
        elif key in EXACT and value is not None:
            converter.report(place, f"{value!r:.60} has no equivalent; frames are exact and RGB")
        else:
            converter.leave_out(place, value, NO_SERVERS if key == "io_backend" else "vidcore picks the decoder")


def _translate(converter: Converter, kind: str, step: Any, at: str) -> Any:
    """Return the step with its name and arguments here."""
    if kind in OPENERS:
        _leave_out(converter, step, at, "num_threads")
        threads = converter.integer(step.get("num_threads"), f"{at}.num_threads", 1)
        return {"type": "OpenVideo", **({"threads": threads} if threads != 1 else {})}
    if kind in DECODERS:
        _leave_out(converter, step, at)
        return {"type": "Decode"}
    if kind == "PyAVDecodeMotionVector":
        _leave_out(converter, step, at, "multi_thread")
        return {"type": "DecodeMotionVectors", **({"threads": 0} if step.get("multi_thread") else {})}
    if kind == "PackActionInputs":
        converter.leave_rest(step, at, "type", "collect_keys", why="a sample has all its fields")
        return {"type": kind, "collect_keys": step["collect_keys"]}
    if kind in WRAPPERS:
        return _unwrap(kind, step)
    if kind == "ImgAug":
        return {"type": "RandAugment", "magnitude": 9, "num_layers": 2, "prob": 1.0, "magnitude_std": 0.0}
    return step


def _unwrap(kind: str, step: Table) -> Table:
    """Convert wrapped transforms: to those that vidcore has, or to the wrapper of torchvision here."""
    options = without(step, "type", "op")
    match step.get("op"):
        case "RandAugment" | "AugMix" as name if kind == "PytorchVideoWrapper":
            return {"type": name, **options}
        case "ColorJitter":  # published defaults change nothing
            return {"type": "ColorJitter", "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, **options}
        case "RandomHorizontalFlip":
            return {"type": "Flip", "flip_ratio": options.pop("p", 0.5), **options}
        case "CenterCrop" if isinstance(options.get("size"), int):
            return {"type": "CenterCrop", "crop_size": options.pop("size"), **options}
        case "RandomGrayscale":
            return {"type": "RandomGrayscale", **options}
        case "RandomCrop" if isinstance(options.get("size"), int):
            return {"type": "RandomCrop", **options}
        case str(name) if kind == "TorchVisionWrapper":
            return {"type": "TorchVision", "op": name, "arguments": options}
    return step


def free_name(name: str, taken: Table) -> str:
    """Return the first of ``name``, ``name_2``, ``name_3``, ... that is not taken."""
    number = 1
    numbered = name
    while numbered in taken:
        number += 1
        numbered = f"{name}_{number}"
    return numbered


def _audio_features(converter: Converter, table: Table, at: str) -> Table:
    """Published training replaced missing files by zeros without a word."""
    if "pad_method" not in table:
        hint = 'pad_method = "zero" replaces it by zeros'
        converter.notes.append(f"{at}: a file that is missing is a bad sample; {hint}")
    return table


RULES: dict[str, Rule] = {
    "LoadAudioFeature": _audio_features,
    **dict.fromkeys(("SampleFrames", "DenseSampleFrames"), drop_arguments(start_index="it belongs to the dataset")),
}
