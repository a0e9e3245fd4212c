"""The files of a labelling tool: one, all in a folder or an archive; and which tool wrote them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile

from attrs import define, field, frozen

from vid_annotations.places import Videos
from vid_annotations.table import Annotations
from vid_annotations.xml import Element, parse_xml
from vidcore.data.text import unique_names
from vidcore.errors import AnnotationError, DataError, UserError, nearest, some
from vidcore.files import check_archive, parse_json

__all__ = ["READERS", "Document", "Options", "read_source"]

READERS = {
    "ava": "vid_annotations.ava:read_ava",
    "coco": "vid_annotations.coco:read_coco",
    "cvat": "vid_annotations.cvat:read_cvat",
    "label-studio": "vid_annotations.label_studio:read_label_studio",
    "via": "vid_annotations.via:read_via",
    "voc": "vid_annotations.voc:read_voc",
}
"""Format -> the function that reads its files, imported when it is used."""
VIA_2 = ": VIA 2 describes images; export COCO there"
SUFFIXES = (".csv", ".json", ".xml")
LARGEST = 4 << 30
"""Bytes that an archive may unpack to."""


@frozen
class Options:
    """What annotation files do not say."""

    videos: Videos = field(factory=Videos)
    video: str | None = None
    """The only video of files that do not name it."""
    fps: float | None = None
    """Frames per second of the tool, or of folders of frames."""
    first_frame: int = 0
    """Number of the first frame in names of frames."""
    classes: Path | None = None
    """File of the names behind class numbers."""
    counts: str | None = None
    """What the times of an AVA table count: ``seconds`` or ``frames``."""


@define(slots=False)
class Document:
    """A file of a labelling tool."""

    name: str
    """For messages."""
    content: bytes

    @cached_property
    def text(self) -> str:
        """The file as text. Raises ``AnnotationError`` if it is not UTF-8."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{self.name}: is not UTF-8 text: {error}") from None

    @cached_property
    def xml(self) -> Element:
        """The file as XML. Raises ``AnnotationError`` if it is not."""
        return parse_xml(self.name, self.content)

    @cached_property
    def json(self) -> Any:
        """The file as JSON. Raises ``AnnotationError`` if it is not, or has a name twice in one object."""
        try:
            return parse_json(self.text, partial(unique_names, self.name))
        except UserError:
            raise
        except ValueError as error:
            raise AnnotationError(f"{self.name}: is not JSON: {error}") from None

    @cached_property
    def format(self) -> str:
        """The format: a key of ``READERS``. Raises ``DataError`` if none of them has these files."""
        start = self.content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        found = self._xml_format() if start == b"<" else self._json_format() if start in (b"{", b"[") else self._rows()
        if found not in READERS:
            known = ", ".join(READERS)
            raise DataError(f"{self.name}: is not an annotation file that can be read{found}; formats are {known}")
        return found

    def _xml_format(self) -> str:
        tag = self.xml.tag
        return {"annotations": "cvat", "annotation": "voc"}.get(tag, f": its outermost element is <{tag}>")

    def _json_format(self) -> str:
        if isinstance(self.json, list):
            return "label-studio"
        keys = self.json.keys()
        if "_via_img_metadata" in keys:
            return VIA_2
        if {"metadata", "file", "attribute"} <= keys:
            return "via"
        return "coco" if keys & {"images", "videos"} else f": its keys are {some(list(keys))}"

    def _rows(self) -> str:
        line = next((line for line in self.text.splitlines() if line.strip()), "")
        if line.startswith("#"):
            return "via"
        if line.startswith("filename,file_size"):
            return VIA_2
        return "ava" if line.count(",") in (1, 6, 7) else ": it is neither XML, JSON, nor a table of VIA or AVA"


def read_source(source: Path, options: Options, tool: str | None = None) -> Annotations:
    """Read the files of one tool.

    Args:
        source: a file, or a folder or ZIP archive with files that end in .xml, .json or .csv.
        options: what the files do not say.
        tool: the format, a key of ``READERS``; default: detected.

    Raises:
        AnnotationError: an entry is not valid; the message has file, and line or path to the value.
        DataError: there is no file, or the files are of several formats.
    """
    if tool is not None and tool not in READERS:
        raise DataError(f"format {tool!r}: must be one of {', '.join(READERS)}{nearest(tool, READERS)}")
    documents = list(_documents(source))
    skipped: list[str] = []
    if tool is None:
        documents, skipped, tool = _detected(source, documents)
    if tool != "ava" and (options.classes or options.counts):
        raise DataError(f"{source}: is {tool}, which has names and times: --classes and --times are for tables of AVA")
    if tool in ("ava", "label-studio") and options.first_frame:
        raise DataError(f"{source}: is {tool}, which has no names of frames: --first-frame is for those")
    module, _, function = READERS[tool].partition(":")
    read: Callable[[list[Document], Options], Annotations] = getattr(import_module(module), function)
    found = read(documents, options)
    found.notes += [f"skipped: {reason}" for reason in skipped]
    return found


def _detected(source: Path, documents: list[Document]) -> tuple[list[Document], list[str], str]:
    """Return the files of a known format, why others are not (exports have notes beside annotations), the format."""
    known, skipped = [], []
    for document in documents:
        try:
            known.append((document, document.format))
        except AnnotationError:
            raise
        except DataError as error:
            skipped.append(str(error))
    if not known:
        raise DataError(skipped[0])
    formats = {kind: document.name for document, kind in known}
    if len(formats) > 1:
        found = some([f"{name} is {kind}" for kind, name in formats.items()])
        raise DataError(f"{source}: has files of several formats ({found}): name a file, or give --format")
    return [document for document, _ in known], skipped, known[0][1]


def _documents(source: Path) -> Iterator[Document]:
    if not source.exists():
        siblings = [path.name for path in source.parent.iterdir()] if source.parent.is_dir() else []
        raise DataError(f"{source}: does not exist{nearest(source.name, siblings)}")
    if source.is_file() and source.suffix.lower() != ".zip":
        yield Document(str(source), source.read_bytes())
        return
    found = _folder(source) if source.is_dir() else _archive(source)
    if not found:
        raise DataError(f"{source}: has no files that end in {', '.join(SUFFIXES)}")
    yield from found


def _is_text(path: PurePath) -> bool:
    """Whether a file may have annotations: macOS hides others of the same suffix beside them."""
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _folder(folder: Path) -> list[Document]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [Document(str(path), path.read_bytes()) for path in files if _is_text(path.relative_to(folder))]
    return found + [document for path in files if path.suffix.lower() == ".zip" for document in _archive(path)]


def _archive(source: Path) -> list[Document]:
    try:
        with ZipFile(source) as archive:
            names = [name for name in archive.namelist() if _is_text(PurePosixPath(name))]
            check_archive(archive, LARGEST, names)  # pictures, which exports may hold, are not read
            return [Document(f"{source}/{name}", archive.read(name)) for name in names]
    except (BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: cannot be unpacked: {error}") from None
