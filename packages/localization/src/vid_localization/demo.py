"""``vidcore demo localization DIR``: from untrimmed videos to segments, in two or three minutes.

The videos show an ellipse that rests most of the time, and in segments moves in one of eight ways. A small recognizer
learns the motions from short clips and extracts features of the long videos, from which detectors learn where motions
begin and end. All of this is one Task, ``task.toml`` in the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from vidcore.cli import Context
from vidcore.errors import UserError
from vidcore.tools.demo import count_option, demo_options, say_next, write_rows
from vidcore.tools.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from vidcore.plugins.catalog import Catalog
    from vidcore.sample import Sample
    from vidcore.typing import Array

SECONDS = (20, 28)
"""Shortest and longest duration of a video."""
MOVING, RESTING = (2.0, 6.0), (1.5, 5.0)
"""Shortest and longest duration of a segment, and of the pause before a segment, in seconds."""
TASK = Path(__file__).with_name("demo.toml")


@click.command()
@count_option("--videos", 60, "Long videos; a quarter is for validation.", least=4)
@count_option("--clips-per-class", 20, "Clips of each class that train the recognizer.")
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="N", help="Epochs of every training; default: what each needs."
)
@demo_options
@click.pass_obj
def localization(
    context: Context, folder: Path, videos: int, clips_per_class: int, epochs: int | None, seed: int
) -> None:
    """Render long videos and train models that find motions.

    DIR gets the videos, the Task, the runs and a picture of what was found.
    """
    recognition = context.catalog.commands.get("demo recognition")
    if recognition is None:
        raise UserError("the demo extracts features with a recognizer of vid-recognition: pip install vid-recognition")
    clips = [str(folder / "clips"), "--videos-per-class", str(clips_per_class), "--seed", str(seed), "--force"]
    recognition.load().main(clips, standalone_mode=False)
    write_videos(folder, videos, seed)
    shutil.copyfile(TASK, folder / "task.toml")
    report = train(folder, context.catalog, epochs)
    compare(folder, report, seed)
    draw(folder, "actionformer")


def write_videos(folder: Path, count: int, seed: int) -> None:
    """Render videos into ``folder/videos``, and list their segments in ``train.csv`` and ``val.csv``."""
    import numpy as np

    from vidcore.video.synthetic import FPS, render, write_video

    (folder / "videos").mkdir(parents=True, exist_ok=True)
    held_out = max(1, count // 4)
    rows: dict[str, list[tuple[str, float, float, str]]] = {"train": [], "val": []}
    for number in progress_bar(range(count), "rendering"):
        rng = np.random.default_rng([seed, 1, number])
        segments, steps = schedule(rng, int(rng.integers(*SECONDS) * FPS))
        name = f"untrimmed_{number:03}.mp4"
        write_video(folder / "videos" / name, render(rng, steps))
        part = rows["val" if number < held_out else "train"]
        part += [(name, start / FPS, end / FPS, label) for start, end, label in segments]
    for part_name, listed in rows.items():
        write_rows(folder / f"{part_name}.csv", ("video", "start", "end", "label"), listed)


def schedule(rng: np.random.Generator, frames: int) -> tuple[list[tuple[int, int, str]], Array]:
    """Draw the segments of a video, in which the ellipse moves, at random.

    Returns:
        First frame, first frame after it, and motion of each segment; steps of every frame, for ``render``.
    """
    import numpy as np

    from vidcore.video.synthetic import FPS, MOTIONS

    speeds = np.zeros((frames, 4))
    segments: list[tuple[int, int, str]] = []
    at = 0
    while True:
        start = at + int(rng.uniform(*RESTING) * FPS)
        end = start + int(rng.uniform(*MOVING) * FPS)
        if end > frames - RESTING[0] * FPS:
            return segments, speeds.cumsum(0)
        label = str(rng.choice(list(MOTIONS)))
        speeds[start:end] = MOTIONS[label]
        segments.append((start, end, label))
        at = end


def train(folder: Path, catalog: Catalog, epochs: int | None) -> Mapping[str, Any]:
    """Run all stages of the Task, and return the scores of each."""
    from vidcore.task.stages import run_stages
    from vidcore.task.task import Task

    stages = ("recognizer", "bmn", "actionformer")
    overrides = [] if epochs is None else [f"stages.{name}.train.epochs={epochs}" for name in stages]
    task = Task.load(folder / "task.toml", catalog, overrides)
    found: Mapping[str, Any] = run_stages(task, folder / "run", resume=True)["stages"]
    return found


def compare(folder: Path, scores: Mapping[str, Any], seed: int) -> None:
    """Print the scores of the models beside those of random segments."""
    from vidcore.cli.common import table

    held_out = held_out_videos(folder)
    reached = {f"bmn: {key}": scores["bmn"][key] for key in ("auc", "AR@10", "AR@100")}
    reached["bmn, classes by the recognizer: average_mAP"] = classified(folder, held_out)["average_mAP"]
    reached["actionformer: average_mAP"] = scores["actionformer"]["average_mAP"]
    chance = random_scores(held_out, seed)
    rows = []
    for name, score in reached.items():
        key = name.rpartition(" ")[2]
        scale = 1 if key == "auc" else 100
        margin = (score - chance[key]) * scale
        rows.append((name, f"{score * scale:.1f}", f"{chance[key] * scale:.1f}", f"{margin:+.1f}"))
    click.echo()
    table(["score, in percent", "model", "random segments", "margin"], rows)


def held_out_videos(folder: Path) -> list[Sample]:
    """The held-out videos, with their segments and feature files."""
    from vid_localization.datasets.activitynet import ActivityNetDataset

    data = ActivityNetDataset(folder / "val.csv", folder / "run" / "features", ".npy", folder / "clips" / "classes.txt")
    return [data[i] for i in range(len(data))]


def classified(folder: Path, held_out: Sequence[Sample]) -> dict[str, float]:
    """Scores of BMN's proposals, with the classes that the recognizer predicts for whole videos."""
    from vidcore.features.folder import FeatureFolder
    from vidcore.predict.predictor import Predictor
    from vidcore.predict.scores import with_scores

    def trained(stage: str) -> tuple[Path, Path]:
        return folder / "run" / stage / "task.toml", folder / "run" / stage / "checkpoints" / "best.pt"

    recognizer = Predictor(*trained("recognizer"), views="test", overrides=["data.val.pipeline.sample.num_clips=24"])
    videos = [folder / "videos" / f"{sample.key}.mp4" for sample in held_out]
    features = FeatureFolder.load(folder / "run" / "features").extractor()
    with Predictor(*trained("bmn"), describe=with_scores(recognizer, features.samples, top=4)) as predict:
        return scored(predict(videos), held_out, "mAP")


