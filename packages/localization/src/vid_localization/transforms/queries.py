"""Transforms of sentences."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from vidcore.errors import UserError
from vidcore.records import Segments, Varying
from vidcore.sample import Sample

__all__ = ["FormatQuery"]


@frozen
class FormatQuery:
    """Set the inputs of a grounding model beside ``features`` (parts, C) of ``LoadProposalFeatures``.

    These are ``proposals`` (parts, 2) float32, the parts as fractions of the video; ``query`` (words,) int64, the
    tokens of the sentence; and ``query_length`` int64.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if the sample has no features, parts, words or duration."""
        words = None if sample.text is None else sample.text.tokens
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
