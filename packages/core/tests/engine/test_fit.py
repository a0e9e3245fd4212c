"""Training runs and their files."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vidcore.engine.checkpoint import Checkpoints, load
from vidcore.engine.schedules import ReduceOnPlateauLR
from vidcore.engine.weights import load_weights
from vidcore.errors import CheckpointError, ConfigError, DataError, TrainingError
from vidcore.protocols import Observer


class Diary(Observer):
    """Records all calls."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self.values: list[dict[str, float]] = []
        self.ticks: list[tuple[int, int]] = []

    def on_start(self, run_dir: Path, info: Any) -> None:
        self.lines.append(("start", info["steps"], info["resumed_step"]))

    def on_tick(self, epoch: int, step: int) -> None:
        self.ticks.append((epoch, step))

    def on_step(self, epoch: int, step: int, values: Any) -> None:
        self.lines.append(("step", epoch, step))
        self.values.append(values.row())

    def on_epoch(self, epoch: int, values: Any) -> None:
        self.lines.append(("epoch", epoch))

    def on_evaluation(self, epoch: int, step: int, scores: Any) -> None:
        self.lines.append(("evaluation", epoch, step))

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        assert path.exists()
        self.lines.append(("checkpoint", epoch, step))

    def on_failure(self, error: BaseException) -> None:
        self.lines.append(("failure", type(error)))

    def kinds(self, kind: str) -> list[tuple[Any, ...]]:
        return [line[1:] for line in self.lines if line[0] == kind]


def steps_saved(folder: Path) -> list[int]:
    return [load(p)["step"] for p in Checkpoints(folder / "checkpoints").paths()]


def test_a_run_learns_and_keeps_its_best_weights(toy: ModuleType, tmp_path: Path) -> None:
    result, model = toy.train(tmp_path, epochs=20)
    assert result.scores["acc/top1"] > 0.7
    best = load(tmp_path / "checkpoints/best.pt")
    assert "optimizer" not in best
    assert best["class_names"] == ["a", "b", "c"]
    assert best["model"] == "Net"
    assert (best["step"], best["scores"]["acc/top1"]) == (result.best["step"], result.best["value"])
    evaluations = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    top = [r["acc/top1"] for r in evaluations if r["kind"] == "evaluation"]
    assert result.best["value"] == max(top)
    assert result.best["epoch"] == top.index(max(top)) + 1, "the first of equal ones"
    load_weights(toy.Net(), tmp_path / "checkpoints/best.pt")
    final = load(Checkpoints(tmp_path / "checkpoints").paths()[-1])
    assert torch.equal(final["state_dict"]["fc.weight"], model.fc.weight)


