"""``vidcore publish --deploy``: MobileOne with its branches fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vidcore.cli import run
from vidcore.config.toml import dumps
from vidcore.engine.checkpoint import save
from vidcore.errors import UserError
from vidcore.nn import Model
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.predictor import Predictor
from vidcore.task.publish import deployed
from vidcore.task.task import Task

STEPS: dict[str, Any] = {
    "open": {"type": "OpenVideo"},
    "sample": {"type": "SampleFrames", "clip_len": 1, "test_mode": True},
    "decode": {"type": "Decode"},
    "resize": {"type": "Resize", "scale": [32, 32], "keep_ratio": False},
    "format": {"type": "FormatShape", "input_format": "NCHW"},
}
TABLE: dict[str, Any] = {
    "model": {
        "type": "Recognizer2D",
        "backbone": {"type": "MobileOneTSM", "arch": "s0", "num_segments": 1},
        "cls_head": {"type": "TSMHead", "num_classes": 4, "in_channels": 1024, "num_segments": 1, "init_std": 0.1},
    },
    "data": {"test": {"dataset": {"type": "ConcatDataset", "datasets": []}, "pipeline": STEPS}},
    "runtime": {"device": "cpu"},
}


def test_fused_branches_predict_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = load_plugins()
    task = Task.from_table(TABLE, catalog, "mobile")
    torch.manual_seed(0)
    model: Model = task.build("model")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.3)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    save(tmp_path / "best.pt", {"state_dict": model.state_dict()})
    (tmp_path / "mobile.toml").write_text(dumps(TABLE))
    releases = []
    for options in ([], ["--deploy"]):
        folder = tmp_path / f"out{len(options)}"
        arguments = ["publish", str(tmp_path / "mobile.toml"), "-c", str(tmp_path / "best.pt"), "--dir", str(folder)]
        assert run([*arguments, *options]) == 0, capsys.readouterr().err
        releases += folder.iterdir()
    plain, fused = releases
    assert fused.stat().st_size < plain.stat().st_size
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    predictors = [Predictor(path) for path in releases]
    branches = [[name for name in p.model.state_dict() if "branch_conv_list" in name] for p in predictors]
    assert branches[0] and not branches[1]
    scores = [predictor([tmp_path / "a.png"])[0].scores for predictor in predictors]
    assert scores[0] is not None and scores[1] is not None
    assert scores[0].max() - scores[0].min() > 0.01
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-5)


def test_models_without_another_form_are_refused() -> None:
    backbone = {"type": "ResNet", "depth": 18}
    task = Task.from_table({**TABLE, "model": {**TABLE["model"], "backbone": backbone}}, load_plugins(), "resnet")
    with pytest.raises(UserError, match="resnet: no part of its model has another form for inference"):
        deployed(task)
