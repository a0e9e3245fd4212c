"""Stages: one command runs Tasks that build on each other, and skips finished ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from attrs import evolve

from vidcore.config.toml import dumps
from vidcore.engine.checkpoint import load
from vidcore.errors import ConfigError, UserError
from vidcore.plugins.catalog import Catalog, Component, load_plugins
from vidcore.task.stages import run_job, run_stages
from vidcore.task.task import Task

PARTS = """
from __future__ import annotations
from pathlib import Path
import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn
from vidcore.batch import Batch
from vidcore.nn import Model
from vidcore.protocols import Dataset
from vidcore.sample import Sample

@frozen
class CopyText:
    text: str = ""
    source: Path | None = None
    breaks: bool = False
    def __call__(self, folder: Path, rank: int, world: int, catalog: object) -> None:
        with (folder / "calls").open("a") as calls:
            calls.write("x")
        if self.breaks and not (folder / "mended").exists():
            raise RuntimeError("out of order")
        (folder / "text").write_text(self.text + (self.source.read_text() if self.source else ""))

@frozen
class Numbers(Dataset):
    file: Path | None = None
    def __len__(self) -> int:
        return 4
    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, inputs={"x": np.full(3, index, np.float32)})

class Line(Model):
    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.fc = nn.Linear(3, width)
    def preprocess(self, batch: Batch) -> Batch:
        return batch
    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(inputs)
    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss_fit": (outputs - 1).square().mean()}
    def predict(self, outputs: Tensor, batch: Batch) -> list[Sample]:
        return list(batch.samples)
"""
NET = """
[model]
type = "Line"
[data.train.dataset]
type = "Numbers"
[optimizer]
type = "SGD"
lr = 0.01
"""
CHAIN = """
[stages.text.job]
type = "CopyText"
text = "begin "

[stages.more.job]
type = "CopyText"
text = "more "
source = "{text}/text"

[stages.first]
extends = ["net.toml"]
data.train.dataset.file = "{more}/text"

