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
from attrs import frozen

from vidcore.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SIZE, LENGTH, FPS = 96, 32, 16
"""Height and width of the frames in pixels, frames of a video, frames per second."""


@frozen
class Motion:
    """What happens to the ellipse, in units of a speed that is drawn for each video."""

    right: int = 0
    down: int = 0
    turn: int = 0
    grow: int = 0


MOTIONS = {
    "left": Motion(right=-1),
    "right": Motion(right=1),
    "up": Motion(down=-1),
    "down": Motion(down=1),
    "clockwise": Motion(turn=1),
    "anticlockwise": Motion(turn=-1),
    "growing": Motion(grow=1),
    "shrinking": Motion(grow=-1),
}


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
        write_video(folder / "videos" / name, render(label, seed, place))
        rows["val" if number < held_out else "train"].append((name, label))
    for part, listed in rows.items():
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "label"), *listed])
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in MOTIONS), encoding="utf-8")
    (folder / "task.toml").write_text(TASK, encoding="utf-8")
    click.echo(f"{len(rows['train'])} videos to train on and {len(rows['val'])} to test with in {folder}")
    click.echo(f"Next: vidcore run {shlex.quote(str(folder / 'task.toml'))}")


def render(label: str, seed: int, number: int) -> Iterator[Array]:
    """Yield the frames of one video: (SIZE, SIZE, 3) uint8 RGB.

    What is drawn at random depends on ``seed`` and ``number`` only, and describes the middle frame:
    that frame is the same whatever the label.
    """
    import cv2
    import numpy as np

    rng = np.random.default_rng([seed, number])
    motion = MOTIONS[label]
    blob, background = _blob(), _background(rng)
    x, y, drift_x, drift_y = rng.uniform([0, 0, -0.3, -0.3], [SIZE, SIZE, 0.3, 0.3])
    angle, size = rng.uniform([0, 0], [360, 1])  # size: 0 smallest to 1 largest, cyclic
    speed = rng.uniform(0.8, 1.2)
    for time in np.arange(LENGTH) - LENGTH // 2:
        step = speed * time
        scale = 0.9 * 2.2 ** ((size + motion.grow * step / 20) % 1)
        turned = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), angle - motion.turn * 10 * step, scale)
        layer = cv2.warpAffine(blob, turned, (SIZE, SIZE))
        layer = _shifted(layer, x + motion.right * 2.5 * step, y + motion.down * 2.5 * step)
        behind = _shifted(background, drift_x * time, drift_y * time)
        opacity = layer[..., 3:]
        yield (behind * (1 - opacity) + layer[..., :3] * opacity).round().astype(np.uint8)


def _blob() -> Array:
    """Return an ellipse, half of it darker, in the middle of a frame.

    (SIZE, SIZE, 4) float32: colour 0..255 and opacity 0..1. At its largest it still fits the frame.
    """
    import numpy as np

    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    opacity = np.clip((1 - np.hypot(columns / 20, rows / 7)) * 5, 0, 1)
    brightness = np.where(columns > 0, 1.0, 0.5)
    return np.dstack([brightness * level for level in (255, 200, 80)] + [opacity]).astype(np.float32)


def _background(rng: np.random.Generator) -> Array:
    """Return a dim, grey, cyclic texture: (SIZE, SIZE, 1) float32."""
    import cv2
    import numpy as np

    wrapped = np.pad(rng.standard_normal((SIZE, SIZE), np.float32), SIZE // 2, mode="wrap")
    noise = cv2.GaussianBlur(wrapped, (0, 0), 3)[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2, None]
    grey: Array = 60 + 8 * (noise / noise.std())
    return grey


def _shifted(image: Array, right: float, down: float) -> Array:
    """Return a cyclic image moved by whole pixels; what leaves on one side enters on the other."""
    import numpy as np

    return np.roll(image, (round(down), round(right)), axis=(0, 1))


def write_video(path: Path, frames: Iterator[Array]) -> None:
    """Encode RGB frames as MPEG-4; raises ``UserError`` where no file can be written."""
    import cv2

    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (SIZE, SIZE))
    if not video.isOpened():
        raise UserError(f"{path}: cannot be written as a video")
    for frame in frames:
        video.write(frame[..., ::-1].copy())
    video.release()


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
