"""Errors that a user can cause. Each message is one sentence: what was found, and what is allowed.

The command line prints them without a traceback and exits with code 2. Any other exception is a bug
of vidcore or of a plugin, and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "AnnotationError",
    "CheckpointError",
    "ComponentError",
    "ConfigError",
    "DataError",
    "MissingLibraryError",
    "NoAudioError",
    "PluginError",
    "TrainingError",
    "UserError",
    "VideoError",
    "missing_library",
    "nearest",
    "some",
]


OPTIONAL = {
    "albumentations": "albumentations: pip install albumentations==2.0.8",
    "decord": "decord: pip install 'vidcore[decord]'",
    "huggingface_hub": "huggingface_hub: pip install 'vidcore[huggingface]'",
    "onnxruntime": "ONNX Runtime: pip install 'vidcore[onnx]'",
    "onnxscript": "ONNX Script: pip install 'vidcore[onnx]'",
    "pycocotools": "pycocotools: pip install 'vid-detection[coco]'",
    "timm": "timm: pip install timm",
    "torch": "PyTorch: pip install 'vidcore[torch]'",
    "torchvision": "torchvision: pip install torchvision",
}
"""Optional modules, and how to install them."""


class UserError(ValueError):
    """Base class of every mistake that the user can fix."""


class ConfigError(UserError):
    """A Task or a ``--set`` is not valid. ``problems`` holds every mistake found, one line each."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PluginError(UserError):
    """A plugin, or a component that it offers, is missing or not valid."""


class MissingLibraryError(PluginError):
    """An optional library is not installed. The message contains the command that installs it.

    Args:
        who: the command or component that needs the library.
        module: the module that the library provides.
    """

    def __init__(self, who: str, module: str) -> None:
        self.who = who
        self.module = module
        super().__init__(f"{who} needs {OPTIONAL[module]}")

    def __reduce__(self) -> tuple[type[MissingLibraryError], tuple[str, str]]:
        return type(self), (self.who, self.module)


class ComponentError(RuntimeError):
    """The code of a plugin raised an exception that is not a ``UserError``. The message has its file and line."""


class DataError(UserError):
    """A dataset as a whole cannot be used (empty, too many bad files, labels without classes)."""


class AnnotationError(DataError):
    """An entry of an annotation file is not valid. The message starts with its place, mostly ``file:line``."""


class VideoError(UserError):
    """A video cannot be opened or decoded. The message names the file."""

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.path, self.reason)  # a worker process sends it back


class NoAudioError(VideoError):
    """A file that can be opened has no audio."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, unsafe, or belongs to a different model."""


class TrainingError(UserError):
    """A run cannot continue: its loss or its weights became NaN or infinite."""


def missing_library(who: str, error: BaseException) -> MissingLibraryError | None:
    """Return the error to raise if ``error`` is about an optional library that is not installed, else None.

    >>> print(missing_library("SGD", ModuleNotFoundError("No module named 'torch'", name="torch")))
    SGD needs PyTorch: pip install 'vidcore[torch]'
    """
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return MissingLibraryError(who, module) if module in OPTIONAL else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string.

    >>> nearest("SampelFrames", ["SampleFrames", "Resize"])
    "; did you mean 'SampleFrames'?"
    >>> nearest("zzz", ["SampleFrames"])
    ''
    """
    known = list(known)
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not found:  # a different case must not hide a match
        lower = {k.lower(): k for k in known}
        found = [lower[m] for m in difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)]
    return f"; did you mean {found[0]!r}?" if found else ""


def some(items: Sequence[str], limit: int = 5) -> str:
    """Return the items separated by commas; beyond the limit only how many there are.

    >>> some(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
