"""Transforms that turn texts into token ids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import frozen

from vid_retrieval.clip_tokens import ClipTokenizer, check_text
from vid_retrieval.records import Texts
from vidcore.errors import DataError, UserError
from vidcore.records import Text
from vidcore.sample import Sample

__all__ = ["CLIPTokenize"]

_noticed: set[Path] = set()


@frozen
class CLIPTokenize:
    """Set the input ``text``: (texts, context_length) int64 token ids of CLIP, of all texts of a sample.

    A sample without texts is left unchanged: its video can be embedded, but it cannot be trained on.

    Args:
        vocabulary: ``bpe_simple_vocab_16e6.txt.gz`` of OpenAI's release, or ``merges.txt`` of ``transformers``.
        context_length: ids of a text, 77 in published networks.
        too_long: what happens to a text with more tokens: ``cut`` keeps the first ones and the end, with one notice
            per process; ``refuse`` is an error.

    Raises:
        AnnotationError: the file is not such a vocabulary.
    """

    vocabulary: Path
    context_length: int = 77
    too_long: Literal["cut", "refuse"] = "cut"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``DataError`` if a text is empty, or too long and to be refused."""
        texts = sample.extra.get("texts", sample.text)
        if texts is None:
            return sample
        if not isinstance(texts, Texts | Text):
            raise DataError(f'extra["texts"] must be Texts, got {type(texts).__name__}')
        tokenizer = ClipTokenizer(self.vocabulary, self.context_length, self.too_long)
        where = f"sample {sample.index}" + (f" ({sample.path})" if sample.path else "")
        rows = []
        for text in texts.strings:
            try:
                ids, count = tokenizer(check_text(text, "text"))
            except UserError as error:
                raise DataError(f"{where}: {error}") from None
            if count > self.context_length and self.vocabulary not in _noticed:
                _noticed.add(self.vocabulary)
                print(
                    f"note: {where}: {text!r:.60} has {count} tokens; the first {self.context_length - 1} and the end "
                    'are kept, here and in other long texts (too_long = "refuse" makes it an error)',
                    file=sys.stderr,
                )
            rows.append(ids)
        if not rows:
            raise DataError(f"{where}: has no text")
        return sample.with_inputs(text=np.stack(rows))
