"""Fonts by the characters they have, texts as they are, files that are the same whenever they are written."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager

from vidcore.errors import UserError
from vidcore.tools import draw
from vidcore.tools.draw import (
    Letters,
    add_axes,
    columns,
    drawing,
    left_to_right,
    new_figure,
    prefer_font,
    save_figure,
    tint,
    wrapped,
)

CHINESE, NOWHERE = "\u95e8", "\U0010fffd"
BOLD = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif-Bold.ttf"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No warning was given yet; a font that a test adds is gone after it."""
    monkeypatch.setattr(draw, "_named", set())
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    codes = draw._codes
    codes.cache_clear()
    yield
    codes.cache_clear()


@pytest.fixture
def fonts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let only fonts be installed that have these characters: ``fonts(Name="abc")``."""

    def install(**characters: str) -> None:
        entries = [SimpleNamespace(name=name, style="normal", weight=400) for name in characters]
        monkeypatch.setattr(font_manager, "fontManager", SimpleNamespace(ttflist=entries))
        monkeypatch.setattr(draw, "_add_new_fonts", lambda: None)
        codes = {name: np.array(sorted(map(ord, text))) for name, text in characters.items()}
        monkeypatch.setattr(draw, "_codes", lambda family: codes.get(family, np.arange(32, 127)))

    return install


def families() -> list[str]:
    return list(matplotlib.rcParams["font.family"])


def drawn(text: str, path: Path, **options: Any) -> np.ndarray[Any, Any]:
    """Write a picture of a text; return its pixels."""
    with drawing([text], **options) as letters:
        figure = new_figure(2, 1)
        add_axes(figure, 0, 0, 2, 1).set_title(letters.text(text))
    save_figure(figure, path)
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_fonts_are_chosen_by_the_characters_they_have(fonts: Any) -> None:
    fonts(**{"Few Sans": "甲", "Most Serif": "甲乙丙", "Other": "丁", "Last Resort High-Efficiency": "甲乙丙丁"})
    with drawing(["a 甲乙", "丙丁"]):
        assert families() == ["DejaVu Sans", "Most Serif", "Other"]
    with drawing(["plain"]):
        assert families() == ["DejaVu Sans"]


def test_among_equal_fonts_the_one_for_the_language_is_chosen(fonts: Any) -> None:
    fonts(
        **{
            f"Noto {kind} CJK {region}": "门ア한"
            for kind in ("Sans Mono", "Serif", "Sans")
            for region in ("JP", "KR", "SC")
        }
    )
    for text, region in (("门", "SC"), ("门ア", "JP"), ("门한", "KR")):
        with drawing([text]):
            assert families() == ["DejaVu Sans", f"Noto Sans CJK {region}"]


def test_a_font_file_takes_precedence(tmp_path: Path) -> None:
    with drawing(["é"], font=BOLD):
        assert families()[:2] == ["DejaVu Serif", "DejaVu Sans"]
    for name, content in (("no.ttf", b"no font"), ("missing.ttf", None)):
        if content:
            (tmp_path / name).write_bytes(content)
        with (
            pytest.raises(UserError, match=rf"font .*{name}: is not a readable font"),
            drawing([], tmp_path / name),
        ):
            pass


def test_a_font_for_a_block(tmp_path: Path) -> None:
    with prefer_font(BOLD), drawing([]):
        assert families() == ["DejaVu Serif", "DejaVu Sans"]
    with drawing([]):
        assert families() == ["DejaVu Sans"]
    with pytest.raises(UserError, match="is not a readable font"), prefer_font(tmp_path / "missing.ttf"):
        pass


def test_a_font_that_was_installed_after_the_list_was_made_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stix = BOLD.with_name("STIXGeneral.ttf")
    characters = sorted(set(font_manager.get_font(str(stix)).get_charmap()) - set(draw._codes("DejaVu Sans").tolist()))
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist if entry.name == "DejaVu Sans"])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(stix), "missing.ttf"])
    draw._add_new_fonts.cache_clear()
    with drawing([chr(characters[0])]):
        assert families() == ["DejaVu Sans", "STIXGeneral"]
    draw._add_new_fonts.cache_clear()


def test_characters_that_no_font_has_are_reported_once(fonts: Any, tmp_path: Path) -> None:
    fonts(Some="甲")
    with (
        pytest.warns(UserWarning, match="no font has") as told,
        drawing(["甲乙乙", "乙\x01"]) as letters,
    ):
        assert letters.text("甲乙") == "甲\ufffd"
    assert [str(w.message).partition(":")[0] for w in told] == ["no font has the characters U+0001, 乙 (U+4E59)"]
    with drawing(["乙乙"]):
        pass
    with pytest.warns(UserWarning, match=r"no font has the characters 丙 \(U\+4E19\): install one"), drawing(["乙丙"]):
        pass


def test_missing_characters_do_not_make_matplotlib_warn(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no font has") as told:
        image = drawn(f"a{NOWHERE}\udcff\x00b", tmp_path / "a.png")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(image, drawn("a\ufffd\ufffd\ufffdb", tmp_path / "b.png"))


def test_chinese_is_readable_if_a_font_is_installed(tmp_path: Path) -> None:
    if draw._families(set("门窗"), None)[1]:
        pytest.skip("no such font is installed")
    first, second = (drawn(text, tmp_path / "a.png") for text in ("门" * 3, "窗" * 3))
    assert first.shape != second.shape or (first != second).any()


@pytest.mark.parametrize("text", ["$x_1$ costs 5$", r"\frac{1}{2}", "_private", "50%", "#{}^~&"])
def test_strings_are_drawn_literally(text: str, tmp_path: Path) -> None:
    with drawing([text]) as letters:
        figure = new_figure(2, 1)
        title = add_axes(figure, 0, 0, 2, 1).set_title(letters.text(text))
    assert title.get_text() == text
    assert title.get_parse_math() is False
    save_figure(figure, tmp_path / "a.png")


def test_shortened_names_have_their_number() -> None:
    letters = Letters(frozenset("乙丙"))
    assert letters.name("open\n the  door", 7, 40) == "open the door"
    assert letters.name("乙", 7, 40) == "7 \ufffd"
    assert letters.name("", 7, 40) == "7"
    long = letters.name("x" * 300, 7, 40)
    assert long.startswith("7\nxxx") and long.count("x") == 115 and "…" in long
    assert letters.name("opening a door slowly", 7, 10) == "opening a\ndoor\nslowly"


def test_numbers_stay_behind_names_that_are_read_from_the_right() -> None:
    assert left_to_right("run") == "run"
    assert left_to_right("acc/\u0641\u062a\u062d") == "acc/\u0641\u062a\u062d\u200e"


def test_wrapped_lines_use_the_allowed_width() -> None:
    text = "打开窗户 opening_a_window extraordinarilylongword e\u0301e\u0301e\u0301"
    lines = wrapped(text, 8)
    assert max(map(columns, lines)) <= 8
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("", 8) == [""]


def test_files_are_reproducible(tmp_path: Path) -> None:
    def write(path: Path) -> bytes:
        with drawing():
            figure = new_figure(3, 2)
            add_axes(figure, 0.5, 0.5, 2, 1).plot([1, 2], [3, 4])
        save_figure(figure, path)
        return path.read_bytes()

    first = write(tmp_path / "ü.png")
    with matplotlib.rc_context({"figure.dpi": 33.0, "axes.facecolor": "black", "savefig.transparent": True}):
        assert write(tmp_path / "b.png") == first, "somebody's own settings do not matter"
    assert b"Software" not in first and b"tIME" not in first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "ü.png"]


def test_a_huge_figure_is_made_smaller(tmp_path: Path) -> None:
    with drawing():
        figure = new_figure(1, 700)
        add_axes(figure, 0.2, 0, 0.5, 700)
    save_figure(figure, tmp_path / "a.png")
    assert 31_000 < cv2.imread(str(tmp_path / "a.png")).shape[0] < 33_000


def test_settings_of_matplotlib_are_restored() -> None:
    before = dict(matplotlib.rcParams)
    with drawing(["a"]):
        assert matplotlib.rcParams["text.parse_math"] is False
    assert dict(matplotlib.rcParams) == before


def test_tints() -> None:
    np.testing.assert_allclose(tint("#ff8000", np.array([0, 1])), [[1, 1, 1], [1, 128 / 255, 0]])


def test_a_read_only_home_folder_causes_no_output(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, in which nobody can make a folder: permissions do not stop an administrator")
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    }
    script = "from vidcore.tools.draw import *\nwith drawing(['a']): f = new_figure(1, 1)\nfrom pathlib import Path\n"
    script += (
        f"save_figure(f, Path({str(tmp_path / 'a.png')!r}))\nimport sys\nassert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.png").exists()
