"""Word pieces: ids as ``transformers`` gives them, cuts, and files that are not vocabularies."""

from pathlib import Path

import numpy as np
import pytest

from vid_retrieval.records import Answers, Texts
from vid_retrieval.transforms.word_pieces import BertTokenize
from vid_retrieval.word_pieces import WordPieces
from vidcore.errors import AnnotationError, DataError, UserError
from vidcore.sample import Sample

VOCABULARY = Path(__file__).with_name("vocab.txt")
TEXTS = ["The dog runs!", "  a CAT\tis running", "Café dogz", "狗 what-is", "don't", "a" * 200, "dog" * 40 + " run"]


def test_ids_equal_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertTokenizerFast(str(VOCABULARY))
    for text in TEXTS:
        ids, count = WordPieces(VOCABULARY, 64, end=True)(text)
        assert ids[:count].tolist() == theirs(text)["input_ids"], text


def test_ids_by_hand():
    ids, count = WordPieces(VOCABULARY, 8)("The dog runs, café!")
    assert (ids.tolist(), count) == ([2, 13, 6, 8, 9, 1, 15, 16], 8)
    ids, count = WordPieces(VOCABULARY, 4, end=True)("the dog runs")
    assert (ids.tolist(), count) == ([2, 13, 6, 3], 6)
    with pytest.raises(UserError, match="'the dog runs' has 5 tokens, and at most 4 are allowed"):
        WordPieces(VOCABULARY, 4, too_long="refuse")("the dog runs")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a\nb\n", "has no .PAD"),
        ("[PAD]\n[UNK]\n[CLS]\n", "has no .SEP"),
        ("[UNK]\n[PAD]\n[CLS]\n[SEP]\n", "does not begin with"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n", "repeats a token"),
    ],
)
def test_other_files_are_refused(tmp_path, content, why):
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(AnnotationError, match=why):
        WordPieces(tmp_path / "vocab.txt", 8)


def test_a_step_sets_texts_and_answers(capsys):
    texts = Texts(("a dog", "the cat is running"), video=3)
    sample = Sample(index=0, extra={"texts": texts, "answers": Answers(("run", "cat"), np.array([0.75, 0.25]))})
    made = BertTokenize(VOCABULARY, 4, max_answer_length=4)(sample, np.random.default_rng(0))
    assert made.inputs["text"].tolist() == [[2, 5, 6, 0], [2, 13, 7, 12]]
    assert made.inputs["answers"].tolist() == [[2, 8, 3, 0], [2, 7, 3, 0]]
    assert made.inputs["answer_weights"].tolist() == [0.75, 0.25]
    assert capsys.readouterr().err.startswith("note: sample 0: 'the cat is running' has 6 tokens; 4 are kept")
    one = [BertTokenize(VOCABULARY, texts="one")(sample, np.random.default_rng(i)).inputs["text"] for i in range(9)]
    assert {len(ids) for ids in one} == {1} and len({ids.tobytes() for ids in one}) == 2
    with pytest.raises(DataError, match=r"sample 4 \(v.mp4\): has no text"):
        BertTokenize(VOCABULARY)(Sample(index=4, path="v.mp4"), np.random.default_rng(0))
    with pytest.raises(DataError, match="sample 4: a text is empty"):
        BertTokenize(VOCABULARY)(Sample(index=4, extra={"texts": Texts((" ",))}), np.random.default_rng(0))
