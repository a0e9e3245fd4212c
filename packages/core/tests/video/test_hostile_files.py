"""Files that would use unlimited memory, open other files or return concealed damage are refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from vidcore.data.limits import resource_hint
from vidcore.errors import VideoError
from vidcore.video.audio import open_audio
from vidcore.video.checks import reading
from vidcore.video.image_header import read_header
from vidcore.video.open import open_video


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".png", ".tiff", ".webp"])
def test_the_size_of_an_image_is_read_before_decoding(suffix: str) -> None:
    _, data = cv2.imencode(suffix, np.zeros((30, 50, 3), np.uint8))
    assert read_header(data.tobytes()) == (1500, False)
    for size in range(len(data)):  # a damaged header must not raise
        read_header(data[:size].tobytes())


def test_images_of_gigabytes_or_several_frames_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(30000, 30000))
    with pytest.raises(VideoError, match=r"a\.png: has 900000000 pixels"):
        open_video(file)
    file.write_bytes(png(8, 8, (b"acTL", struct.pack(">II", 30, 0))))
    with pytest.raises(VideoError, match=r"a\.png: contains several images"):
        open_video(file)
    file.write_bytes(b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0\x4f\0\0\x2f\0\0" + bytes(100))
    with pytest.raises(VideoError, match=r"a\.png: contains several images"):
        open_video(file)


def test_files_that_refer_to_other_files_are_refused(videos: dict[str, Path], tmp_path: Path) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{videos['h264.ts']}\n#EXT-X-ENDLIST\n"
    listing = f"ffconcat version 1.0\nfile {videos['h264.mp4']}\n"
    for name, text in {"a.mp4": playlist, "a.m3u8": playlist, "b.mp4": listing, "b.ffconcat": listing}.items():
        (tmp_path / name).write_text(text)
        for opened in (open_video, open_audio):
            with pytest.raises(VideoError, match=f"{name}: cannot be opened"):
                opened(tmp_path / name)
    picture = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
    for name in ("a%d.png", "a0.png", "a1.png"):
        (tmp_path / name).write_bytes(picture)
    assert len(open_video(tmp_path / "a%d.png", "pyav")) == 1


def test_lack_of_memory_for_a_file_is_an_error_of_the_file() -> None:
    with pytest.raises(VideoError, match=r"a\.mp4: cannot be read \(MemoryError") as caught, reading("a.mp4"):
        raise MemoryError
    assert resource_hint(caught.value) is None
    assert "no memory" in str(resource_hint(MemoryError()))
