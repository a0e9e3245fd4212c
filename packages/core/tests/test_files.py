"""Files are written whole or left unchanged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from vidcore.files import atomic_write, dump_json, parse_json, write_json, write_text


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory") as caught, atomic_write(tmp_path / "file" / "a"):
        pass
    assert caught.value.filename == str(tmp_path / "file" / "a")


def test_the_target_of_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    listening = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "new")
    assert os.read(listening, 9) == b"new"
    os.close(listening)
    assert pipe.is_fifo()


def test_json_is_standard(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [np.float32("inf"), True, None, 0.5]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": "nan", "b": ["inf", True, None, 0.5]}


def test_json_takes_paths_and_numpy(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": tmp_path, "one": np.float32(0.5), "two": np.int64(2), "é": None})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"path": str(tmp_path), "one": 0.5, "two": 2, "é": None}
    assert text.endswith("}\n")


@pytest.mark.parametrize("text", ["{", "9" * 5000, "[" * 100_000, '{"a":' * 100_000, '"\\ud800"', '{"\\ud800": 1}'])
def test_json_that_cannot_be_used_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


def test_json_keeps_names_of_any_bytes() -> None:
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x98\x80.mp4")
    text = dump_json({name: [name, "\u00e9"]})
    assert parse_json(text.encode("utf-8").decode("utf-8")) == {name: [name, "\u00e9"]}
    assert parse_json(json.dumps("\U0001f600")) == "\U0001f600"
