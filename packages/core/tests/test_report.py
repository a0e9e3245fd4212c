"""What a report says of the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidcore.data.loader import Loader
from vidcore.data.policy import Failure
from vidcore.report import coverage
from vidcore.sample import Sample


class Videos:
    class_names = None
    num_classes = None

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index)


def test_bad_samples_of_all_processes_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(Videos(), ())
    loader.bad.record(Failure(1, 0, "1.mp4", "is no video"))
    assert coverage(loader) == {"samples": 5, "used": 4, "fingerprint": None}
    monkeypatch.setattr("vidcore.engine.dist.gather", lambda ours: [ours, {1, 3}])
    assert coverage(loader)["used"] == 3
