"""Conversion of data loaders to ``[data.*]`` tables: loader options, dataset and pipeline."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from vid_mmaction2.components import NO_EQUIVALENT, Converter, Rule, Table, strip_scope, without
from vid_mmaction2.pipelines import convert_pipeline, free_name
from vid_mmaction2.structured import sampling

__all__ = ["RULES", "convert_loader", "convert_other_loaders", "convert_paths"]

LOADER_KEYS = {"batch_size": "batch_size", "num_workers": "workers", "prefetch_factor": "prefetch"}
OTHER_KEYS = {"dataset", "sampler", "collate_fn", "drop_last"}
"""Keys that are converted by themselves."""
IMPLIED_KEYS = {"persistent_workers", "pin_memory"}
"""What every loader does here."""
LEFT_OUT_KEYS = {
    "filter_cfg": "samples are not filtered",
    "lazy_init": "annotations are read once",
    "max_refetch": "see on_error in docs/videos.md",
    "serialize_data": "annotations are read once",
}
"""Keys of a dataset that do not change its samples."""
MISPLACED = {"pipeline", "test_mode"}
"""Keys of the dataset that a published file has one level too high; MMAction2 fails to load it."""
SAMPLERS = {"DefaultSampler", "InfiniteSampler"}
IMAGE_DATASETS = dict.fromkeys(("ImageDataset", "mmcls.ImageNet", "mmpretrain.ImageNet"), "VideoDataset")
"""Annotation files of images; an image is a video with one frame here."""
MULTISPORTS = re.compile(r"(.*/|)multisports_(train|val)\.csv")
COLLATORS = {"default_collate", "pseudo_collate", "repeat_pseudo_collate"}


def convert_loader(converter: Converter, loader: Any, at: str) -> Table | None:
    """Convert a ``*_dataloader`` to a ``[data.*]`` table: loader options, ``dataset``, ``pipeline``."""
    if isinstance(loader, list | tuple) and len(loader) == 1:  # a published file has a comma behind its table
        loader = loader[0]
        converter.notes.append(f"{at}: is a list of one table (has it a comma behind it?), and is read as that table")
    if not isinstance(loader, Mapping) or not isinstance(loader.get("dataset"), Mapping):
        converter.report(at, "must be a table with a dataset")
        return None
    table: Table = {new: loader[old] for old, new in LOADER_KEYS.items() if loader.get(old) is not None}
    _sampling(converter, loader, table, at)
    for key in sorted(loader.keys() - LOADER_KEYS.keys() - OTHER_KEYS - MISPLACED):
        if key in IMPLIED_KEYS:
            converter.imply(f"{at}.{key}", loader[key])
        else:
            converter.report(f"{at}.{key}", NO_EQUIVALENT)
    published = {**loader["dataset"], **{key: loader[key] for key in MISPLACED & loader.keys()}}
    if strip_scope(str(published.get("type"))) == "RepeatAugDataset":
        # here the loader repeats samples of any dataset
        table["num_repeats"] = published.pop("num_repeats", 4)
        table["sample_once"] = published.pop("sample_once", False)
        published["type"] = "VideoDataset"
    if strip_scope(str(published.get("type"))) == "ClassBalancedDataset" and isinstance(
        inner := published.get("dataset"), Mapping
    ):
        # here an option of the loader; published: repeated by the root of the inverse frequency
        table |= {"balanced": True, "balance_power": 0.5}
        threshold = published.get("oversample_thr")
        converter.leave_rest(published, f"{at}.dataset", "type", "oversample_thr", "dataset")
        published = dict(inner)
        why = "classes occur by the root of their size, frequent ones as well; an epoch keeps its length"
        converter.notes.append(f"{at}.dataset: ClassBalancedDataset (oversample_thr={threshold}) is balanced: {why}")
    if published.pop("sample_by_class", False):  # of 0.x
        table |= {"balanced": True, "balance_power": published.pop("power", None) or 0.0}
    dataset, pipeline = _dataset(converter, published, f"{at}.dataset")
    if dataset is not None:
        table["dataset"] = dataset
    if pipeline:
        table["pipeline"] = pipeline
    return table


def convert_other_loaders(converter: Converter, loaders: Any, at: str) -> Table:
    """Convert additional training loaders to ``[data.train_extra.*]``, named by their content."""
    named: Table = {}
    if not isinstance(loaders, list):
        converter.report(at, "must be a list of tables")
        loaders = []
    for i, loader in enumerate(loaders):
        table = convert_loader(converter, loader, f"{at}[{i}]")
        if table:
            images = loader["dataset"].get("type") in IMAGE_DATASETS
            named[free_name("images" if images else "videos", named)] = table
    return named


def _sampling(converter: Converter, loader: Mapping[str, Any], table: Table, at: str) -> None:
    sampler = converter.table(loader.get("sampler"), f"{at}.sampler")
    kind = converter.kind(sampler, f"{at}.sampler", "DefaultSampler")
    if kind not in SAMPLERS:
        converter.report(f"{at}.sampler", f"{kind} has no equivalent here")
    converter.leave_rest(sampler, f"{at}.sampler", "type", "shuffle")
    if sampler.get("shuffle", at.startswith("train")) != at.startswith("train"):
        table["shuffle"] = sampler["shuffle"]
    if loader.get("drop_last"):
        table["drop_last"] = True
    collate = converter.table(loader.get("collate_fn"), f"{at}.collate_fn")
    kind = converter.kind(collate, f"{at}.collate_fn", "pseudo_collate")
    if kind not in COLLATORS:
        converter.report(f"{at}.collate_fn", f"{kind} has no equivalent here")
    converter.leave_rest(collate, f"{at}.collate_fn", "type")


def _dataset(converter: Converter, table: Mapping[str, Any], at: str) -> tuple[Table | None, Table]:
    """Return the converted dataset without its pipeline, and the pipeline."""
    own, steps = _tubes_of(converter, without(table, "pipeline"), at), table.get("pipeline")
    own["type"] = IMAGE_DATASETS.get(str(own.get("type")), own.get("type"))
    if isinstance(steps, list):
        steps = [_without_suffix(step, own) for step in steps]
    if isinstance(own.get("dataset"), Mapping):  # a dataset that repeats another
        inner, pipeline = _dataset(converter, own["dataset"], f"{at}.dataset")
        outer = converter.component({**own, "dataset": {}}, at)
        return outer and {**outer, "dataset": inner or {}}, pipeline
    if "datasets" not in own:
        pipeline = convert_pipeline(converter, steps, f"{at}.pipeline") if "pipeline" in table else {}
        if strip_scope(str(own.get("type"))) == "SSNDataset" and at.startswith("train"):
            drawn = converter.attempt(at, sampling, converter, own, at)
            before = list(pipeline).index("sample") if "sample" in pipeline else 0
            pipeline = dict([*list(pipeline.items())[:before], ("proposals", drawn), *list(pipeline.items())[before:]])
        if strip_scope(str(own["type"])) == "RawVideoDataset":  # here a step chooses the clip
            strategy = own.pop("sampling_strategy", "positive")
            pipeline = {"pick": {"type": "PickClip", "sampling_strategy": strategy}, **pipeline}
        return converter.component(own, at), pipeline
    if not isinstance(own["datasets"], list) or not all(isinstance(part, Mapping) for part in own["datasets"]):
        converter.report(f"{at}.datasets", "must be a list of tables")
        return None, {}
    parts = [_dataset(converter, part, f"{at}.datasets[{i}]") for i, part in enumerate(own["datasets"])]
    pipelines = [p for _, p in parts] or [{}]
    pipeline = pipelines[0]
    if any(p != pipeline for p in pipelines):
        pipeline = {"read": {"type": "PerDataset", "pipelines": pipelines}}
    joined = converter.component({**own, "datasets": []}, at)
    if joined is not None:
        joined["datasets"] = [d for d, _ in parts if d is not None]
    return joined, pipeline


def _tubes_of(converter: Converter, table: Table, at: str) -> Table:
    """Return the dataset of the tubes of MultiSports for the table that MMAction2 made of them; others unchanged."""
    found = MULTISPORTS.fullmatch(str(table.get("ann_file")))
    if found is None or strip_scope(str(table.get("type"))) != "AVADataset":
        return table
    folder, part = found.groups()
    file, subset = f"{folder}multisports_GT.pkl", {"train": "train", "val": "test"}[part]
    converter.notes.append(f"{at}.ann_file: {table['ann_file']} was made from {file}, which is read instead")
    for name in ("num_classes", "timestamp_start", "start_index", "use_frames", "fps"):
        converter.imply(f"{at}.{name}", table.get(name))
    rest = without(table, "num_classes", "timestamp_start", "start_index", "use_frames", "fps")
    return {"person_det_score_thr": 0.9, **rest, "type": "TubeDataset", "ann_file": file, "subset": subset}


def _without_suffix(step: Any, dataset: Table) -> Any:
    """Move the suffix of feature files to the dataset, which names the files here."""
    if not isinstance(step, Mapping) or "raw_feature_ext" not in step:
        return step
    dataset["suffix"] = step["raw_feature_ext"]
    return without(step, "raw_feature_ext")


def convert_paths(converter: Converter, table: Table, at: str, kind: str = "video") -> Table:
    """Join root and prefix to one folder, ``data_root``; ``kind`` selects the prefix of the files to read."""
    out = without(table, *LEFT_OUT_KEYS, "test_mode", "metainfo", "data_root", "data_prefix", "ann_file")
    for key, why in LEFT_OUT_KEYS.items():
        converter.leave_out(f"{at}.{key}", table.get(key), why)
    root, prefix = table.get("data_root") or "", table.get("data_prefix") or {}
    if isinstance(prefix, Mapping):
        if len(prefix) > 1 and kind not in prefix:
            converter.report(f"{at}.data_prefix", f"must be a single prefix, found {', '.join(map(str, prefix))}")
        chosen = kind if kind in prefix else next(iter(prefix), kind)
        converter.leave_rest(prefix, f"{at}.data_prefix", chosen, why=f"the dataset reads the files of {chosen!r}")
        prefix = prefix.get(chosen) or ""
    about = converter.table(table.get("metainfo"), f"{at}.metainfo")
    if names := about.pop("classes", None):
        out["classes"] = names
    converter.leave_rest(about, f"{at}.metainfo")
    if (test_mode := table.get("test_mode")) is (not at.startswith("train")):
        converter.imply(f"{at}.test_mode", test_mode)
    else:
        converter.leave_out(f"{at}.test_mode", test_mode, "the part of the data decides")
    for key, value in (("data_root", root), ("data_prefix", prefix), ("ann_file", table.get("ann_file") or "")):
        if not isinstance(value, str):
            converter.report(f"{at}.{key}", f"must be a string, found {type(value).__name__}")
            return out
    if table.get("ann_file"):
        out = {"ann_file": posixpath.join(root, table["ann_file"]), **out}
    elif "ann_file" in table:
        converter.report(f"{at}.ann_file", f"must be a string, found {table['ann_file']!r}; set it in the Task")
    if folder := posixpath.join(root, prefix):
        out["data_root"] = folder
    return out


def _hvu(converter: Converter, table: Table, at: str) -> Table:
    """The annotation file tells whether an entry is a video or a folder of frames."""
    table = convert_paths(converter, table, at)
    for name in ("multi_class", "num_classes"):
        converter.imply(f"{at}.{name}", table.get(name))
    unset = ("filename_tmpl",) if table.get("filename_tmpl") is None else ()
    return without(table, "multi_class", "num_classes", *unset)


RULES: dict[str, Rule] = {
    "HVUDataset": _hvu,
    "AudioDataset": partial(convert_paths, kind="audio"),
    **dict.fromkeys(("MSRVTTRetrieval", "MSRVTTVQA", "MSRVTTVQAMC", "VideoTextDataset"), convert_paths),
    "RawframeDataset": partial(convert_paths, kind="img"),
    "RawVideoDataset": convert_paths,
    "VideoDataset": convert_paths,
}
