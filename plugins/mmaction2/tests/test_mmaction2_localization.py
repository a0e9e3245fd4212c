"""Configurations of temporal localization: data, proposals, scores and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vid_mmaction2.checkpoints import read_checkpoint
from vid_mmaction2.config import Imported, convert_config
from vidcore.config.bind import build_component
from vidcore.engine.weights import load_state
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.task import Task

TEM = {
    "type": "TEM",
    "temporal_dim": 100,
    "boundary_ratio": 0.1,
    "tem_feat_dim": 400,
    "tem_hidden_dim": 512,
    "tem_match_threshold": 0.5,
}
WORK = "work_dirs/bsn"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def loader(part: str, *steps: dict[str, Any], kind: str = "ActivityNetDataset", **more: Any) -> dict[str, Any]:
    dataset = {"type": kind, "ann_file": f"{part}.json", "data_prefix": {"video": "features/"}, "pipeline": list(steps)}
    return {"batch_size": 4, "dataset": dataset | {"test_mode": part != "train"} | more}


def converted(catalog: Catalog, **config: Any) -> Imported:
    imported = convert_config({"model": TEM, **config}, catalog)
    if not imported.problems:
        Task.from_table(imported.task, catalog)
    return imported


def test_label_and_packing_steps_are_dropped(catalog: Catalog) -> None:
    steps = {"type": "LoadLocalizationFeature"}, {"type": "GenerateLocalizationLabels"}
    packed = {"type": "PackLocalizationInputs", "keys": ["gt_bbox"], "meta_keys": ["video_name"]}
    imported = converted(
        catalog, train_dataloader=loader("train", *steps, packed), val_dataloader=loader("val", *steps, packed)
    )
    assert imported.problems == ()
    dataset = {"type": "ActivityNetDataset", "data_root": "features/"}
    pipeline = {"features": {"type": "LoadLocalizationFeature"}}
    train, val = (imported.task["data"][part] for part in ("train", "val"))
    assert (train["dataset"], train["pipeline"]) == ({**dataset, "ann_file": "train.json"}, pipeline)
    # published scores include invalid segments
    assert val["dataset"] == {**dataset, "ann_file": "val.json", "bad_segments": "keep"}


def test_a_grounding_model_reads_features_and_words(catalog: Catalog) -> None:
    packed = {"type": "PackLocalizationInputs", "keys": ["gt_bbox", "proposals"], "meta_keys": ["query_tokens"]}
    tables = {f"{name}_file": f"{name}.json" for name in ("word2id", "fps", "duration", "num_frames")}
    sentences = loader("train", packed, kind="CharadesSTADataset", **tables, window_size=16, ft_overlap=0.5)
    train = converted(catalog, model={"type": "DRN"}, train_dataloader=sentences).task["data"]["train"]
    assert train["pipeline"] == {"features": {"type": "LoadProposalFeatures"}, "query": {"type": "FormatQuery"}}
    assert train["dataset"]["word2id_file"] == "word2id.json"


@pytest.mark.parametrize(
    ("published", "metric"),
    [
        ({"metric_type": "AR@AN"}, {"metric_type": "AR@AN"}),
        ({}, {"metric_type": "TEM"}),
        (
            {"metric_type": "AR@AN", "metric_options": {"AR@AN": {"max_avg_proposals": 50}}, "collect_device": "gpu"},
            {"metric_type": "AR@AN", "max_avg_proposals": 50},
        ),
    ],
)
def test_scores(published: dict[str, Any], metric: dict[str, Any], catalog: Catalog) -> None:
    written = {"dump_config": {"out": f"{WORK}//results.json", "output_format": "json"}}
    task = converted(catalog, val_evaluator={"type": "ANetMetric", **published, **written}).task
    assert task["metrics"] == {"anet": {"type": "ANetMetric", **metric}}
    assert "runtime" not in task


def test_stages_of_bsn_share_the_published_folder(catalog: Catalog) -> None:
    dumped = {"out": f"{WORK}//tem_results/", "output_format": "csv"}
    first = converted(catalog, test_evaluator={"type": "ANetMetric", "metric_type": "TEM", "dump_config": dumped})
    assert first.task["runtime"] == {"run_dir": WORK}  # where ANetMetric writes tem_results

    sampling = {"num_sample_start": 8, "num_sample_end": 8, "num_sample_action": 16, "num_sample_interp": 3}
    proposals = {"pgm_proposals_thread": 8, "temporal_scale": 100, "peak_threshold": 0.4}
    features = {"pgm_features_thread": 32, "bsp_boundary_ratio": 0.3, **sampling}
    config = {
        "work_dir": f"{WORK}/",
        "pgm_proposals_cfg": proposals,
        "pgm_features_train_cfg": {**features, "top_k": 500},
        "pgm_features_test_cfg": {**features, "top_k": 1000},
    }
    second = convert_config(config, catalog)
    assert second.problems == ()
    assert second.task == {
        "job": {
            "type": "GenerateProposals",
            "boundaries": f"{WORK}/tem_results",
            "workers": 8,
            "peak_threshold": 0.4,
            "top_k": 1000,
            "bsp_boundary_ratio": 0.3,
            **sampling,
        },
        "runtime": {"run_dir": WORK},
    }
    Task.from_table(second.task, catalog)
    config["pgm_features_train_cfg"] = {**features, "num_sample_end": 4}
    assert convert_config(config, catalog).problems == (
        "pgm_features_train_cfg: must be equal to pgm_features_test_cfg, except for top_k",
    )

    loading = {"pgm_proposals_dir": f"{WORK}//pgm_proposals/", "pgm_features_dir": f"{WORK}//pgm_features/"}
    steps = {"type": "LoadProposals", "top_k": 500, **loading}, {"type": "PackLocalizationInputs", "keys": []}
    third = converted(catalog, train_dataloader=loader("train", *steps))
    assert third.task["data"]["train"]["pipeline"] == {
        "proposals": {
            "type": "LoadProposals",
            "top_k": 500,
            "pgm_proposals_dir": f"{WORK}/pgm_proposals",
            "pgm_features_dir": f"{WORK}/pgm_features",
        }
    }


@pytest.mark.parametrize("kind", ["BMN", "TEM"])
def test_a_published_checkpoint_loads(kind: str, tmp_path: Path) -> None:
    bmn = {
        "type": "BMN",
        "temporal_dim": 8,
        "boundary_ratio": 0.5,
        "num_samples": 4,
        "num_samples_per_bin": 2,
        "feat_dim": 8,
        "soft_nms_alpha": 0.4,
        "soft_nms_low_threshold": 0.5,
        "soft_nms_high_threshold": 0.9,
        "post_process_top_k": 10,
        "hidden_dim_1d": 8,
        "hidden_dim_2d": 4,
        "hidden_dim_3d": 4,
    }
    table = bmn if kind == "BMN" else {**TEM, "temporal_dim": 8, "tem_feat_dim": 8, "tem_hidden_dim": 4}
    model = build_component(table)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    if kind == "BMN":  # published files also have buffers that follow from the options
        state["module.sample_mask"] = model.boundary_matching.mask().view(8, -1)
        state["module.bm_mask"] = model.valid
    torch.save({"state_dict": state, "meta": {"epoch": 9}}, tmp_path / "published.pth")
    published = read_checkpoint(tmp_path / "published.pth")
    again = build_component(table)
    assert load_state(again, published.weights) == ()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
