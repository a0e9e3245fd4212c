"""MSR-VTT (Xu et al., CVPR 2016) and the questions about it (Xu et al., ACM MM 2017)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from vid_retrieval.datasets.reading import read_entries, string_of, take, text_of
from vid_retrieval.prepare.writing import Output, VideoFiles
from vidcore.data.text import read_json
from vidcore.errors import AnnotationError, DataError

__all__ = ["prepare_msrvtt"]

CAPTIONS = ("train_val_videodatainfo.json", "test_videodatainfo.json", "MSRVTT_data.json")
PARTS = {"train": (range(6513), 6513), "val": (range(6513, 7010), 497), "test": (range(7010, 10000), 2990)}
"""Official parts: numbers of their videos, and how many there are."""
TEST_1K = "MSRVTT_JSFUSION_test.csv"
ANSWERS = 1500
"""Most frequent training answers that a model chooses from."""


def prepare_msrvtt(folder: Path, output: Path, videos: Path | None = None) -> Output:
    """Write lists of captions, and of questions, from the official files in a folder.

    Args:
        folder: has the official JSON of captions, or CLIP4Clip's ``MSRVTT_data.json``; for the split 1k-A also
            ``MSRVTT_JSFUSION_test.csv``; for questions ``train_qa.json``, ``val_qa.json`` and ``test_qa.json``.
        output: folder to write to.
        videos: folder of the videos; those without a file are left out.

    Raises:
        DataError: the folder has none of these files.
        AnnotationError: one of them is not valid.
    """
    out = Output(output, VideoFiles(videos, ".mp4"))
    found = [path for name in CAPTIONS for path in sorted(folder.rglob(name))]
    questions = [path for part in PARTS for path in sorted(folder.rglob(f"{part}_qa.json"))[:1]]
    if not found and not questions:
        raise DataError(f"{folder}: needs {CAPTIONS[0]} and {CAPTIONS[1]}, or {CAPTIONS[2]}, or train_qa.json")
    if found:
        captions = _captions(found)
        for part, (numbers, expected) in PARTS.items():
            listed = {v: captions[v] for i in numbers if (v := f"video{i}") in captions}
            out.pairs(f"msrvtt_full_{part}.json", listed, expected)
        tests = sorted(folder.rglob(TEST_1K))
        if tests:
            _split_1k_a(out, captions, tests[0])
        else:
            out.notes.append(f"split 1k-A is not written: {folder} has no {TEST_1K}")
    if questions:
        _questions(out, questions)
    out.finish()
    return out


def _captions(files: list[Path]) -> dict[str, list[str]]:
    """Captions by video, in the order of the files."""
    captions: dict[str, list[str]] = {}
    for file in files:
        content = read_json(file, "captions of MSR-VTT")
        sentences = content.get("sentences")
        if not isinstance(sentences, list):
            raise AnnotationError(f"{file}: has no list 'sentences'; it has {', '.join(content) or 'nothing'}")
        for number, sentence in enumerate(sentences, 1):
            entry = f"{file}: sentence {number}", sentence if isinstance(sentence, dict) else {}
            video = string_of(entry[0], take(entry, "video_id"), "the id of a video")
            captions.setdefault(video, []).append(text_of(entry[0], take(entry, "caption")))
    return captions


def _split_1k_a(out: Output, captions: dict[str, list[str]], file: Path) -> None:
    """Write the split 1k-A: 1,000 test videos with one sentence each, all others to train (JSFusion, ECCV 2018)."""
    test: dict[str, list[str]] = {}
    for entry in read_entries(file):
        video = string_of(entry[0], take(entry, "video_id"), "the id of a video")
        test.setdefault(video, []).append(text_of(entry[0], take(entry, "sentence")))
    if several := sum(len(texts) > 1 for texts in test.values()):
        out.notes.append(f"{several} test videos of 1k-A have several sentences, although the split has one for each")
    train = {video: texts for video, texts in captions.items() if video not in test}
    out.pairs("train_9k.json", train, 9000)
    out.pairs("test_JSFUSION.json", test, 1000)
    out.pairs("msrvtt_ret_train9k.json", train, 9000, as_rows=True)
    out.pairs("msrvtt_ret_test1k.json", test, 1000, as_rows=True)
    official = {f"video{i}" for i in PARTS["test"][0]}
    out.notes.append(f"training videos of 1k-A include {len(official & train.keys())} of the official test part")


def _questions(out: Output, files: list[Path]) -> None:
    for file in files:
        part = file.name.removesuffix("_qa.json")
        rows: list[dict[str, Any]] = []
        for entry in read_entries(file):
            where = entry[0]
            number = take(entry, "video_id")
            video = f"video{number}" if isinstance(number, int) else string_of(where, number, "the id of a video")
            if name := out.file(video):
                texts = {key: text_of(where, take(entry, key)) for key in ("question", "answer")}
                rows.append({"question_id": take(entry, "id", "question_id"), "video": name, **texts})
        if not rows:
            out.notes.append(f"msrvtt_qa_{part}.json is not written: none of its videos has a file")
            continue
        out.json(f"msrvtt_qa_{part}.json", rows)
        out.notes.append(f"msrvtt_qa_{part}.json: {len(rows)} questions")
        if part == "train":
            known = [answer for answer, _ in Counter(row["answer"] for row in rows).most_common(ANSWERS)]
            out.json("msrvtt_qa_answer_list.json", known)
            out.notes.append(f"msrvtt_qa_answer_list.json: the {len(known)} most frequent answers of training")
