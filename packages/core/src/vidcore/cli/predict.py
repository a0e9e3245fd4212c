"""``vidcore predict``. torch is imported inside it."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidcore.cli.common import (
    FILE,
    FOLDER,
    draw_options,
    font_option,
    open_drawing,
    refuse_overwriting_inputs,
    with_task,
)
from vidcore.cli.completion import complete_files
from vidcore.cli.persons import AlongPersons, check_persons, persons_options
from vidcore.errors import UserError, VideoError
from vidcore.files import dump_json
from vidcore.tools.progress import Display, Work, progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vidcore.predict.output import Entry
    from vidcore.predict.predictor import Predictor
    from vidcore.predict.scores import Describe
    from vidcore.sample import Sample
    from vidcore.task.task import Task


@click.command()
@with_task
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER...", shell_complete=complete_files)
@click.option("--checkpoint", "-c", type=FILE, help="Weights from a run, or published ones: a file, or a recipe.")
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1), metavar="N", help="Classes or segments to show."
)
@click.option(
    "--views",
    type=click.Choice(["one", "test"]),
    default="one",
    show_default=True,
    help="Look at one view of a video, or at all views of the test protocol, which takes many times as long.",
)
@click.option("--window", metavar="LENGTH", help="Predict along the video: a row for each window, e.g. 2s or 32f.")
@click.option("--stride", metavar="LENGTH", help="From one --window to the next; default: its length.")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Videos per forward pass; default: as for testing."
)
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1), metavar="N", help="Threads that decode."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line and video.")
@click.option(
    *("--output", "-o", "outputs"),
    multiple=True,
    type=FILE,
    help="File to write: .csv, .json, .jsonl, with --window also .png, or text; may be repeated.",
)
@click.option(
    *("--write", "writes"),
    multiple=True,
    metavar="KIND=PATH",
    help="Also write a named format; `vidcore list writers` has KINDs.",
)
@draw_options
@font_option
@click.option(
    "--features",
    type=FOLDER,
    help="For a model that reads features: extract those of the videos with the settings of this folder.",
)
@click.option(
    "--classifier", nargs=2, metavar="TASK CHECKPOINT", help="Classify whole videos first; the model gets the scores."
)
@click.option(
    "--classes",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Classes of each video that --classifier passes on.",
)
@persons_options(required=False)
@click.option(
    "--smooth",
    metavar="LENGTH",
    help="Average the scores of a person over this time, e.g. 3s; default: 3s for a model that reads boxes, else 0.",
)
@click.option("--labels", metavar="A,B,...", help="For a model that recognises by words: the names of the classes.")
@click.option("--sentence", metavar="TEXT", help="For a model that reads one: what to find, or a question.")
def predict(
    task: Task,
    videos: tuple[str, ...],
    checkpoint: Path | None,
    top: int,
    views: Literal["one", "test"],
    window: str | None,
    stride: str | None,
    batch_size: int | None,
    workers: int,
    as_json: bool,
    outputs: tuple[Path, ...],
    writes: tuple[str, ...],
    draw: Path | None,
    drawers: tuple[str, ...],
    source_videos: Path | None,
    features: Path | None,
    classifier: tuple[str, str] | None,
    classes: int,
    estimator: str | None,
    detector: str | None,
    tracker: str,
    smooth: str | None,
    labels: str | None,
    sentence: str | None,
) -> None:
    """Predict the classes or segments of VIDEOs.

    With --estimator, there is a row for each person, and with --window for each person and window. A model that reads
    boxes of persons needs --detector; there is a row for each person and second.

    TASK is a file; or a release (.safetensors) or a published recipe, which need no --checkpoint. A FOLDER stands for
    the videos below it (or the feature files, if TASK reads features); a .txt file has a path in each line.
    """
    if labels is not None:
        task = _with_labels(task, labels)
    _check_options(outputs, writes, window, stride, smooth, estimator, detector)
    writers = [(task.catalog.get(kind, "writers"), path) for kind, path in map(_kind_and_path, writes)]
    drawing = open_drawing(task.catalog, draw, drawers, source_videos, top)
    from vidcore.features.folder import FeatureFolder
    from vidcore.predict.inputs import find_videos
    from vidcore.predict.predictor import Predictor
    from vidcore.task.task import Task

    describe: Describe | None = None
    if features:
        describe = FeatureFolder.load(features).extractor(task.catalog, workers=workers).samples
    if classifier:
        from vidcore.predict.scores import with_scores

        names = Predictor(Task.load(classifier[0], task.catalog), classifier[1], views="test")
        describe = with_scores(names, describe, classes)
    predictor = Predictor(
        task,
        checkpoint,
        views=views,
        batch_size=batch_size,
        workers=workers,
        describe=describe,
        sentence=sentence,
    )
    if features and predictor.reads_videos:
        raise UserError(f"{task.name}: its pipeline reads videos; --features is for models that read features")
    if classifier and not features and not predictor.reads_videos:
        raise UserError(f"{task.name}: reads features, but --classifier requires videos; see --features")
    check_persons(predictor, estimator, detector)
    along = None
    keep = top if drawing else 0
    if estimator is not None or detector is not None:
        from vidcore.predict.persons import PersonFinder

        finder = PersonFinder.named(task.catalog, estimator, detector, tracker)
        keep = sys.maxsize if writers else keep  # files get all classes
        along = AlongPersons.of(predictor, finder, window, stride, smooth, top, keep)
    found = find_videos(videos, predictor.suffixes, predictor.names)
    if drawing:
        drawing.check(found)
    for path in (*outputs, *(path for _, path in writers)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if predictor.reads_videos and features is None and along is None:
        click.echo(_views_line(predictor, "window" if window else "video"), err=True)
    tables = [path for path in outputs if path.suffix.lower() != ".png"]
    with ExitStack() as stack:
        targets: list[Path | None] = [*tables] if outputs else [None]
        sinks = [_sink(stack, path, as_json) for path in targets]
        sinks += [_say_error] if outputs else []
        pictures = [path for path in outputs if path not in tables]
        if along is not None:
            bad, kept = along(found, sinks, pictures)
        elif window:
            bad, kept = _predict_along(predictor, found, window, stride, top, sinks, pictures, keep)
        else:
            bad, kept = _predict_whole(predictor, found, top, sinks, keep=bool(writers or drawing))
    failed: UserError | OSError | None = None
    for writer, path in writers:  # an error in one must not lose the others
        try:
            writer.load()(path, kept)
            click.echo(f"wrote {path}", err=True)
        except (UserError, OSError) as error:
            failed = failed or error
    for path in tables:
        click.echo(f"wrote {path}", err=True)
    undrawn = 0
    for drawn in drawing.draw_all([(sample, None) for sample in kept]) if drawing else ():
        undrawn += not drawn.written
        for line in (drawn.problem, f"wrote {drawn.path}" if drawn.written else None):
            if line:
                click.echo(line, err=True)
    if failed:
        raise failed
    for count, what in ((bad, "read"), (undrawn, "drawn")):
        if count:
            click.echo(f"error: {count} of {len(found)} videos cannot be {what}", err=True)
    if bad or undrawn:
        sys.exit(2)


def _with_labels(task: Task, labels: str) -> Task:
    """Return the Task with other classes. Raises ``UserError`` if its model does not take their names."""
    from vidcore.task.task import Task

    if "labels" not in task.table["model"]:
        raise UserError(f"{task.name}: its model does not recognise by words, as ActionClip does (--labels)")
    names = dump_json([name.strip() for name in labels.split(",")])
    given = click.get_current_context().params
    return Task.load(given["task"], task.catalog, (*given["overrides"], f"model.labels={names}"))


def _check_options(
    outputs: Sequence[Path],
    writes: Sequence[str],
    window: str | None,
    stride: str | None,
    smooth: str | None,
    estimator: str | None,
    detector: str | None,
) -> None:
    persons = estimator or detector
    for path in outputs:
        refuse_overwriting_inputs(path)
        if path.suffix.lower() == ".png" and window is None and persons is None:
            raise UserError(f"-o {path}: a picture shows predictions along a video: see --window")
    if stride is not None and window is None:
        raise UserError("--stride: is the distance between windows: see --window")
    if smooth is not None and persons is None:
        raise UserError("--smooth: averages the scores of a person: see --estimator and --detector")
    if writes and (estimator is not None or (window is not None and persons is None)):
        option = "--window" if estimator is None else "--estimator"
        raise UserError(
            f"--write: formats are for predictions of whole videos or boxes, without {option}; see --output"
        )


def _views_line(predictor: Predictor, what: str) -> str:
    """Return how many views the predictor takes, and how many the test protocol would."""

    def count(views: tuple[int, int]) -> int:
        return (views[0] if predictor.model.averages_clips else 1) * views[1]

    def parts(views: tuple[int, int]) -> str:
        return f"({views[0]} clip{'s' * (views[0] > 1)} x {views[1]} crop{'s' * (views[1] > 1)})"

    taken, tested = predictor.views, predictor.test_views
    more = "" if taken == tested else f"; --views test: {count(tested)} {parts(tested)}"
    return f"{count(taken)} view{'s' * (count(taken) > 1)} per {what} {parts(taken)}{more}"


def _sink(stack: ExitStack, path: Path | None, as_json: bool) -> Callable[[Entry], None]:
    """Open a file, or the terminal, and return a function that writes entries to it."""
    from vidcore.predict.output import writing

    if path is None:
        return stack.enter_context(writing(None, _Terminal(), as_json))
    out = stack.enter_context(path.open("w", encoding="utf-8", errors="backslashreplace", newline=""))
    return stack.enter_context(writing(path, out, as_json))


def _say_error(made: Entry) -> None:
    if "error" in made.record:
        click.echo(made.record["error"], err=True)


class _Terminal(io.StringIO):
    """Writes to what is ``sys.stdout`` at that time: a progress bar replaces it, to stay below."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def _predict_whole(
    predictor: Predictor, videos: Sequence[Path], top: int, sinks: Sequence[Callable[[Entry], None]], keep: bool
) -> tuple[int, list[Sample]]:
    """Write the predictions for whole videos; return the number of bad ones, and the predictions if asked to."""
    from vidcore.predict.output import entry

    kept: list[Sample] = []
    bad = 0
    for sample in progress_bar(predictor.iter(videos, on_error="keep"), "predicting", len(videos)):
        made = entry(sample, top, predictor.thresholds)
        for write in sinks:
            write(made)
        if sample.error is not None:
            bad += 1
        elif keep:
            kept.append(sample.replace(inputs={}, frames=None))
    return bad, kept