[stages.second]
extends = ["net.toml"]
train.weights = "{first}/checkpoints/epoch0001-step00000004.pt"
optimizer.lr = 0.0
"""


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    (tmp_path / "stage_parts.py").write_text(PARTS)
    (tmp_path / "net.toml").write_text(NET)
    (tmp_path / "chain.toml").write_text(CHAIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    kinds = {"CopyText": "jobs", "Numbers": "datasets", "Line": "models"}
    ours = {n: Component(n, k, f"stage_parts:{n}", "test") for n, k in kinds.items()}
    installed = load_plugins()
    return evolve(installed, components=installed.components | ours)


def calls(folder: Path) -> dict[str, int]:
    return {name: len((folder / name / "calls").read_text()) for name in ("text", "more")}


def weights(folder: Path) -> torch.Tensor:
    return load(max(folder.glob("checkpoints/epoch*.pt")))["state_dict"]["fc.weight"]


def test_stages_build_on_each_other(catalog: Catalog, tmp_path: Path) -> None:
    task = Task.load("chain", evolve(catalog, recipe_folders=(("test", tmp_path),)))
    assert list(task.stages) == ["text", "more", "first", "second"]
    report = run_stages(task, Path("runs"))
    assert Path("runs/more/text").read_text() == "more begin "
    assert torch.equal(weights(Path("runs/first")), weights(Path("runs/second")))  # a rate of 0 changes nothing
    assert json.loads(Path("runs/report.json").read_text()) == report
    assert list(report["stages"]) == ["first", "second"]
    with pytest.raises(UserError, match="runs: already holds a run; resume it"):
        run_stages(task, Path("runs"))
    before = weights(Path("runs/first"))
    run_stages(task, Path("runs"), resume=True)
    assert calls(Path("runs")) == {"text": 1, "more": 1}
    assert torch.equal(weights(Path("runs/first")), before)
    # the written Task gives the same result
    again = Task.load("runs/task.toml", catalog)
    assert again.table == task.table
    run_stages(again, Path("runs"), resume=True)
    assert calls(Path("runs")) == {"text": 1, "more": 1}


def test_an_interrupted_stage_resumes(catalog: Catalog) -> None:
    task = Task.load("chain.toml", catalog, ["stages.more.job.breaks=true"])
    with pytest.raises(RuntimeError, match="out of order"):
        run_stages(task, Path("runs"))
    Path("runs/more/mended").touch()
    run_stages(task, Path("runs"), resume=True)
    assert calls(Path("runs")) == {"text": 1, "more": 2}
    assert Path("runs/second/report.json").exists()


def test_results_of_different_stages_are_not_reused(catalog: Catalog) -> None:
    run_stages(Task.load("chain.toml", catalog), Path("runs"))
    changed = Task.load("chain.toml", catalog, ["stages.more.job.text=other"])
    with pytest.raises(UserError, match=r"runs/more: was made by a different job, or from stages that"):
        run_stages(changed, Path("runs"), resume=True)
    longer = Task.load("chain.toml", catalog, ["stages.first.train.epochs=2"])
    with pytest.raises(UserError, match=r"runs/second: was made by a different job, or from stages that"):
        run_stages(longer, Path("runs"), resume=True)
    assert weights(Path("runs/first")).shape == (1, 3)  # the first went on to its second epoch
    assert Path("runs/first/checkpoints/epoch0002-step00000008.pt").exists()
    wider = Task.load("chain.toml", catalog, ["stages.first.model.width=2"])
    noted = Path("runs/first/stage.json").read_text()
    with pytest.raises(UserError, match=r"runs/first: holds the run of a different Task: model.width"):
        run_stages(wider, Path("runs"), resume=True)
    assert Path("runs/first/stage.json").read_text() == noted
    # how often files are written does not matter
    run_stages(Task.load("chain.toml", catalog), Path("other"))
    talkative = Task.load("chain.toml", catalog, ["train.log_interval=1", "runtime.device=cpu"])
    run_stages(talkative, Path("other"), resume=True)
    assert calls(Path("other")) == {"text": 1, "more": 1}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.second.optimizer.lr=-1", r"stages\.second\.optimizer: SGD: Invalid learning rate: -1"),
        ("stages.second.model.width=-1", r"stages\.second\.model: Line: "),
        ("stages.second.data.train=false", r"second: data\.train: is missing"),
    ],
)
def test_a_mistake_in_the_last_stage_is_found_before_the_first(catalog: Catalog, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_stages(Task.load("chain.toml", catalog, [override]), Path("runs"))
    assert not Path("runs").exists()


def test_tables_beside_the_stages_apply_to_all_that_train(catalog: Catalog) -> None:
    task = Task.load("chain.toml", catalog, ["train.epochs=3", "stages.second.optimizer.lr=0.5"])
    stages = task.stages
    assert [stages[name].get("train.epochs") for name in ("first", "second")] == [3, 3]
    assert stages["second"].table["optimizer"]["lr"] == 0.5
    assert stages["text"].get("train") is None
    assert Task.from_table(task.table, catalog).table == task.table
    assert "{first}/checkpoints" in dumps(task.table)


def test_stages_are_inherited_and_changed(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text("[optimizer]\nlr = 0.001\n")
    (tmp_path / "mine.toml").write_text(
        'extends = ["chain.toml"]\n[stages]\nmore = false\n[stages.first]\nextends = ["slow.toml"]\n'
        'data.train.dataset.file = "{text}/text"\n[stages.second]\n_replace_ = true\nextends = ["net.toml"]\n'
    )
    stages = Task.load("mine.toml", catalog).stages
    assert list(stages) == ["text", "first", "second"]
    assert stages["first"].table["optimizer"]["lr"] == 0.001
    assert stages["first"].table["model"]["type"] == "Line"
    assert "train" not in stages["second"].table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[stages.a.job]\ntype = "CopyTex"', r"bad.toml: stages.a.job.type: .*did you mean 'CopyText'"),
        ('[stages.a.job]\ntype = "Line"', r"bad.toml: stages.a.job.type: 'Line' .* belongs to models"),
        ("[stages.a]\ntrain.epochs = 1", r"bad.toml: stages.a.model: is missing: a Task needs a model, or a job"),
        ('[step]\ntype = "CopyText"', r"bad.toml: step: is now called job"),
        ('[stages.a.step]\ntype = "CopyText"', r"bad.toml: stages.a.step: is now called stages.a.job"),
        ("[data.train_also.more]\nbatch_size = 2", r"bad.toml: data.train_also: is now called data.train_extra"),
        ("[train]\nepochs = 1", r"model: is missing: a Task needs a model, or a job"),
        (
            '[stages.a]\nextends = "net.toml"\njob = { type = "CopyText" }',
            r"stages.a.model: a Task has a model or a job, not both",
        ),
        ('[stages.a]\nextends = "chain.toml"', r"stages.a.stages: unknown key: \[stages.a\] takes no 'stages'"),
        (
            '[stages.a]\nextends = "nowhere"',
            r"bad.toml: stages.a.extends: 'nowhere' is neither a file in .* nor a recipe",
        ),
        ('[stages."../a".job]\ntype = "CopyText"', r"bad.toml: stages: '../a' is not a name"),
        (
            '[stages.a.job]\ntype = "CopyText"\nsource = "{b}/text"\n[stages.b.job]\ntype = "CopyText"',
            r"bad.toml: stages.a.job.source: '{b}/text' refers to 'b', .* stage; earlier stages: none",
        ),
        (
            CHAIN.replace("{first}", "{frist}"),
            r"bad.toml: stages.second.train.weights: .*refers to 'frist', .* earlier stage; did you mean 'first'",
        ),
    ],
)
def test_mistakes_name_file_and_key(catalog: Catalog, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        Task.load("bad.toml", catalog)


def test_commands_for_one_task_refuse_stages(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="this command takes the Task of one stage; the stages are text, more"):
        Task.load("chain.toml", catalog).require("data.test")


def test_a_job_by_itself(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "alone.toml").write_text('[job]\ntype = "CopyText"\ntext = "x"\n')
    run_job(Task.load("alone.toml", catalog))
    assert Path("runs/alone/text").read_text() == "x"


def test_stages_that_were_moved_resume_there(catalog: Catalog) -> None:
    task = Task.load("chain.toml", catalog)
    run_stages(task, Path("runs"))
    Path("runs/second/stage.json").unlink()
    Path("runs").rename("moved")
    run_stages(task, Path("moved"), resume=True)
    assert calls(Path("moved")) == {"text": 1, "more": 1}
    longer = Task.load("chain.toml", catalog, ["stages.second.train.epochs=2"])
    Path("moved").rename("again")
    run_stages(longer, Path("again"), resume=True)
    assert Path("again/second/checkpoints/epoch0002-step00000008.pt").exists()
    assert not Path("runs").exists() and not Path("moved").exists()


@pytest.mark.parametrize("content", ["", "[1]", '{"task": 1, "uses": {}}', '{"task": "a", "uses": []}', '{"ta', "\0\0"])
def test_a_damaged_state_of_a_stage_is_set_aside(catalog: Catalog, content: str) -> None:
    task = Task.load("chain.toml", catalog, ["stages.first=false", "stages.second=false"])
    run_stages(task, Path("runs"))
    for name in ("more/stage.json", "more/report.json"):
        Path("runs", name).write_text(content)
    with pytest.warns(UserWarning, match=r"json: is damaged \(.*; it is kept as (stage|report)\.json\.damaged"):
        run_stages(task, Path("runs"), resume=True)
    assert calls(Path("runs")) == {"text": 1, "more": 2}
    run_stages(task, Path("runs"), resume=True)
    assert calls(Path("runs")) == {"text": 1, "more": 2}