def test_observers_are_called_in_order(toy: ModuleType, tmp_path: Path) -> None:
    diary = Diary()
    toy.train(tmp_path, epochs=2, observers=(diary,), log_interval=4)
    assert diary.ticks == [(1 + (step - 1) // 6, step) for step in range(1, 13)]
    assert diary.lines == [
        ("start", 12, 0),
        ("step", 1, 4),
        ("step", 1, 6),
        ("epoch", 1),
        ("checkpoint", 1, 6),
        ("evaluation", 1, 6),
        ("step", 2, 8),
        ("step", 2, 12),
        ("epoch", 2),
        ("checkpoint", 2, 12),
        ("evaluation", 2, 12),
    ]
    phases = ("data", "transfer", "forward", "backward", "step")
    seconds = {f"seconds/{phase}" for phase in phases}
    assert set(diary.values[0]) == seconds | {"loss", "loss_cls", "loss_size", "top1_acc", "grad_norm", "lr"}
    assert all(v > 0 for v in diary.values[0].values())


def test_logged_values_are_means_and_the_learning_rate_follows_the_schedule(toy: ModuleType, tmp_path: Path) -> None:
    every, fourth = Diary(), Diary()
    toy.train(tmp_path / "a", epochs=1, observers=(every,))
    toy.train(tmp_path / "b", epochs=1, observers=(fourth,), log_interval=4)
    assert fourth.values[0]["loss"] == pytest.approx(sum(v["loss"] for v in every.values[:4]) / 4)
    assert fourth.values[1]["loss"] == pytest.approx(sum(v["loss"] for v in every.values[4:]) / 2)
    rates = [v["lr"] for v in every.values]
    assert rates[0] == pytest.approx(0.01 * 0.1, rel=1e-6)
    assert rates[4] > rates[0]


def test_intervals_in_epochs(toy: ModuleType, tmp_path: Path) -> None:
    diary = Diary()
    toy.train(tmp_path, epochs=5, val_interval=2, checkpoint_interval=3, keep=0, observers=(diary,))
    assert [e for e, _ in diary.kinds("evaluation")] == [2, 4, 5], "every second one and the last"
    assert steps_saved(tmp_path) == [12, 18, 24, 30], "every third one, before evaluations, and the last"


def test_checkpoints_within_an_epoch(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=2, checkpoint_steps=4, keep=0)
    assert steps_saved(tmp_path) == [4, 6, 8, 12]


def test_the_seed_determines_the_random_numbers_of_a_step(toy: ModuleType, tmp_path: Path) -> None:
    runs: list[list[float]] = []
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        diary = Diary()
        toy.train(tmp_path / name, steps=3, runtime={"seed": seed}, observers=(diary,), validation=False)
        runs.append([v["loss"] for v in diary.values])
    assert runs[0] == runs[2] != runs[1]


def test_runs_by_steps(toy: ModuleType, tmp_path: Path) -> None:
    diary = Diary()
    result, _ = toy.train(tmp_path, steps=8, val_interval=5, checkpoint_interval=3, keep=0, observers=(diary,))
    assert result.steps == 8
    assert diary.kinds("evaluation") == [(1, 5), (2, 8)]
    assert steps_saved(tmp_path) == [3, 5, 6, 8]
    every_epoch = Diary()
    toy.train(tmp_path / "epochs", steps=8, keep=0, observers=(every_epoch,))
    assert every_epoch.kinds("evaluation") == [(1, 6), (2, 8)]
    assert steps_saved(tmp_path / "epochs") == [6, 8]


def test_steps_are_updates_with_accumulation(toy: ModuleType, tmp_path: Path) -> None:
    diary = Diary()
    result, _ = toy.train(tmp_path, epochs=2, accumulate=4, observers=(diary,))  # six batches: 4 and 2
    assert result.steps == 4
    assert diary.kinds("epoch") == [(1,), (2,)]


def test_checkpoints_beyond_keep_are_removed(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=4, keep=2)
    assert steps_saved(tmp_path) == [18, 24]


def test_the_selection_score(toy: ModuleType, tmp_path: Path) -> None:
    result, _ = toy.train(tmp_path / "count", epochs=2, best="acc/count")
    assert result.best == {"score": "acc/count", "value": 13.0, "epoch": 1, "step": 6}
    less, _ = toy.train(tmp_path / "less", epochs=4, best_rule="less")
    more, _ = toy.train(tmp_path / "more", epochs=4)
    assert less.best["value"] < more.best["value"]
    with pytest.raises(ConfigError, match=r"train.best: the evaluation returns no score 'acc/top5'; did you mean"):
        toy.train(tmp_path / "typo", epochs=1, best="acc/top5")


def test_several_scores_select_weights(toy: ModuleType, tmp_path: Path) -> None:
    result, _ = toy.train(tmp_path, epochs=4, val_loss=True, best=["acc/count", "val/loss"])
    assert result.best["epoch"] == 1  # the count never changes
    assert result.also_best.keys() == {"val/loss"}
    assert load(tmp_path / "checkpoints/best.pt")["epoch"] == 1
    least = load(tmp_path / "checkpoints/best_val_loss.pt")
    assert least["epoch"] == result.also_best["val/loss"]["epoch"] > 1
    assert least["scores"]["val/loss"] == result.also_best["val/loss"]["value"]
    again, _ = toy.train(tmp_path, epochs=4, val_loss=True, best=["acc/count", "val/loss"])
    assert again.also_best == result.also_best


def test_when_evaluations_begin(toy: ModuleType, tmp_path: Path) -> None:
    late, early = Diary(), Diary()
    toy.train(tmp_path / "late", epochs=4, val_begin=3, observers=(late,))
    assert late.kinds("evaluation") == [(3, 18), (4, 24)]
    _, model = toy.train(tmp_path / "early", epochs=2, val_at_start=True, observers=(early,))
    assert early.kinds("evaluation") == [(0, 0), (1, 6), (2, 12)]
    _, plain = toy.train(tmp_path / "plain", epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert load(tmp_path / "plain/checkpoints/best.pt")["step"] != 0
    again = Diary()
    toy.train(tmp_path / "early", epochs=3, val_at_start=True, observers=(again,))
    assert again.kinds("evaluation") == [(3, 18)]


def test_a_run_resumes_from_a_checkpoint_of_another_folder(toy: ModuleType, tmp_path: Path) -> None:
    straight, wanted = toy.train(tmp_path / "straight", keep=0)
    source = tmp_path / "straight/checkpoints/epoch0001-step00000006.pt"
    result, model = toy.train(tmp_path / "fork", resume_from=source)
    assert (result.resumed_step, result.scores) == (6, straight.scores)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), wanted.parameters(), strict=True))
    again, _ = toy.train(tmp_path / "fork", resume_from=source)
    assert again.resumed_step == 18, "the checkpoints of the folder itself come first"
    with pytest.raises(CheckpointError, match=r"best.pt: holds weights but no state of a run; set train.weights"):
        toy.train(tmp_path / "best", resume_from=source.with_name("best.pt"))


