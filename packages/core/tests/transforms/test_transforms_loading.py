"""Steps from a path to the input of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vidcore.config.bind import build_component
from vidcore.errors import ConfigError, UserError, VideoError
from vidcore.records import Boxes, Clip, Cut
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import ThreeCrop
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, DecodeMotionVectors, OpenVideo
from vidcore.transforms.pixels import realize
from vidcore.transforms.resizing import Resize
from vidcore.transforms.sampling import SampleFrames
from vidcore.typing import Array
from vidcore.video.frames import ArrayReader, ImageReader
from vidcore.video.synthetic import write_video


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def frames() -> Array:
    return rng(3).integers(0, 256, (6, 20, 30, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, frames: Array) -> Path:
    """Frames called 1 to 6 (lossless), and flow called 11 to 13."""
    for k, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"img_{k + 1:05}.png"), frame[..., ::-1])
        cv2.imwrite(str(tmp_path / f"x_{k + 11:05}.png"), frame[..., 0])
        cv2.imwrite(str(tmp_path / f"y_{k + 11:05}.png"), frame[..., 1])
    return tmp_path


class Recorder(ArrayReader):
    """Records the frames that are read."""

    def __init__(self, frames: Array) -> None:
        super().__init__(frames, fps=10)
        self.asked: list[int] = []
        self.closed = False

    def read(self, indices: Any) -> Array:
        self.asked += list(indices)
        return super().read(indices)

    def close(self) -> None:
        self.closed = True


def test_each_distinct_frame_is_read_once_and_the_video_closed(frames: Array) -> None:
    video = Recorder(frames)
    sample = Decode()(Sample(video=video, clip=Clip(np.array([4, 0, 4, 2]), 4)), rng())
    assert video.asked == [0, 2, 4]
    assert video.closed
    assert sample.video is None
    assert (realize(sample).frames == frames[[4, 0, 4, 2]]).all()
    everything = Decode()(Sample(video=Recorder(frames)), rng())
    assert everything.frames is not None
    assert (everything.frames == frames).all()


def test_a_video_is_closed_when_reading_fails(frames: Array) -> None:
    video = Recorder(frames)
    with pytest.raises(VideoError):
        Decode()(Sample(video=video, clip=Clip(np.array([99]), 1)), rng())
    assert video.closed


def test_folders_of_frames_count_from_their_first_number(folder: Path, frames: Array) -> None:
    sample = Sample(path=str(folder), filename_tmpl="img_{:05}.png", start_index=1, total_frames=6, fps=25)
    sampled = SampleFrames(2, num_clips=2, test_mode=True)(sample, rng())
    assert sampled.clip is not None
    assert sampled.clip.indices.tolist() == [1, 2, 5, 6]
    assert (realize(Decode()(sampled, rng())).frames == frames[[0, 1, 4, 5]]).all()
    opened = OpenVideo()(sample.replace(total_frames=None), rng())
    assert (opened.total_frames, opened.fps) == (6, 25)


def test_flow_has_two_images_and_an_offset_is_added(folder: Path, frames: Array) -> None:
    sample = Sample(
        path=str(folder), filename_tmpl="{}_{:05}.png", modality="Flow", start_index=1, frame_offset=10, total_frames=3
    )
    decoded = Decode()(sample.replace(clip=Clip(np.array([1, 3]), 2)), rng())
    assert decoded.frames is not None
    assert (decoded.frames == frames[[0, 2], ..., :2]).all()


def test_relative_boxes_become_pixels_once(frames: Array) -> None:
    sample = Sample(video=ArrayReader(frames), boxes=Boxes(np.array([[0.5, 0.1, 1, 0.5]]), relative=True))
    decoded = Decode()(sample, rng())
    assert decoded.boxes is not None
    assert decoded.boxes.xyxy.tolist() == [[15, 2, 30, 10]]
    assert decoded.boxes.xyxy.dtype == np.float32
    assert not decoded.boxes.relative


def test_an_image_is_a_video_of_one_frame(folder: Path, frames: Array) -> None:
    decoded = Decode()(Sample(path=str(folder / "img_00003.png")), rng())
    assert decoded.frames is not None
    assert (decoded.frames == frames[2:3]).all()


def test_a_whole_test_pipeline_equals_the_plain_computation(frames: Array) -> None:
    steps = [OpenVideo(), SampleFrames(2, 2, 3, test_mode=True), Decode(), Resize((-1, 16)), ThreeCrop(16)]
    sample = Pipeline([*steps, FormatShape("NCTHW")])(Sample(video=ArrayReader(frames)), rng())
    indices = np.array([[0, 2], [2, 4], [3, 5]])
    small = np.stack([cv2.resize(f, (24, 16)) for f in frames])[indices]  # clip, time, height, width, channel
    crops = [small[:, :, :, left : left + 16] for left in (0, 8, 4)]
    assert (sample.inputs["imgs"] == np.concatenate(crops).transpose(0, 4, 1, 2, 3)).all()


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        OpenVideo()(Sample(path=str(tmp_path / "nothing.mp4")), rng())
    with pytest.raises(UserError, match="neither a path nor an open video"):
        Decode()(Sample(), rng())


def test_motion_vectors_point_to_where_blocks_came_from(tmp_path: Path) -> None:
    texture = cv2.resize(rng(5).integers(0, 256, (16, 40, 3), np.uint8), (320, 128), interpolation=cv2.INTER_CUBIC)
    path = str(tmp_path / "moving.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 128))
    for k in range(6):
        writer.write(np.ascontiguousarray(texture[:, 4 * k : 4 * k + 128]))
    writer.release()
    steps = [OpenVideo(), SampleFrames(6, test_mode=True), DecodeMotionVectors(), Resize((-1, 64))]
    sample = Pipeline(steps)(Sample(path=path), rng())
    flow = realize(sample).frames
    assert flow is not None
    assert flow.shape == (6, 64, 64, 2)
    assert sample.modality == "Flow"
    assert (flow[0] == 128).all()
    assert np.median(flow[1:, 16:48, 16:48, 0]) == 128 - 4
    assert np.median(flow[1:, 16:48, 16:48, 1]) == 128


def test_a_decoder_is_named_in_a_task(folder: Path) -> None:
    step = build_component({"type": "OpenVideo", "decoder": "image"})
    assert step.decoder is ImageReader
    assert step(Sample(path=str(folder / "x_00011.png")), rng()).video.decoder == "image"
    with pytest.raises(ConfigError, match=r"decoder: 'opencv' was removed: .*; use 'pyav'"):
        build_component({"type": "OpenVideo", "decoder": "opencv"})
    with pytest.raises(ConfigError, match=r"decoder: .*'pyva'; did you mean 'pyav'"):
        build_component({"type": "Decode", "decoder": "pyva"})


def test_a_part_of_a_video_is_read_as_a_whole_one(folder: Path, frames: Array) -> None:
    sample = Sample(
        path=str(folder), start_index=1, filename_tmpl="img_{:05}.png", fps=2.0, total_frames=6, cut=Cut(1.0, 2.5)
    )
    opened = OpenVideo()(sample, rng())
    assert (opened.total_frames, opened.first_frame, opened.fps) == (3, 2, 2.0)
    chosen = SampleFrames(2, 1, test_mode=True)(opened, rng())
    assert realize(Decode()(chosen, rng())).frames.tolist() == frames[2:4].tolist()
    assert Decode()(sample, rng()).frames.tolist() == frames[2:5].tolist()
    by_number = Decode()(sample.replace(cut=Cut(4, 9, in_seconds=False)), rng())
    assert by_number.frames.tolist() == frames[4:].tolist()
    with pytest.raises(VideoError, match="frame 3 does not exist: the video has frames 0 to 2"):
        Decode()(opened.replace(clip=Clip(np.array([4]), 1)), rng())


def test_a_part_of_a_file_counts_from_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_video(path, np.repeat(np.arange(0, 240, 8, np.uint8), 3 * 96 * 96).reshape(30, 96, 96, 3))  # 16 per second
    whole = Decode()(Sample(path=str(path)), rng()).frames
    assert whole is not None and len(whole) == 30
    part = Decode()(Sample(path=str(path), cut=Cut(0.5, 1.0)), rng()).frames
    assert part is not None and part.tolist() == whole[8:16].tolist()
    with pytest.raises(VideoError, match=r"ends before its part from 3\.5 s begins: it has 30 frames"):
        OpenVideo()(Sample(path=str(path), cut=Cut(3.5, 4)), rng())
    with pytest.raises(VideoError, match="ends before its part from frame 30 begins"):
        OpenVideo()(Sample(path=str(path), cut=Cut(30, 31, in_seconds=False)), rng())


@pytest.mark.parametrize(
    ("start", "end", "times", "wanted"),
    [
        (0.0, 0.1, None, (0, 1)),
        (0.1, 0.3, None, (1, 3)),
        (0.15, 0.25, None, (1, 3)),
        (0.85, 99.0, None, (8, 10)),
        (1.0, 5.5, [0, 2, 5, 6], (0, 3)),
        (5.0, 5.1, [0, 2, 5, 6], (2, 3)),
    ],
)
def test_seconds_are_all_frames_on_the_screen(start: float, end: float, times: Any, wanted: tuple[int, int]) -> None:
    at = None if times is None else np.array(times, float)
    assert Cut(start, end).frames("a.mp4", 10 if times is None else 4, 10.0, at) == wanted
    with pytest.raises(VideoError, match="has no frame rate, which the part from"):
        Cut(start, end).frames("a.mp4", 10, None)
