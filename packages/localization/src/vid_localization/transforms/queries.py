"""Steps of a pipeline about sentences."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from vidcore.errors import UserError
from vidcore.sample import Sample

__all__ = ["FormatQuery"]


@frozen
class FormatQuery:
    """Put together what a grounding model reads: features of the video's parts, and a sentence.

    ``inputs`` (parts, C), which ``LoadProposalFeatures`` makes, become a mapping: ``features`` (parts, C) float32,
    ``proposals`` (parts, 2) float32 the parts as fractions of the video, ``query`` (words,) int64 from
    ``meta["query_tokens"]``, ``query_length`` int64.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` for a sample without features, parts, words or duration."""
        words = sample.meta.get("query_tokens")
        parts, seconds = sample.proposal_segments, sample.duration
        if words is None or parts is None or not seconds or not isinstance(sample.inputs, np.ndarray):
            raise UserError(
                "FormatQuery needs features of proposals (LoadProposalFeatures) and a sentence with a video of known "
                "duration, as samples of CharadesSTADataset have"
            )
        inputs = {
            "features": np.asarray(sample.inputs, np.float32),
            "proposals": (parts / seconds).astype(np.float32),
            "query": np.asarray(words, np.int64),
            "query_length": np.int64(len(words)),
        }
        return sample.replace(inputs=inputs)
