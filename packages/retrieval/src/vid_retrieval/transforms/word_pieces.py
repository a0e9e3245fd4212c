"""Token ids of BERT, of texts and of answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import frozen

from vid_retrieval.records import Answers, Texts
from vid_retrieval.word_pieces import WordPieces
from vidcore.errors import DataError, UserError
from vidcore.protocols import ReadsText
from vidcore.records import Text
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["BertTokenize"]

_noticed: set[Path] = set()


@frozen
class BertTokenize(ReadsText):
    """Set the input ``text``: (texts, max_length) int64 token ids of BERT, and perhaps ``answers`` to a question.

    Args:
        vocabulary: ``vocab.txt`` of the text network: one token per line.
        max_length: ids of a text, with its start, filled up with 0.
        texts: ``all`` texts of a sample, or ``one``, drawn anew in every epoch.
        max_answer_length: ids of an answer, with start and end, filled up with 0. Default: no answers. With it, the
            inputs ``answers`` (answers, max_answer_length) and ``answer_weights`` (answers,) float32 are set.
        too_long: what happens to a text with more tokens: ``cut`` keeps the first ones, with one notice per process;
            ``refuse`` is an error.

    Raises:
        AnnotationError: the file is not such a vocabulary.
    """

    vocabulary: Path
    max_length: int = 32
    texts: Literal["all", "one"] = "all"
    max_answer_length: int | None = None
    too_long: Literal["cut", "refuse"] = "cut"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``DataError`` if there is no text, or it is empty, or too long and to be refused."""
        texts = sample.extra.get("texts", sample.text)
        where = f"sample {sample.index}" + (f" ({sample.path})" if sample.path else "")
        if not isinstance(texts, Texts | Text) or not texts.strings:
            raise DataError(f"{where}: has no text")
        strings = texts.strings
        if self.texts == "one":
            strings = (strings[int(rng.integers(len(strings)))],)
        pieces = WordPieces(self.vocabulary, self.max_length, too_long=self.too_long)
        inputs = {"text": np.stack([self._ids(pieces, text, where) for text in strings])}
        answers = sample.extra.get("answers")
        if self.max_answer_length is not None and isinstance(answers, Answers):
            pieces = WordPieces(self.vocabulary, self.max_answer_length, end=True, too_long=self.too_long)
            inputs["answers"] = np.stack([self._ids(pieces, answer, where) for answer in answers.strings])
            inputs["answer_weights"] = answers.weights.astype(np.float32)
        return sample.with_inputs(**inputs)

    def _ids(self, pieces: WordPieces, text: str, where: str) -> Array:
        if not text.strip():
            raise DataError(f"{where}: a text is empty; it must have at least one word")
        try:
            ids, count = pieces(text)
        except UserError as error:
            raise DataError(f"{where}: {error}") from None
        if count > pieces.length and self.vocabulary not in _noticed:
            _noticed.add(self.vocabulary)
            print(
                f"note: {where}: {text!r:.60} has {count} tokens; {pieces.length} are kept, here and in other long "
                'texts (too_long = "refuse" makes it an error)',
                file=sys.stderr,
            )
        return ids
