"""Pickles of annotations: arrays of any NumPy and protocol are read, and nothing else is made or run."""

from __future__ import annotations

import codecs
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcore.pickles import UnsafeError, read_pickle

CONTENT = {
    "split": {"train": ["a", "b"], "none": []},
    "annotations": [
        {
            "frame_dir": "a",
            "label": 3,
            "total_frames": np.int64(7),
            "img_shape": (1080, 1920),
            "keypoint": np.random.default_rng(0).random((2, 7, 17, 2)).astype(np.float16),
            "keypoint_score": np.asfortranarray(np.ones((2, 7, 17), ">f4")),
            "flags": np.array([True, False]),
            "names": np.array(["x", "längste"]),
            "none": None,
            "bytes": b"abc",
            "empty": np.zeros((0, 5), np.float32),
        }
    ],
}


def saved(folder: Path, content: Any, protocol: int = 4) -> Path:
    path = folder / "a.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, 6))
def test_annotations_are_read_like_pickle_does(tmp_path: Path, protocol: int) -> None:
    path = saved(tmp_path, CONTENT, protocol)
    found, trusted = read_pickle(path), pickle.loads(path.read_bytes())
    assert found["split"] == trusted["split"]
    for name, wanted in trusted["annotations"][0].items():
        got = found["annotations"][0][name]
        assert type(got) is type(wanted), name
        if isinstance(wanted, np.ndarray):
            assert got.dtype == wanted.dtype and got.shape == wanted.shape, name
        assert np.array_equal(got, wanted), name


def test_files_of_numpy_1_are_read(tmp_path: Path) -> None:
    old = pickle.dumps(np.arange(4.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in old
    assert read_pickle(saved(tmp_path, old)).tolist() == [0, 1, 2, 3]


def test_arrays_of_python_2_are_read(tmp_path: Path) -> None:
    new = pickle.dumps(np.arange(200.0)[190:], 3)  # bytes of an array were strings: the instruction C was U
    place = new.index(b"C" + bytes([80]))
    old = new[:place] + b"U" + new[place + 1 :]
    assert read_pickle(saved(tmp_path, old), "latin1").tolist() == list(range(190, 200))


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeError, match=r"\.mkdir"):
        read_pickle(saved(tmp_path, {"annotations": [Evil()]}, protocol))
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize("content", [np.array([{}, []], object), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])])
def test_arrays_of_objects_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises((UnsafeError, ValueError, TypeError)):
        read_pickle(saved(tmp_path, content))


def test_an_array_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    honest = pickle.dumps(np.zeros((3, 5), np.float64), 4)
    liar = honest.replace(b"K\x03K\x05\x86", b"K\xffK\xff\x86")
    assert liar != honest
    with pytest.raises(ValueError, match="promises 520200 bytes and holds 120"):
        read_pickle(saved(tmp_path, liar))


def test_shared_nesting_is_refused(tmp_path: Path) -> None:
    content: list[Any] = []
    for _ in range(60):
        content = [content, content]
    with pytest.raises(ValueError, match="nested too deeply"):
        read_pickle(saved(tmp_path, content))


class Made:
    """Is pickled as a call, whose arguments are shared with others."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


DATA, TEXT, ITEMS = bytes(1_000_000), "x" * 1_000_000, list(range(30_000))
COPIES = {
    "arrays": (*np.zeros(0).__reduce__()[:2], (1, (1_000_000,), np.dtype(np.uint8), False, DATA)),
    "bytes": (codecs.encode, (TEXT, "latin1")),
    "sets": (set, (ITEMS,)),
}


@pytest.mark.parametrize("call", COPIES.values(), ids=COPIES.keys())
def test_a_file_cannot_copy_what_it_shares_without_end(tmp_path: Path, call: Any) -> None:
    assert len(read_pickle(saved(tmp_path, [Made(*call)] * 2))) == 2
    with pytest.raises(ValueError, match="makes more values than a file of its size holds"):
        read_pickle(saved(tmp_path, [Made(*call) for _ in range(100)]))


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"not a pickle", pickle.dumps(CONTENT)[:-40]])
def test_damaged_files_are_errors(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Exception, match=r".*"):
        read_pickle(saved(tmp_path, content))