def test_a_run_that_resumes_with_other_plugin_files_says_so(toy: ModuleType, tmp_path: Path) -> None:
    class Notes(Observer):
        def on_start(self, run_dir: Path, info: Any) -> None:
            found.extend(info["notes"])

    found: list[str] = []
    for epochs, digest in ((1, "sha256:1"), (2, "sha256:1"), (3, "sha256:2")):
        assert found == []
        toy.train(tmp_path, epochs=epochs, plugins={"my_model.py": digest}, observers=(Notes(),), validation=False)
    assert found == ["the files of --plugin are not those of the run so far"]


def test_the_rate_is_reduced_on_a_plateau(toy: ModuleType, tmp_path: Path) -> None:
    options = {"schedules": [ReduceOnPlateauLR(monitor="acc/count", patience=0, factor=0.5)], "epochs": 4}
    _, wanted = toy.train(tmp_path / "straight", **options)
    rates = [r["lr"] for r in toy.records(tmp_path / "straight", "step")]
    assert rates[::6] == pytest.approx([0.01, 0.01, 0.005, 0.0025])  # the count never changes
    toy.train(tmp_path / "twice", **options | {"epochs": 3})
    _, model = toy.train(tmp_path / "twice", **options)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), wanted.parameters(), strict=True))
    with pytest.raises(ConfigError, match="ReduceOnPlateauLR: the evaluation returns no score 'acc/top5'; did you"):
        toy.train(tmp_path / "typo", epochs=2, schedules=[ReduceOnPlateauLR(monitor="acc/top5")])


def test_without_evaluation(toy: ModuleType, tmp_path: Path) -> None:
    result, _ = toy.train(tmp_path, epochs=1, validation=False)
    assert (result.scores, result.best) == ({}, {})
    assert not (tmp_path / "checkpoints/best.pt").exists()


def test_a_nan_loss_ends_the_run_before_saving(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=1)
    saved = steps_saved(tmp_path)
    diary = Diary()

    class Broken(toy.Net):
        def loss(self, outputs: Any, batch: Any) -> Any:
            return {"loss": outputs.sum() * float("nan")}

    with pytest.raises(TrainingError, match="loss became NaN at step 10: lower the learning rate"):
        toy.train(tmp_path, epochs=3, model=Broken(), observers=(diary,), log_interval=10)
    assert steps_saved(tmp_path) == saved
    assert diary.lines[-1] == ("failure", TrainingError)


