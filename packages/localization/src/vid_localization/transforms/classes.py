"""Class scores of whole videos, from which proposals get their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from vid_localization.names import result_name, video_name
from vidcore.data.classes import check_file
from vidcore.errors import AnnotationError, DataError, UserError
from vidcore.files import parse_json
from vidcore.sample import Sample

__all__ = ["LoadVideoClasses"]


@frozen
class LoadVideoClasses:
    """Set the class scores of the whole video, so that proposals become detections.

    The file is the output of ``vidcore predict --json`` with an action recognizer, or JSON with ``class`` (names) and
    ``results`` (scores of every video, by name), the published format of ActivityNet's video classifications.

    Args:
        file: file with the scores.
        top_k: number of classes of a video that are used.

    Raises ``DataError`` if the file does not exist or has a different format.
    """

    file: Path
    top_k: int = 2
    _videos: Mapping[str, Sequence[tuple[str, float]]] = field(init=False, repr=False, eq=False)
    """Classes and scores by the name of the video; read once, before worker processes start."""

    @_videos.default
    def _read(self) -> Mapping[str, Sequence[tuple[str, float]]]:
        check_file(self.file, "file of video classes")
        text = self.file.read_text(encoding="utf-8", errors="surrogateescape")
        try:
            return _published(parse_json(text)) if '"results"' in text else _predicted(text.splitlines())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.file}: has no classes of videos in the format of vidcore predict --json: {error}"
            ) from None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Set ``scores`` (num_classes,). Raises ``AnnotationError`` if the file does not have the video."""
        if sample.class_names is None:
            raise UserError("LoadVideoClasses needs the class names of the dataset")
        name = result_name(video_name(sample))
        if name not in self._videos:
            raise AnnotationError(f"{self.file}: has no classes of {name}")
        found = sorted(self._videos[name], key=lambda pair: -pair[1])[: self.top_k]
        scores = np.zeros(len(sample.class_names), np.float32)
        for label, score in found:
            if label in sample.class_names:
                scores[sample.class_names.index(label)] = score
        return sample.replace(scores=scores)


def _published(content: Mapping[str, Any]) -> dict[str, list[tuple[str, float]]]:
    names = content["class"]
    return {
        result_name(video): list(zip(names, map(float, scores), strict=True))
        for video, scores in content["results"].items()
    }


def _predicted(lines: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
    rows = [parse_json(line) for line in lines if line.strip()]
    return {
        result_name(Path(row["video"]).stem): [(c["class"], float(c["score"])) for c in row["classes"]]
        for row in rows
        if "error" not in row
    }
