"""All drawing: figures in one style, with fonts that have the required characters, saved as PNG files.

This module imports matplotlib, so import it where a picture is drawn. pyplot and its global state are not used.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vidcore.errors import UserError
from vidcore.files import atomic_write


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence matplotlib, which logs if the home folder is read-only."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


with _quiet():
    import matplotlib
    from matplotlib import font_manager, ticker
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLOURS",
    "INK",
    "VERMILION",
    "Axes",
    "Figure",
    "Letters",
    "add_axes",
    "choose_fonts",
    "columns",
    "drawing",
    "left_to_right",
    "new_figure",
    "prefer_font",
    "rgb",
    "round_numbers",
    "save_figure",
    "time_axis",
    "time_ticks",
    "tint",
    "wrapped",
]

BLUE, VERMILION, INK = "#0072b2", "#d55e00", "#333333"
COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a900")
"""The colour-blind-safe palette of Okabe and Ito, with a darker yellow for lines on white."""
DPI, LARGEST = 120, 32_000
"""Pixels per inch, and maximum along a side (the renderer accepts up to 65,535)."""
LONGEST = 120
"""Maximum number of characters of a name; the middle of a longer one is left out, and its number is added."""
TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds between ticks of an axis of time."""
MISSING = "\ufffd"
"""Stands for a character that no font has."""
FIRST_FONT, LAST_RESORT = "DejaVu Sans", "Last Resort High-Efficiency"
"""Fonts that matplotlib includes; the second has the same box for every character."""
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.formatter.useoffset": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.dpi": DPI,
    "font.size": 9,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "text.parse_math": False,  # a $ in the name of a class is a $
    "text.color": INK,
}


@frozen
class Letters:
    """Converts strings to what the fonts of a picture can show."""

    missing: frozenset[str]
    """Characters that no font has."""

    def text(self, text: str) -> str:
        """Return a string on one line, with U+FFFD for characters that no font has.

        >>> Letters(frozenset("ж")).text("a\\n ж")
        'a �'
        """
        return "".join(MISSING if c in self.missing else c for c in _one_line(text))

    def line(self, name: str, number: int) -> str:
        """Return the name of a class on one line, prefixed with its number if it cannot be shown in full."""
        shown = self.text(name)
        return shown if shown and shown == _one_line(name) else f"{number} {shown}".strip()

    def name(self, name: str, number: int, width: int) -> str:
        """Return the name of a class in lines of at most ``width`` columns.

        A name that cannot be shown in full is prefixed with its number, so that no two names look alike.
        """
        shown = self.line(name, number)
        if len(shown) > LONGEST:
            shown = f"{number} {self.text(name)[: LONGEST - 45]}…{shown[-40:]}"
        return "\n".join(wrapped(shown, width))


@contextmanager
def drawing(texts: Iterable[str] = (), font: Path | None = None) -> Iterator[Letters]:
    """Set style and fonts for the block, within which figures and their parts are made.

    Installed fonts are chosen by the characters they have. A warning lists the characters that no font has.

    Args:
        texts: all strings in the figure, except ASCII.
        font: font file that takes precedence over installed fonts.

    Raises:
        UserError: the file is not a font.
    """
    families, letters = choose_fonts(texts, font, stacklevel=5)
    with _quiet(), matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "font.family": families})
        yield letters


def choose_fonts(texts: Iterable[str], font: Path | None = None, stacklevel: int = 3) -> tuple[list[str], Letters]:
    """Return the families of fonts that have the characters of the texts, the first one first; see ``drawing``."""
    with _quiet():
        families, missing = _families({c for text in texts for c in _one_line(text)}, font or _preferred.get())
    new = sorted(missing - _named)
    if new:
        _named.update(new)
        said = ", ".join(f"{c} (U+{ord(c):04X})" if c.isprintable() else f"U+{ord(c):04X}" for c in new[:10])
        more = f" and {len(new) - 10} more" if len(new) > 10 else ""
        hint = "install one (for Chinese, Japanese and Korean: Debian's fonts-noto-cjk), or set a font file"
        warnings.warn(f"no font has the characters {said}{more}: {hint}", stacklevel=stacklevel)
    return families, Letters(frozenset(missing))


