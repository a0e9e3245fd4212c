"""Conversion of detectors of the actions of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, drop_arguments, strip_scope, without
from vid_mmaction2.data import convert_paths
from vid_mmaction2.training import COLLECTED

__all__ = ["RULES"]

FIGURES = ("F_mAP", "V_mAP")

BANK = ("lfb_prefix_path", "dataset_modes", "device", "lmdb_map_size", "construct_lmdb")
ATTENTION = (
    "st_feat_channels",
    "latent_channels",
    "num_non_local_layers",
    "pre_activate",
    "st_feat_dropout_ratio",
    "lt_feat_dropout_ratio",
)


def _detector(converter: Converter, table: Table, at: str) -> Table:
    """Move the assigner and the sampler, which are options of training, to the detector."""
    table = dict(table)
    training = converter.table(table.pop("train_cfg", None), f"{at}.train_cfg")
    testing = converter.table(table.pop("test_cfg", None), f"{at}.test_cfg")
    options = converter.table(training.pop("rcnn", None), f"{at}.train_cfg.rcnn")
    for name, kind in (("assigner", "MaxIoUAssignerAVA"), ("sampler", "RandomSampler")):
        place = f"{at}.train_cfg.rcnn.{name}"
        part = converter.table(options.pop(name, None), place)
        if (found := converter.kind(part, place, kind)) != kind:
            converter.report(f"{place}.type", f"must be {kind}, found {found}")
        table[name] = without(part, "type")
    if "pos_weight" in options:
        table["pos_weight"] = options.pop("pos_weight")
    rest = {"train_cfg": training, "train_cfg.rcnn": options, "test_cfg": testing}
    for name, left in rest.items():
        for key, value in left.items():
            if value is not None:
                converter.report(f"{at}.{name}.{key}", "has no equivalent here")
    if isinstance(head := table.get("roi_head"), Mapping):
        table["roi_head"] = _without_bank_writer(converter, dict(head), f"{at}.roi_head")
    return table


def _without_bank_writer(converter: Converter, table: Table, at: str) -> Table:
    """The published way to write a feature bank is a head that saves what passes; here it is a job."""
    shared = table.get("shared_head")
    if isinstance(shared, Mapping) and strip_scope(str(shared.get("type"))) == "LFBInferHead":
        converter.leave_out(f"{at}.shared_head", "LFBInferHead", "the job MakeFeatureBank writes feature banks")
        return without(table, "shared_head")
    return table


def _extractor(converter: Converter, table: Table, at: str) -> Table:
    table = dict(table)
    if (kind := table.pop("roi_layer_type", "RoIPool")) != "RoIAlign":
        converter.report(f"{at}.roi_layer_type", f"must be RoIAlign, found {kind}")
    return table


def _box_head(converter: Converter, table: Table, at: str) -> Table:
    """The published number of classes includes the background."""
    table = {"background_class": True, **table}
    if table["background_class"]:
        table["num_classes"] = converter.integer(table.get("num_classes"), f"{at}.num_classes", 81) - 1
    if isinstance(topk := table.get("topk"), int):
        table["topk"] = [topk]
    return table


def _bank_head(converter: Converter, table: Table, at: str) -> Table:
    """The folder of a published bank has one file for each dataset; here one bank has all key frames."""
    lfb = converter.table(table.get("lfb_cfg"), f"{at}.lfb_cfg")
    fbo = converter.table(table.get("fbo_cfg"), f"{at}.fbo_cfg")
    for name in BANK[1:]:
        converter.imply(f"{at}.lfb_cfg.{name}", lfb.get(name))
    rows = lfb.get("window_size", 60) * lfb.get("max_num_sampled_feat", 5)
    operator = fbo.pop("type", "non_local")
    kept = {key: value for key, value in fbo.items() if key in ATTENTION} if operator == "non_local" else {}
    for name, found, wanted in (
        ("num_st_feat", fbo.get("num_st_feat", 1), 1),
        ("num_lt_feat", fbo.get("num_lt_feat", rows), rows),
        ("lt_feat_channels", fbo.get("lt_feat_channels", lfb.get("lfb_channels")), lfb.get("lfb_channels")),
    ):
        if operator == "non_local" and found != wanted:
            converter.report(f"{at}.fbo_cfg.{name}", f"must be {wanted}, found {found}")
    for key in without(fbo, *ATTENTION, "num_st_feat", "num_lt_feat", "lt_feat_channels"):
        converter.report(f"{at}.fbo_cfg.{key}", "has no equivalent here")
    if operator != "non_local":
        converter.imply_all(fbo, f"{at}.fbo_cfg")
    bank: dict[str, Any] = {"bank": lfb["lfb_prefix_path"]} if "lfb_prefix_path" in lfb else {}
    return {**table, "lfb_cfg": {**without(lfb, *BANK), **bank}, "fbo_cfg": {"operator": operator, **kept}}


def _dataset(converter: Converter, table: Table, at: str) -> Table:
    """Classes have no background here, and are those of ``label_file``."""
    table = convert_paths(converter, table, at, kind="img")
    for name in ("num_classes", "use_frames"):
        converter.imply(f"{at}.{name}", table.pop(name, None))
    return table


def _kinetics(converter: Converter, table: Table, at: str) -> Table:
    """Published frames of clips count from 0."""
    return {"start_index": 0, **_dataset(converter, table, at)}


def _tubes(converter: Converter, table: Table, at: str) -> Table:
    return convert_paths(converter, table, at, kind="img")


def _frame_map(converter: Converter, table: Table, at: str) -> Table:
    """Published scores follow the rules of MMAction2."""
    table = drop_arguments(collect_device=COLLECTED)(converter, table, at)
    for name, wanted in (("options", ["mAP"]), ("num_classes", 81)):
        if (found := table.pop(name, wanted)) != wanted:
            converter.report(f"{at}.{name}", f"must be {wanted}, found {found}")
    return {"rules": "published", **table}


def _tube_map(converter: Converter, table: Table, at: str) -> Table:
    """Published scores of tubes are those of their last detection."""
    table = drop_arguments(collect_device=COLLECTED, verbose="scores are in the report")(converter, table, at)
    options = converter.table(table.pop("metric_options", None), f"{at}.metric_options")
    frame, video = (dict(converter.table(options.pop(name, None), f"{at}.metric_options.{name}")) for name in FIGURES)
    names = {"thr": "frame_threshold"}, {"thr": "video_thresholds", "tube_thr": "min_length"}
    for figure, part, known in zip(FIGURES, (frame, video), names, strict=True):
        table |= {new: part.pop(old) for old, new in known.items() if old in part}
        converter.imply(f"{at}.metric_options.{figure}.all", part.pop("all", None))
        for key in part:
            converter.report(f"{at}.metric_options.{figure}.{key}", "has no equivalent here")
    for key in options:
        converter.report(f"{at}.metric_options.{key}", "has no equivalent here")
    return {"last_score": True, **table}


RULES: dict[str, Rule] = {
    "AVADataset": _dataset,
    "AVAKineticsDataset": _kinetics,
    "AVAMetric": _frame_map,
    "BBoxHeadAVA": _box_head,
    "FBOHead": _bank_head,
    "MultiSportsMetric": _tube_map,
    "TubeDataset": _tubes,
    "FastRCNN": _detector,
    "SingleRoIExtractor3D": _extractor,
}
