"""Embeddings of the windows of videos, and of sentences, with the model of an index."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vid_retrieval.clip_tokens import check_text
from vid_retrieval.models.dual import DualEncoder
from vid_retrieval.records import Embeddings, extra_record
from vid_retrieval.search.index import Nearest, Precision, VideoIndex
from vid_retrieval.transforms.tokens import CLIPTokenize
from vidcore.errors import UserError, VideoError
from vidcore.features.folder import FeatureFolder, kept_checkpoint
from vidcore.jobs import Counts, each, run_files
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.predict.inputs import FrameNames, find_videos
from vidcore.predict.predictor import Predictor
from vidcore.predict.windows import predict_windows
from vidcore.randomness import sample_rng
from vidcore.records import Text
from vidcore.sample import Sample
from vidcore.task.task import Task
from vidcore.typing import Array
from vidcore.video.window import Span

__all__ = ["Embedder", "Searcher", "index_settings", "write_index"]


class Embedder:
    """Embeds videos and sentences.

    Args:
        predictor: whose model has a tower for videos and one for texts.

    Raises:
        UserError: it has a model of another kind.
    """

    def __init__(self, predictor: Predictor) -> None:
        model = predictor.model
        if not isinstance(model, DualEncoder):
            raise UserError(
                f"{predictor.task.name}: {type(model).__name__} does not embed videos and texts in one space; "
                "CLIPSimilarity and ActionClip do"
            )
        self.predictor, self.model = predictor, model
        steps = predictor.pipeline.steps.values()
        self._tokenize = model.tokenize_step() or next((s for s in steps if isinstance(s, CLIPTokenize)), None)

    def windows(self, video: Path, window: Span, stride: Span) -> tuple[Array, Array, bool]:
        """Return embeddings (windows, D) float32, spans (windows, 2), and whether these are frames, not seconds."""
        rows, spans, in_frames = [], [], False
        for found in predict_windows(self.predictor, video, window, stride, need_classes=False):
            rows.append(extra_record(found.sample, "video_embedding", Embeddings, "an index").vectors[0])
            in_frames = found.start is None
            spans.append(found.frames if found.start is None else (found.start, found.end))
        vectors = np.stack(rows)
        if not (np.isfinite(vectors).all() and np.linalg.norm(vectors, axis=1).all()):
            raise VideoError(video, "its embeddings contain NaN, Inf or only zeros")
        return vectors, np.array(spans, np.float64), in_frames

    def texts(self, texts: Sequence[str]) -> Array:
        """Return embeddings of length 1 of sentences: (n, D) float32.

        Raises ``UserError`` if one is empty, not UTF-8 or too long, or the Task names no vocabulary.
        """
        if self._tokenize is None:
            raise UserError(f"{self.predictor.task.name}: the pipeline needs a step CLIPTokenize to read sentences")
        checked = tuple(check_text(text, "query") for text in texts)
        ids: Any = self._tokenize(Sample(text=Text(checked)), sample_rng(0, 0, 0)).inputs["text"]
        with torch.inference_mode():
            rows = self.model.text_features(torch.as_tensor(ids, device=self.predictor.device))
        return rows.float().cpu().numpy()


def index_settings(
    path: Path, task: Task, checkpoint: Path, window: Span, stride: Span | None = None
) -> dict[str, Any]:
    """Return the settings of an index in the folder ``path``; see ``VideoIndex``."""
    folder = FeatureFolder.of(path, task, checkpoint, stride or window)
    return {**folder.settings, "window": str(window)}


def load_embedder(
    path: Path, settings: dict[str, Any], catalog: Catalog | None = None, device: str | None = None
) -> Embedder:
    """Return the model of an index. Raises ``UserError`` if its weights are missing or have changed."""
    checkpoint = kept_checkpoint(settings, path / "index.jsonl")
    task = Task.from_table(settings["task"], catalog or load_plugins(), "index.jsonl")
    return Embedder(Predictor(task, checkpoint, device=device))


def write_index(
    path: Path,
    settings: dict[str, Any],
    videos: Sequence[str | Path],
    *,
    precision: Precision = "float32",
    remove_missing: bool = False,
    overwrite: bool = False,
    catalog: Catalog | None = None,
) -> Counts:
    """Add videos to an index, which is created if it does not exist; those that it has are skipped.

    Args:
        path: folder of the index.
        settings: see ``index_settings``.
        videos: files, folders of videos, folders of frames, lists. A changed video replaces what was known of it.
        precision: of the vectors.
        remove_missing: remove videos that no longer exist.
        overwrite: start again if the index has other settings.
        catalog: installed components; default: ``load_plugins()``.

    Returns the numbers of videos. Raises ``UserError`` as ``VideoIndex.open_to_write`` does.
    """
    catalog = catalog or load_plugins()
    task = Task.from_table(settings["task"], catalog, "index.jsonl")
    found = list(dict.fromkeys(find_videos(videos, names=FrameNames.of(task)))) if videos else []
    window, stride = (Span.parse(settings[name], name) for name in ("window", "stride"))
    with VideoIndex.open_to_write(path, settings, precision, overwrite) as index:
        gone = index.missing()
        if gone and remove_missing:
            index.remove(gone)
            print(f"{path}: removed {len(gone)} videos that no longer exist", file=sys.stderr)
        elif gone:
            print(
                f"note: {len(gone)} videos of the index no longer exist, {gone[0]} for example; --remove-missing "
                "removes them",
                file=sys.stderr,
            )
        todo = {video for video in found if not index.has(video)}
        embedder = load_embedder(path, settings, catalog) if todo else None

        def embed(video: Path) -> tuple[Array, Array, bool]:
            assert embedder is not None
            return embedder.windows(video, window, stride)

        def save(video: Path, embedded: tuple[Array, Array, bool]) -> str:
            index.add(video, *embedded)
            return f"added {video}: {len(embedded[0])} windows"

        counts = run_files(
            found, make=each(embed), save=save, done=lambda v: v not in todo, failures=path, title="embedding"
        )
        index.compact()
    return counts


class Searcher:
    """Finds windows of videos by a sentence.

    Args:
        path: folder of an index.
        catalog: installed components; default: ``load_plugins()``.
        device: of the model that reads sentences; default: that of its Task.

    Raises:
        DataError: the folder is not an index, or is damaged.
        UserError: the weights that it was made with are missing or have changed.

    Example::

        search = Searcher("index")
        for match in search("a person opens a door", top=3).matches:
            print(match.video, match.start, match.end, match.cosine)
    """

    def __init__(self, path: str | Path, catalog: Catalog | None = None, device: str | None = None) -> None:
        self.index = VideoIndex.load(Path(path))
        self.embedder = load_embedder(Path(path), self.index.settings, catalog, device)

    def __call__(self, text: str, top: int = 5, one_per_video: bool = False) -> Nearest:
        """Return the windows that fit a sentence best; see ``VideoIndex.nearest``."""
        (query,) = self.embedder.texts([text])
        return self.index.nearest(query, top, one_per_video)
