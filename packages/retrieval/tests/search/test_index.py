"""The index on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_retrieval.search.index import Precision, VideoIndex
from vidcore.errors import DataError, UserError

SETTINGS = {"checkpoint": "a.pt", "sha256": "1", "stride": "10s", "window": "10s", "task": {}}


@contextmanager
def opened(path: Path, precision: Precision = "float32", **changes: Any) -> Iterator[VideoIndex]:
    overwrite = changes.pop("overwrite", False)
    with VideoIndex.open_to_write(path, SETTINGS | changes, precision, overwrite) as index:
        yield index


def vectors(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)


def spans(count: int) -> Any:
    return np.stack((np.arange(count), np.arange(count) + 1), 1) * 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of three videos with 3, 2 and 4 windows."""
    with opened(tmp_path / "index") as index:
        for seed, (name, count) in enumerate((("a", 3), ("b", 2), ("c", 4))):
            (tmp_path / f"{name}.mp4").write_text(name)
            index.add(tmp_path / f"{name}.mp4", vectors(count, seed), spans(count), in_frames=False)
    return tmp_path / "index"


def cosines(query: Any) -> Any:
    rows = np.concatenate([vectors(count, seed) for seed, count in enumerate((3, 2, 4))])
    return rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)


def test_the_nearest_windows_are_found_exactly(folder: Path) -> None:
    query = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    wanted = cosines(query)
    found = VideoIndex.load(folder).nearest(query, top=4)
    np.testing.assert_allclose([m.cosine for m in found.matches], np.sort(wanted)[::-1][:4], rtol=1e-5)
    places = [("a", 0), ("a", 10), ("a", 20), ("b", 0), ("b", 10), ("c", 0), ("c", 10), ("c", 20), ("c", 30)]
    best = [places[i] for i in np.argsort(-wanted)[:4]]
    assert [(Path(m.video).stem, m.start) for m in found.matches] == best
    assert [m.end - m.start for m in found.matches] == [10.0] * 4
    assert (found.windows, found.mean, found.deviation) == pytest.approx((9, wanted.mean(), wanted.std()), rel=1e-5)
    assert found.matches[0].deviations == pytest.approx((wanted.max() - wanted.mean()) / wanted.std(), rel=1e-4)


def test_one_window_of_each_video(folder: Path) -> None:
    query = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    wanted = cosines(query)
    best = sorted([wanted[:3].max(), wanted[3:5].max(), wanted[5:].max()], reverse=True)
    found = VideoIndex.load(folder).nearest(query, 5, one_per_video=True)
    np.testing.assert_allclose([m.cosine for m in found.matches], best, rtol=1e-5)


def test_a_removed_video_is_not_found_before_and_after_compacting(folder: Path) -> None:
    before = VideoIndex.load(folder)
    query = vectors(2, 1)[0]
    assert before.nearest(query, 1).matches[0].cosine == pytest.approx(1)
    with opened(folder) as index:
        index.remove([str(folder.parent / "b.mp4")])
    expected = None
    for compact in (False, True):
        with opened(folder) as index:
            if compact:
                index.compact()
        found = VideoIndex.load(folder).nearest(query, 7)
        assert found.windows == 7
        assert {Path(m.video).stem for m in found.matches} == {"a", "c"}
        assert expected in (None, found)
        expected = found
    assert sorted(p.name for p in folder.iterdir() if p.name[0] != ".") == [
        "index.jsonl",
        "spans-1.bin",
        "vectors-1.bin",
    ]
    assert (folder / "vectors-1.bin").stat().st_size == 7 * 4 * 4


def test_a_changed_video_replaces_what_was_known(folder: Path) -> None:
    video = folder.parent / "b.mp4"
    with opened(folder) as index:
        assert index.has(video)
        os.utime(video, (1, 1))
        assert index.has(video), "only its time has changed"
        video.write_text("B")
        assert not index.has(video)
        index.add(video, vectors(1, 9), spans(1), in_frames=True)
        index.compact()
    index = VideoIndex.load(folder)
    assert index.windows == index.total == 8
    (match,) = index.nearest(vectors(1, 9)[0], 1).matches
    assert (match.video, match.in_frames, match.cosine) == (str(video), True, pytest.approx(1))


