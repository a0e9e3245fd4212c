"""Transforms of sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from attrs import frozen

from vid_localization.datasets.words import read_words, split_words
from vidcore.errors import UserError, nearest
from vidcore.protocols import ReadsText
from vidcore.records import Segments, Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["FormatQuery"]


@frozen
class FormatQuery(ReadsText):
    """Set the inputs of a grounding model beside ``features`` (parts, C) of ``LoadProposalFeatures``.

    These are ``proposals`` (parts, 2) float32, the parts as fractions of the video; ``query`` (words,) int64, the
    tokens of the sentence; and ``query_length`` int64.

    Args:
        word2id_file: JSON from words to their numbers, for sentences of your own; those of datasets have tokens.
    """

    word2id_file: Path | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if the sample has no features, parts, words or duration, or a word is unknown."""
        words = None if sample.text is None else sample.text.tokens
        if words is None and sample.text is not None:
            words = self._tokens(sample.text.strings[0])
        parts, seconds, features = sample.proposals, sample.duration, sample.inputs.get("features")
        if words is None or not isinstance(parts, Segments) or not seconds or not isinstance(features, np.ndarray):
            raise UserError(
                "FormatQuery needs the features of LoadProposalFeatures, and a sentence and the duration of the video, "
                "as samples of CharadesSTADataset have"
            )
        return sample.with_inputs(
            features=np.asarray(features, np.float32),
            proposals=(parts.spans / seconds).astype(np.float32),
            query=Varying(np.asarray(words, np.int64)),
            query_length=np.asarray(len(words)),
        )

    def _tokens(self, sentence: str) -> Array:
        if self.word2id_file is None:
            raise UserError("FormatQuery: word2id_file must name the table of words that the model was trained with")
        known, words = read_words(self.word2id_file), split_words(sentence.lower())
        unknown = next((word for word in words if word not in known), None)
        if unknown is not None:
            raise UserError(f"{self.word2id_file}: has no word {unknown!r}{nearest(unknown, known)}")
        if not words:
            raise UserError(f"FormatQuery: the sentence {sentence!r} has no words")
        return np.array([known[word] for word in words])