@contextmanager
def prefer_font(font: Path) -> Iterator[None]:
    """Make a font file the default of ``drawing`` within this block. Raises ``UserError`` if it is not a font."""
    _family_of(font)
    token = _preferred.set(font)
    try:
        yield
    finally:
        _preferred.reset(token)


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches. The saved file also includes what extends beyond its edges."""
    figure = Figure((width, height))
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes to a figure; all values are in inches from its upper left corner."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, atomically. Equal figures give equal bytes."""
    data = io.BytesIO()
    with drawing():
        dpi = min(DPI, LARGEST / max(figure.get_size_inches()))
        figure.set_dpi(dpi)  # used for measuring; the one below, for writing
        figure.savefig(data, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    with atomic_write(path) as file:
        file.write(data.getbuffer())


def round_numbers(axis: Any) -> None:
    """Label an axis with numbers such as 0.05 or 1e+06, without an offset or a factor beside it."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.6g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def time_axis(axes: Axes, seconds: float) -> None:
    """Make the horizontal axis one of time, from 0 to ``seconds``."""
    axes.set_xlim(0, seconds)
    marks = time_ticks(seconds, 12)
    axes.set_xticks([*marks], [*marks.values()])


def time_ticks(seconds: float, most: int) -> dict[float, str]:
    """Return times of an axis from 0 to ``seconds`` with their text: at most ``most`` beside that at 0."""
    step = next((s for s in TIME_STEPS if seconds / s <= most), 3600 * np.ceil(seconds / 3600 / most))
    return {mark: _clock(mark, seconds) for mark in np.arange(0, seconds + step / 1e6, step).tolist()}


def tint(colour: str, strength: Any) -> np.ndarray[Any, Any]:
    """Return RGB of a colour mixed with white: strength 0 is white, strength 1 the colour itself.

    Args:
        strength: a number or an array (...).

    Returns:
        (..., 3) floats from 0 to 1.
    """
    return np.asarray(1 + (rgb(colour) - 1) * np.asarray(strength)[..., None])


def rgb(colour: str) -> np.ndarray[Any, Any]:
    """Return a colour such as ``#0072b2`` as (3,) floats from 0 to 1."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def columns(text: str) -> int:
    """Return the width of a string in columns of a terminal: a Chinese character takes two."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") - (unicodedata.combining(c) > 0) for c in text)


def left_to_right(text: str) -> str:
    """Return a string to which numbers can be appended: after Arabic or Hebrew, they would move before it."""
    return f"{text}\u200e" if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text) else text


def wrapped(text: str, width: float, measure: Callable[[str], float] = columns) -> list[str]:
    """Break a string into lines of at most ``width`` (default: columns), between words if possible.

    >>> wrapped("opening_a_door slowly", 10)
    ['opening_a_', 'door', 'slowly']
    """
    lines, line = [], ""
    for word in re.findall(r"[^\s/_-]*[\s/_-]*", text.strip()):
        if line and measure(f"{line}{word}".rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        for character in word:
            if line and measure(f"{line}{character}".rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += character
    return [*lines, line.rstrip()]


def _clock(mark: float, seconds: float) -> str:
    """Format a tick of a video of this length: in seconds, or as hours, minutes and seconds."""
    if seconds < 120:
        return f"{mark:g} s"
    minutes, rest = divmod(round(mark), 60)
    return f"{minutes}:{rest:02}" if seconds < 3600 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


_preferred: ContextVar[Path | None] = ContextVar("preferred font", default=None)
_named: set[str] = set()
"""Characters that a warning has listed."""


def _one_line(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _families(characters: set[str], font: Path | None) -> tuple[list[str], set[str]]:
    """Return the names of fonts that together have the characters, in order, and the characters that none has."""
    families = [*([_family_of(font)] if font else []), FIRST_FONT]
    unprintable = {c for c in characters if unicodedata.category(c) in ("Cc", "Cs")}  # some fonts have U+0000
    missing = {c for c in characters - unprintable if not any(_has(family, c) for family in families)}
    japanese = any("\u3040" <= c <= "\u30ff" for c in missing)
    korean = any("\uac00" <= c <= "\ud7af" for c in missing)
    region = " JP" if japanese else " KR" if korean else " SC"  # whose shapes of the same character differ
    searched = False
    while missing:
        fonts = [entry for entry in font_manager.fontManager.ttflist if entry.style == "normal"]
        regular = {entry.name for entry in fonts if entry.weight == 400}
        names = {entry.name for entry in fonts} - {LAST_RESORT}
        found = {name: {c for c in missing if _has(name, c)} for name in names}
        best = min(
            names,
            key=lambda n: (-len(found[n]), n not in regular, "Mono" in n, "Sans" not in n, not n.endswith(region), n),
        )
        if found[best]:
            families.append(best)
            missing -= found[best]
        elif searched:
            break
        else:
            _add_new_fonts()
            searched = True
    return families, missing | unprintable


@cache
def _add_new_fonts() -> None:
    """Add fonts that were installed after matplotlib cached its list."""
    fonts = font_manager.fontManager
    for path in sorted(set(font_manager.findSystemFonts()) - {entry.fname for entry in fonts.ttflist}):
        with suppress(Exception):  # skip unreadable fonts
            fonts.addfont(path)


def _family_of(path: Path) -> str:
    try:
        name = font_manager.get_font(str(path)).family_name
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"font {path}: is not a readable font: {error}") from error
    if all(entry.fname != str(path) for entry in font_manager.fontManager.ttflist):
        font_manager.fontManager.addfont(str(path))
    return str(name)


def _has(family: str, character: str) -> bool:
    codes, code = _codes(family), ord(character)
    place = int(np.searchsorted(codes, code))
    return place < len(codes) and int(codes[place]) == code


@cache
def _codes(family: str) -> np.ndarray[Any, Any]:
    """Return the sorted code points of a font; empty if it cannot be read."""
    with suppress(OSError, RuntimeError, ValueError):
        path = font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
        return np.array(sorted(font_manager.get_font(path).get_charmap()), np.int64)
    return np.zeros(0, np.int64)
