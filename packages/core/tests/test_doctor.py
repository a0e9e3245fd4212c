"""What ``vidcore doctor`` finds."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import av
import pytest
from attrs import evolve

from vidcore.cli import run
from vidcore.plugins.catalog import Plugin, load_plugins
from vidcore.tools.doctor import examine, several_providers, unmet_requirements


def test_the_report_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if not line.startswith(" ")][:3] == ["versions", "devices", "decoders"]
    assert any(line.startswith("  av    ") and "FFmpeg" in line for line in lines)
    assert any(line.startswith("  cpu    ") for line in lines)


def test_the_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["numpy"] == importlib.metadata.version("numpy")
    assert {"decord", "frames", "image", "pyav"} <= set(found["decoders"])
    assert found["usable"] is True


def test_without_pytorch_and_decord() -> None:
    script = "import sys; sys.modules.update(torch=None, decord=None); from vidcore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor", "--json"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert (found["versions"]["torch"], found["versions"]["decord"]) == ("not installed", "not installed")
    assert found["decoders"]["decord"] == "decoder 'decord' needs decord: pip install 'vidcore[decord]'"
    told = [p for p in found["problems"] if "PyTorch" in p or "decoder" in p]
    assert told == [
        "PyTorch is not installed: training, evaluation and prediction require it; pip install 'vidcore[torch]'"
    ]


def test_two_distributions_of_one_module() -> None:
    assert several_providers({"cv2": ["opencv-python-headless"], "numpy": ["a", "b"]}) == []
    assert several_providers({"cv2": ["opencv-python", "opencv-contrib-python", "opencv-python-headless"]}) == [
        "opencv-contrib-python, opencv-python and opencv-python-headless all install the module cv2 and overwrite each "
        "other's files: pip uninstall opencv-contrib-python opencv-python opencv-python-headless, then pip install "
        "opencv-python-headless"
    ]


def test_one_opencv_is_installed() -> None:
    providers = importlib.metadata.packages_distributions()
    assert set(providers["cv2"]) == {"opencv-python-headless"}


def test_unmet_requirements(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    listed = ["a>=1.10", "b>=2", "c>=3", "d >=1 ; extra == 'd'", "e", "f>=2.1"]
    versions = {"a": "1.9.9", "b": "2.0rc1", "f": "2.1.0+cpu"}
    assert unmet_requirements(listed, versions.get) == [
        "a 1.9.9 is too old: vidcore requires a>=1.10",
        "c is not installed: vidcore requires c>=3",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["av>=999"])
    assert run(["doctor"]) == 2
    assert "- av " in capsys.readouterr().out


def test_broken_plugins_and_missing_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"hevc", "av1"})
    catalog = load_plugins()
    found = examine(evolve(catalog, plugins=(*catalog.plugins, Plugin("vid-x", "3", "ImportError: no x"))))
    assert found.versions["vid-x"] == "3"
    assert "plugin vid-x is broken and skipped: ImportError: no x" in found.problems
    assert any(p.startswith("av has no decoder for av1, hevc;") for p in found.problems)
    assert found.usable
