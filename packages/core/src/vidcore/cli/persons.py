"""Predictions for each person in videos: options of commands, and the part of ``vidcore predict`` that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.tools.progress import Display, Work

if TYPE_CHECKING:
    from vidcore.predict.output import Entry
    from vidcore.predict.persons import FoundPersons, PersonFinder, PersonWindow
    from vidcore.predict.predictor import Predictor
    from vidcore.sample import Sample
    from vidcore.video.window import Span

__all__ = ["AlongPersons", "check_persons", "find_persons", "persons_options"]

PERSONS, CLASSES = 12, 5
"""Most persons in a picture of timelines, and most classes of each."""


def persons_options(required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add ``--estimator``, ``--detector`` and ``--tracker`` to a command; see ``PersonFinder.named``."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        options = (
            click.option(
                "--estimator",
                required=required,
                metavar="NAME=WEIGHTS",
                help="What finds the joints of persons; `vidcore list pose_estimators` has NAMEs. Arguments may follow:"
                " NAME=WEIGHTS,ARGUMENT=VALUE.",
            ),
            click.option(
                "--detector",
                metavar="NAME=WEIGHTS",
                help="What finds persons, for a model of boxes, or an estimator that needs it; see `vidcore list"
                " person_detectors`.",
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
    if predictor.reads_boxes:
        if estimator is not None:
            raise UserError(f"{name}: does not read the joints of persons, which --estimator finds; see --detector")
        if detector is None:
            raise UserError(
                f"{name}: reads boxes of persons; --detector NAME=WEIGHTS finds them in videos (`vidcore list"
                " person_detectors` has NAMEs; MovingRegions needs no weights)"
            )
        return
    if estimator is None and detector is not None:
        raise UserError("--detector: finds persons for an estimator, or for a model that reads boxes: see --estimator")
    if predictor.reads_joints and estimator is None:
        raise UserError(
            f"{name}: reads the joints of persons; --estimator NAME=WEIGHTS finds them in videos (`vidcore list"
            " pose_estimators` has NAMEs)"
        )
    if estimator is not None and not predictor.reads_joints:
        raise UserError(f"{name}: does not read the joints of persons, which --estimator finds")


def find_persons(finder: PersonFinder, video: Path) -> FoundPersons:
    """Return the persons in a video, and show the progress. Raises ``VideoError`` if it cannot be read."""
    with _shown(video.name) as show:
        return finder(video, show)


@contextmanager
def _shown(title: str) -> Iterator[Callable[[int, int], None]]:
    """Return a function that shows how much of some work is done; it gets the number done, and of all."""
    display = Display()
    work: Work | None = None

    def show(done: int, total: int) -> None:
        nonlocal work
        work = work or Work(title, total)
        work.update(done)
        display.show(work)

    try:
        yield show
    finally:
        display.close()


@frozen
class AlongPersons:
    """How ``vidcore predict`` makes predictions for persons."""

    predictor: Predictor
    finder: PersonFinder
    window: Span | None
    """Length of a window; None: all frames that show a person."""
    stride: Span | None
    smooth: Span | None
    """Length over which the scores of a person are averaged."""
    top: int
    """Classes to show."""
    keep: int
    """Best classes of each person and window to keep; 0 keeps nothing."""
    _said: set[str] = field(factory=set, init=False)
    """Kinds of notices about lengths, which come once."""

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        finder: PersonFinder,
        window: str | None,
        stride: str | None,
        smooth: str | None,
        top: int,
        keep: int,
    ) -> AlongPersons:
        """Return what options ask for; raise ``UserError`` if a length is not valid."""
        from vidcore.video.window import Span

        if predictor.reads_boxes:
            window, smooth = window or "1s", smooth or "3s"
        smooth = None if smooth in ("0", "0s", "0f") else smooth
        lengths = {"window": window, "stride": stride, "smooth": smooth}
        spans = {name: None if text is None else Span.parse(text, f"--{name}") for name, text in lengths.items()}
        return cls(predictor, finder, **spans, top=top, keep=keep)

    def __call__(
        self, videos: Sequence[Path], sinks: Sequence[Callable[[Entry], None]], pictures: Sequence[Path]
    ) -> tuple[int, list[Sample]]:
        """Write the predictions for each person and window of videos, and pictures of them.

        Returns the number of bad videos, and, if something is to be kept, for each of the others a sample with the
        persons and their best classes.
        """
        from vidcore.predict.output import Entry, entry
        from vidcore.sample import Sample

        kept: list[Sample] = []
        bad = 0
        for video in videos:
            try:
                found = find_persons(self.finder, video)
                predicted = self._predict(found, video, sinks)
            except VideoError as error:
                bad += 1
                for write in sinks:
                    write(entry(Sample(path=str(video), error=str(error)), self.top))
                continue
            if not predicted:
                nobody: dict[str, Any] = {"video": str(video), "person": None, "classes": []}
                for write in sinks:
                    write(Entry(nobody, [str(video), "  shows nobody"], [], ()))
            if self.keep:
                kept.append(self._kept(found, predicted))
            for path in pictures if predicted else ():
                named = path if len(videos) == 1 else path.with_stem(f"{path.stem}-{video.stem}")
                self._draw(predicted, video, named)
        return bad, kept

    def _predict(
        self, found: FoundPersons, video: Path, sinks: Sequence[Callable[[Entry], None]]
    ) -> list[PersonWindow]:
        """Write the predictions for a video, and return them."""
        from vidcore.predict.output import window_entry

        predicted: list[PersonWindow] = []
        with _shown(video.name) as show:
            for one in self._windows(found, show):
                seconds = None if one.start is None or one.end is None else (one.start, one.end)
                box = None if one.box is None else one.box * [*found.size[::-1], *found.size[::-1]]
                made = window_entry(one.sample, self.top, seconds, one.frames, person=one.track, box=box)
                if not predicted:
                    made.lines.insert(0, str(video))
                predicted.append(one)
                for write in sinks:
                    write(made)
        return predicted

    def _windows(self, found: FoundPersons, show: Callable[[int, int], None]) -> Iterator[PersonWindow]:
        from vidcore.predict.boxes import predict_boxes
        from vidcore.predict.persons import odd_lengths, person_windows, predict_persons, smoothed

        if self.predictor.reads_boxes:
            assert self.window is not None
            windows = predict_boxes(self.predictor, found, self.window, self.stride, show)
        else:
            seen = list(person_windows(found, self.window, self.stride))
            for kind, notice in odd_lengths(self.predictor, seen).items():
                if kind not in self._said:
                    click.echo(f"note: {notice} (said once)", err=True)
                self._said.add(kind)
            windows = predict_persons(self.predictor, seen)
        if self.smooth is None:
            return windows
        return smoothed(windows, self.smooth.frames(found.fps, found.path) / (found.fps or 1))

    def _kept(self, found: FoundPersons, predicted: Sequence[PersonWindow]) -> Sample:
        from vidcore.predict.persons import scores_of
        from vidcore.sample import Sample

        names = self.predictor.class_names
        sample = Sample(path=found.path, fps=found.fps, class_names=names, meta={"layout": found.layout})
        sample = sample.with_extra(persons=found.persons)
        return sample.with_extra(person_scores=scores_of(predicted, self.keep)) if predicted else sample

    def _draw(self, predicted: Sequence[PersonWindow], video: Path, path: Path) -> None:
        """Draw the timelines of the persons who are seen most."""
        from vidcore.tools.draw import save_figure
        from vidcore.tools.timeline import ClassTimeline, draw_timelines

        timed = predicted[0].start is not None
        by_person: dict[int, list[PersonWindow]] = {}
        for one in predicted:
            by_person.setdefault(one.track, []).append(one)
        most = sorted(by_person, key=lambda track: -len(by_person[track]))[:PERSONS]
        timelines = []
        for track in sorted(most):
            timeline = ClassTimeline(f"{video.stem}: person {track}", timed, CLASSES)
            for one in by_person[track]:
                start, end = one.frames if one.start is None or one.end is None else (one.start, one.end)
                assert one.sample.scores is not None
                timeline.add(start, end, one.sample.scores, self.top)
            timelines.append(timeline)
        save_figure(draw_timelines(timelines, self.predictor.class_names), path)
        left = len(by_person) - len(most)
        click.echo(f"wrote {path}" + (f" (without {left} persons who are seen less)" if left else ""), err=True)
