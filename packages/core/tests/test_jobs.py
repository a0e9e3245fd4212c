"""Work on many files: continued, shared, with a list of failures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidcore.errors import UserError, VideoError
from vidcore.jobs import Counts, Shard, each, finish, run_files
from vidcore.locks import Lock

FILES = [Path(f"{name}.mp4") for name in "abcdefg"]


def measure(path: Path) -> str:
    if path.stem in "ce":
        raise VideoError(path, "is damaged")
    return path.stem * 2


def run(folder: Path, shard: str = "1/1", label: str = "") -> Counts:
    def save(path: Path, made: str) -> str:
        (folder / path.stem).write_text(made)
        return f"wrote {path.stem}"

    return run_files(
        FILES,
        make=each(measure),
        save=save,
        done=lambda path: (folder / path.stem).exists(),
        failures=folder,
        shard=Shard.parse(shard),
        label=label,
    )


def failed(path: Path) -> list[str]:
    return [json.loads(line)["file"] for line in path.read_text().splitlines()]


def test_existing_results_are_not_recomputed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").write_text("before")
    assert run(tmp_path) == Counts(4, 1, 2)
    assert (tmp_path / "b").read_text() == "before"
    assert (tmp_path / "d").read_text() == "dd"
    assert failed(tmp_path / "failures.jsonl") == ["c.mp4", "e.mp4"]
    out, err = capsys.readouterr()
    assert out.splitlines() == ["wrote a", "wrote d", "wrote f", "wrote g"]
    assert err.splitlines() == ["skipped: c.mp4: is damaged", "skipped: e.mp4: is damaged"]
    assert run(tmp_path) == Counts(0, 5, 2), "failed files are tried again"
    assert failed(tmp_path / "failures.jsonl") == ["c.mp4", "e.mp4"], "and listed once"


def test_shards_cover_all_files_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = [run(tmp_path, f"{k}/3", f"process {k}: ") for k in (3, 1, 2)]
    assert sum(counts, Counts()) == Counts(5, 0, 2)
    assert sorted(p.name for p in tmp_path.glob("*.jsonl")) == ["failures-2-of-3.jsonl", "failures-3-of-3.jsonl"]
    assert "process 3: wrote f" in capsys.readouterr().out
    assert run(tmp_path) == Counts(0, 5, 2)
    assert [p.name for p in tmp_path.glob("*.jsonl")] == ["failures.jsonl"], "it covers those of all shards"
    whole = Shard.parse("2/3")
    parts = [whole.split(rank, 4).of(range(100)) for rank in range(4)]
    assert sorted(k for part in parts for k in part) == list(whole.of(range(100)))


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/2", "a/b", "1/2/3"])
def test_invalid_shards(text: str) -> None:
    with pytest.raises(UserError, match="must be i/n with i from 1 to n, such as 1/4"):
        Shard.parse(text)


def test_failures_are_listed_at_once_and_other_errors_end_the_work(tmp_path: Path) -> None:
    def make(items: object) -> Iterator[tuple[int, str | UserError]]:
        yield 2, VideoError("c.mp4", "is damaged")
        assert failed(tmp_path / "failures.jsonl") == ["c.mp4"]
        raise UserError("the model is wrong")

    with pytest.raises(UserError, match="the model is wrong"):
        run_files(FILES, make=make, save=lambda *_: None, done=lambda _: False, failures=tmp_path)
    assert failed(tmp_path / "failures.jsonl") == ["c.mp4"]

    def broken(path: Path) -> str:
        raise UserError("the model is wrong")

    with pytest.raises(UserError, match="the model is wrong"):
        list(each(broken)(FILES))


def test_counts_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    finish(None, "out: features")
    finish(Counts(2, 1), "out: features")
    assert capsys.readouterr().out == "out: features of 3 videos: 2 new, 1 already there\n"
    with pytest.raises(SystemExit) as left:
        finish(Counts(0, 3, 2), "out: features")
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: 2 of 5 videos cannot be read\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_lock_is_shared_or_not(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from vidcore.locks import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.take(), lock.take(shared=True), flush=True)
"""

    def other() -> str:
        command = [sys.executable, "-c", script, str(tmp_path / "lock")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with Lock(tmp_path / "lock") as lock:
        assert other() == "True True"
        assert lock.take()
        assert other() == "False False"
        assert lock.take(shared=True)
        assert other() == "False True"
    assert other() == "True True"
