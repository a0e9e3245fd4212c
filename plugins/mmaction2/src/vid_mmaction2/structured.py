"""Conversion of structured segment networks (SSN), which are in MMAction2 0.x only.

Their settings are spread over ``train_cfg`` and ``test_cfg`` of network and dataset; here each step has its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, drop_arguments, without

__all__ = ["RULES", "drop_sampling", "sampling", "with_constants"]

KINDS = {"positive_ratio": "foreground", "incomplete_ratio": "incomplete", "background_ratio": "background"}
REPEATED = "that of SampleProposalFrames is used"


def _settings(converter: Converter, table: Mapping[str, Any], key: str, at: str) -> dict[str, Table]:
    """Return the tables of ``train_cfg=dict(ssn=dict(...))``, also without ``ssn``."""
    outer = converter.table(table.get(key), f"{at}.{key}")
    place = f"{at}.{key}.ssn" if "ssn" in outer else f"{at}.{key}"
    inner = converter.table(outer["ssn"], place) if "ssn" in outer else outer
    return {name: converter.table(value, f"{place}.{name}") for name, value in inner.items() if name != "debug"}


def sampling(converter: Converter, dataset: Mapping[str, Any], at: str) -> Table | None:
    """Return the step that draws proposals, from ``train_cfg`` of a dataset."""
    settings = _settings(converter, dataset, "train_cfg", at)
    step = {"type": "SampleProposals", **settings.pop("assigner", {}), **_numbers(converter, settings, at)}
    for name, table in settings.items():
        converter.imply_all(table, f"{at}.train_cfg.{name}")  # the network has them, too
    return converter.component(step, f"{at}.train_cfg")


def _numbers(converter: Converter, settings: dict[str, Table], at: str) -> Table:
    """Return the number of proposals of each kind."""
    sampler = settings.pop("sampler", {})
    place = f"{at}.train_cfg.sampler"
    if not sampler.get("add_gt_as_proposals", True):
        converter.report(f"{place}.add_gt_as_proposals", "must be true; true segments count as complete proposals")
    converter.imply(f"{place}.add_gt_as_proposals", sampler.get("add_gt_as_proposals"))
    converter.leave_rest(sampler, place, "num_per_video", "add_gt_as_proposals", *KINDS)
    if not sampler:
        return {}
    total = converter.integer(sampler.get("num_per_video"), f"{place}.num_per_video", 8)
    ratios = {new: sampler.get(old, usual) for (old, new), usual in zip(KINDS.items(), (1, 6, 1), strict=True)}
    return {name: int(total * ratio / sum(ratios.values())) for name, ratio in ratios.items()}


def drop_sampling(converter: Converter, table: Table, at: str) -> Table:
    """Remove the settings of a dataset that other steps have here."""
    if not table.get("video_centric", True):
        converter.report(f"{at}.video_centric", "must be true; the proposals of a sample come from one video")
    converter.imply(f"{at}.video_centric", table.get("video_centric"))
    converter.imply(f"{at}.reg_normalize_constants", table.get("reg_normalize_constants"))
    if not at.startswith("train"):
        converter.leave_out(f"{at}.train_cfg", table.get("train_cfg"), "only training draws proposals")
        converter.leave_out(f"{at}.filter_gt", table.pop("filter_gt", None), "evaluation keeps all videos")
    else:
        table.setdefault("filter_gt", True)
    drop = drop_arguments(
        **dict.fromkeys(("body_segments", "aug_segments", "aug_ratio", "clip_len", "frame_interval"), REPEATED),
        test_cfg="that of the network is used",
        use_regression="that of SSNHead is used",
        verbose="a run reports what it skips",
    )
    return without(drop(converter, table, at), "train_cfg", "video_centric", "reg_normalize_constants")


def with_constants(model: Any, config: Mapping[str, Any]) -> Any:
    """Return an SSN with the constants of regression, which published datasets have."""
    if not isinstance(model, Mapping) or model.get("type") != "SSN" or "reg_normalize_constants" in model:
        return model
    loaders = (config.get(f"{part}_dataloader") for part in ("train", "val", "test"))
    for loader in loaders:
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        if isinstance(dataset, Mapping) and dataset.get("reg_normalize_constants") is not None:
            return {**model, "reg_normalize_constants": dataset["reg_normalize_constants"]}
    return model


def _network(converter: Converter, table: Table, at: str) -> Table:
    table = dict(table)
    if table.pop("spatial_type", "avg") != "avg":
        converter.report(f"{at}.spatial_type", "must be avg")
    converter.leave_out(f"{at}.in_channels", table.pop("in_channels", None), "follows from the frames")
    train, test = (_settings(converter, table, f"{part}_cfg", at) for part in ("train", "test"))
    table = without(table, "train_cfg", "test_cfg")
    numbers = _numbers(converter, train, at)
    converter.imply_all(train.pop("assigner", {}), f"{at}.train_cfg.assigner")  # the dataset has them, too
    weights = train.pop("loss_weight", {})
    names = {"comp_loss_weight": "completeness_weight", "reg_loss_weight": "regression_weight"}
    loss = {names.get(key, key): value for key, value in weights.items()}
    loss = {"type": "SSNLoss", **converter.table(table.pop("loss_cls", None), f"{at}.loss_cls"), **loss}
    table["loss"] = {**loss, **without(numbers, "background")}
    sampler, results = test.pop("sampler", {}), test.pop("evaluater", {})
    if "batch_size" in sampler:
        table["max_testing_views"] = sampler["batch_size"]
    table |= {key: results[key] for key in ("top_k", "nms") if key in results}
    converter.leave_rest(sampler, f"{at}.test_cfg.sampler", "batch_size", why=REPEATED)
    for key, usual in (("softmax_before_filter", True), ("cls_score_dict", None)):
        if results.get(key, usual) != usual:
            converter.report(f"{at}.test_cfg.evaluater.{key}", f"must be {usual}, found {results[key]!r:.60}")
        converter.imply(f"{at}.test_cfg.evaluater.{key}", results.get(key))
    known = ("top_k", "nms", "softmax_before_filter", "cls_score_dict")
    converter.leave_rest(results, f"{at}.test_cfg.evaluater", *known, why="is only used with scores of another model")
    for part, rest in (("train_cfg", train), ("test_cfg", test)):
        for name in rest:
            converter.report(f"{at}.{part}.{name}", "has no equivalent here")
    return table


def _head(converter: Converter, table: Table, at: str) -> Table:
    """Convert ``consensus``, the pyramid."""
    table = dict(table)
    place = f"{at}.consensus"
    pyramid = converter.table(table.pop("consensus", None), place)
    if pyramid and converter.kind(pyramid, place) not in ("STPPTrain", "STPPTest"):
        converter.report(f"{place}.type", f"must be STPPTrain or STPPTest, found {pyramid.get('type')!r:.60}")
    for key in ("num_seg", "num_segments_list"):
        if key in pyramid:
            table["num_segments"] = pyramid[key]
    for key in ("stpp_cfg", "stpp_stage"):
        if key in pyramid:
            table["stpp_stage"] = [level if isinstance(level, list) else [level] for level in pyramid[key]]
    if not pyramid.get("standalong_classifier", True):
        converter.report(f"{place}.standalong_classifier", "must be true; activity has a classifier of its own")
    for key in ("standalong_classifier", "num_classes", "use_regression"):
        converter.imply(f"{place}.{key}", pyramid.get(key))
    known = ("num_seg", "num_segments_list", "stpp_cfg", "stpp_stage", "type")
    converter.leave_rest(pyramid, place, "standalong_classifier", "num_classes", "use_regression", *known)
    return table


def _frames(converter: Converter, table: Table, at: str) -> Table:
    """Convert the mode; in validation, too, whole videos are scored here."""
    table = dict(table)
    mode = table.pop("mode", "train")
    if mode not in ("train", "test"):
        converter.report(f"{at}.mode", f"must be train or test, found {mode!r:.60}; evaluation scores whole videos")
    if isinstance(ratio := table.get("aug_ratio"), list) and ratio[1:] == ratio[:-1]:
        table["aug_ratio"] = ratio[0]
    elif isinstance(ratio, list):
        converter.report(f"{at}.aug_ratio", f"must be the same before and after a proposal, found {ratio!r:.60}")
    why = "clips start at random places of their parts"
    converter.leave_out(f"{at}.temporal_jitter", table.pop("temporal_jitter", None), why)
    return {**table, **({"test_mode": True} if mode == "test" else {})}


RULES: dict[str, Rule] = {"SSN": _network, "SSNHead": _head, "SampleProposalFrames": _frames}
