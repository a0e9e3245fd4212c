"""Releases: one file that works alone, and that is safe to open when a stranger made it."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve
from safetensors import safe_open
from torch import nn

from vid_recognition import demo
from vid_recognition.demo import render_video
from vidcore import Predictor
from vidcore.cli import run
from vidcore.config.bind import Call
from vidcore.engine.checkpoint import load, save
from vidcore.engine.weights import read_weights
from vidcore.errors import CheckpointError, ConfigError, UserError
from vidcore.files import parse_json, sha256, write_json
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.predict.verify import convert, verify
from vidcore.task.publish import publish, publish_run
from vidcore.task.reference import generated_clip
from vidcore.task.release import Release
from vidcore.task.run_folder import RunFolder
from vidcore.task.task import Task
from vidcore.video.synthetic import MOTIONS, write_video

CLIPS = ["--set", "data.val.pipeline.sample.num_clips=3"]

DEMO = Path(demo.__file__).with_name("demo.toml")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Task, a video and random weights with class names and scores of the validation."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "task.toml").write_text(DEMO.read_text())
    (folder / "classes.txt").write_text("\n".join(MOTIONS))
    write_video(folder / "a.mp4", render_video("left", 0, 0))
    torch.manual_seed(0)
    task = Task.load(folder / "task.toml", load_plugins())
    about = {"class_names": list(MOTIONS), "scores": {"acc/top1": 0.25}}
    save(folder / "best.pt", {"state_dict": task.build("model").state_dict(), **about})
    return folder


@pytest.fixture(scope="module")
def released(folder: Path, catalog: Catalog) -> Path:
    return publish(Task.load(folder / "task.toml", catalog), folder / "best.pt", folder / "out", license_name="MIT")


def about(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, Any] = parse_json(file.metadata()["vidcore"])
    return found


def test_it_works_alone(released: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moved").mkdir()
    alone = tmp_path / "moved" / released.name
    alone.write_bytes(released.read_bytes())
    monkeypatch.chdir(tmp_path)
    (expected,) = Predictor(folder / "task.toml", folder / "best.pt")([folder / "a.mp4"])
    (found,) = Predictor(alone)([folder / "a.mp4"])
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.class_names == tuple(MOTIONS)


def test_on_the_command_line(released: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(released), str(folder / "a.mp4"), "--top", "2"]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == str(folder / "a.mp4")
    assert len(rows) == 2 and rows[0].split()[1] in MOTIONS


def test_metadata(released: Path, folder: Path) -> None:
    found = about(released)
    assert found["license"] == "MIT" and found["class_names"] == list(MOTIONS)
    assert found["versions"]["vid-recognition"]
    (score,) = found["scores"]
    assert score["split"] == "val" and score["scores"] == {"acc/top1": 0.25}
    assert "SampleFrames(clip_len=8, frame_interval=2, num_clips=3, test_mode=True)" in score["protocol"]["pipeline"]
    assert found["input"] == {
        "clip_frames": 8,
        "frame_interval": 2,
        "clips": 3,
        "crops": 1,
        "inputs": {"imgs": [3, 3, 8, 48, 48]},
    }
    assert str(folder) not in json.dumps(found), "paths of data"


def test_names_of_classes_come_from_the_task_too(folder: Path, catalog: Catalog, tmp_path: Path) -> None:
    save(tmp_path / "w.pt", {"state_dict": load(folder / "best.pt")["state_dict"]})
    task = Task.load(folder / "task.toml", catalog)
    assert about(publish(task, tmp_path / "w.pt", tmp_path))["class_names"] == list(MOTIONS)
    (tmp_path / "few.txt").write_text("a\nb")
    few = Task.load(folder / "task.toml", catalog, [f'data.classes="{tmp_path / "few.txt"}"'])
    with pytest.raises(UserError, match="has 2 class names, but its model predicts 8 classes"):
        publish(few, tmp_path / "w.pt", tmp_path)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_a_normal_file(folder: Path, catalog: Catalog, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = publish(Task.load(folder / "task.toml", catalog), folder / "best.pt", tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def finished(folder: Path, catalog: Catalog, tmp_path: Path) -> RunFolder:
    """A run whose best weights were tested at its end; its newest checkpoint was only validated."""
    from vidcore.config.toml import dumps

    task = Task.load(folder / "task.toml", catalog)
    run = RunFolder.prepare(tmp_path / "run", dumps(task.table))
    content = load(folder / "best.pt")
    save(run.checkpoints / "best.pt", content)
    save(run.checkpoints / "epoch0002-step00000020.pt", content | {"scores": {"acc/top1": 0.125}})
    protocol = {"data": "data.test", "pipeline": ["ThreeCrop(crop_size=48)"], "coverage": "8 of 8 samples"}
    report = {"task": "demo", "scores": {"acc/top1": 0.5}, "protocol": protocol, "weights": "elsewhere/best.pt"}
    write_json(run.report, report)
    return run


def test_scores_stand_beside_their_own_protocol(finished: RunFolder, catalog: Catalog, tmp_path: Path) -> None:
    tested, validated = about(publish_run(finished, tmp_path, catalog))["scores"]
    assert (tested["split"], tested["scores"]["acc/top1"]) == ("test", 0.5)
    assert tested["protocol"]["pipeline"] == ["ThreeCrop(crop_size=48)"]
    assert (validated["split"], validated["scores"]["acc/top1"]) == ("val", 0.25)
    newest = publish_run(finished, tmp_path, catalog, finished.checkpoints / "epoch0002-step00000020.pt")
    (only,) = about(newest)["scores"]  # the test at the end of the run used other weights
    assert (only["split"], only["scores"]["acc/top1"]) == ("val", 0.125)


def test_a_folder_without_a_run_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(UserError, match="does not hold a finished run"):
        publish_run(RunFolder(tmp_path), tmp_path, catalog)


def test_reports_must_be_about_the_weights(folder: Path, catalog: Catalog, tmp_path: Path) -> None:
    task, report = Task.load(folder / "task.toml", catalog), tmp_path / "report.json"
    facts = {"task": "x", "scores": {"acc/top1": 0.75}, "protocol": {"data": "data.test", "pipeline": []}}
    write_json(report, facts | {"weights": str(folder / "best.pt")})
    assert about(publish(task, folder / "best.pt", tmp_path, [report]))["scores"][0]["scores"]["acc/top1"] == 0.75
    write_json(report, facts | {"weights": str(folder / "task.toml")})
    with pytest.raises(UserError, match="has scores of"):
        publish(task, folder / "best.pt", tmp_path, [report])


def test_weights_of_a_different_model_are_refused(folder: Path, catalog: Catalog, tmp_path: Path) -> None:
    task = Task.load(folder / "task.toml", catalog, ["model.cls_head.num_classes=9"])
    with pytest.raises(CheckpointError, match=r"cls_head.fc_cls.weight is \(8, 64\) in the file and \(9, 64\)"):
        publish(task, folder / "best.pt", tmp_path)


def test_a_changed_release_is_refused(released: Path, tmp_path: Path) -> None:
    data = bytearray(released.read_bytes())
    data[-1] ^= 1
    (tmp_path / released.name).write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        Predictor(tmp_path / released.name)


def test_reference_scores_are_those_of_the_generated_clip(released: Path) -> None:
    found = about(released)["reference"]
    (expected,) = Predictor(released, device="cpu")([generated_clip()])
    assert found["clip"] == 1
    np.testing.assert_allclose(found["scores"], expected.scores, rtol=1e-5)
    assert zlib.crc32(generated_clip().tobytes()) == 257677974, "or it is another clip, with a new number"


def test_reference_scores_are_compared(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "verify", str(released)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{released}: hash ") and out.endswith(", fits its model, same reference scores\n")

    def change(facts: dict[str, Any]) -> None:
        facts["reference"]["scores"][2] += 0.01

    path = rewritten(released, tmp_path / "x.safetensors", change)
    Predictor(path)  # the same versions compute the same
    assert run(["weights", "verify", str(path), str(released)]) == 2
    said, rest = capsys.readouterr().err, "for class 2 instead of 0."
    assert f"{path}: its model predicts something else here than where it was published (0." in said and rest in said
    assert "it was written with vidcore 0.1.0, torch" in said

    def with_other_versions(facts: dict[str, Any]) -> None:
        change(facts)
        facts["versions"]["vidcore"] = "0.0.9"

    path = rewritten(released, tmp_path / "y.safetensors", with_other_versions)
    with pytest.raises(CheckpointError, match=r"y\.safetensors: its model predicts .* written with vidcore 0\.0\.9,"):
        Predictor(path)
    path = rewritten(released, tmp_path / "z.safetensors", lambda facts: facts.pop("reference") and None)
    assert run(["weights", "verify", str(path)]) == 0
    assert capsys.readouterr().out.endswith(": no hash in its name, fits its model, no reference scores\n")


def test_published_weights_become_a_release(folder: Path, catalog: Catalog, tmp_path: Path) -> None:
    state = load(folder / "best.pt")["state_dict"]
    meta = {"dataset_meta": {"classes": list(MOTIONS)}}
    torch.save({"state_dict": state, "meta": meta, "hub": nn.ReLU()}, tmp_path / "w")
    digest = sha256(tmp_path / "w")[:8]
    path = (tmp_path / "w").rename(tmp_path / f"small-{digest}.pth")
    facts = f"\n[info]\nweights = 'small-{digest}.pth'\ntop1 = 25.5\nparameters = 3\n"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small_net.toml").write_text(DEMO.read_text() + facts)
    own = evolve(catalog, recipe_folders=(*catalog.recipe_folders, ("own", tmp_path / "recipes")))
    assert verify(path, own) == f"hash {digest}, {len(state)} tensors, fits small_net"
    release = convert(path, own, tmp_path / "out", "MIT")
    found = about(release)
    assert release.name.startswith("small_net-") and found["license"] == "MIT"
    assert found["class_names"] == list(MOTIONS)
    assert found["input"]["clip_frames"] == 8 and found["input"]["frame_interval"] == 2
    assert found["scores"] == [{"split": "test", "scores": {"top1": 25.5}, "protocol": {"data": "published"}}]
    assert Predictor(release).class_names == tuple(MOTIONS)


def test_weights_without_a_recipe_are_converted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w").write_bytes((folder / "best.pt").read_bytes())
    path = (tmp_path / "w").rename(tmp_path / f"small-{sha256(tmp_path / 'w')[:8]}.pth")
    assert run(["weights", "convert", str(path), "--dir", str(tmp_path)]) == 0
    (bare,) = tmp_path.glob("small-????????.safetensors")
    assert capsys.readouterr().out == f"wrote {bare}\n"
    weights, rest = read_weights(bare)
    assert weights.keys() == read_weights(path)[0].keys() and rest["class_names"] == list(MOTIONS)
    assert run(["weights", "verify", str(bare)]) == 0
    assert capsys.readouterr().out.endswith(f", {len(weights)} tensors\n")
    monkeypatch.setenv("VIDCORE_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    assert run(["weights", "verify"]) == run(["weights", "verify", "small.pth"]) == 2
    assert "no published weights in " in capsys.readouterr().err


# Releases of strangers


def rewritten(released: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a release with other metadata, whose name has no hash."""
    data = released.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["vidcore"])
    facts = change(facts) or facts
    header["__metadata__"]["vidcore"] = facts if isinstance(facts, str) else json.dumps(facts)
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return target


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(facts: dict[str, Any]) -> None:
        *names, last = key.split(".")
        for name in names:
            facts = facts.setdefault(name, {})
        facts[last] = value

    return change


