"""Files of prepared captions, with the counts that users compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from attrs import Factory, define

from vidcore.errors import DataError, some
from vidcore.files import write_json, write_text
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["Output", "VideoFiles"]


class VideoFiles:
    """Names of video files by video.

    Args:
        folder: has the files, at any depth; default: none, and every video is called ``video + suffix``.
        suffix: of videos without a folder.
        aliases: another name that the file of a video may have.
    """

    def __init__(self, folder: Path | None, suffix: str, aliases: Mapping[str, str] = MappingProxyType({})) -> None:
        self.suffix, self.folder, self.aliases = suffix, folder, aliases
        self.names: dict[str, str] = {}
        if folder is not None:
            files = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
            self.names = {p.stem: p.relative_to(folder).as_posix() for p in files}
            if not self.names:
                raise DataError(f"{folder}: has no videos")

    def name(self, video: str) -> str | None:
        """Return the file of a video; None if it has none."""
        if self.folder is None:
            return video + self.suffix
        return self.names.get(video) or self.names.get(self.aliases.get(video, video))


@define
class Output:
    """Writes lists into a folder, and collects what the user should know."""

    folder: Path
    files: VideoFiles
    written: list[Path] = Factory(list)
    notes: list[str] = Factory(list)
    missing: dict[str, None] = Factory(dict)

    def pairs(self, name: str, captions: Mapping[str, Sequence[str]], expected: int, as_rows: bool = False) -> None:
        """Write the captions of videos: ``{file: [captions]}``, or a row for each caption.

        Args:
            name: of the file to write.
            captions: by video.
            expected: number of videos in the official list, to report how many are missing.
            as_rows: write ``[{"video": ..., "caption": ...}]``.
        """
        files = {video: file for video in captions if (file := self.file(video))}
        found = {file: list(texts) for video, file in files.items() if (texts := captions[video])}
        if silent := [video for video in files if not captions[video]]:
            self.notes.append(f"{name}: left out without a caption: {some(silent, 3)}")
        if not found:
            self.notes.append(f"{name} is not written: none of its {len(captions)} videos has a file and a caption")
            return
        rows = [{"video": file, "caption": text} for file, texts in found.items() for text in texts]
        self.json(name, rows if as_rows else found)
        of = f" of {expected}" if expected != len(found) else ""
        self.notes.append(f"{name}: {len(rows)} captions of {len(found)}{of} videos")

    def file(self, video: str) -> str | None:
        """Return the file of a video, and note if there is none."""
        file = self.files.name(video)
        if file is None:
            self.missing[video] = None
        return file

    def json(self, name: str, content: object) -> None:
        """Write a JSON file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written.append(self.folder / name)
        write_json(self.written[-1], content)

    def finish(self) -> None:
        """List the videos without a file in ``missing_videos.txt``. Raises ``DataError`` if nothing was written."""
        if not self.written:
            raise DataError("; ".join(self.notes) or "nothing to write")
        if self.missing:
            self.written.append(self.folder / "missing_videos.txt")
            write_text(self.written[-1], "".join(f"{video}\n" for video in self.missing))
            self.notes.append(f"{len(self.missing)} videos have no file, for example {some(list(self.missing), 3)}")
