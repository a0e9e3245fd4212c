"""The byte-pair tokens of CLIP (Learning Transferable Visual Models, arXiv:2103.00020, section 2.4).

A vocabulary file lists merges, best first, one pair in a line after a comment. Such files are OpenAI's
``bpe_simple_vocab_16e6.txt.gz``, and ``merges.txt`` as ``transformers`` saves it. The tokens follow from it: the 256
bytes, the 256 bytes at the end of a word, the merges, the start and the end of a text.
"""

from __future__ import annotations

import gzip
import html
import re
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from attrs import frozen

from vidcore.data.classes import check_file
from vidcore.errors import AnnotationError, UserError
from vidcore.files import write_text
from vidcore.typing import Array

__all__ = ["ClipTokenizer", "check_text", "train_vocabulary"]

TOKENS = 49408
"""Size of the published vocabulary; a file may list more merges than it has."""
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What one word is: an English contraction, letters, a single digit, or other signs."""
LARGEST = 1 << 24
"""Most bytes of a vocabulary file, unpacked; the published one has 3 million."""


def check_text(text: str, where: str) -> str:
    """Return a text. Raises ``UserError``, beginning with ``where``, if it is empty or not Unicode."""
    if not text.strip():
        raise UserError(f"{where}: the text is empty; it must have at least one word")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of the command line or of a file that are not UTF-8
        raise UserError(f"{where}: the text is not UTF-8 (character {error.start + 1}: {text!a:.60})") from None
    return text


@frozen
class ClipTokenizer:
    """Converts texts to the token ids of CLIP.

    Args:
        vocabulary: file of merges, see above.
        context_length: ids of a text, with start, end, and zeros after the end.
        too_long: what happens to a text with more tokens: ``cut`` keeps the first ones and the end, ``refuse`` is an
            error.

    Raises:
        AnnotationError: the file is not such a vocabulary.
        DataError: it does not exist.
    """

    vocabulary: Path
    context_length: int = 77
    too_long: Literal["cut", "refuse"] = "cut"

    def __attrs_post_init__(self) -> None:
        if self.context_length < 3:
            raise UserError(f"context_length must be at least 3, got {self.context_length}")
        check_file(self.vocabulary, "vocabulary")

    def __call__(self, text: str) -> tuple[Array, int]:
        """Return (context_length,) int64 ids of a text, and the number of its tokens before a cut.

        The text is mended (wrong encodings, HTML entities, blanks) and lowered first. The empty text has two tokens.

        Raises:
            UserError: it has too many tokens, and ``too_long`` is ``refuse``.
        """
        tokenizer, start, end = _tokenizer(self.vocabulary.resolve())
        found = [start, *tokenizer.encode(clean(text)).ids, end]
        count = len(found)
        if count > self.context_length:
            if self.too_long == "refuse":
                raise UserError(
                    f"{text!r:.80} has {count} tokens, and at most {self.context_length} are allowed; shorten it, or "
                    'set too_long = "cut"'
                )
            found = [*found[: self.context_length - 1], end]
        ids = np.zeros(self.context_length, np.int64)
        ids[: len(found)] = found
        return ids, count


def clean(text: str) -> str:
    """Return a text as CLIP reads it.

    >>> clean("  A caf&eacute;,\\n “quoted”")
    'a café, "quoted"'
    """
    import ftfy

    mended: str = ftfy.fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(mended))).strip().lower()


@lru_cache(maxsize=4)
def _tokenizer(file: Path) -> tuple[Any, int, int]:
    """Return a tokenizer, and the ids of start and end."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    signs = _byte_signs()
    merges = _read_merges(file)[: TOKENS - 2 * len(signs) - 2]
    tokens = [*signs, *(f"{sign}</w>" for sign in signs), *(a + b for a, b in merges), START, END]
    known = {token: number for number, token in enumerate(tokens)}
    wrong = next((pair for pair in merges if pair[0] not in known or pair[1] not in known), None)
    if wrong or len(known) < len(tokens):
        which = f"merges {wrong[0]!r} and {wrong[1]!r}, which it does not list before" if wrong else "repeats a merge"
        raise AnnotationError(f"{file}: is not a vocabulary of CLIP: it {which}")
    tokenizer = Tokenizer(BPE(known, merges, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = _words()
    tokenizer.add_special_tokens([START, END])
    return tokenizer, known[START], known[END]


def _words() -> Any:
    """Return what splits a text into words, and these into signs of bytes."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    split = Split(Regex(WORDS), "removed", invert=True)
    return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])


def _byte_signs() -> list[str]:
    """Return the printable sign that each byte has in the file: itself, or one from 256 on; in order of their ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def _read_merges(file: Path) -> list[tuple[str, str]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
        text = data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AnnotationError(f"{file}: is not a vocabulary of CLIP, or is damaged: {error}") from None
    if len(data) > LARGEST:
        raise AnnotationError(f"{file}: is not a vocabulary of CLIP: it has more than {LARGEST >> 20} MiB")
    lines = text.splitlines()[1:]
    pairs = [(first, second) for first, _, second in (line.partition(" ") for line in lines) if second]
    if not pairs or any(" " in second for _, second in pairs):
        raise AnnotationError(
            f"{file}: is not a vocabulary of CLIP: after a first line, each line must have two parts of a token; "
            "such files are bpe_simple_vocab_16e6.txt.gz and merges.txt"
        )
    return pairs


def train_vocabulary(texts: Iterable[str], file: Path, merges: int = 10_000) -> None:
    """Write a vocabulary of the words of texts, for a network that is trained from nothing.

    Args:
        texts: captions, for example.
        file: to write, like ``merges.txt``.
        merges: largest number of merges; the network's ``vocab_size`` must be at least 514 more.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    signs = _byte_signs()
    trainer = BpeTrainer(
        vocab_size=merges + 2 * len(signs),
        end_of_word_suffix="</w>",
        initial_alphabet=signs,
        show_progress=False,
    )
    tokenizer = Tokenizer(BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = _words()
    tokenizer.train_from_iterator(map(clean, texts), trainer)
    with TemporaryDirectory() as folder:
        tokenizer.model.save(folder)
        write_text(file, (Path(folder) / "merges.txt").read_text(encoding="utf-8"))
