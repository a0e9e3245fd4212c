"""No metric gives a score to NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vid_recognition.metrics.accuracy import AccMetric
from vid_recognition.metrics.confusion import ConfusionMatrix
from vid_recognition.metrics.report import ClassReport
from vidcore.errors import DataError
from vidcore.metrics import DumpPredictions, Mistakes
from vidcore.sample import Sample


@pytest.mark.parametrize("metric", [AccMetric, ConfusionMatrix, ClassReport, DumpPredictions, Mistakes])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite(metric: Any, value: float) -> None:
    sample = Sample(index=3, path="a.mp4", label=0, scores=np.array([value, 0.5], np.float32))
    with pytest.raises(DataError, match=rf"^{metric.__name__}: sample 3 \(a.mp4\): its scores contain (NaN|Inf)$"):
        metric().update([sample], [sample])
