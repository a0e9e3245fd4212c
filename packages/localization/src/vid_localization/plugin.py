"""What vid-localization offers."""

from __future__ import annotations

from vidcore.hookspecs import hookimpl
