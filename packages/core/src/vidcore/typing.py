"""Types that annotations in every package use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Array", "Named"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""A NumPy array of any shape and dtype; docstrings say which."""

T = TypeVar("T")

Named = Annotated[T, "a component by its name, not built"]
"""A component that a Task names in a string. It is passed as the class or function itself: loaded, not called.

For components that get their arguments later, such as a decoder, which is called with each path::

    class Decoder(Protocol):  # the name gives the kind: decoders
        def __call__(self, path: str | Path, threads: int = 1) -> VideoReader: ...

    @frozen
    class OpenVideo:
        decoder: Literal["auto"] | Named[Decoder] = "auto"

A Task can then contain ``decoder = "pyav"``. The name is checked like a ``type``, before anything is imported.
"""