def test_nan_gradients_end_the_run_before_saving(toy: ModuleType, tmp_path: Path) -> None:
    class Steep(toy.Net):
        def loss(self, outputs: Any, batch: Any) -> Any:
            return {"loss": (outputs * 0).sqrt().sum()}

    with pytest.raises(TrainingError, match="weights contain NaN or Inf after step 1: lower the learning rate"):
        toy.train(tmp_path, steps=1, model=Steep())
    assert steps_saved(tmp_path) == []


def test_nan_statistics_end_the_run_before_saving(toy: ModuleType, tmp_path: Path) -> None:
    class Spoiled(toy.Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_var", torch.ones(2))

        def loss(self, outputs: Any, batch: Any) -> Any:
            self.running_var *= float("nan")
            return super().loss(outputs, batch)

    with pytest.raises(TrainingError, match="weights contain NaN or Inf after step 1"):
        toy.train(tmp_path, steps=1, model=Spoiled())
    assert steps_saved(tmp_path) == []


def test_a_finished_run_can_be_extended(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=1)
    result, _ = toy.train(tmp_path, epochs=3)
    assert (result.resumed_step, result.steps) == (6, 18)
    again, _ = toy.train(tmp_path, epochs=3)
    assert (again.resumed_step, again.best) == (18, result.best)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batch_size": 2}, "data.train.batch_size was 4 and is 2"),
        ({"accumulate": 2}, "train.accumulate was 1 and is 2"),
        ({"base_batch_size": 8}, "train.base_batch_size was None and is 8"),
        ({"size": 21}, "samples of data.train was 22 and is 21"),
    ],
)
def test_changes_that_prevent_exact_resume_are_refused(
    toy: ModuleType, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    toy.train(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=said):
        toy.train(tmp_path, epochs=2, **changed)
    toy.train(tmp_path, epochs=2)  # nothing is lost


def test_checkpoints_of_a_different_model_are_refused(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"a different model: fc.weight is \(3, 16\) in the file and \(4, 16\)"):
        toy.train(tmp_path, epochs=2, model=toy.Net(4))


def test_a_run_resumes_after_a_full_disk(toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.train(tmp_path / "straight")
    sync, calls = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 8:  # in the second checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr("vidcore.files.os.fsync", full)
        with pytest.raises(CheckpointError, match="cannot be saved: No space left on device"):
            toy.train(tmp_path / "full")
    assert steps_saved(tmp_path / "full") == [6]
    toy.train(tmp_path / "full")
    a, b = (load(Checkpoints(tmp_path / d / "checkpoints").paths()[-1])["state_dict"] for d in ("straight", "full"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(toy: ModuleType, tmp_path: Path) -> None:
    straight, _ = toy.train(tmp_path / "straight")
    toy.train(tmp_path / "damaged")
    newest = Checkpoints(tmp_path / "damaged/checkpoints").paths()[-1]
    newest.write_bytes(newest.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="damaged, or not a checkpoint; trying the one before"):
        result, _ = toy.train(tmp_path / "damaged")
    assert result.resumed_step == 12
    assert result.best == straight.best
    lines = [json.loads(line) for line in (tmp_path / "damaged/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in lines if r["kind"] == "step"] == list(range(1, 19))
    assert [r["step"] for r in lines if r["kind"] == "evaluation"] == [6, 12, 18]


def test_a_failing_observer_does_not_stop_the_run(toy: ModuleType, tmp_path: Path) -> None:
    class Broken(Diary):
        def on_epoch(self, epoch: int, values: Any) -> None:
            raise OSError("the server is gone")

    broken, fine = Broken(), Diary()
    with pytest.warns(UserWarning, match="observer Broken failed in on_epoch and will not be called again: the server"):
        toy.train(tmp_path, epochs=2, observers=(broken, fine))
    assert fine.kinds("epoch") == [(1,), (2,)]
    assert broken.lines[-1] == ("step", 1, 6)


def test_too_many_bad_samples_end_a_run(toy: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 22 samples are bad, 1 is allowed; .*bad_samples.jsonl lists them"):
        toy.train(tmp_path, bad=(0, 1), bad_budget=0.01)
    result, _ = toy.train(tmp_path / "few", bad=(4,), epochs=2)
    assert result.scores["acc/count"] == 13 - 1
