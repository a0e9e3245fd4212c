"""A job that writes a feature bank: a trained detector describes the boxes of every key frame, for later stages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import evolve, frozen

from vid_detection.banks import FeatureBank, bank_key, has_bank, write_bank
from vidcore.errors import UserError
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.typing import Array

if TYPE_CHECKING:
    from vid_detection.models.fast_rcnn import FastRCNN
    from vidcore.data.pool.loader import Loader
    from vidcore.task.task import Task

__all__ = ["MakeFeatureBank"]

TYPES = {"fp16": "<f2", "fp32": "<f4"}


@frozen
class MakeFeatureBank:
    """Write the feature bank of a detector, which ``FBOHead`` reads: pooled features of the proposals of key frames.

    Clips are prepared by the pipeline for prediction, also those of the training data. Shares of processes that are
    complete are kept, so that an interrupted job resumes.

    Args:
        task: Task file of the detector, or name of a recipe.
        checkpoint: its weights, or a recipe with published ones.
        parts: data whose key frames the bank has.
        precision: of the numbers in the file; published banks have ``fp16``.
    """

    task: Path
    checkpoint: Path
    parts: Sequence[str] = ("train", "val")
    precision: Literal["fp16", "fp32"] = "fp16"

    def __call__(self, folder: Path, rank: int = 0, world: int = 1, catalog: Catalog | None = None) -> None:
        """Describe this process's share of the key frames; rank 0 then joins the shares.

        Raises:
            UserError: the Task has no detector, or one that needs a bank itself, or lacks a part.
        """
        from vidcore.engine import dist
        from vidcore.task.task import Task
        from vidcore.tools.fetch import obtain

        catalog = catalog or load_plugins()
        task = Task.load(self.task if self.task.exists() else str(self.task), catalog)
        task.require(*(f"data.{part}" for part in self.parts))
        shares = {part: folder / "shares" / f"{part}-{rank + 1}-of-{world}" for part in self.parts}
        if missing := {part: share for part, share in shares.items() if not has_bank(share)}:
            self._describe(task, obtain(self.checkpoint, catalog), missing, rank, world)
        dist.gather(None)  # all shares are complete
        if rank:
            return
        every = [folder / "shares" / f"{part}-{n + 1}-of-{world}" for part in self.parts for n in range(world)]
        banks = [FeatureBank.read(share) for share in every]
        facts = {"detector": str(self.task), "checkpoint": str(self.checkpoint)}
        boxes = write_bank(folder, chain.from_iterable(banks), banks[0].channels, TYPES[self.precision], **facts)
        frames, empty = sum(len(b.rows) for b in banks), sum(a == b for bank in banks for a, b in bank.rows.values())
        print(f"{folder}: {boxes:,} boxes in {frames:,} key frames, {empty:,} of them without any", file=sys.stderr)
        shutil.rmtree(folder / "shares")

    def _describe(self, task: Task, checkpoint: Path, shares: dict[str, Path], rank: int, world: int) -> None:
        """Write the bank of a share of the key frames of each part."""
        from vid_detection.models.fast_rcnn import FastRCNN
        from vidcore.data.pool.loader import Loader
        from vidcore.engine import dist
        from vidcore.engine.weights import load_weights
        from vidcore.weights.places import is_published

        model = task.build("model")
        if not isinstance(model, FastRCNN) or model.roi_head.shared_head is not None:
            raise UserError(f"{task.name}: model: MakeFeatureBank needs a FastRCNN without shared_head")
        load_weights(model, checkpoint, task.get("train.weights_prefix") or "", is_published(checkpoint, task.catalog))
        model = model.to(dist.pick_device(task.build("runtime").device)).eval()
        pipeline = model.pipeline(task.build(f"{task.prediction_part()}.pipeline"))
        channels = model.roi_head.bbox_head.in_channels
        for part, share in shares.items():
            options = evolve(task.build(f"data.{part}"), balanced=False, num_repeats=1, shuffle=False)
            bad, name = share.parent.parent / f"bad_samples_{part}.jsonl", f"data.{part}"
            loader = Loader(
                options.dataset, pipeline, options, training=False, rank=rank, world=world, bad_list=bad, name=name
            )
            write_bank(share, _rows(model, loader, part), channels, TYPES[self.precision])
            for line in loader.bad.notes():
                print(f"note: {line}", file=sys.stderr)


def _rows(model: FastRCNN, loader: Loader, part: str) -> Iterator[tuple[tuple[str, int], Array]]:
    """Yield the key and the features of the boxes of each key frame."""
    import torch

    from vidcore.tools.progress import progress_bar

    device = next(model.parameters()).device
    for batch in progress_bar(loader, f"feature bank, {part}", len(loader)):
        with torch.inference_mode():
            batch = model.preprocess(batch.to(device))
            features = model.box_vectors(batch.inputs).float().cpu()
        counts = batch.inputs["count"].tolist()
        for sample, rows in zip(batch.samples, features.split(counts), strict=True):
            yield bank_key(sample), rows.numpy()
