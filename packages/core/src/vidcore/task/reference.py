"""Reference scores: what a model predicts for a generated clip, kept in a release to notice when that changes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from vidcore.batch import collate
from vidcore.errors import CheckpointError
from vidcore.nn import Model
from vidcore.plugins.catalog import Catalog
from vidcore.protocols import Transform
from vidcore.randomness import sample_rng
from vidcore.sample import Sample
from vidcore.task.release import Release
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.views import input_contract, one_view
from vidcore.video.frames import ArrayReader

__all__ = [
    "CLIP",
    "SIZE",
    "check_reference",
    "generated_clip",
    "generated_sample",
    "installed_versions",
    "reference_scores",
]

CLIP = 1
"""Version of the generated clip."""
FRAMES, FPS = 64, 30
SIZE = (120, 160)
"""Height and width of the generated clip."""
TOLERANCE = 1e-3
"""Largest difference of a score, relative to the largest score; rounding in another version is a hundredth of it."""


def generated_clip() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return (frames, height, width, 3) uint8: moving waves, made of whole numbers only, the same on every machine."""
    t, y, x = np.ogrid[:FRAMES, : SIZE[0], : SIZE[1]]
    waves = np.broadcast_arrays(2 * x + 3 * t, 3 * y + 5 * t, x + y + 7 * t)
    return np.stack([np.abs(wave % 510 - 255) for wave in waves], axis=-1).astype(np.uint8)


def generated_sample() -> Sample:
    """Return the generated clip as a sample, not yet decoded."""
    reader = ArrayReader(generated_clip(), FPS, "generated clip")
    return Sample(index=0, path=reader.path, video=reader, total_frames=FRAMES, fps=float(FPS), duration=FRAMES / FPS)


def reference_scores(model: Model, steps: Mapping[str, Transform]) -> list[float] | None:
    """Return the class scores of one view of the generated clip; None if the model gives none for a video.

    Args:
        model: on the CPU, with its weights; it is left in evaluation mode.
        steps: the test pipeline.
    """
    if input_contract(steps) is None:
        return None
    pipeline = Pipeline(model.pipeline(one_view(steps, model.averages_clips)))
    model.eval()
    with torch.inference_mode():
        batch = model.preprocess(collate([pipeline(generated_sample(), sample_rng(0, 0, 0))]))
        (predicted,) = model.predict(model(batch.inputs), batch)
    return None if predicted.scores is None else [float(f"{score:.6g}") for score in predicted.scores]


def check_reference(model: Model, steps: Mapping[str, Transform], release: Release) -> bool:
    """Compare the reference scores of a release with those of its model as it is built here.

    Returns:
        Whether there are any.

    Raises:
        CheckpointError: they differ: installed packages compute something else than those that wrote the release.
    """
    expected = release.reference
    if expected is None:
        return False
    found = reference_scores(model, steps) or []
    gaps = [abs(a - b) for a, b in zip(expected, found, strict=False)]
    if len(found) == len(expected) and max(gaps) <= TOLERANCE * max(map(abs, expected)):
        return True
    differ = f"{len(found)} scores instead of {len(expected)}"
    if len(found) == len(expected):
        worst = gaps.index(max(gaps))
        differ = f"{found[worst]:.4g} for class {worst} instead of {expected[worst]:.4g}"
    written = ", ".join(f"{name} {number}" for name, number in (release.about.get("versions") or {}).items())
    raise CheckpointError(
        f"{release.path}: its model predicts something else here than where it was published ({differ}, of a generated "
        f"clip); it was written with {written or 'unknown versions'}: install these, or publish the weights again"
    )


def installed_versions(catalog: Catalog) -> dict[str, str]:
    """Return the versions on which predictions depend: of vidcore, PyTorch and plugins."""
    plugins = {plugin.name: plugin.version for plugin in catalog.plugins if plugin.error is None}
    return {"vidcore": version("vidcore"), "torch": version("torch")} | plugins
