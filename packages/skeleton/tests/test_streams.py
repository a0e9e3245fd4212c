"""All streams are trained, tested and added up by one command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vid_skeleton.streams import FuseStreams
from vidcore.errors import UserError
from vidcore.files import parse_json
from vidcore.predictions import PredictionFile

FIGURES = '''
"""Two classes of moving joints."""
import numpy as np
from attrs import frozen
from vidcore.geometry import Geometry
from vidcore.plugins.hooks import hookimpl
from vidcore.protocols import Dataset
from vidcore.records import Joints
from vidcore.sample import Sample


class Figures(Dataset):
    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        pose = rng.uniform(0, 99, (1, 1, 17, 2)) + (1 + 4 * (index % 2)) * np.arange(6)[None, :, None, None]
        joints = Joints(pose.astype(np.float32), np.ones((1, 6, 17), np.float32))
        return Sample(index=index, key=f"{index}", label=index % 2, total_frames=6, joints=joints,
                      geometry=Geometry.whole((100, 100)))


@hookimpl
def vidcore_components():
    return {"datasets": {"Figures": f"{__name__}:Figures"}}
'''
BASE = """
[model]
type = "RecognizerGCN"
backbone = { type = "STGCN", graph_cfg = { layout = "coco" }, base_channels = 8, num_stages = 1 }
cls_head = { type = "GCNHead", num_classes = 2, in_channels = 8 }

[data.all]
batch_size = 8
dataset = { type = "Figures", count = 8 }

[data.all.pipeline]
normalize = { type = "PreNormalize2D" }
stream = { type = "GenSkeFeat", dataset = "coco" }
sample = { type = "UniformSampleFrames", clip_len = 4 }
decode = { type = "PoseDecode" }
format = { type = "FormatGCNInput", num_person = 1 }

[data.train]
workers = 0

[data.val]
workers = 0
pipeline.sample.test_mode = true

[train]
epochs = 1

[optimizer]
type = "SGD"
lr = 0.01

[metrics.acc]
type = "AccMetric"
topk = [1]
"""
NAMES = {"joint": "j", "bone": "b", "joint_motion": "jm", "bone_motion": "bm"}


def streams_task() -> str:
    stages = [
        f'[stages.{name}]\nextends = ["base.toml"]\ndata.all.pipeline.stream.feats = ["{feat}"]\n'
        for name, feat in NAMES.items()
    ]
    listed = ", ".join(f'{name} = "{{{name}}}"' for name in NAMES)
    job = f'[stages.sum.job]\ntype = "FuseStreams"\nstreams = {{ {listed} }}\nweights.bone = 2.0\n'
    return "\n".join([*stages, job])


def test_one_command_trains_and_adds_up_all_streams(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    (tmp_path / "figures.py").write_text(FIGURES)
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "streams.toml").write_text(streams_task())
    said = vidcore(tmp_path, "--plugin", "figures.py", "run", "streams.toml", "--dir", "run")
    report = parse_json((tmp_path / "run" / "report.json").read_text())
    top1 = {name: f"{found['acc/top1']:.4f}" for name, found in report["stages"].items()}
    rows = {line.split()[0]: line.split()[1] for line in said.splitlines()[-5:]}
    assert rows == top1 and list(rows) == [*NAMES, "sum"]

    files = [f"run/sum/{name}.npz" for name in NAMES]
    vidcore(tmp_path, "fuse", *files, "-w", "1 2 1 1", "-o", "again.npz")
    job, command = (PredictionFile.load(tmp_path / name) for name in ("run/sum/sum.npz", "again.npz"))
    parts = [PredictionFile.load(tmp_path / file) for file in files]
    for i in range(8):
        total = sum(w * p.predictions[i].scores for w, p in zip((1, 2, 1, 1), parts, strict=True))
        assert np.allclose(job.predictions[i].scores, total, atol=1e-6)
        assert np.array_equal(job.predictions[i].scores, command.predictions[i].scores)


def test_a_stream_that_is_not_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"streams.bone: .*best.pt does not exist"):
        FuseStreams({"bone": tmp_path})(tmp_path / "sum")
    with pytest.raises(UserError, match=r"the stream 'bones' does not exist; did you mean 'bone'"):
        FuseStreams({"bone": tmp_path}, {"bones": 1.0})
    with pytest.raises(UserError, match="'sum' is the name of their sum"):
        FuseStreams({"sum": tmp_path})
