"""Evaluation of the statements of a ``.py`` configuration file, without executing code.

Supported are assignments, changes of tables (``x["a"] = 1``, ``x.update(...)``, ``del x["a"]``), ``if``, and both kinds
of inheritance (``_base_ = [...]`` and ``with read_base(): from .x import *``). Statements that cannot change a value
(``os.environ["X"] = "1"``) are skipped. Everything else is an error that names file and line.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from vid_mmaction2.expressions import Expressions
from vid_mmaction2.operations import Budget, apply, merge
from vidcore.errors import ConfigError

__all__ = ["Module"]

Load = Callable[[Path], dict[str, Any]]
"""Reads a file that a configuration inherits from."""


class Module(Expressions):
    """Evaluates the statements of one ``.py`` file, in order."""

    def __init__(self, path: Path, text: str, budget: Budget, load: Load) -> None:
        """
        Args:
            path: the file.
            text: its content.
            budget: is charged for each statement and value.
            load: reads a file that this one inherits from with ``read_base()``.

        Raises:
            ConfigError: the content is not Python.
        """
        super().__init__(path, text, budget)
        self.load = load
        try:
            self.tree = ast.parse(text, filename=str(path))
        except (RecursionError, MemoryError):
            raise ConfigError(f"{path}: nested too deeply") from None
        except (SyntaxError, ValueError) as error:
            line = (error.lineno if isinstance(error, SyntaxError) else None) or 1
            raise ConfigError(f"{path}:{line}: not Python: {error.args[0]}") from error

    def run(self, bases: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the names that the file defines, merged into those of the files of its ``_base_``.

        Args:
            bases: reads the files that ``_base_`` names.

        Raises:
            ConfigError: a statement is not plain data, fails, or exceeds a limit.
        """
        for statement in self.tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="_base_")], value=names):
                    self.base = bases(self.value(names))
                case ast.AnnAssign(target=ast.Name(id="_base_"), value=ast.expr() as names):
                    self.base = bases(self.value(names))
        for statement in self.tree.body:
            self.statement(statement)
        self.names.pop("_base_", None)
        merged = merge(self.base, self.names, str(self.path))
        self.budget.charge(merged)
        return merged

    def statement(self, node: ast.stmt) -> None:
        self.charged(node, None)
        match node:
            case _ if self.is_harmless(node):
                self.budget.skipped.append(f"{self.path}:{node.lineno}: {self.code(node)}")
            case ast.Assign(targets=targets, value=expression):
                value = self.value(expression)
                for target in targets:
                    self.assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as expression):
                self.assign(target, self.value(expression))
            case ast.AugAssign(target=ast.Name() | ast.Subscript() as target, op=op, value=expression):
                values = self.value(target), self.value(expression)
                self.assign(target, self.data(node, self.attempt(node, apply, op, *values, in_place=True)))
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.AnnAssign(value=None):
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute()) as call):
                self.value(call)
            case ast.If(test=test, body=body, orelse=orelse):
                for inner in body if self.value(test) else orelse:
                    self.statement(inner)
            case ast.Delete(targets=targets):
                for target in targets:
                    self.delete(target)
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name(id="read_base")))], body=body):
                for inner in body:
                    self.inherit(inner)
            case ast.Import(names=names):
                for alias in names:  # `import a.b` binds a, `import a.b as c` binds c
                    top = alias.name.split(".")[0]
                    self.imported[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=module, names=names):
                self.imported.update({a.asname or a.name: f"{module}.{a.name}" for a in names})
            case ast.Try(body=body) if all(isinstance(s, (ast.Import, ast.ImportFrom)) for s in body):
                for inner in body:  # as if the library were installed
                    self.statement(inner)
                self.budget.skipped.append(f"{self.path}:{node.lineno}: {self.code(node)}")
            case _:
                raise self.not_data(node)

    def is_harmless(self, node: ast.stmt) -> bool:
        """Return whether a statement cannot change the configuration: it only uses imported modules, or prints."""
        match node:
            case ast.Assign(targets=targets):
                return all(self.is_imported(target) for target in targets)
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
                return self.is_imported(target)
            case ast.Delete(targets=targets):
                return all(self.is_imported(target) for target in targets)
            case ast.Assert():
                return True
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
                return "print" not in self.names
            case ast.Expr(value=ast.Call(func=function, args=arguments, keywords=keywords)):
                used = [n for part in (*arguments, *keywords) for n in ast.walk(part) if isinstance(n, ast.Name)]
                if any(
                    isinstance(self.names.get(n.id, self.base if n.id == "_base_" else None), (dict, list))
                    for n in used
                ):
                    return False  # it may modify them
                root = _root(function)
                if isinstance(function, ast.Name):
                    return root in self.imported or ("*" in self.imported and root not in self.names)
                return isinstance(self.names.get(root), PurePosixPath) or self.is_imported(function)
        return False

    def is_imported(self, node: ast.expr) -> bool:
        """Return whether this is part of an imported module, such as ``os.environ["X"]``."""
        root = _root(node)
        return not isinstance(node, ast.Name) and root in self.imported and root not in self.names

    def inherit(self, node: ast.stmt) -> None:
        """``from .._base_.models.tsn_r50 import *`` inside ``with read_base():``."""
        if not (isinstance(node, ast.ImportFrom) and node.level and node.module):
            raise self.not_data(node)
        if node.level > len(self.path.parents):
            raise self.fail(node, f"{node.level} dots lead above the root folder")
        file = self.path.parents[node.level - 1].joinpath(*node.module.split(".")).with_suffix(".py")
        table = self.load(file)
        for alias in node.names:
            if alias.name == "*":
                self.names.update(table)
            elif alias.name in table:
                self.names[alias.asname or alias.name] = table[alias.name]
            else:
                raise self.fail(node, f"{node.module} does not define {alias.name!r}")

    def delete(self, target: ast.expr) -> None:
        match target:
            case ast.Name(id=name) if name in self.names:
                del self.names[name]
            case ast.Name(id=name) if name in self.imported:
                del self.imported[name]
            case ast.Name(id=name):
                raise self.fail(target, f"{name!r} has no known value")
            case ast.Subscript(value=container, slice=key):
                owner, index = self.value(container), self.value(key)
                try:
                    del owner[index]
                except (TypeError, ValueError, LookupError) as error:
                    raise self.fail(target, f"cannot delete {self.code(target)}: {error!r}") from error
            case _:
                raise self.not_data(target)


def _root(node: ast.expr) -> str:
    """Return the first name of an expression: ``os`` of ``os.environ["X"]``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