STEPS = "task.data.test.pipeline"
HOSTILE = {
    "no metadata": (lambda facts: "[]", "has no format"),
    "nested": (lambda facts: "[" * 100_000, "is a damaged release"),
    "deep": (lambda facts: put("task.model.x", json.loads("[" * 500 + "]" * 500))(facts), "inside each other"),
    "digits": (lambda facts: '{"format": ' + "9" * 6000 + "}", "is a damaged release"),
    "format": (put("format", 2), "has format 2; this version of vidcore reads"),
    "folder": (put("name", "../../x"), "its name or its Task"),
    "names": (put("class_names", ["a\x1b[2J"] * 8), "class_names must be"),
    "few names": (put("class_names", ["a"]), "has 1 class names, but its model predicts 8 classes"),
    "versions": (put("versions", ["a"]), "versions must be strings"),
    "escapes": (put("versions", {"torch": "\x1b[2J"}), "versions must be strings"),
    "reference": (put("reference", {"clip": 1, "scores": ["a"]}), "its reference scores must be numbers"),
    "stages": (put("task.stages.a.job.type", "ExtractFeatures"), "stages.a.job.type, which is not part of a release"),
    "data": (put("task.data.classes", "/etc/passwd"), "data.classes, which is not part of a release"),
    "import": (put("task.model.type", "os:system"), "no installed plugin offers a models component"),
    "kind": (put("task.model.type", "activitynet"), "belongs to writers"),
    "argument": (put("task.model.backbone.evil", 1), "takes no 'evil'"),
    "path": (put(f"{STEPS}.x", {"type": "LoadVideoClasses", "file": "/etc/passwd"}), "names the file /etc/passwd"),
    "dataset": (
        put(f"{STEPS}.sample.target_fps", {"type": "VideoDataset", "ann_file": "/etc/passwd"}),
        "must be a number",
    ),
    "wide": (put("task.model.backbone.base_channels", 1 << 19), "is far larger than its weights"),
    "deep network": (put("task.model.backbone.stage_blocks", [1, 1 << 20, 1]), "is far larger than its weights"),
    "number": (put("task.model.backbone.base_channels", 1 << 40), "is too large"),
    "frames": (put(f"{STEPS}.sample.num_clips", 100_000), "it takes 800000 frames of a minute"),
    "indices": (put(f"{STEPS}.sample", {"type": "SampleFrames", "clip_len": 1 << 20, "num_clips": 1 << 20,
                                        "test_mode": True}), "needs far more memory"),
    "different": (put("task.model.cls_head.num_classes", 5), "has 8 class|belongs to a different model"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_releases(case: str, released: Path, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    path = rewritten(released, tmp_path / "x.safetensors", change)
    with pytest.raises((CheckpointError, ConfigError, UserError), match=message) as caught:
        Predictor(path)
    assert str(path) in str(caught.value) or case == "few names"


def test_components_of_other_kinds_are_refused(released: Path, catalog: Catalog) -> None:
    # any component could be built where the type of an argument is not known
    release, task = Release.read(released), Task.load(released, catalog)
    assert list(release.problems(task.bound, {})) == []
    task.bound.arguments["model"].arguments["x"] = [{"y": Call(catalog.get("activitynet"), {})}]
    (problem,) = release.problems(task.bound, {})
    assert problem.endswith("names activitynet, one of writers; a release may name decoders, models, transforms")


def test_absurd_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for data, message in ((b"\xff" * 8, "its header has"), (b"\x02" + b"\0" * 7 + b"{}", "holds weights only")):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=message):
            Predictor(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Predictor(tmp_path / "missing.safetensors")


def test_overrides_of_the_user_may_name_files(released: Path, folder: Path, catalog: Catalog) -> None:
    task = Task.load(released, catalog, [f'data.classes="{folder / "classes.txt"}"'])
    assert task.get("data.classes") == folder / "classes.txt"
