"""Steps that sample frames."""

from __future__ import annotations

import numpy as np
import pytest

from vidcore.errors import UserError, VideoError
from vidcore.sample import Sample
from vidcore.transforms.sampling import (
    DenseSampleFrames,
    SampleFrames,
    UniformSample,
    UntrimmedSampleFrames,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def taken(step: object, total: int, seed: int = 0, **more: object) -> list[int]:
    sampled = step(Sample(total_frames=total, **more), rng(seed))
    assert sampled.clip.indices.dtype == np.int64
    return sampled.clip.indices.tolist()


def test_a_training_clip_starts_anywhere_and_depends_only_on_the_seed() -> None:
    step = SampleFrames(4, 2)
    starts = {taken(step, 20, seed)[0] for seed in range(200)}
    assert starts == set(range(20 - 8 + 1))
    assert taken(step, 20, 7) == taken(step, 20, 7)
    assert np.diff(taken(step, 20, 3)).tolist() == [2, 2, 2]


def test_a_short_video_loops_or_repeats_its_last_frame() -> None:
    assert taken(SampleFrames(6, 2, test_mode=True), 5) == [0, 2, 4, 1, 3, 0]
    assert taken(SampleFrames(6, 2, test_mode=True, out_of_bound_opt="repeat_last"), 5) == [0, 2, 4, 4, 4, 4]


def test_the_first_number_of_a_folder_is_added() -> None:
    assert taken(SampleFrames(1, num_clips=2, test_mode=True), 4, start_index=1) == [2, 4]


def test_target_fps_samples_the_same_times_at_any_rate() -> None:
    step = SampleFrames(clip_len=5, target_fps=5, test_mode=True)
    slow = np.array(taken(step, 100, fps=10)) / 10
    fast = np.array(taken(step, 300, fps=30)) / 30
    assert np.abs(slow - fast).max() < 0.15
    assert fast[-1] - fast[0] == pytest.approx(1 - 1 / 30, abs=1 / 30)  # five frames at that rate last a second


def test_clip_seconds_is_the_length_of_a_clip() -> None:
    frames = taken(SampleFrames(clip_len=4, clip_seconds=2, test_mode=True), 300, fps=25)
    assert frames[-1] - frames[0] == 49
    with pytest.raises(UserError, match="frame rate"):
        taken(SampleFrames(clip_len=4, clip_seconds=2), 300)
    with pytest.raises(UserError, match="not both"):
        SampleFrames(4, clip_seconds=2, target_fps=10)


def test_one_clip_can_be_doubled() -> None:
    assert taken(SampleFrames(2, num_clips=1, twice_sample=True, test_mode=True), 10) == [0, 1, 8, 9]


def test_jitter_stays_below_the_interval() -> None:
    step = SampleFrames(4, 5, temporal_jitter=True, test_mode=True)
    moved = np.array([taken(step, 100, s) for s in range(200)]) - np.array(
        taken(SampleFrames(4, 5, test_mode=True), 100)
    )
    assert set(moved.ravel().tolist()) == {0, 1, 2, 3, 4}


def test_dense_sampling_covers_the_whole_video_in_training() -> None:
    step = DenseSampleFrames(1, num_clips=4, sample_range=8)
    starts = {taken(step, 12, seed)[0] for seed in range(200)}
    assert starts == {0, 1, 2, 3, 4}
    many = step.__class__(1, num_clips=4, sample_range=8, num_sample_positions=3, test_mode=True)
    assert taken(many, 12) == [0, 2, 4, 6, 2, 4, 6, 8, 4, 6, 8, 10]


def test_uniform_sampling_draws_one_frame_from_each_part() -> None:
    drawn = np.array([taken(UniformSample(4), 41, seed) for seed in range(400)])
    assert drawn.min(0).tolist() == [0, 10, 20, 30]
    assert drawn.max(0).tolist() == [10, 20, 30, 40]


def test_a_video_shorter_than_half_the_interval_still_gives_a_clip() -> None:
    assert taken(UntrimmedSampleFrames(3, clip_interval=100), 5) == [1, 2, 3]
    assert taken(UntrimmedSampleFrames(1, clip_interval=16), 40) == [8, 24]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip_len": 0}, "clip_len must be at least 1, got 0"),
        ({"clip_len": 8, "frame_interval": -1}, "frame_interval must be at least 1"),
        ({"clip_len": 8, "out_of_bound_opt": "lop"}, "did you mean 'loop'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SampleFrames(**arguments)


def test_a_video_without_frames_or_of_unknown_length_is_refused() -> None:
    with pytest.raises(VideoError, match=r"a\.mp4: has no frames"):
        SampleFrames(8)(Sample(path="a.mp4", total_frames=0), rng())
    with pytest.raises(UserError, match="OpenVideo"):
        SampleFrames(8)(Sample(path="a.mp4"), rng())


def test_a_clip_entirely_outside_of_the_video_is_its_first_frame() -> None:
    step = SampleFrames(4, 2, 3, twice_sample=True, out_of_bound_opt="repeat_last", test_mode=True)
    clips = step(Sample(total_frames=20), np.random.default_rng(0)).clip
    assert clips is not None
    assert clips.indices.reshape(6, 4)[[2, 4, 5]].tolist() == [[13, 15, 17, 19], [0, 0, 0, 0], [0, 0, 0, 0]]
