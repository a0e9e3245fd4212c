"""Base classes of metrics: what they keep over batches and processes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcore.errors import DataError
from vidcore.metrics import Columns, DumpPredictions, SamplePairs
from vidcore.predictions import PredictionFile
from vidcore.records import Audio, Segments, Varying
from vidcore.sample import Sample


class Pairs(SamplePairs):
    def compute(self) -> dict[str, float]:
        return {"count": float(len(self.pairs()))}


class Labels(Columns):
    def update(self, predictions: Any, targets: Any) -> None:
        self.add(targets, label=np.array([p.label for p in predictions]))

    def compute(self) -> dict[str, float]:
        return {"sum": float(self.columns()["label"].sum())}

    def seen(self) -> list[tuple[int, int]]:
        columns = self.columns()
        return list(zip(columns["index"].tolist(), columns["label"].tolist(), strict=True))


class Both(Pairs):
    def seen(self) -> list[tuple[int, int]]:
        return [(true.index, predicted.label) for predicted, true in self.pairs()]


@pytest.mark.parametrize("kind", [Labels, Both])
def test_a_sample_counts_once_in_the_order_of_its_index(kind: Any) -> None:
    def fed(*batches: list[tuple[int, int]]) -> Any:
        metric = kind()
        for batch in batches:
            samples = [Sample(index=index, label=label) for index, label in batch]
            metric.update(samples, samples)
        return metric

    one = fed([(3, 30), (1, 10)], [(3, 31), (-1, 5)])
    one.merge([pickle.loads(pickle.dumps(fed([(0, 0), (1, 11)], [(-1, 5)])))])
    found = one.seen()
    assert sorted(found) == [(-1, 5), (-1, 5), (0, 0), (1, 10), (3, 30)]
    assert [row for row in found if row[0] >= 0] == [(0, 0), (1, 10), (3, 30)]
    one.reset()
    with pytest.raises(DataError, match=f"{kind.__name__} has seen no samples"):
        one.compute()


def test_a_sample_that_is_kept_does_not_keep_its_batch(tmp_path: Path) -> None:
    batch = np.random.default_rng(0).random((64, 1000)).astype(np.float32)
    frames, whole = np.zeros((1, 4, 4, 3), np.uint8), np.arange(3.0)
    for metric in (Pairs(), DumpPredictions(str(tmp_path / "p.npz"))):
        sample = Sample(index=0, scores=batch[7], frames=frames, meta={"views": batch[8, :2], "whole": whole})
        sample = sample.replace(
            audio=Audio(batch[:1]),
            segments=Segments(batch[:4, :2]),
            extra={"ambiguous": Segments(batch[5:8, :2])},
            inputs={"features": batch},
            targets={"rows": Varying(batch)},
        )
        metric.update([sample], [sample])
        ((kept, _),) = metric.pairs()
        assert kept.frames is kept.audio is None
        assert kept.inputs == kept.targets == {}
        for found, given in zip((kept.segments, kept.extra["ambiguous"]), (batch[:4, :2], batch[5:8, :2]), strict=True):
            assert isinstance(found, Segments)
            assert found.spans.base is None
            np.testing.assert_array_equal(found.spans, given)
        assert kept.scores.base is kept.meta["views"].base is None, "copies, not views of the batch"
        np.testing.assert_array_equal(kept.scores, batch[7])
        assert kept.meta["whole"] is whole, "an array that is not a view is not copied"


def test_dumped_predictions_without_an_index_are_all_kept(tmp_path: Path) -> None:
    dump = DumpPredictions()
    samples = [Sample(scores=np.full(2, i, np.float32)) for i in range(3)]
    dump.update(samples, samples)
    (path,) = dump.write(tmp_path)
    assert [p.scores[0] for p in PredictionFile.load(path).predictions] == [0, 1, 2]
