"""Opening files with any version of PyAV."""

from __future__ import annotations

import errno
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.format import formats_available

from vidcore.errors import VideoError

NAME_OTHERS = frozenset({
    "avisynth", "concat", "dash", "dvdvideo", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vapoursynth",
    "vobsub", "webm_dash_manifest",
})  # fmt: skip
"""Formats of files that refer to other files or URLs, which are not read: the user did not name those."""
SAFE = {
    "format_whitelist": ",".join(sorted(n for n in formats_available if NAME_OTHERS.isdisjoint(n.split(",")))),
    "pattern_type": "none",  # a file named img_%03d.jpg is one image
    "protocol_whitelist": "file",
}

__all__ = ["open_container", "reason"]

# Titles and comments may be in any encoding, and are not used. PyAV 19 does not decode them; earlier versions raise
# without this option.
LENIENT: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


def open_container(file: str, path: object, kind: str = "a video", **options: str) -> InputContainer:
    """Open a file for reading.

    Args:
        file: absolute path, as ``existing_file`` returns it.
        path: its name in messages.
        kind: what it should be, for messages.
        options: of the demuxer.

    Raises ``VideoError`` if FFmpeg cannot read it.
    """
    try:
        container: InputContainer = av.open(file, container_options=SAFE | options, **LENIENT)
        return container
    except (FFmpegError, OSError) as error:
        others = "; files that refer to other files are not read" if error.errno == errno.EINVAL else ""
        raise VideoError(path, f"cannot be opened as {kind} ({reason(error)}{others})") from error


def reason(error: FFmpegError | OSError) -> str:
    """Return the plain message of an FFmpeg error."""
    return error.strerror or str(error)
