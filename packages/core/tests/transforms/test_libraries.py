"""Transforms of torchvision and albumentations, with stand-ins that have the same interface."""

from __future__ import annotations

import importlib.metadata
import pickle
import random
import sys
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vidcore.errors import MissingLibraryError, UserError
from vidcore.records import Boxes, Joints
from vidcore.sample import Sample
from vidcore.transforms.libraries import Albumentations, TorchVision
from vidcore.transforms.resizing import Resize
from vidcore.typing import Array


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def clip() -> Array:
    return np.repeat(rng(2).integers(0, 256, (1, 24, 32, 3), np.uint8), 3, axis=0)


def boxed() -> Sample:
    first = Boxes(np.array([[2, 3, 10, 12], [20, 4, 30, 20]], np.float32), labels=np.array([5, 6]))
    return Sample(frames=clip(), boxes=first, proposals=Boxes(np.array([[1, 1, 9, 9]], np.float32)))


class Transform:
    """Base class of the stand-in for torchvision: called with a video, and boxes if there are some."""

    def __call__(self, *inputs: Any) -> Any:
        changed = [self.change(value) for value in inputs]
        return changed if len(changed) > 1 else changed[0]

    def change(self, value: Any) -> Any:
        raise NotImplementedError


class Shift(Transform):
    """Move everything to the right by ``pixels``, and add a random level to the video."""

    def __init__(self, pixels: int, interpolation: Mode | None = None) -> None:
        if pixels < 0:
            raise ValueError("pixels must not be negative")
        assert interpolation is None or isinstance(interpolation, Mode)
        self.pixels = pixels

    def change(self, value: Any) -> Any:
        import torch

        if value.ndim == 2:
            return value + torch.tensor([self.pixels, 0, self.pixels, 0])
        assert value.dtype == torch.uint8 and value.shape == (3, 3, 24, 32)
        return torch.roll(value, self.pixels, -1) ^ torch.randint(256, (), dtype=torch.uint8)


class ToFloat(Transform):
    """Return values that are not levels."""

    def change(self, value: Any) -> Any:
        return value / 255


class Mode(Enum):
    """Stand-in for enumerations."""

    BILINEAR = "bilinear"


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    v2 = ModuleType("torchvision.transforms.v2")
    vars(v2).update(
        Transform=Transform, Shift=Shift, ToFloat=ToFloat, InterpolationMode=Mode, AutoAugmentPolicy=Mode, functional=1
    )
    tensors = SimpleNamespace(Video=lambda data: data, BoundingBoxes=lambda data, format, canvas_size: data)
    transforms = ModuleType("torchvision.transforms")
    vars(transforms).update(v2=v2)
    whole = ModuleType("torchvision")
    vars(whole).update(transforms=transforms, tv_tensors=tensors)
    for module in (whole, transforms, v2):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.torch
