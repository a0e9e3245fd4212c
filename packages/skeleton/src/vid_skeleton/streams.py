"""A job that adds up the scores of streams: joints, bones, and the motion of both, trained by earlier stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import Factory, frozen

from vidcore.cli.common import table
from vidcore.errors import UserError, nearest
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.predictions import PredictionFile, fuse

__all__ = ["FuseStreams"]


@frozen
class FuseStreams:
    """Test what earlier stages have trained, add up the scores of each sample, and report every stream and the sum.

    It writes the predictions of each stream (``NAME.npz``) and of the sum (``sum.npz``), which ``vidcore fuse`` and
    ``vidcore score`` read, and ``report.json`` with the scores of the sum and of every stream.

    Args:
        streams: folder of the stage of each stream, by name: ``{joint = "{joint}", bone = "{bone}"}``.
        weights: weight of a stream in the sum; default: 1.
    """

    streams: Mapping[str, Path]
    weights: Mapping[str, float] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        if not self.streams or "sum" in self.streams:
            raise UserError("streams must name folders of stages, and 'sum' is the name of their sum")
        for name in self.weights:
            if name not in self.streams:
                raise UserError(f"weights: the stream {name!r} does not exist{nearest(name, self.streams)}")

    def __call__(self, folder: Path, rank: int = 0, world: int = 1, catalog: Catalog | None = None) -> None:
        """Test and add up; one process does all of it.

        Raises:
            UserError: a folder has no finished training.
        """
        if rank:
            return
        from vidcore.task.evaluate import evaluate_checkpoint
        from vidcore.task.report import score_predictions
        from vidcore.task.task import Task

        catalog = catalog or load_plugins()
        scores: dict[str, Mapping[str, float]] = {}
        for name, run in self.streams.items():
            checkpoint = run / "checkpoints" / "best.pt"
            if not checkpoint.exists():
                raise UserError(f"streams.{name}: {checkpoint} does not exist: train this stream first")
            task = Task.load(run / "task.toml", catalog)
            scores[name] = evaluate_checkpoint(task, checkpoint, folder / name, folder / f"{name}.npz")["scores"]
        files = [folder / f"{name}.npz" for name in self.streams]
        factors = [self.weights.get(name, 1.0) for name in self.streams]
        total = fuse([PredictionFile.load(file) for file in files], factors, [str(file) for file in files])
        total.save(folder / "sum.npz")
        scores["sum"] = score_predictions(task, total, folder, " + ".join(self.streams))["scores"]
        names = list(scores["sum"])
        table(["", *names], [(name, *(f"{found[n]:.4f}" for n in names)) for name, found in scores.items()])
