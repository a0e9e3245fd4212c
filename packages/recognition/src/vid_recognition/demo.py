"""``vidcore demo recognition DIR``: a small set of real video files on which a model learns in a minute or two.

The eight classes differ only in motion. A two-toned ellipse drifts, turns or changes its size before a
drifting background. Where it is, how it is turned and how large it is are drawn alike for every class
and stay so distributed at every moment: positions and angles are cyclic, and an ellipse that has grown
to the largest size starts again with the smallest. So one frame does not tell the class; only the
sign and kind of the change does.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.errors import UserError
from vidcore.video.moving import MOTIONS, render, write_video

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LENGTH = 32
"""Frames of a video."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--videos-per-class", type=click.IntRange(min=2), default=50, show_default=True, help="A fifth is held out."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other videos.")
@click.option("--force", is_flag=True, help="Write into DIR even if it holds files.")
def recognition(folder: Path, videos_per_class: int, seed: int, force: bool) -> None:
    """Render a labelled set of videos into DIR, with lists and a Task that trains on them."""
    from rich.progress import track

    if folder.exists() and any(folder.iterdir()) and not force:
        raise UserError(f"{folder} is not empty; name another folder, or add --force to write into this one")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    held_out = max(1, videos_per_class // 5)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": []}
    jobs = [(number, label) for number in range(videos_per_class) for label in MOTIONS]
    for place, (number, label) in enumerate(track(jobs, "rendering")):
        space = " " if number == 0 else "_"  # names with spaces are as good as others, and shown to be
        name = f"{label}{space}{number:03}.mp4"
        write_video(folder / "videos" / name, clip(label, seed, place))
        rows["val" if number < held_out else "train"].append((name, label))
    for part, listed in rows.items():
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "label"), *listed])
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in MOTIONS), encoding="utf-8")
    (folder / "task.toml").write_text(TASK, encoding="utf-8")
    click.echo(f"{len(rows['train'])} videos to train on and {len(rows['val'])} to test with in {folder}")
    click.echo(f"Next: vidcore run {shlex.quote(str(folder / 'task.toml'))}")


def clip(label: str, seed: int, number: int) -> Iterator[Array]:
    """Yield the frames of one video: (SIZE, SIZE, 3) uint8 RGB.

    What is drawn at random depends on ``seed`` and ``number`` only, and describes the middle frame:
    that frame is the same whatever the label.
    """
    import numpy as np

    times = np.arange(LENGTH) - LENGTH // 2
    return render(np.random.default_rng([seed, number]), np.outer(times, MOTIONS[label]))


TASK = """\
# A Task: what to train, on which data, how, and how to judge it. Paths are relative to this file.
# Train it with `vidcore run task.toml`; change single values with `--set optimizer.lr=0.002`.

[model] # every table with a `type` is a component; `vidcore list` shows them all
type = "Recognizer3D"

[model.data_preprocessor] # from bytes to numbers around 0
type = "ActionDataPreprocessor"
mean = [60.0, 60.0, 60.0]
std = [50.0, 50.0, 50.0]
format_shape = "NCTHW"

[model.backbone] # a small 3D ResNet: three stages of one block
type = "ResNet3d"
depth = 18
num_stages = 3
stage_blocks = [1, 1, 1]
out_indices = [2]
base_channels = 16
conv1_kernel = [3, 3, 3] # time, height, width; the usual 7 x 7 are for larger frames
zero_init_residual = false

[model.cls_head]
type = "I3DHead"
in_channels = 64
num_classes = 8
dropout_ratio = 0.0

[data]
classes = "classes.txt"

[data.train]
batch_size = 8
workers = 0 # processes that load; worth it where videos are larger

[data.train.dataset]
type = "VideoDataset"
ann_file = "train.csv"
data_root = "videos"

[data.train.pipeline] # steps by name, in order. No flip: it would turn left into right
open = { type = "OpenVideo" }
sample = { type = "SampleFrames", clip_len = 8, frame_interval = 2 }
decode = { type = "Decode" }
resize = { type = "Resize", scale = [48, 48], keep_ratio = false }
format = { type = "FormatShape", input_format = "NCTHW" }

[data.val]
batch_size = 8

[data.val.dataset]
type = "VideoDataset"
ann_file = "val.csv"
data_root = "videos"

[data.val.pipeline] # three clips of every video; their scores are averaged
open = { type = "OpenVideo" }
sample = { type = "SampleFrames", clip_len = 8, frame_interval = 2, num_clips = 3, test_mode = true }
decode = { type = "Decode" }
resize = { type = "Resize", scale = [48, 48], keep_ratio = false }
format = { type = "FormatShape", input_format = "NCTHW" }

[train]
epochs = 16
val_interval = 4

[optimizer]
type = "AdamW"
lr = 0.005
weight_decay = 0.05

[schedule.warmup] # up to the full rate in the first epoch, ...
type = "LinearLR"
start_factor = 0.05
end = 1
convert_to_iter_based = true

[schedule.cosine] # ... then slowly down to zero
type = "CosineAnnealingLR"
begin = 1
convert_to_iter_based = true

[metrics.acc]
type = "AccMetric"
topk = [1, 2]

[metrics.confusion] # which class is taken for which, as a picture
type = "ConfusionMatrix"

[runtime]
run_dir = "run"
"""
