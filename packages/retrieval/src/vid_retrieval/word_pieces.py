"""The word pieces of BERT (arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import frozen

from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, UserError
from vidcore.typing import Array

__all__ = ["WordPieces"]

START, END, UNKNOWN, PAD = "[CLS]", "[SEP]", "[UNK]", "[PAD]"


@frozen
class WordPieces:
    """Converts texts to token ids of BERT, without case and accents.

    Args:
        vocabulary: ``vocab.txt`` of a published BERT: one token per line.
        length: ids of a text, with its start, filled up with 0.
        end: whether an end follows the text; VindLU ends answers only.
        too_long: what happens to a text with more tokens: ``cut`` keeps the first ones and the end, ``refuse`` is an
            error.

    Raises:
        AnnotationError: the file is not such a vocabulary.
        DataError: it does not exist.
    """

    vocabulary: Path
    length: int
    end: bool = False
    too_long: Literal["cut", "refuse"] = "cut"

    def __attrs_post_init__(self) -> None:
        if self.length < 3:
            raise UserError(f"a text needs at least 3 tokens, got {self.length}")
        _tokenizer(self.vocabulary)

    def __call__(self, text: str) -> tuple[Array, int]:
        """Return (length,) int64 ids of a text, and the number of its tokens before a cut.

        Raises:
            UserError: it has too many tokens, and ``too_long`` is ``refuse``.
        """
        tokenizer, start, end = _tokenizer(self.vocabulary)
        last = [end] if self.end else []
        found = [start, *tokenizer.encode(text, add_special_tokens=False).ids, *last]
        count = len(found)
        if count > self.length:
            if self.too_long == "refuse":
                raise UserError(
                    f"{text!r:.80} has {count} tokens, and at most {self.length} are allowed; shorten it, or set "
                    'too_long = "cut"'
                )
            found = [*found[: self.length - len(last)], *last]
        ids = np.zeros(self.length, np.int64)
        ids[: len(found)] = found
        return ids, count


@lru_cache(maxsize=4)
def _tokenizer(file: Path):  # type: ignore[no-untyped-def]  # of tokenizers.Tokenizer, which is imported late
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    tokens = read_text(file, "vocabulary").rstrip("\n").split("\n")
    known = {token.strip(): number for number, token in enumerate(tokens)}
    missing = [token for token in (PAD, UNKNOWN, START, END) if token not in known]
    if missing or known[PAD] != 0 or len(known) < len(tokens):
        why = f"has no {missing[0]}" if missing else "does not begin with [PAD]" if known[PAD] else "repeats a token"
        raise AnnotationError(f"{file}: is not a vocabulary of BERT: it {why}")
    tokenizer = Tokenizer(WordPiece(known, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    return tokenizer, known[START], known[END]
