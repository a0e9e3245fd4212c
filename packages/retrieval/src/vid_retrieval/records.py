"""Records of video and language, kept in ``Sample.extra``.

Names of annotations: ``texts`` (``Texts``), and for a question ``answers`` (``Answers``). Names of predictions:
``video_embedding`` and ``text_embeddings`` (``Embeddings``), ``answers`` (``Answers``), and of networks that match
pairs ``video_states`` and ``text_states`` (``States``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import numpy as np
from attrs import evolve, field, frozen

from vid_retrieval.answers import answer_accuracy
from vidcore.errors import DataError
from vidcore.record import Record, shape
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Answers", "Embeddings", "States", "Texts", "extra_record"]

Kind = TypeVar("Kind", bound=Record)


class _Strings(Record):
    """Base class of records with one string for each entry."""

    strings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.strings)

    def select(self, rows: Any) -> Self:
        kept = np.arange(len(self.strings))[rows]
        changes: dict[str, Any] = {"strings": tuple(self.strings[i] for i in kept.tolist())}
        return evolve(self, **changes, **{a.name: value[rows] for a, value in self.columns()})

    def arrays(self) -> dict[str, Array]:
        return {**super().arrays(), "strings": np.array(self.strings, np.str_)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        plain = {name: array if array.ndim else array.item() for name, array in arrays.items()}
        return cls(**{**plain, "strings": tuple(arrays["strings"].tolist())})


@frozen(eq=False)
class Texts(_Strings):
    """The texts of a sample: captions of a video, one question about it, or the options of a multiple choice."""

    strings: tuple[str, ...]
    ids: Array | None = field(default=None, validator=shape(None))
    """(n,) int64: numbers of the texts in their dataset; of a question, its number in the annotation file."""
    video: int = -1
    """Number of the video in its dataset, the same in all samples of one video; -1 if unknown."""

    def rows(self, class_names: Any = None) -> list[dict[str, Any]]:
        return [{"text": text} for text in self.strings]


@frozen(eq=False)
class Answers(_Strings):
    """Answers to the question of a sample: annotated ones, or predicted ones, best first."""

    strings: tuple[str, ...]
    weights: Array = field(validator=shape(None))
    """(n,) float64: share of the annotators who gave each answer, or its predicted probability."""

    cell_names = ("answer", "score")

    def rows(self, class_names: Any = None) -> list[dict[str, Any]]:
        return [{"answer": a, "score": float(w)} for a, w in zip(self.strings, self.weights, strict=True)]

    def line(self, row: Mapping[str, Any]) -> str:
        return f"{row['answer']}  {row['score']:.3f}"

    def compared(self, truth: Self) -> tuple[float, dict[str, Any]] | None:
        """Compare the best answer with the annotated ones."""
        best = self.strings[0] if self.strings else ""
        accuracy = answer_accuracy(best, truth.strings, truth.weights.tolist())
        true = truth.strings[int(np.argmax(truth.weights))] if truth.strings else None
        return 1 - accuracy, {"true": true, "predicted": best, "accuracy": round(accuracy, 6)}


@frozen(eq=False)
class Embeddings(Record):
    """Vectors of a joint space of videos and texts, one row for the video or for each of ``Texts``."""

    vectors: Array = field(validator=shape(None, None))
    """(n, channels) float32; of any length, since they are compared by their cosine."""


@frozen(eq=False)
class States(Record):
    """States of a network, which match a video with texts. They stay in memory, and out of files of predictions."""

    tensor: Any
    """(n, tokens, channels) torch.Tensor: of the video (n is 1), or of each text."""
    ids: Any = None
    """(n, tokens) torch.Tensor: token ids of texts."""

    def __len__(self) -> int:
        return len(self.tensor)

    def select(self, rows: Any) -> Self:
        return evolve(self, tensor=self.tensor[rows], ids=None if self.ids is None else self.ids[rows])

    def arrays(self) -> dict[str, Array]:
        return {}


def extra_record(sample: Sample, name: str, kind: type[Kind], where: str) -> Kind:
    """Return a record of ``sample.extra``. Raises ``DataError``, beginning with ``where``, if the sample lacks it."""
    record = sample.extra.get(name)
    if not isinstance(record, kind):
        raise DataError(f"{where} needs {kind.__name__} in extra[{name!r}]; sample {sample.index} has none")
    return record
