"""Clear messages if memory or file descriptors run out, instead of "received 0 items of ancdata"."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from vidcore.errors import DataError, VideoError

__all__ = ["resource_hint", "with_hint"]


def resource_hint(error: BaseException) -> str | None:
    """Return what ran out and what to do about it; None for any other error.

    A video that cannot be read may only mean that no more files can be opened, whatever its reader reports. But a
    video that needs more memory than there is has a damaged header.
    """
    numbers = {e.errno for e in _causes(error) if isinstance(e, OSError)}
    if numbers & {errno.EMFILE, errno.ENFILE} or not _can_open():
        return f"too many open files{_limit()}: raise the limit (ulimit -n 65536), or use fewer data.*.workers"
    if isinstance(error, VideoError):
        return None
    if numbers & {errno.ENOMEM, errno.ENOSPC, errno.EFBIG} or any(isinstance(e, MemoryError) for e in _causes(error)):
        return "no memory left for batches: use fewer data.*.workers, a smaller prefetch or batch_size"
    if errno.EAGAIN in numbers:  # of fork
        return "no more processes can be started: raise the limit (ulimit -u), or use fewer data.*.workers"
    return None


def with_hint(error: OSError) -> Exception:
    """Return the error to raise in place of this one: with a hint if resources ran out."""
    advice = resource_hint(error)
    return DataError(advice) if advice else error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _can_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def _limit() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return ""
    return f" (the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
