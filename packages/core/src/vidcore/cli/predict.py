"""``vidcore predict``. torch is imported inside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.cli.common import FILE, FOLDER, checkpoint_option, refuse_overwriting_inputs, with_task
from vidcore.errors import UserError
from vidcore.files import dump_json, to_jsonable
from vidcore.tools.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vidcore.sample import Sample
    from vidcore.task.task import Task


@click.command()
@with_task
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER...")
@checkpoint_option
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes or segments to show.")
@click.option("--batch-size", type=click.IntRange(1), help="Videos per forward pass; default: as for testing.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that decode.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line and video.")
@click.option("--output", "-o", type=FILE, help="File to write; default: the terminal.")
@click.option(
    *("--write", "writes"),
    multiple=True,
    metavar="KIND=PATH",
    help="Also write a file; `vidcore list writers` has KINDs.",
)
@click.option("--font", type=FILE, help="Font of pictures that --write draws; default: installed fonts.")
@click.option(
    "--features",
    type=FOLDER,
    help="For a model that reads features: extract those of the videos with the settings of this folder.",
)
@click.option(
    "--classifier", nargs=2, metavar="TASK CHECKPOINT", help="Classifies whole videos, for a model of proposals."
)
@click.option(
    "--classes", default=2, show_default=True, type=click.IntRange(1), help="Classes per video that --classifier gives."
)
def predict(
    task: Task,
    videos: tuple[str, ...],
    checkpoint: Path,
    top: int,
    batch_size: int | None,
    workers: int,
    as_json: bool,
    output: Path | None,
    writes: tuple[str, ...],
    font: Path | None,
    features: Path | None,
    classifier: tuple[str, str] | None,
    classes: int,
) -> None:
    """Predict the classes or segments of VIDEOs.

    A FOLDER stands for the videos below it (or the feature files, if TASK reads features); a .txt file has a path in
    each line.
    """
    refuse_overwriting_inputs(output)
    if font:
        from vidcore.tools.draw import prefer_font

        click.get_current_context().with_resource(prefer_font(font))
    from vidcore.task.task import Task

    names = Task.load(classifier[0], task.catalog) if classifier else None
    writers = [(task.catalog.get(kind, "writers"), path) for kind, path in map(_kind_and_path, writes)]
    from vidcore.features.folder import FeatureFolder
    from vidcore.predict.inputs import find_videos
    from vidcore.predict.predictor import Predictor

    predictor = Predictor(
        task,
        checkpoint,
        batch_size=batch_size,
        workers=workers,
        describe=FeatureFolder.load(features).extractor(task.catalog, workers=workers).samples if features else None,
        classifier=Predictor(names, classifier[1]) if names and classifier else None,
        classifier_top=classes,
    )
    found = find_videos(videos, predictor.suffixes)
    for _, path in writers:
        path.parent.mkdir(parents=True, exist_ok=True)
    kept: list[Sample] = []
    bad = 0
    with click.open_file(str(output) if output else "-", "w", encoding="utf-8", errors="backslashreplace") as out:
        for sample in progress_bar(predictor.iter(found, on_error="keep"), "predicting", len(found)):
            record = _record(sample, top)
            out.write((dump_json(to_jsonable(record)) if as_json else "\n".join(_lines(record, sample))) + "\n")
            out.flush()
            if "error" in record:
                bad += 1
            elif writers:
                kept.append(sample.replace(inputs={}))
    failed: UserError | OSError | None = None
    for writer, path in writers:  # an error in one must not lose the others
        try:
            writer.load()(path, kept)
            click.echo(f"wrote {path}", err=True)
        except (UserError, OSError) as error:
            failed = failed or error
    if failed:
        raise failed
    if bad:
        click.echo(f"error: {bad} of {len(found)} videos cannot be read", err=True)
        sys.exit(2)


def _kind_and_path(text: str) -> tuple[str, Path]:
    kind, _, path = text.partition("=")
    if not path:
        raise UserError(f"--write {text}: must be KIND=PATH, such as activitynet=results.json")
    return kind, Path(path)


def _record(sample: Sample, top: int) -> dict[str, Any]:
    """Return the predictions as plain data: classes, and the rows of every predicted record."""
    from vidcore.predict.predictor import top_classes

    if sample.error is not None:
        return {"video": sample.path, "error": sample.error}
    found: dict[str, Any] = {"video": sample.path}
    for name, record in sample.records():
        rows = record.rows(sample.class_names)
        if rows is not None and name != "proposals":
            found[name] = rows[:top]
    best = [{"class": name, "score": round(score, 6)} for name, score in top_classes(sample, top)]
    if len(found) > 1:  # classes of the whole video, with 0 for those that do not count
        best = [row for row in best if row["score"]]
    return found | ({"classes": best} if best or len(found) == 1 else {})


def _lines(record: Mapping[str, Any], sample: Sample) -> Iterator[str]:
    """Yield the lines for a terminal."""
    yield record["video"]
    if "error" in record:
        yield f"  cannot be read: {record['error'].removeprefix(record['video'] + ': ')}"
    for row in record.get("classes", ()):
        yield f"  {row['score']:8.4f}  {row['class']}"
    for name, predicted in sample.records():
        for row in record.get(name, ()):
            yield f"  {predicted.line(row)}"
