"""Modules parsed from their source, without importing anything."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from functools import cache
from pathlib import Path

from attrs import frozen

from vidcore.errors import PluginError

__all__ = ["Definition", "Module", "find_module"]

Definition = ast.ClassDef | ast.FunctionDef


@frozen
class Module:
    """A source file, parsed."""

    name: str
    file: str
    package: str
    names: dict[str, ast.stmt]
    """The statements that define or import a name, also inside ``if`` and ``try`` blocks."""

    def definition(self, name: str) -> tuple[Module, Definition] | None:
        """Return where a class or function is defined, following ``from x import y``."""
        node = self.names.get(name)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            return self, node
        if isinstance(node, ast.ImportFrom):
            other, original = self.imported(node, name)
            return other.definition(original) if other else None
        return None

    def imported(self, node: ast.ImportFrom, name: str) -> tuple[Module | None, str]:
        """Return where ``from x import y as name`` leads: the module x and y."""
        source = "." * node.level + (node.module or "")
        original = next(a.name for a in node.names if (a.asname or a.name) == name)
        return find_module(importlib.util.resolve_name(source, self.package)), original


@cache
def find_module(name: str) -> Module | None:
    """Parse a module; its parent packages are located, but not imported. None if it has no Python source.

    Raises ``PluginError`` if it is not Python.
    """
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    full = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        full = f"{full}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(full, list(spec.submodule_search_locations))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    try:
        tree = ast.parse(Path(spec.origin).read_bytes(), spec.origin)
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"{spec.origin}: cannot be read: {error}") from error
    names: dict[str, ast.stmt] = {}
    _collect_names(tree.body, names)
    return Module(name, spec.origin, package, names)


def _collect_names(body: list[ast.stmt], names: dict[str, ast.stmt]) -> None:
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names[name] = node
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    names[alias.asname or alias.name.partition(".")[0]] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = node
            case ast.If(body=inner, orelse=other):
                _collect_names(other, names)
                _collect_names(inner, names)
            case ast.Try(body=inner):
                _collect_names(inner, names)
