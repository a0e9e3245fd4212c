"""The text cleaning of VindLU's lists (after BLIP, arXiv:2201.12086): lower case, without punctuation."""

from __future__ import annotations

import re

__all__ = ["clean_text"]

DROPPED = dict.fromkeys(map(ord, ",.'!?\"()*#:;~"))
BLANKS = re.compile(r"\s{2,}")


def clean_text(text: str, max_words: int | None = None) -> str:
    """Return a text in lower case without punctuation, cut to ``max_words`` words.

    >>> clean_text("A  dog -- runs/jumps!")
    'a dog runs jumps'
    >>> clean_text('<person> says: "hi"', max_words=2)
    'person says'
    """
    bare = text.lower().translate(DROPPED).replace("-", " ").replace("/", " ").replace("<person>", "person")
    clean = BLANKS.sub(" ", bare).rstrip("\n").strip(" ")
    return clean if max_words is None else " ".join(clean.split(" ")[:max_words])
