"""Steps of a pipeline about sentences."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from vidcore.errors import UserError
from vidcore.records import Segments, Varying
from vidcore.sample import Sample

__all__ = ["FormatQuery"]


@frozen
class FormatQuery:
    """Put together what a grounding model reads: features of the video's parts, and a sentence.

    Beside the input ``features`` (parts, C), which ``LoadProposalFeatures`` makes: ``proposals`` (parts, 2) float32
    the parts as fractions of the video, ``query`` (words,) int64 the tokens of the text, ``query_length`` int64.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` for a sample without features, parts, words or duration."""
        words = None if sample.text is None else sample.text.tokens
        parts, seconds, features = sample.proposals, sample.duration, sample.inputs.get("features")
        if words is None or not isinstance(parts, Segments) or not seconds or not isinstance(features, np.ndarray):
            raise UserError(
                "FormatQuery needs features of proposals (LoadProposalFeatures) and a sentence with a video of known "
                "duration, as samples of CharadesSTADataset have"
            )
        return sample.with_inputs(
            features=np.asarray(features, np.float32),
            proposals=(parts.spans / seconds).astype(np.float32),
            query=Varying(np.asarray(words, np.int64)),
            query_length=np.asarray(len(words)),
        )
