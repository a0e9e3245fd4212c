"""MSVD, the Microsoft Video Description Corpus (Chen and Dolan, ACL 2011)."""

from __future__ import annotations

from pathlib import Path

from vid_retrieval.datasets.reading import read_entries, string_of, take, text_of
from vid_retrieval.prepare.writing import Output, VideoFiles
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError, some

__all__ = ["prepare_msvd"]

PARTS = {"train": (range(1, 1201), 1200), "val": (range(1201, 1301), 100), "test": (range(1301, 1971), 670)}
"""Parts: numbers of their videos in ``youtube_mapping.txt``, and how many there are."""
TEXTS = "AllVideoDescriptions.txt"


def prepare_msvd(folder: Path, output: Path, videos: Path | None = None) -> Output:
    """Write ``msvd_train.json``, ``msvd_val.json`` and ``msvd_test.json`` from the official files in a folder.

    Args:
        folder: has ``AllVideoDescriptions.txt``, or the older table of descriptions in all languages (``.csv``), of
            which the English ones are taken; and the lists of the parts, ``train_list.txt``, ``val_list.txt`` and
            ``test_list.txt``, or ``youtube_mapping.txt``.
        output: folder to write to.
        videos: folder of the videos, named by their clip or ``vid1`` and so on; those without a file are left out.

    Raises:
        DataError: the folder lacks one of these files.
        AnnotationError: one of them is not valid.
    """
    captions = _captions(folder)
    numbers = _mapping(folder)
    parts = _parts(folder, numbers)
    if both := sorted(set(parts["train"]) & set(parts["test"])):
        raise DataError(f"{len(both)} clips are in the training and the test list: {some(both, 3)}")
    out = Output(output, VideoFiles(videos, ".avi", numbers))
    for part, clips in parts.items():
        out.pairs(f"msvd_{part}.json", {clip: captions.get(clip, []) for clip in clips}, PARTS[part][1])
    out.finish()
    return out


def _captions(folder: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for file in sorted(folder.rglob(TEXTS))[:1]:
        for number, line in enumerate(read_text(file).split("\n"), 1):
            clip, _, text = line.strip().partition(" ")
            if line.strip() and not line.startswith("#"):
                captions.setdefault(clip, []).append(text_of(f"{file}:{number}", text))
        return captions
    for file in sorted(folder.rglob("*.csv")):
        for entry in read_entries(file):
            where, fields = entry
            if str(take(entry, "Language")).strip().lower() == "english" and fields.get("Description"):
                video, start, end = (string_of(where, take(entry, name)) for name in ("VideoID", "Start", "End"))
                captions.setdefault(f"{video}_{start}_{end}", []).append(text_of(where, fields["Description"]))
        return captions
    raise DataError(f"{folder}: has no {TEXTS}, and no table of descriptions (.csv)")


def _mapping(folder: Path) -> dict[str, str]:
    """Return ``vidN`` by clip; empty if there is no ``youtube_mapping.txt``."""
    numbers = {}
    for file in sorted(folder.rglob("youtube_mapping.txt"))[:1]:
        for number, line in enumerate(read_text(file).split("\n"), 1):
            if line.strip():
                clip, _, name = line.strip().partition(" ")
                if not name.startswith("vid") or not name[3:].isdecimal():
                    raise AnnotationError(f"{file}:{number}: must be 'clip vidN', got {line.strip()!r:.80}")
                numbers[clip] = name
    return numbers


def _parts(folder: Path, numbers: dict[str, str]) -> dict[str, list[str]]:
    """Return the clips of each part."""
    lists = {part: sorted(folder.rglob(f"{part}_list.txt"))[:1] for part in PARTS}
    if all(lists.values()):
        return {part: read_text(files[0]).split() for part, files in lists.items()}
    if not numbers:
        raise DataError(f"{folder}: needs train_list.txt, val_list.txt and test_list.txt, or youtube_mapping.txt")
    clips = {int(name[3:]): clip for clip, name in numbers.items()}
    return {part: [clips[i] for i in listed if i in clips] for part, (listed, _) in PARTS.items()}
