"""Downloads of weights from servers that stall, cut, lie, redirect, and send something else."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
from attrs import define, evolve, field

from vidcore.errors import CheckpointError
from vidcore.weights import download as module
from vidcore.weights.download import Patience, download, get
from vidcore.weights.mirrors import Mirror
from vidcore.weights.published import Published

DATA = random.Random(0).randbytes(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()[:8]
FILE = f"net_20220901-{DIGEST}.pth"
HASTE = Patience(stall=0.2, tries=3, pause=0.001, longest=0.01)


@define
class Behaviour:
    """What the server does with requests."""

    data: bytes = DATA
    ranges: bool = True
    etag: str = '"1"'
    cut: int | None = None
    """Bytes after which the connection is closed."""
    stall: int | None = None
    """Bytes after which nothing more is sent."""
    slow: float = 0.0
    """Seconds between pieces of 10,000 bytes."""
    length: int | None = None
    """A wrong Content-Length; -1: none."""
    status: list[int] = field(factory=list)
    """Answers to the first requests."""
    shift: int = 0
    """Sends a different part than was asked for."""
    kind: str = "application/octet-stream"
    redirect: str = ""
    requests: list[tuple[str | None, str | None]] = field(factory=list)
    """Range and If-Range of each request that is not redirected."""
    release: threading.Event = field(factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour = Behaviour()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        b, asked = type(self).behaviour, self.headers.get("Range")
        self.close_connection = True
        if b.redirect and not self.path.startswith("/there/"):
            self._head(302, {"Location": b.redirect, "Content-Length": "0"})
            return
        b.requests.append((asked, self.headers.get("If-Range")))
        if b.status:
            self._head(b.status.pop(0), {"Content-Length": "0", "Retry-After": "0"})
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and b.ranges else 0
        if asked and self.headers.get("If-Range", b.etag) != b.etag:
            start = 0
        if start >= len(b.data):
            self._head(416, {"Content-Range": f"bytes */{len(b.data)}", "Content-Length": "0"})
            return
        headers = {"ETag": b.etag, "Content-Type": b.kind}
        if b.length != -1:
            headers["Content-Length"] = str(b.length if b.length is not None else len(b.data) - start)
        if start:
            headers["Content-Range"] = f"bytes {start + b.shift}-{len(b.data) - 1}/{len(b.data)}"
        self._head(206 if start else 200, headers)
        sent = 0
        for place in range(start, len(b.data), 10_000):
            if b.stall is not None and sent >= b.stall:
                b.release.wait(5)
                return
            piece = b.data[place : place + 10_000]
            piece = piece if b.cut is None else piece[: max(0, b.cut - sent)]
            if not piece:
                return
            try:
                self.wfile.write(piece)
            except OSError:
                return
            sent += len(piece)
            time.sleep(b.slow)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def does() -> Iterator[Behaviour]:
    Handler.behaviour = Behaviour()
    yield Handler.behaviour
    Handler.behaviour.release.set()


def fetched(server: str, folder: Path, patience: Patience = HASTE) -> list[tuple[int, int | None]]:
    """Download the file; return what is shown of the progress."""
    shown: list[tuple[int, int | None]] = []
    download(f"{server}/{FILE}", folder / FILE, DIGEST, lambda *at: shown.append(at), patience)
    return shown


def is_whole(folder: Path) -> bool:
    """Whether the file is there, and nothing else."""
    return (folder / FILE).read_bytes() == DATA and [path.name for path in folder.iterdir()] == [FILE]


def put_part(folder: Path, content: bytes, url: str = "", version: str = "") -> None:
    (folder / f".{FILE}.part").write_bytes(content)
    (folder / f".{FILE}.part.json").write_text(
        f'{{"url": "{url}", "version": "{version}"}}'.replace('""1""', r'"\"1\""')
    )


def test_a_whole_file(server: str, does: Behaviour, tmp_path: Path) -> None:
    shown = fetched(server, tmp_path / "a" / "b")
    assert is_whole(tmp_path / "a" / "b")
    assert shown[-1] == (len(DATA), len(DATA)) and shown == sorted(shown)
    assert fetched(server, tmp_path / "a" / "b") == [], "it is there"
    assert does.requests == [(None, None)]


def test_a_server_that_cuts_is_asked_for_the_rest(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.cut = 95_000
    fetched(server, tmp_path)
    assert is_whole(tmp_path)
    assert does.requests == [(None, None), *((f"bytes={at}-", '"1"') for at in (95_000, 190_000, 285_000))]


def test_a_server_that_stalls_is_asked_for_the_rest(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.stall = 200_000
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and len(does.requests) == 2


def test_a_server_that_only_stalls(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.stall = 0
    with pytest.raises(CheckpointError, match=rf"{FILE}: sent nothing for 0.05 s, 3 times in a row$"):
        fetched(server, tmp_path, evolve(HASTE, stall=0.05))


def test_a_server_that_ignores_ranges(server: str, does: Behaviour, tmp_path: Path) -> None:
    put_part(tmp_path, DATA[:1000])
    does.ranges = False
    fetched(server, tmp_path)
    assert is_whole(tmp_path)


def test_a_server_that_ignores_ranges_and_always_cuts(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.ranges, does.cut = False, 100_000
    message = (
        r"broke off after 100,000 of 300,000 bytes, 3 times in a row; 100,000 bytes are kept, and the next try res"
    )
    with pytest.raises(CheckpointError, match=message):
        fetched(server, tmp_path)
    assert len(does.requests) == 4 and not (tmp_path / FILE).exists()
    does.ranges, does.cut = True, None
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and does.requests[-1][0] == "bytes=100000-"


def test_another_version_on_the_server_starts_over(server: str, does: Behaviour, tmp_path: Path) -> None:
    put_part(tmp_path, b"x" * 1000, f"{server}/{FILE}", '"0"'.replace('"', r"\""))
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and does.requests == [("bytes=1000-", '"0"')]


def test_a_part_of_a_different_version_is_noticed_by_the_hash(server: str, does: Behaviour, tmp_path: Path) -> None:
    put_part(tmp_path, b"x" * 1000)
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and does.requests == [("bytes=1000-", None), (None, None)]


def test_a_part_that_is_whole_or_too_long(server: str, does: Behaviour, tmp_path: Path) -> None:
    put_part(tmp_path, DATA)
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and does.requests == [("bytes=300000-", None)]
    (tmp_path / FILE).unlink()
    put_part(tmp_path, DATA + b"more")
    fetched(server, tmp_path)
    assert is_whole(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": b"y" * 300_000}, f"sends a different file: its SHA-256 begins with [0-9a-f]{{8}}, not {DIGEST}$"),
        ({"length": 150_000}, "sends a different file"),
        ({"data": b""}, "the server answered 416"),
        ({"data": b"<!doctype html><p>busy", "kind": "text/html"}, "sends a web page, not a file of weights$"),
        ({"length": 1 << 50}, "has 1,125,899,906,842,624 bytes, more than"),
        ({"status": [404]}, "the server answered 404 Not Found$"),
        ({"status": [503] * 9}, "answered 503 Service Unavailable, 3 times in a row$"),
        ({"redirect": "/again"}, "the server answered 302 .*infinite loop"),
        ({"redirect": "file:///etc/passwd"}, "the server answered 302 .*not allowed"),
    ],
)
def test_servers_without_the_file(
    change: dict[str, object], message: str, server: str, does: Behaviour, tmp_path: Path
) -> None:
    for name, value in change.items():
        setattr(does, name, value)
    with pytest.raises(CheckpointError, match=message) as caught:
        fetched(server, tmp_path)
    assert str(caught.value).startswith(f"{server}/{FILE}: ")
    assert not (tmp_path / FILE).exists()


def test_servers_that_recover(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.status = [503, 429]
    does.redirect = f"{server}/there/{FILE}"
    fetched(server, tmp_path)
    assert is_whole(tmp_path)


def test_a_server_that_does_not_tell_the_length(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.length = -1
    assert fetched(server, tmp_path)[-1] == (300_000, None)
    assert is_whole(tmp_path)


def test_a_server_that_promises_more_than_it_has(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.length = 400_000
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and does.requests[1][0] == "bytes=300000-"


def test_an_endless_file(server: str, does: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 100_000)
    does.length = -1
    with pytest.raises(CheckpointError, match="is larger than 100,000 bytes"):
        fetched(server, tmp_path)


def test_a_wrong_part_of_the_file(server: str, does: Behaviour, tmp_path: Path) -> None:
    put_part(tmp_path, DATA[:1000])
    does.shift = 10
    with pytest.raises(CheckpointError, match="sends a different part of the file than bytes 1,000 and on"):
        fetched(server, tmp_path)
    assert (tmp_path / f".{FILE}.part").read_bytes() == DATA[:1000]


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be reached: .*, 3 times in a row$"):
        download("http://127.0.0.1:9/x.pth", tmp_path / "x.pth", None, None, HASTE)


def test_redirects_keep_the_encryption() -> None:
    request = Request("https://x.org/a.pth", headers={"Range": "bytes=9-"})
    with pytest.raises(URLError, match=r"https://x.org/a.pth: redirects to http://y.org/, which is not encrypted"):
        module._Redirects().redirect_request(request, BytesIO(), 302, "", Message(), "http://y.org/")
    found = module._Redirects().redirect_request(request, BytesIO(), 302, "", Message(), "https://y.org/")
    assert found.get_header("Range") == "bytes=9-"


def test_a_full_disk(server: str, does: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match=r"needs 300,000 bytes in .*, where 1,000 are free"):
        fetched(server, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written: "):
        fetched(server, tmp_path / "file" / "folder")


CHILD = """
import sys
from pathlib import Path
from vidcore.weights.download import download
download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_download_resumes(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.slow = 0.05
    url = f"{server}/{FILE}"
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, str(tmp_path / FILE), DIGEST])
    part = tmp_path / f".{FILE}.part"
    until = time.monotonic() + 20
    while time.monotonic() < until and not (part.exists() and part.stat().st_size > 20_000):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = part.stat().st_size
    assert 20_000 < kept < 300_000 and not (tmp_path / FILE).exists()
    assert part.read_bytes() == DATA[:kept]
    does.slow = 0
    fetched(server, tmp_path)
    assert is_whole(tmp_path) and does.requests == [(None, None), (f"bytes={kept}-", '"1"')]


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks")
def test_one_process_waits_for_another(server: str, does: Behaviour, tmp_path: Path) -> None:
    does.slow = 0.01
    child = subprocess.Popen([sys.executable, "-c", CHILD, f"{server}/{FILE}", str(tmp_path / FILE), DIGEST])
    until = time.monotonic() + 20
    while time.monotonic() < until and not does.requests:
        time.sleep(0.01)
    fetched(server, tmp_path)
    assert child.wait() == 0
    assert is_whole(tmp_path) and len(does.requests) == 1


def test_mirrors_are_tried_in_turn(server: str, does: Behaviour, tmp_path: Path) -> None:
    one = Published("net", f"v1/{FILE}")
    does.status = [404]
    servers = [Mirror.parse(f"{server}/a/{{name}}/{{file}}"), Mirror.parse(f"{server}/there/{{path}}")]
    assert get(one, servers, None, tmp_path, HASTE) == tmp_path / FILE
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(
        CheckpointError, match=f"is damaged or a different file: .*, not {DIGEST}; delete it and get it"
    ):
        get(one, servers, None, tmp_path, HASTE)
    (tmp_path / FILE).unlink()
    does.status = [404, 410]
    with pytest.raises(
        CheckpointError, match=rf"^{FILE}: cannot be downloaded: \S+/a/net/{FILE}: .* 404 .*; \S+ .*410"
    ):
        get(one, servers, None, tmp_path, HASTE)