def test_a_process_that_was_killed_leaves_a_whole_index(folder: Path) -> None:
    text = (folder / "index.jsonl").read_bytes()
    lines = text.splitlines(keepends=True)
    (folder / "index.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # while the last line was written
    assert VideoIndex.load(folder).windows == 5
    with opened(folder) as index:
        assert not index.has(folder.parent / "c.mp4")
        index.add(folder.parent / "c.mp4", vectors(4, 2), spans(4), in_frames=False)
    assert (folder / "index.jsonl").read_bytes() == text
    assert (folder / "spans-0.bin").stat().st_size == 9 * 16


def test_a_damaged_index_is_refused(folder: Path) -> None:
    with (folder / "vectors-0.bin").open("r+b") as file:
        file.truncate(100)
    for use in (VideoIndex.load, lambda path: opened(path).__enter__()):
        with pytest.raises(DataError, match=r"is damaged: vectors-0\.bin has 6 rows, and index\.jsonl lists 9; delete"):
            use(folder)
    (folder / "vectors-0.bin").unlink()
    with pytest.raises(DataError, match=r"vectors-0\.bin is missing"):
        VideoIndex.load(folder)


@pytest.mark.parametrize(
    ("line", "changes", "message"),
    [
        (1, {"vidcore_index": 2}, "vidcore_index is 2"),
        (1, {"precision": "int8"}, "precision is 'int8'"),
        (1, {"channels": 1 << 40}, "channels is 1099511627776"),
        (1, {"channels": "4"}, "channels is '4'"),
        (1, {"settings": {}}, "'checkpoint'"),
        (2, {"rows": -1}, "overlap"),
        (3, {"row": 0}, "rows 0 to 2 overlap others"),
        (3, {"surprise": 0}, "surprise"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, line: int, changes: dict[str, Any], message: str) -> None:
    lines = (folder / "index.jsonl").read_text().splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | changes)
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"index\.jsonl:{line}: is damaged \(.*{message}"):
        VideoIndex.load(folder)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not an index: index\.jsonl is missing; vidcore embed makes one"):
        VideoIndex.load(tmp_path / "nothing")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"is not an index, and has files \(photo\.jpg\)"), opened(tmp_path):
        pass


def test_other_weights_are_refused_or_start_again(folder: Path) -> None:
    wrong = "was made with different settings: sha256 was '1' and is '2'"
    with pytest.raises(UserError, match=wrong), opened(folder, sha256="2"):
        pass
    with pytest.raises(UserError, match="precision was 'float32' and is 'float16'"), opened(folder, "float16"):
        pass
    with opened(folder, checkpoint="elsewhere/a.pt") as index:  # the same weights at another place
        assert index.windows == 9
    with opened(folder, sha256="2", overwrite=True) as index:
        assert not index.videos
        index.add(folder.parent / "a.mp4", vectors(3, 0), spans(3), in_frames=False)
    assert VideoIndex.load(folder).windows == 3


def test_half_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with opened(tmp_path / "index", "float16") as index:
        index.add(tmp_path / "a.mp4", vectors(3, 0), spans(3), in_frames=False)
    assert (tmp_path / "index" / "vectors-0.bin").stat().st_size == 3 * 4 * 2
    (match,) = VideoIndex.load(tmp_path / "index").nearest(vectors(3, 0)[1], 1).matches
    assert match.cosine == pytest.approx(1, abs=1e-3)
    assert match.start == 10


def test_equal_windows_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with opened(tmp_path / "index") as index:
        index.add(tmp_path / "a.mp4", np.ones((6, 4), np.float32), spans(6), in_frames=False)
    found = VideoIndex.load(tmp_path / "index").nearest(np.ones(4, np.float32), 3)
    assert [m.start for m in found.matches] == [0, 10, 20]
    assert found.matches[0].deviations == 0


def test_a_query_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="has vectors of 4 channels"):
        VideoIndex.load(folder).nearest(np.ones(5, np.float32))
