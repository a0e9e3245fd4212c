"""Byte-pair tokens; the parity cases hold the published vocabulary to the references."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vid_retrieval.clip_tokens import ClipTokenizer, check_text, clean
from vidcore.errors import AnnotationError, DataError, UserError

MERGES = Path(__file__).with_name("merges.txt")
BYTES, START, END = 512, 520, 521  # bytes, inside and at the end of a word; then 8 merges


def test_merges_are_applied_and_the_rest_are_bytes() -> None:
    ids, count = ClipTokenizer(MERGES, 9)("The OPEN  door a")
    a = 256 + ord("a") - 33
    assert ids.tolist() == [START, BYTES + 1, BYTES + 4, BYTES + 7, a, END, 0, 0, 0]
    assert count == 6


def test_both_kinds_of_files_give_the_same_ids(tmp_path: Path) -> None:
    packed = tmp_path / "bpe.txt.gz"
    packed.write_bytes(gzip.compress(MERGES.read_bytes()))
    text = "it's the door&#33; 日本"
    assert ClipTokenizer(packed, 40)(text)[0].tolist() == ClipTokenizer(MERGES, 40)(text)[0].tolist()


def test_a_long_text_keeps_its_end_or_is_refused() -> None:
    ids, count = ClipTokenizer(MERGES, 5)("the door " * 40)
    assert ids.tolist() == [START, BYTES + 1, BYTES + 7, BYTES + 1, END]
    assert count == 82
    with pytest.raises(UserError, match="has 82 tokens, and at most 5"):
        ClipTokenizer(MERGES, 5, "refuse")("the door " * 40)


def test_text_is_mended() -> None:
    assert clean("  A caf&amp;eacute;,\n “quoted” ﬁne ") == 'a café, "quoted" fine'


@pytest.mark.parametrize("text", ["", " \t\n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="query: the text is empty"):
        check_text(text, "query")


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(UserError, match=r"query: the text is not UTF-8 \(character 3"):
        check_text(b"a \xff b".decode("utf-8", "surrogateescape"), "query")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "each line must have two parts"),
        (b"#version\nt h e\n", "each line must have two parts"),
        (b"#version\nth e</w>\n", "does not list before"),
        (b"#version\nt h\nt h\n", "repeats a merge"),
        (b"\xff\xfe\x00", "is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "merges.txt"
    file.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        ClipTokenizer(file)("the door")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bpe.txt.gz"
    file.write_bytes(gzip.compress(MERGES.read_bytes())[:-9])
    with pytest.raises(AnnotationError, match=r"bpe\.txt\.gz: is not a vocabulary of CLIP, or is damaged"):
        ClipTokenizer(file)("the door")


def test_a_small_archive_of_much_data_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bpe.txt.gz"
    file.write_bytes(gzip.compress(b"a" * (1 << 25)))
    with pytest.raises(AnnotationError, match="more than 16 MiB"):
        ClipTokenizer(file)("the door")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"vocabulary .*merge\.txt does not exist.*merges\.txt"):
        ClipTokenizer(MERGES.with_name("merge.txt"))
