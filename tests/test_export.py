"""``vidcore export``: graphs of recognition and of skeletons, their descriptions, and what is refused."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_recognition.models.recognizers import Recognizer3D
from vidcore.batch import collate
from vidcore.cli import run
from vidcore.config.toml import dumps
from vidcore.engine.checkpoint import save
from vidcore.errors import UserError
from vidcore.nn import Model
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.export import export
from vidcore.predict.trained import Trained
from vidcore.sample import Sample
from vidcore.task.task import Task
from vidcore.video.synthetic import SIZE, write_video

CATALOG = load_plugins()
Table = dict[str, Any]


def video(steps: Table, size: int = 32, layout: str = "NCTHW") -> Table:
    """Return a pipeline that reads a video."""
    resize = {"type": "Resize", "scale": [size, size], "keep_ratio": False}
    end = {"type": "FormatShape", "input_format": layout}
    return {"open": {"type": "OpenVideo"}, "sample": steps, "decode": {"type": "Decode"}, "resize": resize, "end": end}


def clip(length: int = 8, **changes: Any) -> Table:
    return {"type": "SampleFrames", "clip_len": length, "frame_interval": 2, "test_mode": True, **changes}


UNIFORM = {"type": "UniformSampleFrames", "clip_len": 8, "test_mode": True}
JOINTS = {
    "normalize": {"type": "PreNormalize2D"},
    "stream": {"type": "GenSkeFeat", "dataset": "coco", "feats": ["b"]},
    "sample": {**UNIFORM, "num_clips": 2},
    "decode": {"type": "PoseDecode"},
    "format": {"type": "FormatGCNInput", "num_person": 2},
}
SPACE = {"normalize": {"type": "PreNormalize3D"}, **{key: JOINTS[key] for key in ("sample", "decode", "format")}}
MAPS = {
    "sample": UNIFORM,
    "decode": {"type": "PoseDecode"},
    "compact": {"type": "PoseCompact", "hw_ratio": 1.0},
    "resize": {"type": "Resize", "scale": [16, 16], "keep_ratio": False},
    "heatmaps": {"type": "GeneratePoseTarget"},
    "format": {"type": "FormatShape", "input_format": "NCTHW_Heatmap"},
}
PAIRED = {
    "sample": {"type": "MMUniformSampleFrames", "clip_len": {"RGB": 2, "Pose": 8}, "test_mode": True},
    "decode": {"type": "MMDecode"},
    "compact": {"type": "MMCompact"},
    "resize": {"type": "Resize", "scale": [32, 32], "keep_ratio": False},
    "heatmaps": {"type": "GeneratePoseTarget", "scaling": 0.25},
    "format": {"type": "FormatShape", "input_format": "NCTHW"},
}
NORMAL = {"type": "ActionDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3}
FRAMES = {"type": "Recognizer2D", "data_preprocessor": NORMAL}
CLIPS = {"type": "Recognizer3D", "data_preprocessor": {**NORMAL, "format_shape": "NCTHW"}}
COCO, NTU = {"layout": "coco", "mode": "spatial"}, {"layout": "nturgb+d", "mode": "spatial"}
SMALL = {"base_channels": 12, "num_stages": 1, "inflate_stages": [], "down_stages": []}
SLOW = {
    "type": "ResNet3dSlowOnly",
    "depth": 18,
    "base_channels": 8,
    "num_stages": 2,
    "out_indices": [1],
    "inflate": [0, 1],
    "spatial_strides": [2, 2],
    "temporal_strides": [1, 1],
    "dilations": [1, 1],
}


def head(kind: str, channels: Any, **options: Any) -> Table:
    return {"type": kind, "in_channels": channels, "num_classes": 4, "init_std": 0.5, **options}


def graph(network: Table, steps: Table = JOINTS, channels: int = 12) -> tuple[Table, Table]:
    return {"type": "RecognizerGCN", "backbone": network, "cls_head": head("GCNHead", channels)}, steps


CASES: dict[str, tuple[Table, Table]] = {
    "TSM": (
        {
            **FRAMES,
            "backbone": {
                "type": "ResNetTSM",
                "depth": 18,
                "num_segments": 8,
                "num_stages": 1,
                "strides": [1],
                "dilations": [1],
                "out_indices": [0],
            },
            "cls_head": head("TSMHead", 64, num_segments=8, average_clips="score"),
        },
        video(clip(1, num_clips=8), layout="NCHW"),
    ),
    "SlowOnly": ({**CLIPS, "backbone": SLOW, "cls_head": head("I3DHead", 16)}, video(clip(num_clips=2))),
    "VideoMAE": (
        {
            **CLIPS,
            "max_testing_views": 1,
            "backbone": {
                "type": "VisionTransformer",
                "img_size": 32,
                "embed_dims": 24,
                "depth": 1,
                "num_heads": 2,
                "num_frames": 8,
            },
            "cls_head": head("TimeSformerHead", 24),
        },
        video(clip()),
    ),
    "ST-GCN++": graph(
        {
            "type": "STGCN",
            "graph_cfg": COCO,
            "gcn_adaptive": "init",
            "gcn_with_res": True,
            "tcn_type": "mstcn",
            **SMALL,
        }
    ),
    "2s-AGCN": graph({"type": "AAGCN", "graph_cfg": NTU, **SMALL}, SPACE),
    "CTR-GCN": graph({"type": "CTRGCN", "graph_cfg": NTU, **SMALL}, SPACE),
    "MS-G3D": graph(
        {
            "type": "MSG3D",
            "graph_cfg": {**COCO, "mode": "binary_adj"},
            "base_channels": 6,
            "num_gcn_scales": 2,
            "num_g3d_scales": 2,
        },
        channels=24,
    ),
    "DG-STGCN": graph({"type": "DGSTGCN", "graph_cfg": COCO, **SMALL}),
    "PoseC3D": (
        {"type": "Recognizer3D", "backbone": {**SLOW, "in_channels": 17}, "cls_head": head("I3DHead", 16)},
        MAPS,
    ),
    "RGBPose-Conv3D": (
        {
            "type": "MMRecognizer3D",
            "backbone": {
                "type": "RGBPoseConv3D",
                "rgb_pathway": {"base_channels": 8},
                "pose_pathway": {"base_channels": 4, "stage_blocks": [1, 1, 1]},
            },
            "cls_head": head("RGBPoseHead", [256, 64]),
            "data_preprocessor": {
                "type": "MultiModalDataPreprocessor",
                "preprocessors": {
                    "imgs": CLIPS["data_preprocessor"],
                    "heatmap_imgs": {"type": "ActionDataPreprocessor"},
                },
            },
        },
        PAIRED,
    ),
}


def task_of(model: Table, steps: Table) -> Task:
    table = {
        "model": model,
        "data": {"test": {"dataset": {"type": "ConcatDataset", "datasets": []}, "pipeline": steps}},
        "runtime": {"device": "cpu"},
    }
    return Task.from_table(table, CATALOG, "tiny")


def weights(task: Task, folder: Path) -> Path:
    torch.manual_seed(0)
    model: Model = task.build("model")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):  # as after training
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.3)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
    save(folder / "best.pt", {"state_dict": model.state_dict(), "class_names": list("abcd")})
    return folder / "best.pt"


@pytest.mark.parametrize("name", CASES)
def test_a_graph_gives_the_scores_of_the_model(name: str, tmp_path: Path) -> None:
    import onnxruntime

    task = task_of(*CASES[name])
    checkpoint = weights(task, tmp_path)
    made = export(task, checkpoint, tmp_path / "out/model.onnx")
    about = json.loads(made.description.read_text())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.json", "model.onnx"]
    assert about["sha256"] == hashlib.sha256(made.path.read_bytes()).hexdigest()
    session = onnxruntime.InferenceSession(str(made.path))
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("scores", ["batch", 4])]
    given = [(one.name, one.shape, one.type) for one in session.get_inputs()]
    types = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
    assert given == [(one["name"], one["shape"], types[one["dtype"]]) for one in about["inputs"]]
    assert all(len(one["axes"]) == len(one["shape"]) for one in about["inputs"])
    rng, count = np.random.default_rng(1), 3
    model = Trained.load(task, checkpoint, "one").model.eval()
    values = {
        one["name"]: rng.integers(0, 256, (count, *one["shape"][1:]), np.uint8)
        if one["dtype"] == "uint8"
        else rng.random((count, *one["shape"][1:]), np.float32)
        for one in about["inputs"]
    }
    samples = [Sample(index=i, inputs={name: value[i] for name, value in values.items()}) for i in range(count)]
    with torch.inference_mode():
        batch = model.preprocess(collate(samples))
        predicted = model.predict(model(batch.inputs), batch)
    wanted = np.stack([sample.scores for sample in predicted])
    found = session.run(["scores"], values)[0]
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-4, "the scores depend on the inputs"
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * max(1.0, np.abs(wanted).max()))


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run ``vidcore`` in an empty folder and return what it printed; it must exit with ``code``."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        ended = run(arguments)
        out, err = capsys.readouterr()
        assert ended == code, out + err
        return out + err

    return call


OWN = {"num_node": 5, "inward": [[1, 0], [2, 1], [3, 1], [4, 3]]}


def test_the_command_says_what_it_wrote_and_what_is_wrong(said: Callable[..., str], tmp_path: Path) -> None:
    model, steps = graph({"type": "STGCN", "graph_cfg": {"layout": OWN}, **SMALL})
    stream = {"type": "GenSkeFeat", "dataset": OWN, "feats": ["b"]}
    task = task_of(model, {**steps, "stream": stream})
    weights(task, tmp_path)
    (tmp_path / "tiny.toml").write_text(dumps(task.table))
    command = ("export", "tiny.toml", "-c", "best.pt", "-o", "model.onnx")
    wrong = said(*command, code=2)
    assert "tiny: cannot be exported with a generated video: pipeline step 'stream' (GenSkeFeat): " in wrong
    assert "(--example), or the joints of a person (--joints)" in wrong
    assert "must be a number of joints, such as 17, or 25x3" in said(*command, "--joints", "5x4", code=2)
    assert "the file of a graph must end in .onnx" in said(*command[:-1], "model.pt", code=2)
    assert not list(tmp_path.glob("model.*"))
    lines = said(*command, "--joints", "5").splitlines()
    assert lines[0] == "input  joints: float32 batch x 1 x 2 x 8 x 5 x 3 (batch clips persons time joints coordinates)"
    assert lines[1] == "output scores: float32 batch x 4 (batch classes)"
    assert lines[2].startswith("ONNX Runtime gives the same scores: they differ by at most ")
    assert lines[3].startswith("wrote model.onnx (") and lines[3].endswith(" MB) and model.json")
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["class_names"] == list("abcd") and about["pipeline"][0] == "PreNormalize2D()"


def test_a_release_needs_no_task_and_a_video_may_be_an_example(said: Callable[..., str], tmp_path: Path) -> None:
    task = task_of(*CASES["SlowOnly"])
    weights(task, tmp_path)
    (tmp_path / "tiny.toml").write_text(dumps(task.table))
    write_video(tmp_path / "a.mp4", np.zeros((20, SIZE, SIZE, 3), np.uint8))
    said("publish", "tiny.toml", "-c", "best.pt")
    (release,) = tmp_path.glob("*.safetensors")
    wrote = said("export", release.name, "-o", "model.onnx", "--views", "test", "--example", "a.mp4")
    assert wrote.startswith("input  imgs: uint8 batch x 2 x 3 x 8 x 32 x 32 (batch views channels time height width)")


def test_models_that_score_no_classes_are_refused(tmp_path: Path) -> None:
    model, steps = CASES["SlowOnly"]
    task = task_of({**model, "cls_head": {"type": "FeatureHead"}}, steps)
    with pytest.raises(UserError, match="FeatureHead has no classifier and predicts nothing"):
        export(task, weights(task, tmp_path), tmp_path / "model.onnx")


def test_a_batch_of_one_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(*CASES["PoseC3D"])
    checkpoint = weights(task, tmp_path)
    monkeypatch.setattr(Recognizer3D, "class_scores", lambda self, outputs: outputs.mean(1) + len(outputs))
    with pytest.raises(UserError, match="cannot be exported: PyTorch's exporter"):
        export(task, checkpoint, tmp_path / "model.onnx")


def test_other_scores_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(*CASES["PoseC3D"])
    checkpoint = weights(task, tmp_path)
    monkeypatch.setattr("vidcore.predict.export.TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"ONNX Runtime gives scores that differ by .* nothing was written"):
        export(task, checkpoint, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("model.*"))


@pytest.mark.parametrize("module", ["onnxruntime", "onnxscript"])
def test_a_missing_library_is_named(module: str, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(*CASES["PoseC3D"])
    weights(task, Path())
    Path("tiny.toml").write_text(dumps(task.table))
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'vidcore[onnx]'" in said("export", "tiny.toml", "-c", "best.pt", "-o", "m.onnx", code=2)