def _predict_along(
    predictor: Predictor,
    videos: Sequence[Path],
    window: str,
    stride: str | None,
    top: int,
    sinks: Sequence[Callable[[Entry], None]],
    pictures: Sequence[Path],
    keep: int,
) -> tuple[int, list[Sample]]:
    """Write the predictions for the windows of videos, and pictures of them.

    Returns the number of bad videos, and for each of the others the ``keep`` best classes of its windows.
    """
    from vidcore.predict.output import entry, window_entry
    from vidcore.predict.windows import BestOfWindows, predict_windows
    from vidcore.sample import Sample

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    kept: list[Sample] = []
    bad = 0
    for video in videos:
        timeline = work = None
        best = BestOfWindows(keep) if keep else None
        display = Display()
        try:
            for item in predict_windows(predictor, video, window, stride):
                work = work or Work(video.name, item.count)
                work.update(item.number + 1)
                display.show(work)
                seconds = None if item.start is None or item.end is None else (item.start, item.end)
                made = window_entry(item.sample, top, seconds, item.frames, width)
                if not item.number:
                    made.lines.insert(0, str(video))
                for write in sinks:
                    write(made)
                if best:
                    best.add(item)
                if pictures and item.sample.scores is not None:
                    from vidcore.tools.timeline import ClassTimeline

                    timeline = timeline or ClassTimeline(video.stem, seconds is not None)
                    start, end = seconds or item.frames
                    timeline.add(start, end, item.sample.scores, top)
        except VideoError as error:
            bad += 1
            for write in sinks:
                write(entry(Sample(path=str(video), error=str(error)), top))
        else:
            if best:
                kept.append(best.sample(str(video), predictor.class_names))
        finally:
            display.close()
        if timeline is not None:
            from vidcore.tools.draw import save_figure

            for path in pictures:
                named = path if len(videos) == 1 else path.with_stem(f"{path.stem}-{video.stem}")
                save_figure(timeline.draw(predictor.class_names), named)
                click.echo(f"wrote {named}", err=True)
    return bad, kept


def _kind_and_path(text: str) -> tuple[str, Path]:
    kind, _, path = text.partition("=")
    if not path:
        raise UserError(f"--write {text}: must be KIND=PATH, such as activitynet=results.json")
    return kind, Path(path)
