"""Questions about videos: open ones, and multiple choice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen

from vid_retrieval.datasets.cleaning import clean_text
from vid_retrieval.datasets.reading import Entry, read_entries, take, text_of, texts_of, video_of
from vid_retrieval.records import Answers, Texts
from vidcore.data.fields import whole_number
from vidcore.data.index import StringTable, fingerprint, select_rows
from vidcore.errors import AnnotationError, DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["MSRVTTVQA", "MSRVTTVQAMC", "read_answers"]


class _Videos(Dataset):
    """Base class of datasets with a video per entry; ``parts`` are the arrays of all entries."""

    def __init__(self, videos: StringTable, data_root: Path | None, parts: Sequence[Array]) -> None:
        self.videos, self.data_root, self.parts = videos, data_root, parts

    def __len__(self) -> int:
        return len(self.videos)

    def _path(self, name: str) -> str:
        return name if self.data_root is None else os.path.join(self.data_root, name)

    def sample_paths(self) -> Iterator[str]:
        """Return the path of every sample."""
        return map(self._path, self.videos)

    def fingerprint(self) -> str:
        """Return a hash of videos, questions and answers: equal for two runs on the same data."""
        return fingerprint(str(len(self)), self.videos.rows.values, self.videos.rows.offsets, *self.parts)


@frozen
class _Question:
    video: str
    number: int
    text: str
    answers: tuple[str, ...]
    weights: tuple[float, ...]


class MSRVTTVQA(_Videos):
    """Questions about videos, with answers: ``[{"question_id": 0, "video": ..., "question": ..., "answer": ...}]``.

    ``answer`` is a string, or a list with the answer of every annotator, whose weight is the share of the annotators
    who gave it; entries without it can be answered, but not scored. Questions are in lower case and without
    punctuation. JSON lines and tables are read as well.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        answer_list: JSON list of all answers that the model knows, to report how many questions it can answer.
        indices: use the first n questions (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``AnnotationError``, which names the line or entry, for one that is not valid, ``DataError`` for a missing or
    empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        answer_list: Path | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        found = [_question(entry, i) for i, entry in enumerate(read_entries(ann_file))]
        if not found:
            raise DataError(f"annotation file {ann_file} has no questions")
        if indices is not None:
            found = [found[i] for i in select_rows(indices, len(found)).tolist()]
        self.numbers: Array = np.array([q.number for q in found], np.int64)
        self.questions = StringTable.from_strings(q.text for q in found)
        self.answers = StringTable.from_strings(answer for q in found for answer in q.answers)
        self.weights: Array = np.array([weight for q in found for weight in q.weights], np.float64)
        self.offsets: Array = np.cumsum([0, *(len(q.answers) for q in found)])
        self._notes: list[str] = []
        if answer_list is not None:
            known = set(read_answers(answer_list))
            within = sum(not known.isdisjoint(q.answers) for q in found)
            self._notes.append(f"{within} of {len(found)} questions have an answer in {answer_list}")
        tables = (self.questions.rows, self.answers.rows)
        parts = [part for rows in tables for part in (rows.values, rows.offsets)]
        super().__init__(
            StringTable.from_strings(q.video for q in found), data_root, [*parts, self.weights, self.offsets]
        )

    def __getitem__(self, index: int) -> Sample:
        """Return question ``index``: path, ``extra["texts"]`` with the question, ``extra["answers"]`` if annotated."""
        index = range(len(self))[index]
        first, stop = self.offsets[index : index + 2].tolist()
        number = int(self.numbers[index])
        extra = {"texts": Texts((self.questions[index],), np.array([number]))}
        answers = {"answers": Answers(tuple(self.answers[first:stop]), self.weights[first:stop])}
        return Sample(
            index=index,
            key=str(number),
            path=self._path(self.videos[index]),
            extra={**extra, **answers} if stop > first else extra,
        )

    def notes(self) -> Sequence[str]:
        """Return how many questions have an answer in ``answer_list``."""
        return self._notes


def _question(entry: Entry, position: int) -> _Question:
    where, fields = entry
    text = clean_text(text_of(where, take(entry, "question")))
    if not text:
        raise AnnotationError(f"{where}: nothing remains of the question without punctuation")
    number = whole_number(f"{where}: question_id", fields.get("question_id", position), most=2**63 - 1)
    given = [] if fields.get("answer") is None else texts_of(where, fields["answer"])
    counts = Counter(given)
    weights = tuple(count / len(given) for count in counts.values())
    return _Question(video_of(entry), number, text, tuple(counts), weights)


def read_answers(file: Path) -> list[str]:
    """Read a JSON list of answers.

    Raises:
        AnnotationError: it is not one, or has an answer twice.
        DataError: the file does not exist.
    """
    from vidcore.data.text import read_text
    from vidcore.files import parse_json

    try:
        answers = parse_json(read_text(file, "list of answers"))
    except ValueError as error:
        raise AnnotationError(f"{file}: is not JSON: {error}") from None
    if not isinstance(answers, list) or not answers:
        raise AnnotationError(f'{file}: must be a list of answers, such as ["yes", "no"]')
    listed = texts_of(str(file), answers)
    if twice := [answer for answer, count in Counter(listed).items() if count > 1]:
        raise AnnotationError(f"{file}: the answer {twice[0]!r} is listed twice")
    return listed


class MSRVTTVQAMC(_Videos):
    """Videos with captions to choose from: ``[{"video": ..., "caption": [...], "answer": 2}]``, counted from 0.

    Captions are in lower case and without punctuation. Entries without ``answer`` can be answered, but not scored.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``AnnotationError``, which names the line or entry, for one that is not valid, ``DataError`` for a missing or
    empty file.
    """

    def __init__(
        self, ann_file: Path, data_root: Path | None = None, indices: int | Sequence[int] | None = None
    ) -> None:
        found = [_choice(entry) for entry in read_entries(ann_file)]
        if not found:
            raise DataError(f"annotation file {ann_file} has no entries")
        if indices is not None:
            found = [found[i] for i in select_rows(indices, len(found)).tolist()]
        self.options = StringTable.from_strings(option for _, options, _ in found for option in options)
        self.offsets: Array = np.cumsum([0, *(len(options) for _, options, _ in found)])
        self.labels: Array = np.array([label for _, _, label in found], np.int64)
        self.num_classes = max(len(options) for _, options, _ in found)
        parts = (self.options.rows.values, self.options.rows.offsets, self.offsets, self.labels)
        super().__init__(StringTable.from_strings(video for video, _, _ in found), data_root, parts)

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index``: path, ``extra["texts"]`` with the captions, and the right one as ``label``."""
        index = range(len(self))[index]
        first, stop = self.offsets[index : index + 2].tolist()
        label = int(self.labels[index])
        return Sample(
            index=index,
            path=self._path(self.videos[index]),
            label=None if label < 0 else label,
            extra={"texts": Texts(tuple(self.options[first:stop]))},
        )


def _choice(entry: Entry) -> tuple[str, list[str], int]:
    where, fields = entry
    options = take(entry, "caption", "text")
    if not isinstance(options, list) or len(options) < 2:
        raise AnnotationError(f"{where}: 'caption' must be a list of at least two captions, got {options!r:.60}")
    cleaned = [clean_text(option) for option in texts_of(where, options)]
    if not all(cleaned):
        raise AnnotationError(f"{where}: nothing remains of a caption without punctuation")
    label = fields.get("answer")
    number = -1 if label is None else whole_number(f"{where}: answer", label, most=len(options) - 1)
    return video_of(entry), cleaned, number