@pytest.mark.usefixtures("torchvision")
def test_torchvision_changes_all_frames_and_boxes_by_seed() -> None:
    import torch

    torch.manual_seed(1)
    state = torch.get_rng_state()
    step = TorchVision("Shift", {"pixels": 2, "interpolation": "bilinear"})
    step = pickle.loads(pickle.dumps(step))
    sample = boxed()
    one, same, other = (step(sample, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state), "the model draws from torch's generator"
    assert one.frames is not None and same.frames is not None and other.frames is not None
    assert (one.frames == same.frames).all() and (one.frames != other.frames).any()
    assert (one.frames == one.frames[:1]).all()
    assert (one.frames[:, :, 2:] ^ clip()[:, :, :-2] == one.frames[0, 0, 2, 0] ^ clip()[0, 0, 0, 0]).all()
    assert one.boxes is not None and isinstance(one.proposals, Boxes)
    assert one.boxes.xyxy.tolist() == [[4, 3, 12, 12], [22, 4, 32, 20]]
    assert one.boxes.labels is not None and one.boxes.labels.tolist() == [5, 6]
    assert one.proposals.xyxy.tolist() == [[3, 1, 11, 9]]
    assert (sample.frames == clip()).all()
    assert TorchVision("Shift", {"pixels": 1})(Sample(frames=clip()), rng()).boxes is None


@pytest.mark.torch
@pytest.mark.usefixtures("torchvision")
def test_mistakes_with_torchvision_name_what_there_is() -> None:
    with pytest.raises(UserError, match="no transform 'Shfit'; did you mean 'Shift'"):
        TorchVision("Shfit")
    with pytest.raises(UserError, match="no transform 'functional'"):
        TorchVision("functional")
    with pytest.raises(UserError, match="Shift has no argument 'pixel'; did you mean 'pixels'"):
        TorchVision("Shift", {"pixel": 2})
    with pytest.raises(UserError, match="TorchVision: Shift: pixels must not be negative"):
        TorchVision("Shift", {"pixels": -1})
    with pytest.raises(UserError, match=r"TorchVision ToFloat returns float32\(3, 24, 32, 3\); frames must stay"):
        TorchVision("ToFloat")(Sample(frames=clip()), rng())
    joints = Sample(frames=clip(), joints=Joints(np.zeros((1, 3, 4, 2), np.float32)))
    with pytest.raises(UserError, match="TorchVision cannot move joints with the frames"):
        TorchVision("Shift", {"pixels": 1})(joints, rng())


class BasicTransform:
    """Base class of the stand-in for albumentations."""


class Push(BasicTransform):
    """Move everything to the right; draw the same level for all images."""

    def __init__(self, pixels: int = 1) -> None:
        self.pixels = pixels


class Compose:
    """Applies a transform to images, boxes and their labels; boxes that are outside are dropped."""

    def __init__(self, transforms: list[Any], seed: int, bbox_params: Any = None) -> None:
        self.push, self.seed, self.boxes = transforms[0], seed, bbox_params

    def __call__(self, images: Array, **boxes: Any) -> dict[str, Any]:
        assert (self.boxes is not None) == bool(boxes)
        level = random.Random(self.seed).randrange(256)
        out: dict[str, Any] = {"images": np.roll(images, self.push.pixels, 2) ^ np.uint8(level)}
        if boxes:
            moved = boxes["bboxes"] + np.array([self.push.pixels, 0] * 2, np.float32)
            moved[:, 2] = np.minimum(moved[:, 2], images.shape[2])
            inside = moved[:, 0] < images.shape[2]
            out |= {"bboxes": moved[inside], "rows": boxes["rows"][inside].tolist()}
        return out


@pytest.fixture
def albumentations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    library = ModuleType("albumentations")
    vars(library).update(
        __version__="2.0.8", BasicTransform=BasicTransform, Push=Push, Compose=Compose, BboxParams=SimpleNamespace
    )
    monkeypatch.setitem(sys.modules, "albumentations", library)
    return library


@pytest.mark.usefixtures("albumentations")
def test_albumentations_changes_all_frames_and_drops_boxes_outside() -> None:
    step = pickle.loads(pickle.dumps(Albumentations("Push", {"pixels": 15})))
    sample = boxed()
    one, same, other = (step(sample, rng(seed)) for seed in (1, 1, 2))
    assert (one.frames == same.frames).all() and (one.frames != other.frames).any()
    assert (one.frames == one.frames[:1]).all()
    assert one.boxes.xyxy.tolist() == [[17, 3, 25, 12]]
    assert one.boxes.labels.tolist() == [5]
    assert one.proposals.xyxy.tolist() == [[16, 1, 24, 9]]
    resized = Albumentations("Push")(Resize((-1, 12))(Sample(frames=clip()), rng()), rng())
    assert resized.frames is not None and resized.frames.shape == (3, 12, 16, 3)


def test_mistakes_with_albumentations_name_what_there_is(albumentations: ModuleType) -> None:
    with pytest.raises(UserError, match="no transform 'Psh'; did you mean 'Push'"):
        Albumentations("Psh")
    with pytest.raises(UserError, match="Push has no argument 'pixel'"):
        Albumentations("Push", {"pixel": 2})
    vars(albumentations)["__version__"] = "1.4.0"
    with pytest.raises(UserError, match=r"1\.4\.0 is installed, but the step is made for 2\.0"):
        Albumentations("Push")


@pytest.mark.usefixtures("albumentations")
def test_the_successor_of_albumentations_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.distribution
    monkeypatch.setattr(
        importlib.metadata, "distribution", lambda name: found("numpy" if name == "albumentationsx" else name)
    )
    with pytest.raises(UserError, match="albumentationsx is installed, whose licence is AGPL"):
        Albumentations("Push")


def test_missing_libraries_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("albumentations", "torchvision"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingLibraryError, match="TorchVision needs torchvision: pip install torchvision"):
        TorchVision("RandAugment")
    with pytest.raises(MissingLibraryError, match=r"Albumentations needs .*pip install albumentations==2\.0\.8"):
        Albumentations("Blur")
