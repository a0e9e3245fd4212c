"""Draw predictions on videos: ``--draw`` of ``vidcore predict`` and ``vidcore test``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from attrs import field, frozen
from av.error import FFmpegError

from vidcore.errors import DataError, PluginError, UserError, VideoError
from vidcore.metrics import SamplePairs
from vidcore.plugins.catalog import Catalog
from vidcore.predict.inputs import find_videos
from vidcore.sample import Sample
from vidcore.tools.drawers import Canvas, Drawer
from vidcore.tools.progress import progress_bar
from vidcore.typing import Array
from vidcore.video.footage import FileFootage, Footage, PartFootage, Picture, ReaderFootage
from vidcore.video.frames import FrameFolderReader
from vidcore.video.movie import MovieWriter, write_movie

__all__ = ["DrawPredictions", "Drawing", "Drawn", "load_drawers"]

SMALLEST_SIDE, LARGEST_SIDE = 240, 1920
"""Frames whose shorter side has fewer pixels than the first are enlarged, because text on them would not be readable;
but not beyond the second."""
FEATURES = (".csv", ".npy", ".pt")
"""Suffixes of files that have no pictures."""


def load_drawers(catalog: Catalog, names: Sequence[str] = ()) -> dict[str, type[Drawer]]:
    """Return the drawers of these names, or else all that are installed.

    Raises ``PluginError`` if there is no drawer of a name, or it does not subclass ``Drawer``.
    """
    found = [catalog.get(name, "drawers") for name in names] or catalog.of_kind("drawers").values()
    drawers = {component.name: component.load() for component in found}
    for name, drawer in drawers.items():
        if not (isinstance(drawer, type) and issubclass(drawer, Drawer)):
            raise PluginError(f"{name}: must be a subclass of vidcore.tools.drawers.Drawer")
    return drawers


@frozen
class Drawn:
    """What became of a video."""

    path: Path
    written: bool
    problem: str | None = None
    """Why it was not written, or that it is damaged."""


@frozen
class Drawing:
    """Writes videos with predictions into a folder."""

    folder: Path
    drawers: Mapping[str, type[Drawer]]
    """Those that can draw a prediction draw it."""
    top: int = 5
    """Number of classes to show."""
    videos: Path | None = None
    """Folder in which the videos of samples are found that come from other files, such as features."""
    _taken: set[str] = field(factory=set, init=False)

    def check(self, inputs: Iterable[str | Path]) -> None:
        """Raise ``UserError`` if inputs lie in the folder, where a drawn video could replace one of them."""
        folder = self.folder.resolve()
        inside = [path for path in inputs if Path(path).resolve().parent == folder]
        if inside:
            raise UserError(f"{self.folder}: has the input {Path(inside[0]).name}; choose another folder to draw into")

    def draw_all(self, pairs: Sequence[tuple[Sample, Sample | None]]) -> Iterator[Drawn]:
        """Draw predicted samples, each with the annotated one if it is known, one after the other."""
        try:
            sources = self._sources()
            self.check([*sources.values(), *(sample.path for sample, _ in pairs if sample.path)])
            self.folder.mkdir(parents=True, exist_ok=True)
        except (UserError, OSError) as error:  # after an evaluation that may have taken hours
            yield Drawn(self.folder, False, f"nothing is drawn: {error}")
            return
        for number, (sample, truth) in enumerate(pairs, 1):
            title = f"drawing {number} of {len(pairs)}"
            path = self._target(sample)
            try:
                yield Drawn(path, True, self.draw(sample, path, truth, title, sources))
            except (UserError, OSError) as error:  # the others are drawn all the same
                yield Drawn(path, False, f"not drawn: {error}")

    def draw(
        self,
        sample: Sample,
        path: Path,
        truth: Sample | None = None,
        title: str = "drawing",
        sources: Mapping[str, Path] | None = None,
    ) -> str | None:
        """Write the video of a predicted sample with its prediction.

        Args:
            sample: the prediction.
            path: MP4 file to write.
            truth: the annotated sample, if it is known.
            title: of the progress bar.
            sources: videos by the names of samples that come from other files.

        Returns:
            A sentence if the video is damaged.

        Raises:
            VideoError: the video cannot be read.
            DataError: no drawer can draw the prediction.
        """
        chosen = sorted((d.layer, name, d) for name, d in self.drawers.items() if d.can_draw(sample))
        if not chosen:
            known = ", ".join(self.drawers) or "none is installed"
            raise DataError(f"{sample.path}: no drawer can draw this prediction ({known})")
        cut = sample.cut or (truth.cut if truth else None)
        with _footage(sample, sources or {}) as whole:
            footage = whole if cut is None else PartFootage(whole, cut.start, cut.end, cut.in_seconds)
            with write_movie(path, footage.unit, footage.rate, footage.sound, footage.origin) as movie:
                pictures = self._draw_pictures(sample, truth, footage, [drawer for _, _, drawer in chosen], movie)
                for picture in progress_bar(pictures, title, footage.count or 0):
                    with _encoding(footage.path):
                        movie.write(picture.image, picture.time, picture.duration)
            if footage.damaged:
                return f"{footage.path}: is damaged: {footage.damaged} of its frames are missing or damaged"
        return None

    def _draw_pictures(
        self,
        sample: Sample,
        truth: Sample | None,
        footage: Footage,
        drawers: Sequence[type[Drawer]],
        movie: MovieWriter,
    ) -> Iterator[Picture]:
        """Yield the drawn pictures; sound goes to the movie."""
        canvas: Canvas | None = None
        ready: list[Drawer] = []
        for item in footage:
            if not isinstance(item, Picture):
                with _encoding(footage.path):
                    movie.write_sound(item)
                continue
            if canvas is None:
                start, decoded = item.time, item.image.shape[:2]
                size = _shown_size(decoded, footage.aspect)
                known = [one for one in (sample, truth) if one is not None]
                length = None if isinstance(footage, PartFootage) else sample.duration
                texts = [name for one in known for name in one.class_names or ()]
                texts += [text for one in known for drawer in drawers for text in drawer.texts(one)]
                canvas = Canvas(size, texts, length or footage.duration, self.top)
                found, true = _in_pixels(sample, decoded, size), truth and _in_pixels(truth, decoded, size)
                ready = [drawer(found, canvas, true) for drawer in drawers]
            image = _resized(item.image, canvas.size)
            canvas.begin_frame()
            for drawer in ready:
                image = drawer.draw(image, float(item.time - start))
            yield Picture(image, item.time, item.duration)

    def _target(self, sample: Sample) -> Path:
        """Return a file named after a sample; names that differ only by case are one file on some systems."""
        name = sample.path or sample.key or "video"
        stem = Path(name).stem if Path(name).is_file() else Path(name).name
        names = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
        chosen = next(n for n in names if n.casefold() not in self._taken)
        self._taken.add(chosen.casefold())
        return self.folder / f"{chosen}.mp4"

    def _sources(self) -> dict[str, Path]:
        found = find_videos([self.videos]) if self.videos else []
        return {path.stem: path for path in found}


class DrawPredictions(SamplePairs):
    """Draws every N-th sample of an evaluation after it; computes no score."""

    def __init__(self, drawing: Drawing, every: int = 1) -> None:
        super().__init__()
        self._drawing, self._every = drawing, every

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Keep the samples that will be drawn."""
        kept = [pair for pair in zip(predictions, targets, strict=True) if pair[1].index % self._every == 0]
        super().update([predicted for predicted, _ in kept], [target for _, target in kept])

    def compute(self) -> dict[str, float]:
        """Return no scores."""
        return {}

    def write(self, folder: Path) -> list[Path]:
        """Draw the videos and return their paths."""
        pairs = self.pairs() if self._rows or self._anonymous else []
        named = [(found.replace(class_names=found.class_names or self.class_names), truth) for found, truth in pairs]
        drawn = list(self._drawing.draw_all(named))
        self._notes = [one.problem for one in drawn if one.problem]
        return [one.path for one in drawn if one.written]