def random_scores(held_out: Sequence[Sample], seed: int) -> dict[str, float]:
    """Scores of a hundred random segments of every video, with random classes."""
    import numpy as np

    from vidcore.records import Segments

    rng = np.random.default_rng([seed, 2])
    drawn = [
        sample.replace(
            segments=Segments(
                spans=np.sort(rng.uniform(0, sample.duration or 0.0, (100, 2)), 1),
                scores=rng.uniform(0, 1, 100),
                labels=rng.integers(len(sample.class_names or ()), size=100),
            )
        )
        for sample in held_out
    ]
    return scored(drawn, held_out, "AR@AN") | scored(drawn, held_out, "mAP")


def scored(found: Sequence[Sample], held_out: Sequence[Sample], kind: Literal["AR@AN", "mAP"]) -> dict[str, float]:
    """ActivityNet's scores of predicted segments."""
    from vid_localization.metrics.segments import ANetMetric

    metric = ANetMetric(kind)
    metric.update(found, held_out)
    return metric.compute()


def draw(folder: Path, stage: str) -> None:
    """Draw true and predicted segments of the first held-out video, and print the next command."""
    from vid_localization.picture import draw_timeline
    from vidcore.predict.predictor import Predictor
    from vidcore.tools.draw import save_figure

    sample = held_out_videos(folder)[0]
    trained = folder / "run" / stage
    with Predictor(trained / "task.toml", trained / "checkpoints" / "best.pt") as predict:
        (found,) = predict([str(sample.path)])
    save_figure(draw_timeline(found, sample), folder / "timeline.png")
    click.echo(f"\nwrote {folder / 'timeline.png'}: true segments of a held-out video, and those that {stage} predicts")
    features, checkpoint = folder / "run" / "features", trained / "checkpoints" / "best.pt"
    say_next(
        *("vidcore", "predict", trained / "task.toml", folder / "videos"),
        *("--features", features, "--checkpoint", checkpoint),
    )
