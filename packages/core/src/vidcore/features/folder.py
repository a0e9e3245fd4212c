"""A folder of features: a file for each video, and the settings that they were made with."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from attrs import frozen

from vidcore.config.toml import dumps
from vidcore.data.classes import check_file
from vidcore.errors import UserError
from vidcore.features.extract import Extractor, Features
from vidcore.features.files import SUFFIXES, FeatureInfo, write_features
from vidcore.files import sha256, write_text
from vidcore.locks import Lock, remove_leftovers
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.predict.predictor import Predictor
from vidcore.task.run_folder import differences
from vidcore.task.task import Task
from vidcore.video.window import Span

__all__ = [
    "FeatureFolder",
    "alike_but_for_case",
    "feature_names",
    "file_state",
    "kept_checkpoint",
    "what_features_depend_on",
]

Table = dict[str, Any]

KEYS: dict[str, tuple[type, str, bool]] = {
    "checkpoint": (str, "string", True),
    "from_here": (str, "string", False),
    "sha256": (str, "string", True),
    "stride": (str, "string", True),
    "format": (str, "string", True),
    "length": (int, "whole number", False),
    "logits": (bool, "true or false", False),
    "task": (dict, "table", True),
}
"""Keys of ``features.toml``: type, what messages call it, and whether it is required."""


@frozen
class FeatureFolder:
    """Output of ``vidcore features``: ``NAME.npy`` with facts in ``NAME.json``, and ``features.toml``.

    ``features.toml`` holds the settings, so that another call resumes with the same ones, and ``vidcore predict
    --features`` uses them for other videos.
    """

    path: Path
    settings: Table
    """``checkpoint``, the relative path to it (``from_here``), its ``sha256``, ``stride``, ``format``, ``length`` and
    ``logits`` if set, and ``task`` (model, pipeline)."""

    @classmethod
    def of(
        cls,
        path: Path,
        task: Task,
        checkpoint: Path,
        stride: Span,
        length: int | None = None,
        kind: Literal["npy", "csv"] = "npy",
        logits: bool = False,
    ) -> Self:
        """Return a folder with these settings, without writing anything."""
        part = task.prediction_part()
        kept = {"model": task.table["model"], "data": {"test": _get(task.table, part)}}
        if "runtime" in task.table:
            kept["runtime"] = {k: v for k, v in task.table["runtime"].items() if k == "precision"}
        if prefix := task.get("train.weights_prefix"):
            kept["train"] = {"weights_prefix": prefix}
        settings: Table = {"checkpoint": str(checkpoint.absolute()), "from_here": os.path.relpath(checkpoint, path)}
        settings |= {"sha256": _hash(checkpoint), "stride": str(stride), "format": kind}
        settings |= {} if length is None else {"length": length}
        settings |= {"logits": True} if logits else {}
        return cls(path, settings | {"task": kept})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the settings of a folder.

        Raises ``UserError`` if it is not a folder of features.
        """
        file = path / "features.toml"
        try:
            settings = tomllib.loads(file.read_text("utf-8", "surrogateescape"))
        except FileNotFoundError:
            raise UserError(f"{path}: is not a folder of features: {file} is missing") from None
        except (ValueError, RecursionError, OSError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from None
        return cls(path, _checked(file, settings))

    @property
    def stride(self) -> Span:
        """Distance between positions."""
        return Span.parse(self.settings["stride"], "stride")

    def extractor(self, catalog: Catalog | None = None, device: str | None = None, workers: int = 2) -> Extractor:
        """Return an extractor with the settings of this folder.

        Raises ``UserError`` if the checkpoint is missing or has changed.
        """
        checkpoint = kept_checkpoint(self.settings, self.path / "features.toml")
        task = Task.from_table(self.settings["task"], catalog or load_plugins(), "features.toml")
        predictor = Predictor(task, checkpoint, views="test", device=device)
        length, logits = self.settings.get("length"), self.settings.get("logits", False)
        return Extractor(predictor, self.stride, length, workers=workers, logits=logits)

    def claim(self, overwrite: bool = False) -> Lock:
        """Create the folder, or resume in it. The lock keeps out processes with different settings.

        Raises ``UserError`` if the folder holds features with different settings, unless they may be overwritten and no
        other process is making them.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path / ".lock")
        try:
            alone = lock.take()
            if not alone:
                lock.take(shared=True, wait=True)  # until another process has written its settings
            different = self._difference()
            if different and not alone:
                raise UserError(
                    f"{self.path}: another process is making features there with different settings: {different}; "
                    "choose another folder"
                )
            if different and not overwrite:
                raise UserError(
                    f"{self.path}: holds features with different settings: {different}; choose another folder, or "
                    "replace them with --overwrite"
                )
            if alone:
                remove_leftovers(self.path)
                write_text(self.path / "features.toml", dumps(self.settings))
                lock.take(shared=True)
        except BaseException:
            lock.release()
            raise
        return lock

    def _difference(self) -> str | None:
        """Return a sentence about how the features in the folder differ, if there are any."""
        if (self.path / "features.toml").exists():
            theirs = FeatureFolder.load(self.path).settings
            return next(differences(what_features_depend_on(theirs), what_features_depend_on(self.settings)), None)
        files = sorted(p for p in self.path.glob("*") if p.suffix in SUFFIXES)
        unknown = next((p for p in files if FeatureInfo.read(p)), None)  # from vidcore data convert-features, say
        return None if unknown is None else f"the settings of {unknown.name} are unknown"

    def file(self, name: str) -> Path:
        """Return the path of the features of a video."""
        return self.path / f"{name}.{self.settings['format']}"

    def has(self, name: str, video: Path) -> bool:
        """Whether complete features of exactly this video exist, with these settings."""
        info = FeatureInfo.read(self.file(name))
        if info is None or info.settings != self._fingerprint() or not self.file(name).is_file():
            return False
        size, modified = file_state(video)
        if info.size != size:
            return False
        # a copy differs in its modification time only
        return info.modified == modified or (video.is_file() and info.sha256 == sha256(video))

    def save(self, name: str, video: Path, features: Features) -> Path:
        """Write the features of a video, then the JSON file, which marks them as complete."""
        path = self.file(name)
        info = FeatureInfo.read(path)
        if info is None and FeatureInfo.path(path).exists():
            raise UserError(f"{FeatureInfo.path(path)}: was not written by vidcore features; choose another folder")
        for suffix in SUFFIXES if info else ():  # the JSON file describes one file only
            if suffix != path.suffix:
                (self.path / f"{name}{suffix}").unlink(missing_ok=True)
        write_features(path, features.values, self.settings["format"], features.feature_duration)
        rows, channels = features.values.shape
        size, modified = file_state(video)
        FeatureInfo(
            video=str(video),
            size=size,
            modified=modified,
            sha256=sha256(video) if video.is_file() else None,
            settings=self._fingerprint(),
            frames=features.frames,
            fps=features.fps,
            duration=features.duration,
            feature_duration=features.feature_duration,
            rows=rows,
            channels=channels,
        ).write(path)
        return path

    def _fingerprint(self) -> str:
        text = json.dumps(what_features_depend_on(self.settings), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def kept_checkpoint(settings: Table, file: Path) -> Path:
    """Return the weights that features were made with, where they were, or where they are relative to the settings.

    Args:
        settings: as in a ``FeatureFolder``.
        file: that holds them.

    Raises ``UserError`` if the weights are missing or have changed.
    """
    checkpoint = Path(settings["checkpoint"])
    moved = file.parent / settings.get("from_here", "")  # together with the folder
    if not checkpoint.is_file() and moved.is_file():
        checkpoint = moved
    if not checkpoint.is_file():
        raise UserError(
            f"{file}: checkpoint {checkpoint} does not exist; if it was moved, change its path in that file"
        )
    if _hash(checkpoint) != settings["sha256"]:
        raise UserError(f"{file.parent}: its features were made with different weights than {checkpoint} now holds")
    return checkpoint


def feature_names(videos: Sequence[Path]) -> list[str]:
    """Return the names of the features of videos: their file names without suffix.

    Raises ``UserError`` if two are equal.
    """
    seen: dict[str, Path] = {}
    for video in videos:
        name = video.name if video.is_dir() else video.stem
        other = seen.setdefault(name, video)
        if other is not video:
            raise UserError(f"{video} and {other}: features are named after videos, and these two have the same name")
    return list(seen)


def alike_but_for_case(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that differ by case only; None if all differ otherwise.

    >>> alike_but_for_case(["a", "B", "b"])
    ('B', 'b')
    """
    seen: dict[str, str] = {}
    pairs = ((seen.setdefault(name.casefold(), name), name) for name in names)
    return next(((one, two) for one, two in pairs if one != two), None)


def what_features_depend_on(settings: Table) -> Table:
    """Return the settings that features depend on: not the path of the weights, nor the dataset."""
    task = settings.get("task", {})
    pipeline = task.get("data", {}).get("test", {}).get("pipeline")
    kept = {k: v for k, v in settings.items() if k not in ("checkpoint", "from_here", "task")}
    return kept | {"model": task.get("model"), "pipeline": pipeline, "runtime": task.get("runtime")}


def _hash(path: Path) -> str:
    check_file(path, "checkpoint")
    return sha256(path)


def file_state(video: Path) -> tuple[int | None, int | None]:
    """Return the bytes of a video, or of the files in a folder, and when it was last changed; None if it is missing."""
    files = [p for p in video.iterdir() if p.is_file()] if video.is_dir() else [video] if video.is_file() else []
    stats = [p.stat() for p in files]
    return (sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)) if stats else (None, None)


def _checked(file: Path, settings: Table) -> Table:
    """Return the content of a ``features.toml``; raise ``UserError`` if a key is missing or its value is not valid."""
    for key, (kind, name, required) in KEYS.items():
        if key not in settings:
            if required:
                raise UserError(f"{file}: {key} is missing; make the features in another folder")
        elif not isinstance(settings[key], kind) or isinstance(settings[key], bool) != (kind is bool):
            raise UserError(f"{file}: {key} = {settings[key]!r}: must be a {name}")
    if settings["format"] not in ("npy", "csv"):
        raise UserError(f"{file}: format = {settings['format']!r}: must be 'npy' or 'csv'")
    if settings.get("length", 1) < 1:
        raise UserError(f"{file}: length = {settings['length']}: must be at least 1")
    data = settings["task"].get("data")
    if not isinstance(data, dict) or not isinstance(data.get("test"), dict):
        raise UserError(f"{file}: task.data.test is missing; make the features in another folder")
    Span.parse(settings["stride"], f"{file}: stride")
    return settings


def _get(table: Table, key: str) -> Any:
    for name in key.split("."):
        table = table[name]
    return table
