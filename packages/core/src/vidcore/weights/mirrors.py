"""Servers that the user has chosen to download weights from: templates of addresses, or Hugging Face repositories."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from attrs import frozen

from vidcore.errors import CheckpointError, UserError, missing_library
from vidcore.weights.published import Published

__all__ = ["MIRRORS", "Mirror", "mirrors"]

MIRRORS = "VIDCORE_MIRROR"
"""Environment variable with the mirrors, separated by blanks, in the order in which they are tried."""
FIELDS = ("{file}", "{path}", "{name}")


@frozen
class Mirror:
    """A place on the network with published weights."""

    template: str
    """Of addresses, or of file names in the repository."""
    repository: str | None = None
    """Identifier of a Hugging Face repository; None for a server that is asked by HTTP."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``https://SERVER/TEMPLATE``, or ``OWNER/REPOSITORY`` or ``OWNER/REPOSITORY/TEMPLATE`` of Hugging Face.

        A template contains ``{file}`` (the file name), ``{path}`` (the path on the server that published the file) or
        ``{name}`` (the recipe); that of a repository is ``{file}`` by default. Raises ``UserError``.
        """
        if re.match(r"https?://", text):
            mirror = cls(text)
        elif found := re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", text):
            mirror = cls(found[2] or "{file}", found[1])
        else:
            raise UserError(
                f"{MIRRORS}: {text!r} must be an address such as https://SERVER/{{path}}, or OWNER/REPOSITORY of "
                "Hugging Face"
            )
        unknown = [part for part in re.findall(r"\{[^}]*\}", mirror.template) if part not in FIELDS]
        if unknown or not any(part in mirror.template for part in FIELDS):
            found_here = f"has {unknown[0]}" if unknown else "has no place for a file"
            raise UserError(f"{MIRRORS}: {text!r} {found_here}; a template contains one or more of {', '.join(FIELDS)}")
        return mirror

    def place(self, one: Published) -> str:
        """Return the address of a file, or its name in the repository."""
        values = {"{file}": one.file, "{path}": one.path, "{name}": one.name}
        quoted = quote if self.repository is None else str
        return re.sub(r"\{\w+\}", lambda found: quoted(values[found[0]]), self.template)

    def from_hub(self, one: Published) -> Path:
        """Download a file with ``huggingface_hub``, which resumes, and keeps it in its own cache.

        Raises ``CheckpointError`` if that fails, ``MissingLibraryError`` if the library is not installed.
        """
        assert self.repository is not None
        try:
            from huggingface_hub import hf_hub_download
        except ImportError as error:
            raise missing_library(f"{MIRRORS} {self.repository}", error) or error from error
        assert self.repository is not None, "a server is asked by HTTP"
        try:
            return Path(hf_hub_download(self.repository or "", self.place(one)))
        except Exception as error:  # of many types: the repository, the file, the network, the disk
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{self.place(one)} of the repository {self.repository}: {reason}") from error


def mirrors(given: Sequence[str] = ()) -> list[Mirror]:
    """Return the mirrors given, or else those of ``VIDCORE_MIRROR``. Raises ``UserError`` if one is not valid."""
    return [Mirror.parse(text) for text in given or os.environ.get(MIRRORS, "").split()]
