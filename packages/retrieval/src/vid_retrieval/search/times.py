"""Times of windows as text."""

from __future__ import annotations

from vid_retrieval.search.index import Match

__all__ = ["span_text"]


def span_text(match: Match) -> str:
    """Return when a window starts and ends.

    >>> span_text(Match("a.mp4", 70.0, 3672.5, False, 0.3, 1.0)), span_text(Match("a", 8.0, 16.0, True, 0.3, 1.0))
    ('1:10-1:01:12.5', 'frames 8-16')
    """
    if match.in_frames:
        return f"frames {match.start:.0f}-{match.end:.0f}"
    return f"{_clock(match.start)}-{_clock(match.end)}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:" if hours else f"{minutes}:"
    return text + f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
