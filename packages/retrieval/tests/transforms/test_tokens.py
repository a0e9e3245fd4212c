"""The transform that turns texts into ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vid_retrieval.records import Texts
from vid_retrieval.transforms import tokens
from vid_retrieval.transforms.tokens import CLIPTokenize
from vidcore.errors import DataError
from vidcore.records import Text
from vidcore.sample import Sample

MERGES = Path(__file__).parents[1] / "merges.txt"
RNG = np.random.default_rng(0)


def sample(*texts: str) -> Sample:
    return Sample(index=3, path="a.mp4", extra={"texts": Texts(texts)})


def test_all_texts_become_rows() -> None:
    step = CLIPTokenize(MERGES, 6)
    ids = step(sample("the door", "open"), RNG).inputs["text"]
    assert isinstance(ids, np.ndarray)
    assert ids.shape == (2, 6)
    assert ids.dtype == np.int64
    one = step(Sample(text=Text(("open",))), RNG).inputs["text"]
    assert np.array_equal(one, ids[1:])


def test_a_sample_without_texts_is_unchanged() -> None:
    assert not CLIPTokenize(MERGES)(Sample(path="a.mp4"), RNG).inputs


def test_bad_texts_name_their_sample() -> None:
    with pytest.raises(DataError, match=r"sample 3 \(a\.mp4\): text: the text is empty"):
        CLIPTokenize(MERGES)(sample("open", " "), RNG)
    with pytest.raises(DataError, match=r"sample 3 \(a\.mp4\): has no text"):
        CLIPTokenize(MERGES)(sample(), RNG)
    with pytest.raises(DataError, match=r"sample 3 \(a\.mp4\): .* has 6 tokens"):
        CLIPTokenize(MERGES, 5, "refuse")(sample("the door the door"), RNG)


def test_a_cut_is_noticed_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_noticed", set())
    for _ in range(2):
        CLIPTokenize(MERGES, 5)(sample("the door the door"), RNG)
    (line,) = capsys.readouterr().err.splitlines()
    assert "sample 3 (a.mp4): 'the door the door' has 6 tokens; the first 4 and the end are kept" in line
