"""Time of ``vidcore --help``, ``list`` and ``check``, compared with importing torch.

Medians of the times of whole processes, run in turn. The first round, which fills the disk cache, is ignored.

    python benchmarks/startup.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "vidcore --help": ["-m", "vidcore", "--help"],
    "vidcore list": ["-m", "vidcore", "list"],
    "vidcore check RECIPE": ["-m", "vidcore", "check", "slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb"],
    "python": ["-c", ""],
}


def seconds(command: list[str]) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeats + 1):
        for name, command in COMMANDS.items():
            taken = seconds(command)
            if turn:
                times[name].append(taken)
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"{'':24}{'seconds':>8}{'fraction of importing torch':>28}")
    for name, median in medians.items():
        print(f"{name:24}{median:8.2f}{median / medians['import torch']:28.2f}")


if __name__ == "__main__":
    main()
