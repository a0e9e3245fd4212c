"""Reading of frames by index, compared with decord's ``get_batch``, in one process with the same number of threads.

Both open the file for each sample, as a data loader does. They alternate; the result is the median over all
videos and repeats. The floor is the time of the same read from a file that is already open and indexed.

    python benchmarks/decode.py [--repeats 15] [--threads 1 4] [--videos FILE...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import decord
import numpy as np

from vidcore.video.open import open_video

SHARED = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
VIDEOS = ("demo.mp4", "test_video_structuralize.mp4")


def one_clip(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return 32 frames, every second one, from a random start."""
    return rng.integers(0, max(1, length - 63)) + 2 * np.arange(32)


def segments(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return one frame from each of eight equal segments."""
    return np.arange(8) * (length // 8) + rng.integers(0, length // 8, 8)


def ten_clips(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return ten evenly spaced clips of 32 frames, every second one."""
    starts = np.linspace(0, max(0, length - 64), 10).astype(int)
    return (starts[:, None] + 2 * np.arange(32)).ravel()


SCENARIOS: dict[str, tuple[Callable[[int, np.random.Generator], np.ndarray], float]] = {
    "training, 32x2x1": (one_clip, 1.3),
    "training, 8 segments": (segments, 1.3),
    "testing, 32x2x10": (ten_clips, 1.3),
}
"""Name to frame sampling and target ratio."""


def read_decord(path: str, indices: np.ndarray, threads: int) -> np.ndarray:
    """Read with decord."""
    frames: np.ndarray = decord.VideoReader(path, num_threads=threads).get_batch(indices.tolist()).asnumpy()
    return frames


def read_vidcore(path: str, indices: np.ndarray, threads: int) -> np.ndarray:
    """Read with vidcore."""
    with open_video(path, threads=threads) as reader:
        return reader.read(indices)


def floor(path: str, indices: np.ndarray, threads: int) -> float:
    """Return the seconds of a read from an open file."""
    with open_video(path, threads=threads) as reader:
        start = time.perf_counter()
        reader.read(indices)
        return time.perf_counter() - start


def measure(name: str, videos: list[str], repeats: int, threads: int) -> tuple[float, float, float]:
    """Return median seconds per sample: decord, vidcore, floor."""
    sample, _ = SCENARIOS[name]
    seconds: dict[str, list[float]] = {"decord": [], "vidcore": [], "floor": []}
    for seed in range(repeats):
        for path in videos:
            with open_video(path) as reader:
                indices = sample(len(reader), np.random.default_rng(seed))
            frames = {}
            ways = {"decord": read_decord, "vidcore": read_vidcore}
            for way in ways if seed % 2 else reversed(ways):
                start = time.perf_counter()
                frames[way] = ways[way](path, indices, threads)
                seconds[way].append(time.perf_counter() - start)
            seconds["floor"].append(floor(path, indices, threads))
            assert np.abs(frames["decord"].astype(np.int16) - frames["vidcore"]).max() <= 2
    theirs, ours, least = (statistics.median(s) for s in seconds.values())
    return theirs, ours, least


def videos(folder: Path) -> list[str]:
    """Return the shared videos, or one rendered into ``folder`` (H.264, 300 frames with motion and noise)."""
    import av

    if shared := [str(SHARED / name) for name in VIDEOS if (SHARED / name).exists()]:
        return shared
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (80, 110, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    path = folder / "rendered.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"bf": "3", "g": "250", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for k in range(300):
            image = texture[k : k + 256, k : k + 340].astype(np.int16) + rng.integers(-8, 9, (256, 340, 1))
            image = image.clip(0, 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return [str(path)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--videos", nargs="+")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = args.videos or videos(Path(folder))
        print(f"{'frames':24} {'threads':>7} {'decord':>10} {'vidcore':>10} {'ratio':>7} {'target':>7} {'floor':>10}")
        for threads in args.threads:
            for name, (_, target) in SCENARIOS.items():
                theirs, ours, least = measure(name, paths, args.repeats, threads)
                row = f"{name:24} {threads:7} {theirs * 1e3:7.1f} ms {ours * 1e3:7.1f} ms"
                print(f"{row} {theirs / ours:7.2f} {target:7.1f} {least * 1e3:7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
