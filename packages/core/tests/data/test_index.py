"""Flat tables of strings and numbers."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from vidcore.data.index import Ragged, StringTable

NAMES = ["a.mp4", "", "my clips/très long.mp4", "跑步.mp4", "a.mp4"]


def test_strings_are_returned_unchanged():
    table = StringTable.from_strings(iter(NAMES))
    assert list(table) == NAMES
    assert len(table) == 5
    assert table[-1] == "a.mp4"
    assert table[1:3] == NAMES[1:3]
    assert "跑步.mp4" in table
    assert table.index("a.mp4") == 0


def test_names_that_are_not_utf8_survive():
    name = os.fsdecode(b"caf\xe9.mp4")
    assert StringTable.from_strings([name])[0] == name


@pytest.mark.parametrize("index", [5, -6])
def test_index_outside_of_the_table(index):
    with pytest.raises(IndexError):
        StringTable.from_strings(NAMES)[index]


def test_take_selects_and_repeats():
    taken = StringTable.from_strings(NAMES).take([3, 0, 3])
    assert list(taken) == [NAMES[3], NAMES[0], NAMES[3]]
    assert list(taken.take([])) == []


def test_rows_are_views():
    rows = Ragged.from_rows([[1, 2], [], [7]], np.int32)
    assert [r.tolist() for r in rows] == [[1, 2], [], [7]]
    assert np.shares_memory(rows[0], rows.values)
    assert rows.values.dtype == np.int32


def test_memory_is_that_of_the_strings():
    names = [f"class_{i % 7}/video_{i:07}.mp4" for i in range(20_000)]
    table = StringTable.from_strings(names)
    text = sum(map(len, names))
    assert table.nbytes == text + 8 * (len(names) + 1)
    assert len(pickle.dumps(table, 5)) < table.nbytes + 2_000


def test_pickling_keeps_the_strings():
    assert list(pickle.loads(pickle.dumps(StringTable.from_strings(NAMES)))) == NAMES
