"""Predictions for each person in videos: options of commands, and the part of ``vidcore predict`` that uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.errors import UserError, VideoError
from vidcore.tools.progress import Display, Work

if TYPE_CHECKING:
    from vidcore.predict.output import Entry
    from vidcore.predict.persons import FoundPersons, PersonFinder, PersonWindow
    from vidcore.predict.predictor import Predictor
    from vidcore.sample import Sample

__all__ = ["check_persons", "find_persons", "persons_options", "predict_along_persons"]


def persons_options(required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add ``--estimator``, ``--detector`` and ``--tracker`` to a command; see ``PersonFinder.named``."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        options = (
            click.option(
                "--estimator",
                required=required,
                metavar="NAME=WEIGHTS",
                help="What finds the joints of persons; `vidcore list pose_estimators` has NAMEs.",
            ),
            click.option(
                "--detector",
                metavar="NAME=WEIGHTS",
                help="What finds persons, for an estimator that needs it; see `vidcore list person_detectors`.",
            ),
            click.option("--tracker", default="IoUTracker", show_default=True, metavar="NAME", help="Who is who."),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return add


def check_persons(predictor: Predictor, estimator: str | None, detector: str | None) -> None:
    """Raise ``UserError`` if the options and the pipeline do not fit each other."""
    name = predictor.task.name
    if estimator is None and detector is not None:
        raise UserError("--detector: finds persons for an estimator: see --estimator")
    if predictor.reads_joints and estimator is None:
        raise UserError(
            f"{name}: reads the joints of persons; --estimator NAME=WEIGHTS finds them in videos (`vidcore list"
            " pose_estimators` has NAMEs)"
        )
    if estimator is not None and not predictor.reads_joints:
        raise UserError(f"{name}: does not read the joints of persons, which --estimator finds")


def find_persons(finder: PersonFinder, video: Path) -> FoundPersons:
    """Return the persons in a video, and show the progress. Raises ``VideoError`` if it cannot be read."""
    display = Display()
    work: Work | None = None

    def show(done: int, total: int) -> None:
        nonlocal work
        work = work or Work(video.name, total)
        work.update(done)
        display.show(work)

    try:
        return finder(video, show)
    finally:
        display.close()


def predict_along_persons(
    predictor: Predictor,
    finder: PersonFinder,
    videos: Sequence[Path],
    window: str | None,
    stride: str | None,
    top: int,
    sinks: Sequence[Callable[[Entry], None]],
    keep: bool,
) -> tuple[int, list[Sample]]:
    """Write the predictions for each person and window of videos.

    Returns the number of bad videos, and a sample with the persons and their best classes for each of the others, if
    asked to.
    """
    from vidcore.predict.output import Entry, entry, window_entry
    from vidcore.predict.persons import person_windows, predict_persons, scores_of
    from vidcore.sample import Sample
    from vidcore.video.window import Span

    length = None if window is None else Span.parse(window, "window")
    step = None if stride is None else Span.parse(stride, "stride")
    kept: list[Sample] = []
    bad = 0
    for video in videos:
        try:
            found = find_persons(finder, video)
            predicted: list[PersonWindow] = []
            for one in predict_persons(predictor, list(person_windows(found, length, step))):
                seconds = None if one.start is None or one.end is None else (one.start, one.end)
                made = window_entry(one.sample, top, seconds, one.frames, person=one.track)
                if not predicted:
                    made.lines.insert(0, str(video))
                predicted.append(one)
                for write in sinks:
                    write(made)
        except VideoError as error:
            bad += 1
            for write in sinks:
                write(entry(Sample(path=str(video), error=str(error)), top))
            continue
        if not predicted:
            nobody: dict[str, Any] = {"video": str(video), "person": None, "classes": []}
            for write in sinks:
                write(Entry(nobody, [str(video), "  shows nobody"], [], ()))
        if keep:
            sample = Sample(
                path=str(video), fps=found.fps, class_names=predictor.class_names, meta={"layout": found.layout}
            ).with_extra(persons=found.persons)
            kept.append(sample.with_extra(person_scores=scores_of(predicted, top)) if predicted else sample)
    return bad, kept
