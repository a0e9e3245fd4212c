"""Files of feature banks: written as rows come, read by window, damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vid_detection.banks import FeatureBank, bank_key, write_bank
from vidcore.errors import DataError, UserError
from vidcore.sample import Sample
from vidcore.typing import Array

ROWS = {("a", 902): 3, ("a", 903): 0, ("b,c", 902): 1}
"""Boxes of each key frame; the name of a video may have commas."""


def rows() -> dict[tuple[str, int], Array]:
    rng = np.random.default_rng(0)
    return {key: rng.standard_normal((count, 5)).astype(np.float32) for key, count in ROWS.items()}


@pytest.mark.parametrize(("dtype", "digits"), [("<f2", 2e-3), ("<f4", 0)])
def test_a_bank_comes_back_as_it_was_written(tmp_path: Path, dtype: str, digits: float) -> None:
    wanted = rows()
    assert write_bank(tmp_path / "bank", iter(wanted.items()), 5, dtype, detector="slowonly") == 4
    bank = FeatureBank.read(tmp_path / "bank")
    assert isinstance(bank.features, np.memmap)
    assert bank.features.dtype == np.dtype(dtype)
    found = dict(bank)
    assert found.keys() == wanted.keys()
    for key, features in wanted.items():
        np.testing.assert_allclose(found[key], features, atol=digits)
    assert json.loads((tmp_path / "bank" / "index.json").read_text())["detector"] == "slowonly"


def test_a_bank_without_boxes_can_be_read(tmp_path: Path) -> None:
    assert write_bank(tmp_path, [(("a", 1), np.zeros((0, 5)))], 5) == 0
    assert FeatureBank.read(tmp_path).window("a", 1, 1, 2, np.random.default_rng(0)).tolist() == [[0] * 5] * 2


def test_a_window_has_as_many_rows_of_each_second() -> None:
    bank, wanted = FeatureBank.of(rows()), rows()
    window = bank.window("a", 901, 3, 2, np.random.default_rng(0)).reshape(3, 2, 5)
    assert not window[0].any(), "no such second"
    assert not window[2].any(), "nobody there"
    chosen = [np.flatnonzero((wanted["a", 902] == row).all(1)).item() for row in window[1]]
    assert chosen == sorted(set(chosen)), "two different rows, in their order"
    draws = {bank.window("a", 902, 1, 2, np.random.default_rng(i))[0, 0] for i in range(20)}
    assert len(draws) > 1, "a random choice"
    assert bank.window("b,c", 902, 1, 2, np.random.default_rng(0))[1].tolist() == [0] * 5
    with pytest.raises(DataError, match="the feature bank has no key frame of the video b: it was made for other"):
        bank.window("b", 902, 1, 2, np.random.default_rng(0))


def test_a_key_frame_is_found_by_its_name() -> None:
    assert bank_key(Sample(key="b,c,0902")) == ("b,c", 902)
    assert bank_key(Sample(key="v,12.5")) == ("v", 12)
    for wrong in (None, "v", ",902", "v,second"):
        with pytest.raises(DataError, match=r"a feature bank needs keys like 'video,0902'"):
            bank_key(Sample(key=wrong))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("index.json", b"{", "damaged feature bank"),
        ("index.json", b'{"keys": ["a,1"], "rows": [1]}', "do not belong together"),
        ("index.json", b'{"keys": ["a"], "rows": [4]}', "damaged feature bank"),
        ("index.json", b"[]", "damaged feature bank"),
        ("features.npy", b"\x93NUMPY\x01", "damaged feature bank"),
    ],
)
def test_damage_is_reported(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    write_bank(tmp_path, rows().items(), 5)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        FeatureBank.read(tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(UserError, match="has no feature bank"):
        FeatureBank.read(tmp_path)


def test_a_bank_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    def interrupted() -> object:
        yield from rows().items()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bank(tmp_path, interrupted(), 5)
    assert list(tmp_path.iterdir()) == []
