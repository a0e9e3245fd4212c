"""The TOML writer: exact, and pleasant to read."""

from __future__ import annotations

import math
import time
import tomllib
from pathlib import Path

import pytest

from vidcore.config.toml import dumps


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": {}},
        {"empty": [], "nested": [[1, 0], [], [[True]]], "mixed": [1, 2.5, "x", {"k": [1]}]},
        {"data": {"train": {"batch_size": 8, "pipeline": {"open": {"type": "O"}, "sample": {"type": "S", "n": 1}}}}},
        {"tables": [{"type": "A", "sub": {"x": 1}}, {}, {"type": "B", "deep": [{"y": [{"z": 0}]}]}], "after": 5},
        {"text": 'a "quote", a \\ and\na line\t\x00 ü', "odd keys": {"a b": 1, "86": 2, "": 3, "a.b": 4}},
        {"late": {"table": {"x": 1}, "scalar": 2}, "last": 3},
    ],
)
def test_written_data_is_read_back_equal(data: dict[str, object]) -> None:
    assert tomllib.loads(dumps(data)) == data


def test_floats_are_exact_and_stay_floats() -> None:
    values = [0.1, 1e-05, 2e-308, 1 / 3, 1e16, 1e300, 2.0, -0.0, math.inf, -math.inf]
    back = tomllib.loads(dumps({"x": values}))["x"]
    assert [repr(v) for v in back] == [repr(v) for v in values]
    assert math.isnan(tomllib.loads(dumps({"x": math.nan}))["x"])


def test_arrays_stay_on_one_line_and_order_is_kept() -> None:
    text = dumps({"model": {"type": "R", "inflate": [[1, 1], [0]]}, "a": {"z": 1, "y": 2}})
    assert text == '[model]\ntype = "R"\ninflate = [[1, 1], [0]]\n\n[a]\nz = 1\ny = 2\n'


def test_tuples_and_paths_become_arrays_and_strings() -> None:
    assert tomllib.loads(dumps({"size": (1, 2), "file": Path("a/b.txt")})) == {"size": [1, 2], "file": "a/b.txt"}


def test_none_is_refused_with_its_key() -> None:
    with pytest.raises(TypeError, match=r"a\.b\[1\]: TOML cannot express None"):
        dumps({"a": {"b": [1, None]}})


def test_long_arrays_are_written_in_linear_time() -> None:
    data = {"classes": [f"class {i}" for i in range(20_000)], "boxes": [[i, 1.5] for i in range(10_000)]}
    start = time.process_time()
    text = dumps(data)
    assert time.process_time() - start < 15, "it takes minutes if the time grows with the square of the length"
    assert tomllib.loads(text) == data
