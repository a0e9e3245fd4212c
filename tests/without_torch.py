"""Test the core without PyTorch, on the newest Python found: ``python tests/without_torch.py``.

The environment is made in ``.hatch/without-torch``, with the newest versions of what the packages require. The
task packages are installed without their dependencies: their Tasks can be listed and checked. Tests marked ``torch``
are left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".hatch" / "without-torch"
TESTS = (
    *(f"packages/core/tests/{name}" for name in ("config", "video", "test_cli.py", "test_doctor.py", "test_files.py")),
    *(
        f"packages/core/tests/{name}"
        for name in ("test_jobs.py", "test_plugins.py", "test_predictions.py", "data/test_index.py")
    ),
    *(f"packages/core/tests/transforms/test_transforms_{name}.py" for name in ("geometry", "loading", "sampling")),
    *("tests/test_arrows.py", "tests/test_startup.py"),
)


def newest_python() -> str:
    """Return the newest interpreter from 3.11 on, on the path or installed by pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for minor in range(19, 10, -1):
        name = f"python3.{minor}"
        found = [shutil.which(name), *map(str, sorted(versions.glob(f"3.{minor}.*/bin/{name}")))]
        for python in filter(None, found):
            if subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return python
    return sys.executable


def main() -> None:
    """Make the environment, install and test."""
    subprocess.run([newest_python(), "-m", "venv", "--clear", ENVIRONMENT], check=True)
    python = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / "python"
    hidden = {"PIP_CONSTRAINT", "PYTHONPATH", "VIRTUAL_ENV"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "./packages/core[decord]", "pytest", "pytest-xdist"], cwd=ROOT, env=env, check=True)
    subprocess.run(
        [*install, "--no-deps", *map(str, sorted(ROOT.glob("packages/[!c]*")))], cwd=ROOT, env=env, check=True
    )
    subprocess.run([python, "-c", "import sys; print('without PyTorch, on Python', sys.version)"], check=True)
    test = [python, "-m", "pytest", "--numprocesses", "auto", "--maxprocesses", "4", "-m", "not torch"]
    sys.exit(subprocess.run([*test, *TESTS, *sys.argv[1:]], cwd=ROOT, env=env, check=False).returncode)


if __name__ == "__main__":
    main()
