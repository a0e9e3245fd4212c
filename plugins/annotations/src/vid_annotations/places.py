"""Which video a name in an annotation file means, and what the file of that video says about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen, mutable

from vidcore.errors import AnnotationError, DataError, some

__all__ = ["Facts", "Videos", "frames_of_names", "name_of"]

URL = re.compile(r"[a-z][a-z0-9+.-]*://|/data/", re.IGNORECASE)
UPLOAD = re.compile(r"/data/upload/(?:.*/)?[0-9a-f]{8}-(?P<name>[^/]+)$")
"""Label Studio puts eight digits in front of the names of uploaded files."""
NUMBERED = re.compile(r"(?P<head>.*?)[-_ .]?(?P<number>[0-9]{1,9})")
ANONYMOUS = ("", "frame", "image", "img")
"""Beginnings of names of frames that do not tell the video."""
COMMON = ("default", "frames", "images", "jpegimages", "test", "train", "val", "voc2007", "voc2012")
"""Folders of pictures that do not tell the video, if the names in them do."""


@frozen
class Facts:
    """What the file of a video says."""

    frames: int
    fps: float
    times: tuple[float, ...] | None
    """Seconds at which frames appear, from 0; None: ``frame / fps``."""
    size: tuple[float, float]
    """Width and height in pixels, as shown."""

    @property
    def duration(self) -> float:
        """Seconds, with the last frame."""
        return self.frames / self.fps if self.times is None else self.times[-1] + 1 / self.fps


@mutable
class Videos:
    """The videos below a folder, found by the names that annotations have for them."""

    folder: Path | None = None
    _files: dict[str, list[Path]] = field(init=False, factory=dict)
    _facts: dict[Path, Facts] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.folder is None:
            return
        from vidcore.video.open import VIDEO_SUFFIXES

        for path in sorted(self.folder.rglob("*")):
            if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES:
                self._files.setdefault(path.name, []).append(path)
                if path.is_file():
                    self._files.setdefault(path.stem, []).append(path)
        if not self._files:
            raise DataError(f"{self.folder}: has no videos")

    def find(self, name: str) -> Path | None:
        """Return the file, or the folder of frames, of a video: by its path, the end of its path, or its base name.

        Raises ``DataError`` if several have that name.
        """
        if self.folder is None:
            return None
        found = self._files.get(PurePosixPath(name).name) or self._files.get(PurePosixPath(name).stem, [])
        exact = [path for path in found if path.relative_to(self.folder).as_posix() == name]
        exact = exact or [path for path in found if path.as_posix().endswith(f"/{name}") and "/" in name]
        files = exact or [path for path in found if path.is_file()] or found
        if len(files) > 1:
            raise DataError(f"{name}: several videos have that name: {some([str(path) for path in files])}")
        return files[0] if files else None

    def facts(self, name: str) -> Facts | None:
        """Return what the file of a video says; None if there is no file, or if it is a folder of frames.

        Raises ``VideoError`` if it cannot be read.
        """
        path = self.find(name)
        if path is None or path.is_dir():
            return None
        if path not in self._facts:
            from vidcore.errors import VideoError
            from vidcore.video.checks import ReaderBase
            from vidcore.video.open import open_video

            with open_video(path) as reader:
                times = reader.times() if isinstance(reader, ReaderBase) else None
                height, width = reader.size
                if not reader.fps or not len(reader):
                    raise VideoError(path, "has no frame rate or no frames")
                known = None if times is None else tuple(times.tolist())
                self._facts[path] = Facts(len(reader), reader.fps, known, (width, height))
        return self._facts[path]


def name_of(location: str) -> str:
    """Return the name of a video from a path or URL: the path if it is below some folder, else the last part.

    >>> name_of("day 1/a.mp4"), name_of("/home/me/a.mp4"), name_of("https://host/b/my%20clip.mp4?x=1")
    ('day 1/a.mp4', 'a.mp4', 'my clip.mp4')
    >>> name_of("/data/upload/3/0a1b2c3d-a.mp4"), name_of("/data/local-files/?d=clips/a.mp4")
    ('a.mp4', 'clips/a.mp4')
    """
    location = location.strip().replace("\\", "/")
    if URL.match(location):
        parts = urlsplit(location)
        if parts.path.startswith("/data/local-files") and (local := parse_qs(parts.query).get("d")):
            return name_of(local[0])
        path = unquote(parts.path)
        uploaded = UPLOAD.search(path)
        return uploaded["name"] if uploaded else PurePosixPath(path).name
    path = location.removeprefix("./")
    return PurePosixPath(path).name if path.startswith("/") or path[1:2] == ":" else path


def frames_of_names(
    names: Mapping[str, str], video: str | None = None, source: str = "", first: int = 0
) -> dict[str, tuple[str, int]]:
    """Return video and frame (from 0) of the names of frames.

    The number at the end is the frame. The folder is the video, such as ``clip_1/000003.jpg``; without a folder, or if
    a folder has frames of several videos, what is before the number is (part of) its name: ``clip_1_000003.jpg``.

    Args:
        names: where each name stands, for messages.
        video: the video of all frames, if it is known.
        source: the video of frames whose names do not tell it.
        first: number of the first frame of a video.

    Raises:
        AnnotationError: a name has no number, a number is below the first, or a name tells no video.
    """
    parts = {}
    for name, where in names.items():
        path = PurePosixPath(name_of(name))
        match = NUMBERED.fullmatch(path.stem)
        if not match:
            raise AnnotationError(
                f"{where}: {name!r} must end in the number of its frame, such as clip_1/000003.jpg or clip_1_000003.jpg"
            )
        folder = "" if str(path.parent) == "." else str(path.parent)
        parts[name] = folder, match["head"], int(match["number"])
    heads: dict[str, set[str]] = {}
    for folder, head, _ in parts.values():
        heads.setdefault(folder, set()).add(head)
    found = {}
    for name, (folder, head, number) in parts.items():
        own = head if head.lower() not in ANONYMOUS else ""
        if own and PurePosixPath(folder).name.lower() in COMMON:
            folder = ""
        elif own and len(heads[folder]) > 1:
            own = f"{folder}/{own}"
            folder = ""
        who = video or folder or own or name_of(source)
        if not who:
            raise AnnotationError(f"{names[name]}: {name!r} does not tell the video: give --video NAME")
        if number < first:
            raise AnnotationError(f"{names[name]}: frame {number} of {name!r} comes before the first, which is {first}")
        found[name] = who, number - first
    return found
