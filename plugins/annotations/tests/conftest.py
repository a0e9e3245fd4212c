"""Shared by the tests of vid-annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vid_annotations.convert import Converted, read_annotations
from vid_annotations.places import Videos
from vid_annotations.source import Options

Read = Callable[..., Converted]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file with this content, at one frame per second unless something else is said."""

    def run(content: str | bytes, suffix: str = ".xml", **options: Any) -> Converted:
        file = tmp_path / f"annotations{suffix}"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        naming = {key: options.pop(key) for key in ("action_from", "person_from", "every", "tool") if key in options}
        options = {"fps": 1.0, **options}
        return read_annotations(file, Options(Videos(options.pop("videos", None)), **options), **naming)

    return run
