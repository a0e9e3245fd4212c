"""List the wheels of every dependency for each supported Python and platform: ``python tests/wheel_matrix.py``.

Run by hand; asks the package index that pip is configured for, and downloads no wheel. Exits with 1 where a wheel
is missing. Requirements are read from the ``pyproject.toml`` files of the workspace, extras included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux x86-64": [f"manylinux{v}_x86_64" for v in ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "2014")],
    "Linux ARM": [f"manylinux{v}_aarch64" for v in ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "2014")],
    "macOS ARM": [f"macosx_{v}_0_{kind}" for v in (14, 13, 12, 11) for kind in ("arm64", "universal2")],
    "Windows": ["win_amd64"],
}


def requirements() -> list[str]:
    """Return all requirements of packages of the workspace, with and without extras, except other packages of it."""
    projects = [tomllib.loads(path.read_text())["project"] for path in sorted(ROOT.glob("p*/*/pyproject.toml"))]
    ours = {project["name"] for project in projects}
    listed = [r for p in projects for r in p["dependencies"]]
    listed += [r for p in projects for extra in p.get("optional-dependencies", {}).values() for r in extra]
    return sorted({r for r in listed if r.partition(">")[0].partition("[")[0] not in ours})


def wheels(wanted: list[str], python: str, platforms: list[str]) -> dict[str, str]:
    """Return requirement -> file name of the wheel that pip selects; empty if there is none."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--target", "unused", "--report", "-"]
    command += [argument for platform in platforms for argument in ("--platform", platform)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        files = [Path(i["download_info"]["url"]).name for i in json.loads(done.stdout)["install"]]
        return dict(zip(wanted, (next(f for f in files if _is_of(f, name)) for name in wanted), strict=True))
    if "No matching distribution" not in done.stderr:
        sys.exit(done.stderr)
    if len(wanted) == 1:
        return {wanted[0]: ""}
    return {name: wheels([name], python, platforms)[name] for name in wanted}


def _is_of(file: str, requirement: str) -> bool:
    name = requirement.partition(">")[0].partition("[")[0].strip()
    return file.partition("-")[0].lower() == name.replace("-", "_").lower()


def main() -> None:
    """Print a line for every requirement: the version found for each Python on each platform."""
    wanted = requirements()
    missing = 0
    for system, platforms in PLATFORMS.items():
        found = {python: wheels(wanted, python, platforms) for python in PYTHONS}
        print(f"\n{system:26}" + "".join(f"{python:>14}" for python in PYTHONS))
        for name in wanted:
            versions = [found[python][name].split("-")[1:2] for python in PYTHONS]
            missing += versions.count([])
            print(f"{name:26}" + "".join(f"{version[0] if version else 'NONE':>14}" for version in versions))
    sys.exit(f"\n{missing} wheels are missing" if missing else 0)


if __name__ == "__main__":
    main()
