"""Predictions are saved and loaded without pickles, and can be fused."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from attrs import evolve, field, frozen

from vidcore.errors import DataError
from vidcore.geometry import Geometry
from vidcore.metrics import DumpPredictions
from vidcore.predictions import PredictionFile, fuse, require_finite
from vidcore.records import Boxes, Cut, Record, Segments, Text, shape
from vidcore.sample import Sample
from vidcore.transforms.resizing import Resize
from vidcore.typing import Array


def sample(index: int, **values: object) -> Sample:
    return Sample(index=index, path=f"a b/é{index}.mp4", class_names=("x", "y"), **values)


def found(rng: np.random.Generator, count: int) -> Segments:
    return Segments(rng.random((count, 2)), scores=rng.random(count))


def test_all_fields_are_restored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    predictions = [
        sample(
            i,
            scores=rng.random(2, np.float32),
            segments=Segments(rng.random((i, 2)), scores=rng.random(i)),
            meta={"n": i},
        )
        for i in range(3)
    ]
    targets = [sample(i, label=i % 2, fps=None if i else 25.0, segments=Segments(np.zeros((1, 2)))) for i in range(3)]
    PredictionFile(tuple(predictions), tuple(targets)).save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as archive:  # raises if anything is pickled
        assert all(archive[name].dtype != object for name in archive.files)
    read = PredictionFile.load(tmp_path / "p.npz")
    for one, other in zip((*predictions, *targets), (*read.predictions, *read.targets), strict=True):
        assert (one.index, one.path, one.label, one.fps, one.class_names) == (
            other.index, other.path, other.label, other.fps, other.class_names
        )  # fmt: skip
        np.testing.assert_array_equal(one.segments.spans, other.segments.spans)
        np.testing.assert_array_equal(one.segments.scores, other.segments.scores)
    np.testing.assert_array_equal(read.predictions[2].scores, predictions[2].scores)
    assert read.predictions[1].meta == {"n": 1}


@frozen(eq=False)
class Circles(Record):
    """A kind of annotation that the core does not have."""

    centres: Array = field(validator=shape(None, 2))
    radii: Array | None = None

    def resized(self, factors: tuple[float, float]) -> Self:
        return evolve(self, centres=self.centres * factors)


def test_parts_of_videos_are_restored(tmp_path: Path) -> None:
    cuts = [Cut(1.5, 3.25), None, Cut(10, 20, in_seconds=False)]
    parts = tuple(sample(i, scores=np.ones(2, np.float32), cut=cut) for i, cut in enumerate(cuts))
    PredictionFile(parts, parts).save(tmp_path / "p.npz")
    read = PredictionFile.load(tmp_path / "p.npz")
    assert [s.cut for s in read.predictions] == [s.cut for s in read.targets] == cuts


def test_records_of_packages_are_restored(tmp_path: Path) -> None:
    known = (None, Circles(np.array([[1.0, 2.0]])), Circles(np.array([[3.0, 4.0], [5.0, 6.0]]), radii=np.array([7, 8])))
    samples = tuple(
        Sample(index=i, extra={} if circles is None else {"circles": circles}, geometry=Geometry.whole((8, 8)))
        for i, circles in enumerate(known)
    )
    moved = tuple(Resize((16, 32), keep_ratio=False)(s, np.random.default_rng(0)) for s in samples)
    PredictionFile(moved, samples).save(tmp_path / "p.npz")
    read = PredictionFile.load(tmp_path / "p.npz")
    for side, factors in ((read.predictions, [2.0, 4.0]), (read.targets, [1.0, 1.0])):
        assert dict(side[0].extra) == {}
        for sample, before in zip(side[1:], known[1:], strict=True):
            found = sample.extra["circles"]
            assert isinstance(found, Circles)
            np.testing.assert_array_equal(found.centres, before.centres * factors)
            np.testing.assert_array_equal(found.radii, before.radii)


def test_every_record_of_a_sample_is_restored(tmp_path: Path) -> None:
    boxes = Boxes(np.ones((2, 4), np.float32), np.array([[1, 0], [0, 1]]), np.array([0.5, 0.25]), np.array([3, 4]))
    text = Text(("Was geht hier vor?", "nichts"))
    full = Sample(index=0, key="ä", error="no video", boxes=boxes, proposals=boxes.select([1]), text=text)
    spans = Segments(np.array([[1.0, 2.0]]))
    PredictionFile((full, Sample(index=1, proposals=boxes)), (Sample(index=0, proposals=spans), Sample(index=1))).save(
        tmp_path / "p.npz"
    )
    read = PredictionFile.load(tmp_path / "p.npz")
    one, other = read.predictions
    assert (one.key, one.error, other.key, other.error) == ("ä", "no video", None, None)
    assert one.text is not None and one.text.strings == text.strings
    assert one.boxes is not None and one.proposals is not None and other.proposals is not None
    for name in ("xyxy", "labels", "scores", "track"):
        np.testing.assert_array_equal(getattr(one.boxes, name), getattr(boxes, name))
        np.testing.assert_array_equal(getattr(one.proposals, name), getattr(boxes, name)[1:])
    assert isinstance(other.proposals, Boxes)
    assert other.boxes is None
    assert isinstance(read.targets[0].proposals, Segments)
    assert read.targets[1].proposals is None


def joined(rows: Sequence[Sequence[float]], *shape: int) -> tuple[Array, Array]:
    """Concatenated rows of all samples and their numbers, as in files of format 1."""
    parts = [np.array(part, np.float64).reshape(-1, *shape) for part in rows]
    return np.concatenate(parts), np.array([len(part) for part in parts])


def texts(values: Sequence[str]) -> tuple[Array, Array]:
    kept = [value.encode("utf-8", "surrogateescape") for value in values]
    return np.frombuffer(b"".join(kept), np.uint8), np.array([len(part) for part in kept])


def test_files_from_before_there_were_records_are_read(tmp_path: Path) -> None:
    ambiguous = {"array": [[7.0, 8.0]], "dtype": "float64"}
    metas = [{"video_name": "v_é", "ambiguous_segments": ambiguous}, {"n": [1, 2]}, {}]
    columns = {"format": np.array(1), "class_names": np.array(["run", "sit"])}
    for side in ("predicted", "true"):
        lists = {
            "path": texts(["a b/é.mp4", "b.mp4", "c.mp4"]),
            "filename_tmpl": texts(["img_{:05}.jpg"] * 3),
            "meta": texts([json.dumps(meta) for meta in metas]),
            "segments": joined([[1, 2, 3, 4], [5, 6], []], 2),
        }
        for name, (values, lengths) in lists.items():
            columns |= {f"{side}.{name}": values, f"{side}.{name}#": lengths}
        columns |= {f"{side}.index": np.arange(3), f"{side}.num_crops": np.ones(3, np.int64)}
        columns |= {f"{side}.duration": np.array([9.0, 8.0]), f"{side}.duration?": np.array([True, True, False])}
        columns |= {f"{side}.labels": np.eye(3, 2, dtype=np.float32)}
    for name, rows in (("labels", [[0, 1], [1], []]), ("scores", [[0.5, 0.25], [0.75], []])):
        values, lengths = joined(rows)
        columns |= {f"predicted.segment_{name}": values, f"predicted.segment_{name}#": lengths}
    columns["predicted.segment_labels"] = columns["predicted.segment_labels"].astype(np.int64)
    columns["predicted.proposal_segments"] = np.arange(12.0).reshape(3, 2, 2)
    columns["predicted.proposal_scores"] = np.arange(6.0).reshape(3, 2)
    np.savez_compressed(tmp_path / "old.npz", **columns)

    read = PredictionFile.load(tmp_path / "old.npz")
    first, second, third = read.predictions
    assert [s.index for s in read.predictions] == [s.index for s in read.targets] == [0, 1, 2]
    assert (first.path, first.key, second.key) == ("a b/é.mp4", "v_é", None)
    assert (second.duration, third.duration) == (8.0, None)
    assert first.class_names == ("run", "sit")
    assert (first.meta, second.meta) == ({}, {"n": [1, 2]})
    np.testing.assert_array_equal(second.labels, [0, 1])
    wanted = (([[1, 2], [3, 4]], [0, 1], [0.5, 0.25]), ([[5, 6]], [1], [0.75]), (np.zeros((0, 2)), [], []))
    for predicted, target, (spans, labels, scores) in zip(read.predictions, read.targets, wanted, strict=True):
        assert predicted.segments is not None and target.segments is not None
        for segments in (predicted.segments, target.segments):
            np.testing.assert_array_equal(segments.spans, spans)
        np.testing.assert_array_equal(predicted.segments.labels, labels)
        np.testing.assert_array_equal(predicted.segments.scores, scores)
        assert target.segments.labels is target.segments.scores is None
    assert isinstance(third.proposals, Segments)
    np.testing.assert_array_equal(third.proposals.spans, [[8, 9], [10, 11]])
    np.testing.assert_array_equal(third.proposals.scores, [4, 5])
    known = read.targets[0].extra["ambiguous"]
    assert isinstance(known, Segments)
    np.testing.assert_array_equal(known.spans, [[7, 8]])
    read_again = tmp_path / "new.npz"
    read.save(read_again)
    assert PredictionFile.load(read_again).predictions[0].key == "v_é"
    np.savez_compressed(tmp_path / "later.npz", **columns | {"format": np.array(3)})
    with pytest.raises(DataError, match=r"later\.npz: has format 3; this version of vidcore reads 1 to 2"):
        PredictionFile.load(tmp_path / "later.npz")


def test_a_sample_from_two_processes_is_kept_once(tmp_path: Path) -> None:
    one, two = DumpPredictions(), DumpPredictions()
    one.update([sample(1, scores=np.ones(2))], [sample(1)])
    two.update([sample(i, scores=np.zeros(2)) for i in (0, 1)], [sample(0), sample(1)])
    one.merge([two])
    (path,) = one.write(tmp_path)
    found = PredictionFile.load(path).predictions
    assert [p.index for p in found] == [0, 1]
    np.testing.assert_array_equal(found[1].scores, [1, 1])


def test_streams_are_fused_by_sample() -> None:
    rgb = PredictionFile(tuple(sample(i, scores=np.array([i, 0.0])) for i in (0, 1)), ())
    flow = PredictionFile(tuple(sample(i, scores=np.array([0.0, i])) for i in (1, 0)), ())
    fused = fuse([rgb, flow], [1, 2], ["rgb", "flow"])
    np.testing.assert_array_equal([p.scores for p in fused.predictions], [[0, 0], [1, 2]])


def test_files_for_different_data_are_refused(tmp_path: Path) -> None:
    one = PredictionFile((sample(0, scores=np.zeros(2)),), ())
    with pytest.raises(DataError, match=r"b: has different samples than a: 2 are in only one .* number 0"):
        fuse([one, PredictionFile((sample(1, scores=np.zeros(2)),), ())], [1, 1], ["a", "b"])
    with pytest.raises(DataError, match="b: has scores for 3 classes"):
        fuse([one, PredictionFile((sample(0, scores=np.zeros(3)),), ())], [1, 1], ["a", "b"])
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text\.npz: is not a file of predictions, or is damaged$"):
        PredictionFile.load(tmp_path / "text.npz")
    with pytest.raises(DataError, match="does not exist"):
        PredictionFile.load(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        PredictionFile.load(tmp_path)


def test_a_file_that_unpacks_to_far_more_than_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "bad.npz", format=np.zeros(1 << 22))
    monkeypatch.setattr("vidcore.predictions.SPARE", 1 << 20)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bad\.npz: is not a file of predictions, or is damaged"):
        PredictionFile.load(tmp_path / "bad.npz")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (-1,)])
def test_an_array_that_promises_more_than_there_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("format.npy", header.getvalue() + bytes(8))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bad\.npz: is not a file of predictions"):
        PredictionFile.load(tmp_path / "bad.npz")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_files_with_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    good, bad = (sample(i, scores=np.array(s, np.float32)) for i, s in enumerate(([0.5, 0.5], [0.1, np.nan])))
    with pytest.raises(DataError, match=r"^DumpPredictions: sample 1 \(a b/é1.mp4\): its scores contain NaN$"):
        DumpPredictions().update([good, bad], [good, bad])
    PredictionFile((good, bad), (good, bad)).save(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a.npz: sample 1 \(a b/é1.mp4\): its scores contain NaN$"):
        PredictionFile.load(tmp_path / "a.npz")
    wrong = sample(2, segments=Segments(np.zeros((1, 2)), scores=np.array([np.inf])))
    with pytest.raises(DataError, match=r"its segments.scores contain Inf"):
        require_finite([wrong], [wrong], "it")
    huge = good.replace(scores=np.array([1e38, 0], np.float32))
    file = PredictionFile((huge,), (huge,))
    with pytest.raises(DataError, match=r"^the sum of the files: sample 0 .*: its scores contain Inf$"):
        fuse([file, file], [2.0, 9.0], ["a", "b"])
