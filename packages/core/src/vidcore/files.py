"""Atomic writes: being killed, a crash or a full disk never leaves half a file. JSON and checksums."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from vidcore.locks import guard, temporary_name

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "append_line",
    "atomic_path",
    "atomic_write",
    "check_archive",
    "dump_json",
    "parse_json",
    "sha256",
    "to_jsonable",
    "write_csv",
    "write_json",
    "write_png",
    "write_text",
]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under its name only when the block ends without an error.

    The bytes are written to a temporary file in the same folder and flushed to disk; then the file is renamed. An
    existing file stays until then, and stays for good if the block raises; the new one gets its permissions. Links are
    followed, except inside a locked folder (``vidcore.locks.guard``). Devices and pipes are written to directly: a file
    in their place would break them for other programs. ``OSError`` (a full disk, for example) names ``path``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/a.bin") as file:
    ...         _ = file.write(b"whole")
    ...     Path(folder, "a.bin").read_bytes()
    b'whole'
    """
    target = Path(os.path.realpath(guard(path)))
    try:
        with target.open("wb") if target.exists() and not target.is_file() else _replaced(target) as file:
            yield file
    except OSError as error:
        if not error.errno:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error  # not the temporary file


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Like ``atomic_write``, for libraries that open files themselves: yield the path of the temporary file."""
    target = Path(os.path.realpath(guard(path)))
    temporary = temporary_name(target)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; some file systems cannot do that, which is not an error."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole UTF-8 text file, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))  # file names may not be UTF-8


def append_line(path: str | Path, line: str) -> None:
    """Append a line of text to a UTF-8 file."""
    with guard(path).open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(line + "\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, atomically; see ``to_jsonable`` for how paths, arrays and NaN are written."""
    write_text(path, dump_json(to_jsonable(value), indent=2) + "\n")


def write_csv(path: str | Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file, atomically."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def dump_json(value: Any, indent: int | None = None) -> str:
    r"""Return JSON that can be written as UTF-8, also with file names that are not UTF-8.

    >>> print(dump_json({"video": os.fsdecode(b"caf\xe9.mp4")}))
    {"video": "caf\udce9.mp4"}
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
    return text


def parse_json(text: str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse JSON from any source.

    Args:
        text: the JSON.
        pairs_hook: makes an object from its keys and values; default: ``dict``.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has a number or character that Python cannot represent.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs_hook)
        if re.search(r"\\u[dD]", text):  # half a surrogate pair, or a byte of a file name that is not UTF-8
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return value


def check_archive(archive: ZipFile, limit: int, names: Sequence[str] | None = None) -> None:
    """Raise ``ValueError`` if the files in an archive have more than ``limit`` bytes, or may have without saying so.

    ``names`` are the files that are read; default: all.
    """
    files = archive.infolist() if names is None else [archive.getinfo(name) for name in names]
    size = sum(file.file_size for file in files)
    if size > limit:
        raise ValueError(f"its {len(files)} files unpack to {size:,} bytes, at most {limit:,} are allowed")
    if other := [file for file in files if file.compress_type not in (ZIP_STORED, ZIP_DEFLATED)]:
        raise ValueError(f"{other[0].filename} is compressed with a method that does not bound its size")


def write_png(path: str | Path, image: np.ndarray[Any, Any]) -> None:
    """Write an image (height, width, 3) uint8 RGB, atomically; the path may contain any characters."""
    import cv2

    _, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with atomic_write(path) as file:
        file.write(data.tobytes())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_jsonable(value: Any) -> Any:
    """Return a value in JSON's types: arrays as lists; paths, NaN and infinity as strings (``float`` reads them).

    >>> to_jsonable({"path": Path("a"), "scores": (0.5, float("nan"))})
    {'path': 'a', 'scores': [0.5, 'nan']}
    """
    if isinstance(value, Mapping):
        return {key: to_jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(inner) for inner in value]
    if hasattr(value, "tolist"):
        return to_jsonable(value.tolist())
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
