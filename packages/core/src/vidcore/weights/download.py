"""Downloads of weights: verified, resumed after an interruption, and complete or absent under their name."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from vidcore.errors import CheckpointError
from vidcore.files import atomic_path, sha256, write_json
from vidcore.locks import Lock, make_folder
from vidcore.weights.mirrors import Mirror
from vidcore.weights.places import download_folder, find, folders
from vidcore.weights.published import Published

__all__ = ["Patience", "Show", "download", "get"]

Show = Callable[[int, int | None], None]
"""Is called with the number of bytes so far and the size of the file; None if the server does not send it."""

LARGEST = 32 << 30
"""Bytes; the largest published weights of a video network have about four thousand million."""
CHUNK = 1 << 20
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may differ the next time."""


@frozen
class Patience:
    """How long to wait for a server."""

    stall: float = 30.0
    """Seconds without a byte."""
    tries: int = 5
    """Attempts in a row that bring no byte that was not there before."""
    pause: float = 1.0
    """Seconds after the first of them; each further pause is twice as long."""
    longest: float = 60.0
    """Seconds of the longest pause, also if the server asks for more."""


class _Interrupted(Exception):
    """The server stopped answering, or asks to come back later; the message says how."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _WrongFile(Exception):
    """The file is complete and does not have the hash in its name."""


def get(
    one: Published,
    mirrors: Sequence[Mirror],
    show: Show | None = None,
    folder: Path | None = None,
    patience: Patience = Patience(),
) -> Path:
    """Return the path of published weights on this machine, downloading them if they are not there.

    Args:
        one: the weights.
        mirrors: tried in turn.
        show: shows the progress.
        folder: where to write; default: the first folder of weights. Folders of weights are not searched if given.
        patience: of the download.

    Raises:
        CheckpointError: no mirror has the file, or the file there is damaged; says why for each mirror.
    """
    target = (folder or download_folder()) / one.file
    there = target if folder and target.is_file() else None if folder else find(one.file)
    if there is not None:
        _verify(there, one)
        return there
    if not mirrors:
        searched = ", ".join(map(str, folders()))
        raise CheckpointError(
            f"{one.file}: is in none of {searched}; put it there, or set VIDCORE_MIRROR to a server that has it (see "
            "docs/weights.md)"
        )
    reasons = []
    for mirror in mirrors:
        try:
            if mirror.repository is not None:
                path = mirror.from_hub(one)
                _verify(path, one)
                if folder is None:
                    return path
                make_folder(folder)
                with atomic_path(target) as temporary:
                    shutil.copyfile(path, temporary)
                return target
            download(mirror.place(one), target, one.digest, show, patience)
            return target
        except CheckpointError as error:
            reasons.append(str(error))
    raise CheckpointError(f"{one.file}: cannot be downloaded: {'; '.join(reasons)}")


def _verify(path: Path, one: Published) -> None:
    actual = sha256(path)
    if one.digest and not actual.startswith(one.digest):
        raise CheckpointError(
            f"{path}: is damaged or a different file: its SHA-256 begins with {actual[:8]}, not {one.digest}; delete "
            "it and get it again"
        )


def download(
    url: str,
    target: Path,
    digest: str | None = None,
    show: Show | None = None,
    patience: Patience = Patience(),
) -> None:
    """Download a file, unless it is there. It appears under its name when it is complete and verified.

    Until then its bytes are in ``.NAME.part`` beside it. A process that is killed at any moment leaves that, and the
    next download resumes there. Two processes do not download the same file at the same time: one waits for the other.

    Args:
        url: ``http://`` or ``https://``.
        target: path of the file; its folder is created.
        digest: beginning of its SHA-256.
        show: is called after each chunk.
        patience: when to give up.

    Raises:
        CheckpointError: the server has no such file, sends a different one, or stops answering.
    """
    try:
        make_folder(target.parent)
        with Lock(target.with_name(f".{target.name}.lock")) as lock:
            lock.take(wait=True)
            if not target.is_file():
                _Download(url, target, digest, show, patience).run()
            lock.path.unlink(missing_ok=True)  # those who wait for it find the file
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be written: {error.strerror or error}") from error


@frozen
class _Download:
    url: str
    target: Path
    digest: str | None
    show: Show | None
    patience: Patience

    @property
    def part(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def origin(self) -> Path:
        """File with the address of the partial file, and what the server called this version of it."""
        return self.target.with_name(f".{self.target.name}.part.json")

    def run(self) -> None:
        best, failures, restarted = self._size(), 0, False
        while True:
            began = self._size()
            try:
                self._fetch()
                self._finish()
                return
            except _Interrupted as error:
                failures = 0 if self._size() > best else failures + 1
                best = max(best, self._size())
                if failures >= self.patience.tries:
                    kept = f"; {self._size():,} bytes are kept, and the next try resumes there" if self._size() else ""
                    raise CheckpointError(f"{self.url}: {error}, {failures} times in a row{kept}") from error
                pause = self.patience.pause * 2 ** (failures - 1) if failures else 0.0
                time.sleep(min(max(error.wait, pause), self.patience.longest))
            except _WrongFile as error:
                self.part.unlink(missing_ok=True)
                self.origin.unlink(missing_ok=True)
                if restarted or not began:
                    raise CheckpointError(f"{self.url}: {error}") from error
                restarted, best = True, 0  # its first part may be of a different version

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _fetch(self) -> None:
        """Append to the partial file what it lacks; or write it anew, if the server sends the whole file."""
        have = self._size()
        try:
            response = _open(self.url, self._headers(have), self.patience.stall)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, have)
            return
        except urllib.error.URLError as error:
            if isinstance(error.reason, CheckpointError):
                raise error.reason from None
            raise _Interrupted(f"cannot be reached: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._interrupted(error) from error
        with response:
            self._receive(response, have)

    def _interrupted(self, error: Exception) -> _Interrupted:
        if isinstance(error, TimeoutError):
            return _Interrupted(f"sent nothing for {self.patience.stall:g} s")
        return _Interrupted(f"broke off: {error or type(error).__name__}")

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise self._interrupted(error) from error

    def _headers(self, have: int) -> dict[str, str]:
        headers = {"User-Agent": "vidcore", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            with suppress(OSError, ValueError, TypeError, KeyError):
                origin = json.loads(self.origin.read_text(encoding="utf-8"))
                if origin["url"] == self.url and origin["version"]:
                    headers["If-Range"] = str(origin["version"])
        return headers

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code == 416 and have:
            if total is None or int(total[1]) != have:  # more than the whole file: from a different one
                self.part.unlink()
                raise _Interrupted("has a shorter file than the part that is here") from error
            return
        if error.code in AGAIN:
            wait = error.headers.get("Retry-After", "")
            reason = f"answered {error.code} {error.reason}"
            raise _Interrupted(reason, float(wait) if wait.isdecimal() else 0.0) from error
        raise CheckpointError(f"{self.url}: the server answered {error.code} {error.reason}") from error

    def _receive(self, response: HTTPResponse, have: int) -> None:
        start = have if response.status == 206 else 0
        sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status == 206 and (sent is None or int(sent[1]) != have):
            raise CheckpointError(
                f"{self.url}: the server sends a different part of the file than bytes {have:,} and on"
            )
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if total is not None:
            self._check_room(total, total - start)
        first = self._read(response)
        if start == 0 and first.lstrip()[:1] == b"<":
            raise CheckpointError(f"{self.url}: the server sends a web page, not a file of weights")
        if start == 0:
            version = response.headers.get("ETag", "")
            version = response.headers.get("Last-Modified", "") if version.startswith("W/") or not version else version
            write_json(self.origin, {"url": self.url, "version": version})
        with self.part.open("ab") as file:
            file.truncate(start)
            self._copy(response, first, file, start, total)

    def _copy(self, response: HTTPResponse, chunk: bytes, file: IO[bytes], done: int, total: int | None) -> None:
        while chunk:
            file.write(chunk)
            done += len(chunk)
            if done > LARGEST:
                raise CheckpointError(f"{self.url}: is larger than {LARGEST:,} bytes, which no file of weights is")
            if self.show:
                self.show(done, total)
            chunk = self._read(response)
        file.flush()
        os.fsync(file.fileno())
        if total is not None and done < total:
            raise _Interrupted(f"broke off after {done:,} of {total:,} bytes")

    def _check_room(self, total: int, rest: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if total > LARGEST:
            raise CheckpointError(f"{self.url}: has {total:,} bytes, more than the {LARGEST:,} of any file of weights")
        if rest > free:
            raise CheckpointError(f"{self.url}: needs {rest:,} bytes in {self.target.parent}, where {free:,} are free")

    def _finish(self) -> None:
        actual = sha256(self.part)
        if self.digest and not actual.startswith(self.digest):
            raise _WrongFile(
                f"the server sends a different file: its SHA-256 begins with {actual[:8]}, not {self.digest}"
            )
        self.part.replace(self.target)
        self.origin.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(
                CheckpointError(f"{req.full_url}: redirects to {newurl}, which is not encrypted")
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _open(url: str, headers: dict[str, str], timeout: float) -> HTTPResponse:
    opener = urllib.request.OpenerDirector()  # the default one opens files, too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    response: HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    return response
