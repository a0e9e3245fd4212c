"""Types and marks that annotations in every package use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Array", "Named"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""A NumPy array of any shape and dtype; the docstring beside it says which."""

T = TypeVar("T")

Named = Annotated[T, "a component by its name, not built"]
"""A component that a Task names in a string, and that arrives as the class or function it is: loaded, not called.

For what gets its arguments later than a Task is built, such as a decoder, which is called with every path::

    class Decoder(Protocol):  # its name says the kind: decoders
        def __call__(self, path: str | Path, threads: int = 1) -> VideoReader: ...

    @frozen
    class OpenVideo:
        decoder: Literal["auto"] | Named[Decoder] = "auto"

A Task may then say ``decoder = "pyav"``. The name is checked like a ``type``, before anything is imported.
"""
