"""The command that says what is in videos. torch is imported inside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.cli.common import FILE, FOLDER, checkpoint_option, refuse_overwriting_inputs, with_task
from vidcore.errors import UserError
from vidcore.files import dump_json, to_jsonable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vidcore.sample import Sample
    from vidcore.task.task import Task


@click.command()
@with_task
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER...")
@checkpoint_option
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes or segments to show.")
@click.option("--batch-size", type=click.IntRange(1), help="Videos at once; default as for testing.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that decode.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per video and line.")
@click.option("-o", "--output", type=FILE, help="Write to this file instead.")
@click.option(
    *("--write", "writes"), multiple=True, metavar="KIND=PATH", help="Also write in another way: vidcore list writers."
)
@click.option("--font", type=FILE, help="For pictures that --write draws; default: the installed fonts.")
@click.option(
    "--features", type=FOLDER, help="For a model of features: make those of the videos like those in this folder."
)
@click.option(
    "--classifier", nargs=2, metavar="TASK CHECKPOINT", help="Names the classes of whole videos, for proposals."
)
@click.option("--classes", default=2, show_default=True, type=click.IntRange(1), help="How many of those count.")
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
    """Predict what is in videos with TASK and a checkpoint: their classes, or segments.

    A FOLDER means the videos below it (or the feature files, if those are what TASK reads); a .txt file is a list
    of them.
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
        for sample in _with_progress(predictor.iter(found, on_error="keep"), len(found)):
            record = _record(sample, top)
            out.write((dump_json(to_jsonable(record)) if as_json else "\n".join(_lines(record, sample))) + "\n")
            out.flush()
            if "error" in record:
                bad += 1
            elif writers:
                kept.append(sample.replace(inputs={}))
    failed: UserError | OSError | None = None
    for writer, path in writers:  # whatever becomes of one file, the others are not lost
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
        raise UserError(f"--write {text}: needs a kind and where to write to, like activitynet=results.json")
    return kind, Path(path)


def _with_progress(results: Iterable[Sample], total: int) -> Iterable[Sample]:
    if not sys.stderr.isatty() or total < 2:
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, "predicting", total=total, console=Console(stderr=True), transient=True)


def _record(sample: Sample, top: int) -> dict[str, Any]:
    """What is predicted, as plain data: classes, and the rows of every predicted record."""
    from vidcore.predict.predictor import top_classes

    if sample.error is not None:
        return {"video": sample.path, "error": sample.error}
    found: dict[str, Any] = {"video": sample.path}
    for name, record in sample.records():
        rows = record.rows(sample.class_names)
        if rows is not None and name != "proposals":
            found[name] = rows[:top]
    best = [{"class": name, "score": round(score, 6)} for name, score in top_classes(sample, top)]
    if len(found) > 1:  # classes of the whole video that were made to count
        best = [row for row in best if row["score"]]
    return found | ({"classes": best} if best or len(found) == 1 else {})


def _lines(record: Mapping[str, Any], sample: Sample) -> Iterator[str]:
    """What a person reads of a video."""
    yield record["video"]
    if "error" in record:
        yield f"  cannot be read: {record['error'].removeprefix(record['video'] + ': ')}"
    for row in record.get("classes", ()):
        yield f"  {row['score']:8.4f}  {row['class']}"
    for name, predicted in sample.records():
        for row in record.get(name, ()):
            yield f"  {predicted.line(row)}"
