"""Types of configuration values."""

from __future__ import annotations

import importlib
from typing import Any

from attrs import frozen

__all__ = ["ANY", "ByName", "Choice", "DictOf", "ListOf", "Object", "Record", "Scalar", "TupleOf", "Type", "Union"]


class Type:
    """Base class of the types below; ``str()`` is its name in messages."""


@frozen
class AnyValue(Type):
    def __str__(self) -> str:
        return "any value"


ANY = AnyValue()


@frozen
class Scalar(Type):
    """``int``, ``float``, ``bool``, ``str`` or ``Path``. Strict: the only conversion is from int to float."""

    name: str

    def __str__(self) -> str:
        return {"str": "a string", "Path": "a path", "bool": "true or false", "int": "an integer"}.get(
            self.name, "a number"
        )


@frozen
class Choice(Type):
    """One of some literal values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(v) for v in self.values)


@frozen
class ListOf(Type):
    """An array of any length; the component gets a tuple if ``as_tuple``, else a list."""

    item: Type
    as_tuple: bool = False

    def __str__(self) -> str:
        return f"an array of ({self.item})"


@frozen
class TupleOf(Type):
    """An array of fixed length."""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return f"an array of {len(self.items)}: {', '.join(map(str, self.items))}"


@frozen
class DictOf(Type):
    """A table with arbitrary keys."""

    item: Type

    def __str__(self) -> str:
        return f"a table of ({self.item})"


@frozen
class Union(Type):
    """Any of several; None among them means that the key may be absent."""

    options: tuple[Type, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.options))


@frozen
class Record(Type):
    """A table without ``type`` whose keys are the fields of that attrs class."""

    target: str
    """``module:attribute``"""

    @property
    def name(self) -> str:
        return self.target.partition(":")[2]

    def load(self) -> Any:
        """Import the class."""
        return getattr(importlib.import_module(self.target.partition(":")[0]), self.name)

    def __str__(self) -> str:
        return "a table"


@frozen
class Object(Type):
    """A table with ``type``: a component. The name of its class or protocol gives the kind, see ``kind_of``."""

    name: str

    def __str__(self) -> str:
        return f"a component table ({self.name})"


@frozen
class ByName(Type):
    """A string that names a component, which is loaded but not built; see ``vidcore.typing.Named``."""

    name: str
    """Name of the class or protocol, as in ``Object``."""

    def __str__(self) -> str:
        return f"the name of a component ({self.name})"
