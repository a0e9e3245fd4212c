"""Steps that change or arrange pixels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from vidcore.batch import collate
from vidcore.errors import UserError, VideoError
from vidcore.plugins.builtin import vidcore_components
from vidcore.plugins.catalog import load_plugins
from vidcore.records import Clip, Heatmaps
from vidcore.sample import Sample
from vidcore.transforms.colour import ColorJitter, PCALighting, RandomGrayscale, jitter
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.crops import CenterCrop, ThreeCrop
from vidcore.transforms.erasing import RandomErasing
from vidcore.transforms.flipping import Flip
from vidcore.transforms.flow import AdjustFlowMagnitude
from vidcore.transforms.formatting import FormatShape, PackActionInputs, Transpose
from vidcore.transforms.geometry import current
from vidcore.transforms.loading import BuildPseudoClip
from vidcore.transforms.pixels import realize
from vidcore.transforms.resizing import Resize
from vidcore.typing import Array


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def frames(n: int = 4, height: int = 24, width: int = 32, channels: int = 3) -> Array:
    return rng(2).integers(0, 256, (n, height, width, channels), np.uint8)


def clip(length: int, count: int = 1) -> Clip:
    return Clip(np.arange(length * count), length, count)


def test_formats_are_the_frames_in_another_order() -> None:
    sample = Sample(frames=frames(12), clip=clip(3, 2))  # two crops
    assert (FormatShape("NCHW")(sample, rng()).inputs["imgs"] == frames(12).transpose(0, 3, 1, 2)).all()
    clips = FormatShape("NCTHW")(sample, rng()).inputs["imgs"]
    assert clips.shape == (4, 3, 3, 24, 32)
    assert clips.flags.c_contiguous
    assert (clips[1, :, 2] == frames(12)[5].transpose(2, 0, 1)).all()
    proposals = FormatShape("NPTCHW")(sample, rng()).inputs["imgs"]
    assert proposals.shape == (2, 6, 3, 24, 32)
    assert (proposals[1, 0] == frames(12)[6].transpose(2, 0, 1)).all()


def test_flow_maps_of_a_clip_become_channels() -> None:
    sample = Sample(frames=frames(6, channels=2), clip=clip(3, 2), modality="Flow")
    inputs = FormatShape("NCHW")(sample, rng()).inputs["imgs"]
    assert inputs.shape == (2, 6, 24, 32)
    assert (inputs[1, 3] == frames(6, channels=2)[4, ..., 1]).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_formatting_after_geometry_is_formatting_of_its_pixels(channels: int) -> None:
    sample = Sample(frames=frames(4, channels=channels), clip=clip(2, 2))
    for step in [Resize((-1, 12)), ThreeCrop(12), Flip(1)]:
        sample = step(sample, rng())
    for layout in ("NCHW", "NCTHW"):
        direct = FormatShape(layout)(sample, rng())
        assert (direct.inputs["imgs"] == FormatShape(layout)(realize(sample), rng()).inputs["imgs"]).all()
    assert direct.frames is None
    assert current(direct).size == (12, 12)


def test_collapse_requires_a_single_clip() -> None:
    sample = Sample(frames=frames(4), clip=clip(4))
    assert FormatShape("NCTHW", collapse=True)(sample, rng()).inputs["imgs"].shape == (3, 4, 24, 32)
    with pytest.raises(UserError, match="single clip"):
        FormatShape("NCTHW", collapse=True)(sample.replace(clip=clip(2, 2)), rng())
    with pytest.raises(UserError, match="4 frames cannot be divided into groups of 3"):
        FormatShape("NCTHW")(sample.replace(clip=clip(3)), rng())
    with pytest.raises(UserError, match="did you mean 'NCTHW'"):
        FormatShape("NCTWH")


def test_a_sample_with_frames_and_heatmaps_has_two_inputs() -> None:
    maps = rng().random((6, 5, 8, 8), np.float32)
    sample = Sample(frames=frames(4), heatmaps=Heatmaps(maps), clip=clip(2, 2))
    both = FormatShape("NCTHW")(sample, rng())
    assert both.inputs["imgs"].shape == (2, 3, 2, 24, 32)
    assert (both.inputs["heatmap_imgs"][1, 2, 0] == maps[3, 2]).all()
    assert dict(PackActionInputs()(both, rng()).inputs) == {"imgs": both.inputs["imgs"]}
    named = PackActionInputs(["heatmap_imgs"])(both, rng())
    batch = collate([named, named])
    assert batch.inputs.shape == (2, 2, 5, 3, 8, 8)
    with pytest.raises(UserError, match="there is no input 'audios'; there are imgs, heatmap_imgs"):
        PackActionInputs(["audios"])(both, rng())
    turned = Transpose(["imgs"], [0, 2, 1, 3, 4])(both, rng())
    assert turned.inputs["imgs"].shape == (2, 2, 3, 24, 32)


def test_inputs_of_several_steps_are_kept() -> None:
    sample = Sample(frames=frames(4), clip=clip(4)).with_inputs(text=np.arange(3))
    formatted = FormatShape("NCTHW")(sample, rng())
    assert list(formatted.inputs) == ["text", "imgs"]
    assert list(collate([formatted, formatted]).inputs) == ["text", "imgs"]


def test_heatmaps_cannot_be_moved_with_frames() -> None:
    sample = Sample(frames=frames(4), heatmaps=Heatmaps(np.zeros((4, 2, 8, 8), np.float32)))
    for step in (Flip(1), Resize((-1, 12)), CenterCrop(12)):
        with pytest.raises(UserError, match="put the step that draws them after"):
            step(sample, rng())


def test_inputs_collate_into_a_tensor() -> None:
    sample = FormatShape("NCTHW")(Sample(frames=frames(4), clip=clip(4), label=1), rng())
    batch = collate([sample, sample])
    assert batch.inputs.dtype == torch.uint8
    assert batch.inputs.shape == (2, 1, 3, 4, 24, 32)


def test_jitter_changes_all_frames_equally_and_not_in_place() -> None:
    still = np.repeat(frames(1), 3, axis=0)
    before = still.copy()
    out = ColorJitter()(Sample(frames=still), rng(4)).frames
    assert out is not None
    assert out.dtype == np.uint8
    assert (out[0] == out[2]).all()
    assert (out != still).any()
    assert (still == before).all()
    assert (jitter(still, (0, 1, 2, 3), (1, 1, 1, 0)) == still).all()
    with pytest.raises(UserError, match="frames with 3 channels"):
        ColorJitter()(Sample(frames=frames(channels=2)), rng())


def test_grayscale_keeps_the_luma_of_every_pixel() -> None:
    sample = Sample(frames=frames())
    out = RandomGrayscale(1)(sample, rng()).frames
    assert out is not None and out.shape == frames().shape
    red, green, blue = np.moveaxis(frames().astype(float), -1, 0)
    assert (out == np.floor(0.2989 * red + 0.587 * green + 0.114 * blue + 1e-4).astype(np.uint8)[..., None]).all()
    assert RandomGrayscale(0)(sample, rng()) is sample


def test_lighting_shifts_all_pixels_along_the_components() -> None:
    grey = Sample(frames=np.full((2, 4, 4, 3), 100, np.uint8))
    alone = PCALighting(1, eig_val=(20, 0, 0), eig_vec=((1, 0, 0), (0.5, 1, 0), (0, 0, 1)))
    shifts = []
    for seed in range(200):
        out = alone(grey, rng(seed)).frames
        assert out is not None and (out == out[0, 0, 0]).all()
        shifts.append(out[0, 0, 0].astype(int) - 100)
    red, green, blue = np.transpose(shifts)
    assert 15 < red.std() < 25 and abs(red.mean()) < 5
    assert np.abs(green - red / 2).max() <= 1
    assert (blue == 0).all()
    bright = PCALighting(1)(Sample(frames=np.full((1, 2, 2, 3), 254, np.uint8)), rng(1)).frames
    assert bright is not None and bright.min() > 100, "clipped, not wrapped"
    with pytest.raises(UserError, match="eig_vec must be 3 rows of 3 numbers"):
        PCALighting(eig_vec=((1, 0, 0),))


def test_flow_is_multiplied_by_the_factors_of_all_resizes() -> None:
    flow = np.zeros((2, 24, 32, 2), np.uint8)
    flow[..., 0], flow[..., 1] = 148, 100  # 20 pixels to the right, 28 up
    sample = Sample(frames=flow, modality="Flow")
    for step in (Resize((64, 48), False), CenterCrop(40), Resize((20, 10), False)):
        sample = step(sample, rng())
    out = AdjustFlowMagnitude()(sample, rng()).frames
    assert out is not None and out.shape == (2, 10, 20, 2)
    assert (out[..., 0] == 128 + 20).all(), "2 * 0.5"
    assert (out[..., 1] == 128 - 14).all(), "2 * 0.25"
    assert (AdjustFlowMagnitude(zero=100)(sample, rng()).frames[..., 1] == 100).all()
    with pytest.raises(UserError, match="needs flow, got RGB frames"):
        AdjustFlowMagnitude()(Sample(frames=frames()), rng())


def test_erasing_uses_the_size_after_the_crop() -> None:
    sample = CenterCrop(16)(Sample(frames=np.zeros((2, 24, 32, 3), np.uint8)), rng())
    out = RandomErasing(1, 0.2, 0.3, fill_color=(9, 8, 7))(sample, rng(1)).frames
    assert out is not None
    assert out.shape == (2, 16, 16, 3)
    erased = (out == [9, 8, 7]).all(-1)
    assert (erased[0] == erased[1]).all()
    assert 0.15 < erased[0].mean() < 0.35
    noise = RandomErasing(1, 0.2, 0.3, mode="rand", fill_color=200, fill_std=0.0)(sample, rng(1)).frames
    assert noise is not None
    assert set(np.unique(noise)) == {0, 200}
    assert RandomErasing(0)(sample, rng()) is sample
    with pytest.raises(UserError, match="above max_area_ratio"):
        RandomErasing(min_area_ratio=0.5)


def test_erased_boxes_reach_the_edges() -> None:
    sample = Sample(frames=np.zeros((1, 8, 8, 1), np.uint8))
    step = RandomErasing(1, 0.1, 0.3, fill_color=1)
    hit = sum(step(sample, rng(s)).frames[0, ..., 0] for s in range(200))
    assert hit.min() > 0


def test_an_image_becomes_a_clip() -> None:
    sample = BuildPseudoClip(5)(Sample(frames=frames(1)), rng())
    assert FormatShape("NCTHW")(sample, rng()).inputs["imgs"].shape == (1, 3, 5, 24, 32)
    with pytest.raises(UserError, match="single image"):
        BuildPseudoClip(5)(Sample(frames=frames(2)), rng())


def test_an_error_names_its_step() -> None:
    steps = {"small": Resize((-1, 12)), "cut": CenterCrop(30)}
    with pytest.raises(UserError, match=r"step 'cut' \(CenterCrop\): a crop of 30 x 30"):
        Pipeline(steps)(Sample(frames=frames()), rng())

    def broken(sample: Sample, rng: np.random.Generator) -> Sample:
        raise KeyError("x")

    with pytest.raises(KeyError) as caught:
        Pipeline([broken])(Sample(path="a.mp4"), rng())
    assert "step '0'" in caught.value.__notes__[0]

    def unreadable(sample: Sample, rng: np.random.Generator) -> Sample:
        raise VideoError("a.mp4", "is empty")

    with pytest.raises(VideoError, match=r"^a\.mp4: is empty$"):
        Pipeline([unreadable])(Sample(), rng())


def test_every_transform_is_offered_and_a_pipeline_survives_pickling() -> None:
    offered = load_plugins().of_kind("transforms")
    for name in vidcore_components()["transforms"]:
        assert offered[name].load().__doc__
    pipeline = Pipeline({"a": Resize((-1, 12)), "b": CenterCrop(8), "c": ColorJitter(), "d": FormatShape("NCHW")})
    again = pickle.loads(pickle.dumps(pipeline))
    assert again == pipeline
    sample = Sample(frames=frames())
    assert (again(sample, rng(1)).inputs["imgs"] == pipeline(sample, rng(1)).inputs["imgs"]).all()
