"""Views of a video: how many a pipeline takes, the pipeline with a single one, and what it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vidcore.errors import UserError
from vidcore.protocols import SeveralViews, Transform
from vidcore.randomness import sample_rng
from vidcore.records import Varying
from vidcore.sample import Sample
from vidcore.video.frames import ArrayReader

__all__ = ["black_video", "chosen_frames", "count_views", "input_contract", "one_view"]

FPS, SECONDS, SIZE = 30, 60, (240, 320)
"""The video of ``input_contract``: frames per second, length, height and width."""


def count_views(steps: Mapping[str, Transform]) -> tuple[int, int]:
    """Return the numbers of clips and of crops that the steps of a pipeline take of a video."""
    clips = crops = 1
    for step in steps.values():
        if isinstance(step, SeveralViews):
            clips, crops = clips * step.views[0], crops * step.views[1]
    return clips, crops


def one_view(steps: Mapping[str, Transform], clips: bool) -> dict[str, Transform]:
    """Return the steps of a pipeline that takes a single crop, in the centre.

    Args:
        clips: also take a single clip, in the middle; False if the model requires all clips for a prediction.
    """
    return {n: step.one_view(clips) if isinstance(step, SeveralViews) else step for n, step in steps.items()}


def chosen_frames(steps: Mapping[str, Transform], sample: Sample) -> Sample | None:
    """Apply steps until one has chosen the frames to read; return None if none does."""
    rng = sample_rng(0, 0, max(sample.index, 0))
    for step in steps.values():
        sample = step(sample, rng)
        if sample.clip is not None:
            return sample
    return None


def input_contract(steps: Mapping[str, Transform]) -> dict[str, Any] | None:
    """Return what a pipeline makes of a video; None if it does not read frames.

    Found by applying it to a minute of black frames (320 x 240, 30 frames per second): ``clip_frames``; their distance
    ``frame_interval``; ``clips`` and ``crops``; and ``inputs``, the shape of each input of the model for one crop.
    """
    clips, crops = count_views(steps)
    try:
        chosen = chosen_frames(steps, black_video())
        if chosen is None or chosen.clip is None:
            return None
        made, rng = black_video(), sample_rng(0, 0, 0)
        for step in one_view(steps, clips=False).values():
            made = step(made, rng)
    except UserError:  # it reads a file that is not a video
        return None
    return {
        "clip_frames": chosen.clip.length,
        "frame_interval": chosen.clip.interval,
        "clips": clips,
        "crops": crops,
        "inputs": dict(_shapes(made)),
    }


def black_video(size: tuple[int, int] = SIZE) -> Sample:
    """Return a sample of a minute of black frames of that height and width, which take no memory."""
    frames = np.broadcast_to(np.zeros(3, np.uint8), (FPS * SECONDS, *size, 3))  # a view of three bytes
    video = ArrayReader(frames, FPS, "black frames")
    return Sample(index=0, path=video.path, video=video, total_frames=len(video), fps=FPS, duration=SECONDS)


def _shapes(sample: Sample) -> Iterator[tuple[str, list[int]]]:
    for name, value in sample.inputs.items():
        yield name, list((value.array if isinstance(value, Varying) else value).shape)
