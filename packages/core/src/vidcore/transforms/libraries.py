"""Transforms of torchvision and albumentations by name, for those who have installed them.

vidcore requires neither. No other module imports them.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from vidcore.errors import MissingLibraryError, UserError, nearest
from vidcore.records import Boxes, Record
from vidcore.sample import Sample
from vidcore.transforms.pixels import realize
from vidcore.typing import Array

__all__ = ["Albumentations", "TorchVision"]


@frozen
class TorchVision:
    """Apply a transform of ``torchvision.transforms.v2``, equally to all frames; boxes follow.

    ``{ type = "TorchVision", op = "RandomPerspective", arguments = { distortion_scale = 0.3 } }``. It draws its random
    numbers from the generator of the sample, so that a run can be repeated. torchvision must be installed.
    """

    op: str
    """Name of the transform."""
    arguments: dict[str, Any] = field(factory=dict)
    """Its arguments."""

    def __attrs_post_init__(self) -> None:
        self._made()

    def _made(self) -> Any:
        try:
            from torchvision.transforms import v2
        except ImportError as error:
            raise MissingLibraryError("TorchVision", "torchvision") from error
        except RuntimeError as error:  # it registers operators when it is imported
            raise UserError(f"TorchVision: torchvision does not fit the installed PyTorch: {error}") from error
        known = {name: c for name, c in vars(v2).items() if inspect.isclass(c) and issubclass(c, v2.Transform)}
        enums = {"interpolation": v2.InterpolationMode, "policy": v2.AutoAugmentPolicy}
        arguments = {n: enums[n](v) if n in enums and isinstance(v, str) else v for n, v in self.arguments.items()}
        return _built("TorchVision", self.op, known, arguments)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        import torch
        from torchvision import tv_tensors

        sample, frames, boxes = _ready("TorchVision", sample)
        inputs = [tv_tensors.Video(torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2))]
        for record in boxes.values():
            corners = torch.from_numpy(np.array(record.xyxy, np.float32))
            inputs.append(tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=frames.shape[1:3]))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            out = _called(f"TorchVision {self.op}", self._made(), *inputs)
        video, *moved = out if boxes else [out]
        changed = np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy())
        records = {
            name: evolve(record, xyxy=corners.numpy())
            for (name, record), corners in zip(boxes.items(), moved, strict=True)
        }
        return _finished(f"TorchVision {self.op}", sample, changed, records)


@frozen
class Albumentations:
    """Apply a transform of albumentations 2.0, equally to all frames; boxes follow, and those outside are dropped.

    ``{ type = "Albumentations", op = "MotionBlur", arguments = { blur_limit = 7, p = 0.3 } }``. It draws its random
    numbers from the generator of the sample, so that a run can be repeated. albumentations 2.0.8 must be installed;
    its successor ``albumentationsx``, which has a copyleft licence (AGPL), is refused.
    """

    op: str
    """Name of the transform."""
    arguments: dict[str, Any] = field(factory=dict)
    """Its arguments."""

    def __attrs_post_init__(self) -> None:
        self._made()

    def _made(self) -> tuple[Any, Any]:
        """Return the library and the transform."""
        try:
            importlib.metadata.distribution("albumentationsx")
        except importlib.metadata.PackageNotFoundError:
            pass
        else:
            raise UserError(
                "Albumentations: albumentationsx is installed, whose licence is AGPL; use what it is derived from: "
                "pip uninstall albumentationsx, then pip install albumentations==2.0.8"
            )
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # asks the package index when it is imported
        try:
            import albumentations
        except ImportError as error:
            raise MissingLibraryError("Albumentations", "albumentations") from error
        if not albumentations.__version__.startswith("2.0."):
            raise UserError(
                f"Albumentations: albumentations {albumentations.__version__} is installed, but the step is made for "
                "2.0: pip install albumentations==2.0.8"
            )
        base = albumentations.BasicTransform
        known = {n: c for n, c in vars(albumentations).items() if inspect.isclass(c) and issubclass(c, base)}
        return albumentations, _built("Albumentations", self.op, known, self.arguments)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample, frames, boxes = _ready("Albumentations", sample)
        library, transform = self._made()
        options: dict[str, Any] = {"seed": int(rng.integers(2**32))}
        inputs: dict[str, Any] = {"images": frames}
        counts = [len(record) for record in boxes.values()]
        if boxes:
            options["bbox_params"] = library.BboxParams(
                format="pascal_voc", label_fields=["rows"], clip=True, filter_invalid_bboxes=True
            )
            inputs["bboxes"] = np.concatenate([record.xyxy for record in boxes.values()]).astype(np.float32)
            inputs["rows"] = np.arange(sum(counts))
        out = _called(f"Albumentations {self.op}", library.Compose([transform], **options), **inputs)
        records: dict[str, Boxes] = {}
        first = 0
        for (name, record), count in zip(boxes.items(), counts, strict=True):
            rows = np.asarray(out["rows"], np.int64)
            mine = (rows >= first) & (rows < first + count)
            corners = np.asarray(out["bboxes"], np.float32).reshape(-1, 4)[mine]
            records[name] = evolve(record.select(rows[mine] - first), xyxy=corners)
            first += count
        return _finished(f"Albumentations {self.op}", sample, np.asarray(out["images"]), records)


def _built(owner: str, op: str, known: Mapping[str, Callable[..., Any]], arguments: Mapping[str, Any]) -> Any:
    """Return the transform ``op``. Raises ``UserError`` if there is none, or if it does not take the arguments."""
    if op not in known:
        raise UserError(f"{owner}: the library has no transform {op!r}{nearest(op, known)}")
    taken = inspect.signature(known[op]).parameters
    for name in arguments:
        if name not in taken:
            raise UserError(f"{owner}: {op} has no argument {name!r}{nearest(name, taken)}")
    try:
        return known[op](**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{owner}: {op}: {error}") from error


def _called(owner: str, transform: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    try:
        return transform(*inputs, **named)
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{owner}: {error}") from error


def _ready(owner: str, sample: Sample) -> tuple[Sample, Array, dict[str, Boxes]]:
    """Apply pending geometry; return the frames and the boxes, too."""
    sample = realize(sample)
    assert sample.frames is not None
    boxes: dict[str, Boxes] = {}
    for name, record in sample.records():
        if isinstance(record, Boxes):
            boxes[name] = record
        elif record.follows_crops:
            raise UserError(f"{owner} cannot move {name} with the frames")
    return sample, sample.frames, boxes


def _finished(owner: str, sample: Sample, frames: Array, boxes: Mapping[str, Boxes]) -> Sample:
    assert sample.frames is not None
    if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != len(sample.frames):
        raise UserError(
            f"{owner} returns {frames.dtype}{frames.shape}; frames must stay (n, height, width, channels) uint8, "
            "because the model normalises them"
        )

    def moved(record: Record) -> Record:
        return next((boxes[name] for name, before in sample.records() if before is record and name in boxes), record)

    return sample.map_records(moved, frames=frames)
