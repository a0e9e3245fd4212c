"""Damaged notes are set aside; the rest of them is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidcore.mending import mend_lines, read_lines, read_note

DAMAGE = {
    "empty": b"",
    "zeros": bytes(64),
    "rubbish": b"\xff\xfe\x00\x80\xe9",
    "cut": b'{"number": 1, "na',
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "another object": b'{"numbers": 1}',
    "another type": b'{"number": "x"}',
    "deep": b"[" * 100_000,
    "digits": b'{"number": ' + b"9" * 5000 + b"}",
    "two objects": b'{"number": 1}{"number": 1}',
}


def number(row: Any) -> int:
    return int(row["number"])


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_note_is_set_aside(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "note.json"
    for kept in ("note.json.damaged", "note.json.damaged2"):
        path.write_bytes(DAMAGE[kind])
        assert read_note(path, number, mend=False) is None
        with pytest.warns(UserWarning, match=rf"note\.json: is damaged \(.*\); it is kept as {kept}, and the run does"):
            assert read_note(path, number) is None
        assert (tmp_path / kept).read_bytes() == DAMAGE[kind]
        assert not path.exists()
    assert read_note(path, number) is None
    path.write_text('{"number": 3}')
    assert read_note(path, number) == 3


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "empty"])
def test_damaged_lines_are_set_aside(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log.jsonl"
    whole = b'{"number": 1}\n' + DAMAGE[kind] + b'\n{"number": 2}\n'
    path.write_bytes(whole)
    assert list(read_lines(path, number)) == [1, 2]
    with pytest.warns(UserWarning, match=r"log\.jsonl: is damaged \(1 of 3 lines: "):
        mend_lines(path, number)
    assert path.read_bytes() == b'{"number": 1}\n{"number": 2}\n'
    assert (tmp_path / "log.jsonl.damaged").read_bytes() == whole
    mend_lines(path, number)


@pytest.mark.parametrize("end", [b"", b'{"number": 2', bytes(64), b"\xe9", b'{"number": 2}'])
def test_a_last_line_that_was_cut_off_is_dropped(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "log.jsonl"
    mend_lines(path, number)
    path.write_bytes(b'{"number": 1}\n' + end)
    mend_lines(path, number)
    rows = [json.loads(line)["number"] for line in path.read_text().splitlines()]
    assert rows == ([1, 2] if end.endswith(b"}") else [1])
    assert path.read_bytes().endswith(b"}\n"), "the next line would be appended to half a line"
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
