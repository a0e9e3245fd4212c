"""``vidcore audio``: log-mel features of many files, in files that ``LoadAudioFeature`` and MMAction2 read."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.cli.common import FOLDER, shard_option
from vidcore.cli.completion import complete_files
from vidcore.errors import UserError, VideoError
from vidcore.files import atomic_write, parse_json, write_json
from vidcore.jobs import finish, run_files, share
from vidcore.locks import Lock, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vidcore.jobs import Counts, Shard
    from vidcore.typing import Array

CONVENTION_FILE = "audio.json"


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER|LIST...", shell_complete=complete_files)
@click.option("--output", "-o", type=FOLDER, required=True, help="Folder to write to.")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1), metavar="N", help="Files to read in parallel."
)
@shard_option
@click.option("--overwrite", is_flag=True, help="Make features again that exist.")
def audio(videos: tuple[str, ...], output: Path, workers: int, shard: Shard, overwrite: bool) -> None:
    """Extract log-mel features of sound, from VIDEOs or audio files.

    The features of a file are an array (T, 80) in a .npy file: a row for each 16 ms. A FOLDER stands for the files
    below it, whose folders are kept in the output; a LIST is a .txt file with a path in each line. Files that have
    features are skipped, unless they changed later. Processes of torchrun share the files; use --shard to share them
    between machines.
    """
    targets = {path: output / name for path, name in _named(videos)}
    output.mkdir(parents=True, exist_ok=True)

    def work(shard: Shard, label: str) -> Counts:
        return run_files(
            list(targets),
            make=lambda items: _features(items, workers),
            save=lambda path, features: _save(targets[path], features),
            done=lambda path: not overwrite and _is_newer(targets[path], path),
            failures=output,
            shard=shard,
            title="audio",
            label=label,
        )

    with _claimed(output):
        counts = share(work, shard)
    finish(counts, f"{output}: log-mel features")


def _named(paths: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield files, each with the name of its features relative to the output folder.

    Raises ``UserError`` if there are no files, or two have the same name.
    """
    from vidcore.predict.inputs import find_videos
    from vidcore.video.open import AUDIO_SUFFIXES, VIDEO_SUFFIXES

    taken: dict[str, Path] = {}
    for given in paths:
        for path in find_videos([given], (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES)):
            if path.is_dir():
                raise UserError(f"{path}: has no videos or audio files below it, only frames, which have no sound")
            inside = path.relative_to(given) if Path(given).is_dir() else Path(path.name)
            name = inside.with_suffix(".npy").as_posix()
            other = taken.setdefault(name, path)
            if other is path:
                yield path, name
            elif other.absolute() != path.absolute():
                raise UserError(f"{path} and {other}: features are named after files, and these two have the same name")


@contextmanager
def _claimed(output: Path) -> Iterator[None]:
    """Write down what the features are, and share the folder with processes that make the same.

    Raises ``UserError`` if the features in the folder are different.
    """
    from vid_recognition.audio.logmel import CONVENTION

    file = output / CONVENTION_FILE
    with Lock(output / ".lock") as lock:
        if lock.take():
            remove_leftovers(output)
        else:
            lock.take(shared=True, wait=True)
        if not file.exists():
            write_json(file, CONVENTION)
        try:
            theirs = parse_json(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from None
        if theirs != CONVENTION:
            raise UserError(f"{output}: holds features of a different kind, see {file.name}; choose another folder")
        lock.take(shared=True)
        yield


def _features(paths: Sequence[Path], workers: int) -> Iterator[tuple[int, Array | VideoError]]:
    """Yield the features of files, in order; a few files are read ahead."""
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    from vid_recognition.audio.logmel import read_log_mel

    def read(path: Path) -> Array | VideoError:
        try:
            return read_log_mel(str(path))
        except VideoError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(read, path) for path in paths[:workers])
        for number in range(len(paths)):
            made = ahead.popleft().result()
            ahead.extend(pool.submit(read, path) for path in paths[number + workers : number + workers + 1])
            yield number, made


def _save(target: Path, features: Array) -> str:
    import numpy as np

    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as file:
        np.save(file, features)
    return f"wrote {target}: {len(features)} x {features.shape[1]}{'' if features.any() else ', silent'}"


def _is_newer(target: Path, source: Path) -> bool:
    """Whether features exist that are at least as new as the file; a missing file is reported by reading it."""
    return target.is_file() and source.exists() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns
