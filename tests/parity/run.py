"""Run the reference cases (``hatch run parity``); the exit status is 0 if all pass.

Default: all models, then all operators. Arguments are passed to ``check.py`` of the references:
``hatch run parity ops --only "video.*"``. They are in ``shared/`` next to the project, or in ``VIDCORE_SHARED``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(args: list[str]) -> int:
    """Return 1 if any selected case failed, 2 if there are no reference numbers."""
    check = Path(os.environ.get("VIDCORE_SHARED", ROOT.parent / "shared")).resolve() / "parity" / "check.py"
    if not check.is_file():
        print(f"no reference numbers at {check}; set VIDCORE_SHARED to the folder of parity/", file=sys.stderr)
        return 2
    adapter = ["--adapter", str(ROOT / "tests" / "parity" / "adapter.py")]
    runs = [args] if args else [["models"], ["ops"]]
    codes = [subprocess.run([sys.executable, check, *run, *adapter], cwd=ROOT, check=False).returncode for run in runs]
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
