"""Examine an installation: versions, devices, decoders, problems. Works without PyTorch."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from vidcore.errors import MissingLibraryError, PluginError
from vidcore.plugins.catalog import Catalog

__all__ = ["Diagnosis", "examine", "several_providers", "unmet_requirements"]

MODULES = {"numpy": "numpy", "opencv": "cv2", "av": "av", "torch": "torch", "decord": "decord"}
"""Name of a library in the report -> its module."""
OPTIONAL = {
    "torch": "PyTorch is not installed: training, evaluation and prediction require it; pip install 'vidcore[torch]'",
    "decord": "",
}
"""Libraries of an extra -> the problem if one is not installed; empty if that is fine."""
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg", "aac", "mp3")
"""Decoders that every wheel of PyAV has."""


@define
class Diagnosis:
    """Result of ``vidcore doctor``: tables of names and values, and sentences about problems."""

    versions: dict[str, str] = field(factory=dict)
    devices: dict[str, str] = field(factory=dict)
    decoders: dict[str, str] = field(factory=dict)
    problems: list[str] = field(factory=list)
    usable: bool = True
    """False if vidcore cannot work at all: a library that it requires is missing, too old, or cannot be imported."""


def examine(catalog: Catalog) -> Diagnosis:
    """Examine everything. This imports all installed libraries, which takes seconds."""
    found = Diagnosis()
    required = unmet_requirements(importlib.metadata.requires("vidcore") or (), _installed_version)
    found.problems += required
    found.usable = not required
    found.versions["python"] = f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    for plugin in catalog.plugins:
        found.versions[plugin.name] = plugin.version
        if plugin.error is not None:
            found.problems.append(f"plugin {plugin.name} is broken and skipped: {plugin.error}")
    modules = {name: _examine_library(name, module, found) for name, module in MODULES.items()}
    _examine_processor(found, modules["torch"])
    if modules["torch"] is not None:
        _examine_gpus(found, modules["torch"])
    if modules["av"] is not None:
        _examine_codecs(found, modules["av"].codecs_available)
    for name, component in catalog.of_kind("decoders").items():
        found.decoders[name] = f"from {component.plugin}"
        try:
            component.load()
        except MissingLibraryError as error:
            found.decoders[name] = str(error)
        except PluginError as error:
            found.decoders[name] = "cannot be loaded"
            found.problems.append(str(error))
    found.problems += several_providers(importlib.metadata.packages_distributions())
    _examine_system(found)
    return found


def unmet_requirements(requirements: Iterable[str], version: Callable[[str], str | None]) -> list[str]:
    """Return a sentence for every requirement ``name>=1.2`` that is not installed, or too old.

    Args:
        requirements: as in the metadata of a distribution; those of extras are skipped.
        version: returns the installed version of a distribution; None if there is none.

    >>> unmet_requirements(["av>=17", "torch>=2.5; extra == 'torch'"], {"av": "16.0.1"}.get)
    ['av 16.0.1 is too old: vidcore requires av>=17']
    """
    problems = []
    for requirement in requirements:
        parts = re.match(r"([\w.-]+)\s*>=\s*([\d.]+)(?!.*extra)", requirement)
        if parts is None:
            continue
        name, least = parts.groups()
        found = version(name)
        if found is None:
            problems.append(f"{name} is not installed: vidcore requires {name}>={least}")
        elif _numbers(found) < _numbers(least):
            problems.append(f"{name} {found} is too old: vidcore requires {name}>={least}")
    return problems


def several_providers(providers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence for every module that several installed distributions provide: they overwrite each other.

    Args:
        providers: module -> distributions, as ``importlib.metadata.packages_distributions()`` returns them.

    >>> several_providers({"cv2": ["opencv-python-headless"], "decord": ["decord", "decord2"]})[0][:46]
    'decord and decord2 both install the module dec'
    """
    problems = []
    for module, keep in {"av": "av", "cv2": "opencv-python-headless", "decord": "decord2"}.items():
        names = sorted(set(providers.get(module, ())))
        if len(names) > 1:
            remove, install = f"pip uninstall {' '.join(names)}", f"pip install {keep}"
            both = f"{', '.join(names[:-1])} and {names[-1]} {'both' if len(names) == 2 else 'all'}"
            problems.append(
                f"{both} install the module {module} and overwrite each other's files: {remove}, then {install}"
            )
    return problems


def _examine_library(name: str, module: str, found: Diagnosis) -> Any:
    """Import a library and record its version; return None if it cannot be imported."""
    if importlib.util.find_spec(module) is None:
        if name in OPTIONAL:
            found.versions[name] = "not installed"
            found.problems += filter(None, [OPTIONAL[name]])
        return None  # required ones are reported already
    try:
        library = importlib.import_module(module)
        found.versions[name] = str(library.__version__)
    except Exception as error:  # missing system libraries raise many types
        found.versions[name] = "cannot be imported"
        found.problems.append(f"{name} is installed but cannot be imported: {type(error).__name__}: {error}")
        found.usable = found.usable and name in OPTIONAL
        return None
    if name == "av":
        codec = ".".join(map(str, library.library_versions["libavcodec"]))
        found.versions[name] += f" (FFmpeg {library.ffmpeg_version_info}, libavcodec {codec})"
    return library


def _examine_processor(found: Diagnosis, torch: Any) -> None:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    parts = [f"{cores} core{'s' if cores > 1 else ''}"]
    if sys.platform != "win32":
        parts.append(f"{_size(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} of memory")
    if torch is not None:
        threads = torch.get_num_threads()
        parts.append(f"{threads} PyTorch thread{'s' * (threads > 1)}")
    found.devices["cpu"] = ", ".join(parts)


def _examine_gpus(found: Diagnosis, torch: Any) -> None:
    for number in range(torch.cuda.device_count()):
        name = f"cuda:{number}"
        try:
            free, total = torch.cuda.mem_get_info(number)
            capability = ".".join(map(str, torch.cuda.get_device_capability(number)))
        except RuntimeError as error:
            found.devices[name] = "cannot be used"
            found.problems.append(f"{name} cannot be used: {str(error).splitlines()[0]}")
            continue
        memory = f"{_size(total)} ({_size(free)} free)"
        found.devices[name] = f"{torch.cuda.get_device_name(number)}, {memory}, capability {capability}"
    if torch.backends.mps.is_available():
        found.devices["mps"] = "Apple GPU"
    if Path("/dev/nvidia0").exists() and not torch.cuda.is_available():
        why = "the driver is too old or not running" if torch.version.cuda else "this PyTorch was built without CUDA"
        found.problems.append(f"there is an NVIDIA GPU, but PyTorch {torch.__version__} cannot use it: {why}")


def _examine_codecs(found: Diagnosis, available: Iterable[str]) -> None:
    """Report codecs that PyAV lacks, as one built against a system FFmpeg may."""
    lacking = sorted(set(CODECS) - set(available))
    if lacking:
        wheel = "pip install --force-reinstall --only-binary av av"
        found.problems.append(f"av has no decoder for {', '.join(lacking)}; its wheel has them all: {wheel}")


def _examine_system(found: Diagnosis) -> None:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"0")
    except OSError as error:
        found.problems.append(f"temporary files cannot be written: {error.strerror}; set TMPDIR to a writable folder")
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= limit < 1024:
            found.problems.append(f"only {limit} files can be open at once, too few for workers: ulimit -n 65536")


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"[+a-z]", version)[0])))


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
