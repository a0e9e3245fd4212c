"""Memory of predictions along a video: 10 and 60 minutes, each in a process of its own.

Prints for each length the largest resident set size of ``predict_windows`` with a small recognizer, windows of two
seconds, and the CPU time beside the wall time.

    python benchmarks/windows_memory.py [--minutes 10 60] [--fps 30]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make(folder: Path, minutes: int, fps: int) -> Path:
    """Write a video of 96 x 96 pixels that moves sideways."""
    import av
    import numpy as np

    path = folder / f"{minutes}.mp4"
    picture = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), 12, 0), 12, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = 96
        for number in range(minutes * 60 * fps):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, number % 96, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def predict(folder: Path, video: Path) -> None:
    """Predict along a video, in this process, and print what it took."""
    import torch

    from vid_recognition import demo
    from vidcore import Predictor
    from vidcore.plugins.catalog import load_plugins
    from vidcore.predict.windows import predict_windows
    from vidcore.task.task import Task

    (folder / "task.toml").write_text(
        Path(demo.__file__).with_name("demo.toml").read_text().replace('classes = "classes.txt"', "")
    )
    task = Task.load(folder / "task.toml", load_plugins())
    torch.save({"state_dict": task.build("model").state_dict()}, folder / "weights.pt")
    start = time.perf_counter()
    with Predictor(task, folder / "weights.pt") as predictor:
        count = sum(1 for _ in predict_windows(predictor, video, "2s", "1s"))
    seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    memory = used.ru_maxrss / 1024
    print(
        f"{video.stem:>4} minutes: {count:5} windows, {memory:6.0f} MiB, {used.ru_utime:5.1f} s CPU, {seconds:5.1f} s"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--video", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.video:
        predict(options.video.parent, options.video)
        return
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            video = make(Path(folder), minutes, options.fps)
            subprocess.run([sys.executable, __file__, "--video", str(video)], check=True)


if __name__ == "__main__":
    main()
