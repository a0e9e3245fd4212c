"""Conversion of temporal localization: proposal generation, datasets, metrics."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, drop_arguments
from vid_mmaction2.data import convert_paths
from vid_mmaction2.structured import drop_sampling
from vid_mmaction2.training import COLLECTED, PREFIX

__all__ = ["RULES", "convert_generation", "result_folder"]


def convert_generation(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Convert the settings of BSN's second stage, which has no model, to a Task with a job.

    The folders are those of the published scripts: ``tem_results``, ``pgm_proposals`` and ``pgm_features`` in the
    working folder.
    """
    folder = posixpath.normpath(config.get("work_dir") or ".")
    proposals = converter.table(config["pgm_proposals_cfg"], "pgm_proposals_cfg")
    converter.imply("pgm_proposals_cfg.temporal_scale", proposals.pop("temporal_scale", None))  # the tables' length
    job: Table = {"workers": proposals.pop("pgm_proposals_thread", 4), **proposals}
    names = [f"pgm_features_{part}_cfg" for part in ("train", "test")]
    parts = [converter.table(config.get(name), name) for name in names]
    for name, part in zip(names, parts, strict=True):
        threads = part.pop("pgm_features_thread", None)
        converter.leave_out(f"{name}.pgm_features_thread", threads, "pgm_proposals_thread is used")
    job["top_k"] = max((part.pop("top_k") for part in parts if "top_k" in part), default=1000)
    if parts[0] != parts[1]:
        converter.report("pgm_features_train_cfg", "must be equal to pgm_features_test_cfg, except for top_k")
    boundaries = config.get("tem_results_dir") or posixpath.join(folder, "tem_results")
    job = {"type": "GenerateProposals", "boundaries": posixpath.normpath(boundaries), **job, **parts[1]}
    converted = converter.component(job, "pgm_features_test_cfg")
    return {"job": converted, "runtime": {"run_dir": folder}} if converted else {}


def result_folder(config: Mapping[str, Any]) -> str | None:
    """Return the folder of a run whose results, BSN's boundary probabilities, are read by another configuration."""
    metric = config.get("test_evaluator")
    if not isinstance(metric, Mapping) or metric.get("metric_type", "TEM") != "TEM":
        return None
    out = (metric.get("dump_config") or {}).get("out")
    return posixpath.dirname(posixpath.normpath(out)) if out else None


def _videos(converter: Converter, table: Table, at: str) -> Table:
    """Keep invalid segments in evaluation, as published scores do, but not in training."""
    return convert_paths(converter, table, at) | ({} if at.startswith("train") else {"bad_segments": "keep"})


def _structured(converter: Converter, table: Table, at: str) -> Table:
    return _videos(converter, drop_sampling(converter, dict(table), at), at)


def _proposals(converter: Converter, table: Table, at: str) -> Table:
    folders = ("pgm_proposals_dir", "pgm_features_dir")
    return {k: posixpath.normpath(v) if k in folders else v for k, v in table.items()}


def _metric(converter: Converter, table: Table, at: str) -> Table:
    table = drop_arguments(collect_device=COLLECTED, prefix=PREFIX)(converter, table, at)
    dumped = converter.table(table.pop("dump_config", None), f"{at}.dump_config")
    table.setdefault("metric_type", "TEM")
    if table["metric_type"] != "TEM":  # there, it is the run folder
        converter.leave_out(f"{at}.dump_config", dumped.get("out"), "results are written to the run folder")
    form = "csv" if table["metric_type"] == "TEM" else "json"
    if dumped.get("output_format", form) == form:
        converter.imply(f"{at}.dump_config.output_format", dumped.get("output_format"))
    else:
        why = f"results are written as {form}"
        converter.leave_out(f"{at}.dump_config.output_format", dumped["output_format"], why)
    converter.leave_rest(dumped, f"{at}.dump_config", "out", "output_format")
    options = converter.table(table.pop("metric_options", None), f"{at}.metric_options")
    own = options.pop(table["metric_type"], None) if isinstance(table["metric_type"], str) else None
    for key, value in options.items():
        converter.leave_out(f"{at}.metric_options.{key}", value, f"the metric is {table['metric_type']}")
    return table | converter.table(own, f"{at}.metric_options.{table['metric_type']}")


RULES: dict[str, Rule] = {
    "ActivityNetDataset": _videos,
    "CharadesSTADataset": _videos,
    "SSNDataset": _structured,
    "ANetMetric": _metric,
    "LoadProposals": _proposals,
    "RecallatTopK": drop_arguments(collect_device=COLLECTED, prefix=PREFIX),
}