@contextmanager
def _encoding(path: str) -> Iterator[None]:
    """Raise ``VideoError`` in place of errors of a library that cannot encode what is in a file, such as its sound."""
    try:
        yield
    except (UserError, OSError, FFmpegError):
        raise
    except Exception as error:
        raise VideoError(path, f"cannot be encoded ({type(error).__name__}: {error})") from error


def _footage(sample: Sample, sources: Mapping[str, Path]) -> Footage:
    path = Path(sample.path or "")
    if sample.modality == "Flow":
        raise DataError(f"{path}: is optical flow, not a video to draw on")
    if path.is_dir():
        return ReaderFootage(
            FrameFolderReader(
                path,
                template=sample.filename_tmpl,
                start_index=sample.start_index,
                offset=sample.frame_offset,
                total_frames=sample.total_frames,
                fps=sample.fps,
            )
        )
    found = sources.get(sample.key or path.stem, path)
    if path.suffix.lower() in FEATURES and found == path:
        raise DataError(f"{path}: is not a video; --videos FOLDER names the folder with the video of this name")
    return FileFootage(found)


def _shown_size(decoded: tuple[int, ...], aspect: float) -> tuple[int, int]:
    """Return height and width of frames with square pixels that are large enough for text."""
    height, width = decoded[0], decoded[1]
    height, width = (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)
    factor = max(1, min(-(-SMALLEST_SIDE // min(height, width)), LARGEST_SIDE // max(height, width)))
    return height * factor, width * factor


def _in_pixels(sample: Sample, decoded: tuple[int, ...], size: tuple[int, int]) -> Sample:
    """Return a sample whose coordinates are in pixels of frames of a size, instead of the decoded frames."""
    height, width = decoded[0], decoded[1]
    factors = (size[1] / width, size[0] / height)
    return sample.map_records(lambda record: record.in_pixels((height, width)).resized(factors))


def _resized(image: Array, size: tuple[int, int]) -> Array:
    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_CUBIC))
