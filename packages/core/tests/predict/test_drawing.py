"""Predictions drawn on videos of any shape, by any drawer."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest

from vidcore.errors import DataError, PluginError, UserError, VideoError
from vidcore.plugins.catalog import Catalog, Component
from vidcore.predict.drawing import Drawing, DrawPredictions, load_drawers
from vidcore.records import Boxes, Cut, Segments
from vidcore.sample import Sample
from vidcore.tools.drawers import Canvas, Drawer
from vidcore.typing import Array
from vidcore.video.footage import FileFootage, Picture


class Outlines(Drawer):
    """Fills the boxes of a sample: what a drawer of another package is like."""

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        return sample.boxes is not None

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        assert sample.boxes is not None
        self._boxes, self._canvas, self.truth = sample.boxes.xyxy.round().astype(int).tolist(), canvas, truth

    def draw(self, image: Array, time: float) -> Array:
        assert image.shape[:2] == self._canvas.size
        for left, top, right, bottom in self._boxes:
            image[top:bottom, left:right] = (255, 0, 0)
        return image


class Below(Drawer):
    """Adds rows below the picture, whose brightness shows the time."""

    layer: ClassVar[int] = 2

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        return sample.segments is not None

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        self.duration = canvas.duration

    def draw(self, image: Array, time: float) -> Array:
        assert self.duration
        level = round(time / self.duration * 255)
        return np.concatenate([image, np.full((21, image.shape[1], 3), level, np.uint8)])


DRAWERS: dict[str, type[Drawer]] = {"Below": Below, "Outlines": Outlines}


def video(path: Path, size: tuple[int, int] = (48, 64), aspect: Fraction | None = None, rotation: int = 0) -> Path:
    """Write ten grey frames, ten a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((*size, 3), 128, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def boxed(path: Path, *box: float, relative: bool = False) -> Sample:
    return Sample(path=str(path), boxes=Boxes(np.array([box], np.float32), relative=relative))


def images(path: Path) -> list[Array]:
    with FileFootage(path) as footage:
        return [item.image for item in footage if isinstance(item, Picture)]


@pytest.mark.parametrize(
    ("size", "aspect", "rotation", "shown"),
    [
        ((48, 64), None, 0, (240, 320)),
        ((64, 64), None, 0, (256, 256)),
        ((240, 320), None, 0, (240, 320)),
        ((288, 352), Fraction(12, 11), 0, (288, 384)),
        ((480, 720), Fraction(8, 9), 0, (540, 720)),
        ((48, 64), None, 90, (320, 240)),
        ((48, 64), Fraction(2), 90, (640, 240)),
        ((8, 1000), None, 0, (8, 1000)),
    ],
)
def test_coordinates_follow_the_picture(
    size: tuple[int, int], aspect: Fraction | None, rotation: int, shown: tuple[int, int], tmp_path: Path
) -> None:
    source = video(tmp_path / "a.mp4", size, aspect, rotation)
    height, width = (size[1], size[0]) if rotation else size
    drawing = Drawing(tmp_path, DRAWERS)
    for number, sample in enumerate(
        [boxed(source, width / 2, 0, width, height / 2), boxed(source, 0.5, 0, 1, 0.5, relative=True)]
    ):
        assert drawing.draw(sample, tmp_path / f"{number}.mp4") is None
        found = images(tmp_path / f"{number}.mp4")
        assert len(found) == 10
        assert found[0].shape[:2] == shown
        red = (found[-1][..., 0].astype(int) - found[-1][..., 1]) > 100
        rows, columns = np.flatnonzero(red.mean(1) > 0.25), np.flatnonzero(red.mean(0) > 0.25)
        assert np.abs(np.array([rows[0], rows[-1] + 1]) - [0, shown[0] / 2]).max() <= 2
        assert np.abs(np.array([columns[0], columns[-1] + 1]) - [shown[1] / 2, shown[1]]).max() <= 2


def test_every_drawer_that_can_draws_in_the_order_of_layers(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    sample = boxed(source, 0, 0, 64, 48).replace(segments=Segments(np.zeros((0, 2))))
    Drawing(tmp_path, DRAWERS).draw(sample, tmp_path / "b.mp4")
    found = images(tmp_path / "b.mp4")
    assert found[0].shape == (262, 320, 3), "an even number of rows"
    levels = [image[250:, :, 0].mean() for image in found]
    np.testing.assert_allclose(levels, [i / 10 * 255 for i in range(10)], atol=6)
    assert all(image[:230].mean((0, 1))[0] > 200 for image in found)


@pytest.mark.parametrize(
    ("cut", "pictures"),
    [
        (Cut(0.3, 0.6), 3),
        (Cut(0.35, 0.6), 3),
        (Cut(0.8, 7.0), 2),
        (Cut(2, 4, in_seconds=False), 2),
        (Cut(0, 1, in_seconds=False), 1),
    ],
)
@pytest.mark.parametrize("of", ["prediction", "truth"])
def test_only_the_part_that_is_a_sample_is_drawn(tmp_path: Path, cut: Cut, pictures: int, of: str) -> None:
    source = video(tmp_path / "a.mp4")
    sample = Sample(path=str(source), segments=Segments(np.zeros((0, 2))), duration=1.0)
    part, truth = (sample.replace(cut=cut), None) if of == "prediction" else (sample, sample.replace(cut=cut))
    Drawing(tmp_path, {"Below": Below}).draw(part, tmp_path / "b.mp4", truth)
    found = images(tmp_path / "b.mp4")
    assert len(found) == pictures
    length = (cut.end - cut.start) / (1 if cut.in_seconds else 10)
    levels = [image[250:, :, 0].mean() for image in found]
    np.testing.assert_allclose(levels, [i / 10 / length * 255 for i in range(pictures)], atol=8)


def test_a_part_after_the_end_is_not_drawn(tmp_path: Path) -> None:
    sample = boxed(video(tmp_path / "a.mp4"), 0, 0, 64, 48).replace(cut=Cut(2, 3))
    with pytest.raises(VideoError, match=r"a\.mp4: ends before its part from 2 begins"):
        Drawing(tmp_path, DRAWERS).draw(sample, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_folders_of_frames_and_images_are_drawn(tmp_path: Path) -> None:
    import cv2

    (tmp_path / "frames").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"img_{i + 1:05}.jpg"), np.full((30, 40, 3), 100, np.uint8))
    folder = boxed(tmp_path / "frames", 0, 0, 40, 30).replace(start_index=1, total_frames=3)
    image = boxed(tmp_path / "frames" / "img_00001.jpg", 0, 0, 40, 30)
    drawn = list(Drawing(tmp_path / "out", DRAWERS).draw_all([(folder, None), (image, None)]))
    assert [(d.path.name, d.problem) for d in drawn] == [("frames.mp4", None), ("img_00001.mp4", None)]
    assert [len(images(d.path)) for d in drawn] == [3, 1]
    assert images(drawn[0].path)[0][..., 0].mean() > 200


def test_fonts_are_chosen_for_all_texts(tmp_path: Path) -> None:
    class Captions(Outlines):
        @classmethod
        def texts(cls, sample: Sample) -> list[str]:
            return ["\U0010fffb"]

    sample = boxed(video(tmp_path / "a.mp4"), 0, 0, 9, 9).replace(class_names=("\U0010fffa",))
    with pytest.warns(UserWarning, match=r"no font has the characters U\+10FFFA, U\+10FFFB"):
        Drawing(tmp_path, {"Captions": Captions}).draw(sample, tmp_path / "b.mp4")


def test_what_cannot_be_encoded_costs_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no such layout")

    samples = [boxed(video(tmp_path / f"{name}.mp4"), 0, 0, 9, 9) for name in "ab"]
    monkeypatch.setattr("vidcore.video.movie.MovieWriter.write", fail)
    drawn = list(Drawing(tmp_path / "out", DRAWERS).draw_all([(s, None) for s in samples]))
    assert [(d.written, (d.problem or "")[-36:]) for d in drawn] == [
        (False, "encoded (ValueError: no such layout)")
    ] * 2
    assert not list((tmp_path / "out").iterdir())


def test_names_do_not_clash_and_failures_are_named(tmp_path: Path) -> None:
    for folder in ("x", "y", "z"):
        (tmp_path / folder).mkdir()
    paths = [video(tmp_path / name) for name in ("x/a.mp4", "y/A.avi", "z/a_2.mkv")]
    (tmp_path / "z" / "a.mp4").write_text("nothing")
    samples = [boxed(p, 0, 0, 9, 9) for p in [*paths, tmp_path / "z" / "a.mp4", paths[0]]]
    samples.append(samples[0].replace(boxes=None))
    samples.append(samples[0].replace(modality="Flow"))
    drawn = list(Drawing(tmp_path / "out", DRAWERS).draw_all([(s, None) for s in samples]))
    assert [d.path.name for d in drawn][:5] == ["a.mp4", "A_2.mp4", "a_2_2.mp4", "a_3.mp4", "a_4.mp4"]
    assert [d.written for d in drawn] == [True, True, True, False, True, False, False]
    problems = [d.problem or "" for d in drawn]
    assert "z/a.mp4" in problems[3] and "cannot be opened" in problems[3]
    assert "no drawer can draw this prediction (Below, Outlines)" in problems[5]
    assert "is optical flow" in problems[6]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_inputs_are_never_replaced(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path / "out", DRAWERS)
    drawing.check([tmp_path / "a.mp4", tmp_path / "out" / "deeper" / "a.mp4"])
    with pytest.raises(UserError, match=r"out: has the input a\.mp4; choose another folder"):
        drawing.check([tmp_path / "out" / "a.mp4"])
    (tmp_path / "out").mkdir()
    before = video(tmp_path / "out" / "a.mp4").read_bytes()
    (failed,) = drawing.draw_all([(boxed(tmp_path / "out" / "a.mp4", 0, 0, 9, 9), None)] * 2)
    assert not failed.written and "has the input" in str(failed.problem)
    (failed,) = Drawing(tmp_path / "out", DRAWERS, videos=tmp_path / "none").draw_all([(Sample(path="a.npy"), None)])
    assert not failed.written and "none: no such file or folder" in str(failed.problem)
    assert [p.read_bytes() for p in (tmp_path / "out").iterdir()] == [before]


def test_videos_of_feature_files_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    video(tmp_path / "videos" / "deep" / "v_1.mp4")
    (tmp_path / "v_1.npy").write_bytes(b"features")
    sample = boxed(tmp_path / "v_1.npy", 0, 0, 9, 9)
    (found,) = Drawing(tmp_path / "out", DRAWERS, videos=tmp_path / "videos").draw_all([(sample, None)])
    assert found.written and found.path.name == "v_1.mp4"
    (failed,) = Drawing(tmp_path / "out", DRAWERS).draw_all([(sample, None)])
    assert failed.problem and "v_1.npy" in failed.problem and "--videos" in failed.problem


def test_drawers_are_chosen_by_name() -> None:
    here = Component("Outlines", "drawers", f"{__name__}:Outlines", "mine")
    wrong = Component("Wrong", "drawers", "pathlib:Path", "mine")
    catalog = Catalog((), {"Outlines": here, "Wrong": wrong}, {})
    with pytest.raises(PluginError, match="Wrong: must be a subclass of"):
        load_drawers(catalog)
    with pytest.raises(PluginError, match="did you mean 'Outlines'"):
        load_drawers(catalog, ["Outline"])
    with pytest.raises(DataError, match="no drawer can draw"):
        Drawing(Path(), {}).draw(Sample(path="a.mp4"), Path("b.mp4"))


def test_every_nth_sample_of_an_evaluation_is_drawn(tmp_path: Path) -> None:
    paths = [video(tmp_path / f"{i}.mp4") for i in range(5)]
    predicted = [boxed(path, 0, 0, 9, 9).replace(index=i) for i, path in enumerate(paths)]
    metric = DrawPredictions(Drawing(tmp_path / "out", DRAWERS), every=2)
    paths[4].write_text("damaged")
    metric.update(predicted, predicted)
    assert metric.compute() == {}
    assert [p.name for p in metric.write(tmp_path)] == ["0.mp4", "2.mp4"]
    (note,) = metric.notes()
    assert "4.mp4" in note
    nothing = DrawPredictions(Drawing(tmp_path / "none", DRAWERS))
    assert nothing.write(tmp_path) == []


def test_memory_does_not_grow_with_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[Any] = []

    class Counting(Outlines):
        def draw(self, image: Array, time: float) -> Array:
            import weakref

            alive[:] = [one for one in alive if one() is not None]
            alive.append(weakref.ref(image))
            assert len(alive) <= 3
            return super().draw(image, time)

    Drawing(tmp_path, {"Counting": Counting}).draw(boxed(video(tmp_path / "a.mp4"), 0, 0, 9, 9), tmp_path / "b.mp4")
