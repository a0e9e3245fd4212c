"""Records of texts, answers and embeddings."""

import numpy as np
import pytest

from vid_retrieval.records import Answers, Embeddings, Texts, extra_record
from vidcore.errors import DataError
from vidcore.predictions import PredictionFile
from vidcore.sample import Sample


def test_texts_select_and_are_kept_in_files_of_predictions(tmp_path):
    texts = Texts(("a dog", "two – cats", ""), np.arange(3), video=4)
    assert texts.select([2, 0]).strings == ("", "a dog") and texts.select([2, 0]).ids.tolist() == [2, 0]
    vectors = np.eye(3, 5, dtype=np.float32)
    answers = Answers(("yes", "no"), np.array([0.75, 0.25]))
    sample = Sample(index=0, extra={"texts": texts, "text_embeddings": Embeddings(vectors), "answers": answers})
    PredictionFile((sample,), (sample,)).save(tmp_path / "p.npz")
    (found,) = PredictionFile.load(tmp_path / "p.npz").predictions
    assert found.extra["texts"].strings == texts.strings and found.extra["texts"].video == 4
    assert found.extra["answers"].strings == ("yes", "no")
    assert found.extra["answers"].weights.tolist() == [0.75, 0.25]
    np.testing.assert_array_equal(found.extra["text_embeddings"].vectors, vectors)


def test_a_record_that_is_missing_is_named():
    with pytest.raises(DataError, match=r"X needs Texts in extra\['texts'\]; sample 7 has none"):
        extra_record(Sample(index=7), "texts", Texts, "X")
