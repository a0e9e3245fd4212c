"""Checkpoints: written atomically, and read without running code from them."""

from __future__ import annotations

import errno
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from vidcore.engine.torch_files import UnsafeError, read_torch_file
from vidcore.errors import CheckpointError
from vidcore.files import atomic_write, parse_json
from vidcore.locks import make_folder

__all__ = ["Checkpoints", "load", "save"]


def save(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint of tensors, numbers, strings, lists and dictionaries.

    An existing file is replaced only once the new one is complete and on disk.

    Raises:
        CheckpointError: the disk is full or the folder is not writable. No partial file is left.
    """
    path = Path(path)
    try:
        make_folder(path.parent)
        with atomic_write(path) as file:
            torch.save(dict(content), file)
    except (OSError, RuntimeError) as error:
        cause = _os_error(error)
        if cause is None:
            raise
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        hint = "; free some space and resume" if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        raise CheckpointError(f"{path}: cannot be saved: {reason} (earlier checkpoints are intact{hint})") from error


def _os_error(error: BaseException | None) -> OSError | None:
    """Return the failed write behind an error, which torch reports as a file of the wrong length."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def load(path: str | Path, keep_unknown: bool = False) -> dict[str, Any]:
    """Read a checkpoint (or any file of weights) and check that it is complete.

    Only tensors and plain data are read: a pickle that would run code is refused. The ``vidcore`` entry in the
    metadata of a ``.safetensors`` file is returned beside ``state_dict``.

    Args:
        path: of ``torch.save``, or safetensors.
        keep_unknown: put ``vidcore.engine.torch_files.Unknown`` in place of what is neither; default: refuse the file.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, or holds more than plain data.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if empty:
        raise CheckpointError(f"{path}: is empty")
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch_file(path, keep_unknown)
    except UnsafeError as error:
        raise CheckpointError(
            f"{path}: is refused: it holds more than weights ({error}), and reading that would run code from the file; "
            "save its weights alone with the tool that wrote it, or keep only them with 'vidcore import'"
        ) from None
    except zipfile.BadZipFile as error:
        why = "does not match its checksum" if "CRC" in str(error) else str(error)
        raise CheckpointError(f"{path}: is damaged: {why}") from None
    except Exception as error:  # damage shows itself in many types of errors
        raise CheckpointError(f"{path}: is truncated, damaged, or not a checkpoint") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a table of weights")
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        about: dict[str, Any] = parse_json((file.metadata() or {}).get("vidcore", "{}"))
        return about | {"state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118


_NAME = re.compile(r"epoch\d{1,9}-step\d{1,18}\.pt", re.ASCII)


class Checkpoints:
    """The checkpoints of a run: ``epoch0003-step00000120.pt``, ..., ``best.pt`` and ``best_acc_mean1.pt``.

    A run can resume from any but the best, which hold weights and scores only.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        """
        Args:
            folder: created when first needed.
            keep: number of newest checkpoints to keep; 0 keeps all.
        """
        self.folder = Path(folder)
        self.keep = keep

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"

    def best_by(self, score: str) -> Path:
        """Return the file of the best weights by a further score of ``train.best``."""
        name = re.sub(r"[^\w.@=-]", "_", score)
        return self.folder / f"best_{name}.pt"

    def paths(self) -> list[Path]:
        """Return the checkpoints that a run can resume from, oldest first."""
        found = {path: _NAME.fullmatch(path.name) for path in self.folder.glob("epoch*-step*.pt")}
        return sorted(
            (path for path, name in found.items() if name), key=lambda path: int(path.stem.partition("-step")[2])
        )

    def save(self, epoch: int, step: int, content: Mapping[str, Any]) -> Path:
        """Write the checkpoint of a step, then remove surplus ones. Raises ``CheckpointError``."""
        path = self.folder / f"epoch{epoch:04d}-step{step:08d}.pt"
        save(path, content)
        paths = self.paths()
        if self.keep:  # newer ones are damaged, since the run resumed before them: they must not push this one out
            for old in paths[: paths.index(path) + 1][: -self.keep]:
                old.unlink(missing_ok=True)
        return path

    def newest(self, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest intact checkpoint, or None if there are no checkpoints.

        Calls ``warn`` for damaged ones. Raises ``CheckpointError`` if all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return path, load(path)
            except CheckpointError as error:
                warn(f"{error}; trying the one before")
        if paths:
            raise CheckpointError(f"{self.folder}: none of {len(paths)} checkpoints can be read")
        return None
