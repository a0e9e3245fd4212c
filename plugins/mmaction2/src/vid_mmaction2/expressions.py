"""Evaluation of expressions in a ``.py`` configuration file, without executing code.

Supported are literals, ``dict(...)``, previously assigned names, operators, f-strings, comprehensions,
``os.path.join``, ``pathlib.Path``, the methods that configurations call on lists and dictionaries, and
``{{_base_.x}}``. Everything else is an error that names file and line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from vid_mmaction2.operations import (
    FUNCTIONS,
    IMPORTED,
    NOT_DATA,
    Budget,
    apply,
    call_method,
    format_value,
    merge,
    path_part,
)
from vidcore.errors import ConfigError

__all__ = ["Expressions"]

_SUBSTITUTION = re.compile(r"\{\{([^{}]*)\}\}")


class Expressions:
    """Evaluates expressions with the names that a file has defined so far."""

    def __init__(self, path: Path, text: str, budget: Budget) -> None:
        """
        Args:
            path: the file.
            text: its content.
            budget: is charged for each value.
        """
        self.path, self.budget = path, budget
        self.lines = re.split(r"\r\n|\r|\n", text)  # str.splitlines knows more ends of lines than Python does
        self.names: dict[str, Any] = {}
        self.imported: dict[str, str] = {}
        """Names of imported modules and objects, with their full names."""
        self.base: dict[str, Any] = {}
        """The merged files of ``_base_``."""

    def fail(self, node: ast.AST, why: str) -> ConfigError:
        short = why if len(why) <= 500 else f"{why[:500]}..."
        return ConfigError(f"{self.path}:{getattr(node, 'lineno', 1)}: {short}")

    def code(self, node: ast.AST) -> str:
        """Return the first line of a statement or expression, for messages."""
        place: Any = node  # ast.unparse fails for large integers, and ast.get_source_segment splits the whole text
        line = "".join(self.lines[place.lineno - 1 : place.lineno]).encode()
        end = place.end_col_offset if place.end_lineno == place.lineno else None
        return str(line[place.col_offset : end].decode(errors="replace")[:80])

    def not_data(self, node: ast.AST) -> ConfigError:
        return self.fail(node, f"code is not executed, only data is read: {self.code(node)}")

    def refuse(self, node: ast.AST, error: Exception) -> NoReturn:
        """Raise the error of an operation as a ``ConfigError``."""
        if isinstance(error, ConfigError):
            raise error
        raise self.fail(node, f"{self.code(node)}: {error}") from error

    def assign(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Subscript(value=container, slice=key):
                owner, index = self.value(container), self.value(key)
                try:
                    owner[index] = value
                except (TypeError, ValueError, LookupError) as error:
                    raise self.fail(target, f"cannot assign to {self.code(target)}: {error}") from error
                self.charged(target, owner)
            case ast.Tuple(elts=targets) if isinstance(value, (tuple, list)) and len(value) == len(targets):
                for inner, part in zip(targets, value, strict=True):
                    self.assign(inner, part)
            case _:
                raise self.not_data(target)

    def value(self, node: ast.expr) -> Any:
        """Evaluate an expression. Raises ``ConfigError`` if it fails or exceeds a limit."""
        return self.attempt(node, self.evaluate, node)

    def attempt(self, node: ast.AST, operation: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return the charged result of an operation. Raises ``ConfigError`` if it fails or exceeds a limit."""
        try:
            return self.charged(node, operation(*arguments, **named))
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError) as error:
            self.refuse(node, error)

    def charged(self, node: ast.AST, value: Any) -> Any:
        try:
            self.budget.charge(value)
        except ValueError as error:
            self.refuse(node, error)
        return value

    def evaluate(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str() as text):
                return self.fill(node, text)
            case ast.Constant(value=value) if not isinstance(value, (bytes, complex)) and value is not ...:
                return value
            case ast.Name(id="_base_"):
                return self.base
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Name(id="__file__"):
                return str(self.path)
            case ast.Name(id="__name__"):
                return self.path.stem
            case ast.Name(id=name) if (whole := self.imported.get(name, "").split("."))[-1][:1].isupper():
                return whole[-1]  # `type=Recognizer2D` is the same as `type="Recognizer2D"`
            case ast.List(elts=items):
                return self.items(items)
            case ast.Tuple(elts=items):
                return tuple(self.items(items))
            case ast.Set(elts=[ast.Set(elts=[inner])]):  # {{_base_.x}}
                return self.value(inner)
            case ast.Dict(keys=keys, values=values):
                table: dict[Any, Any] = {}
                for key, item in zip(keys, values, strict=True):
                    table.update({self.value(key): self.value(item)} if key is not None else self.value(item))
                return table
            case ast.JoinedStr(values=parts):
                return "".join(self.formatted(p) for p in parts)
            case (
                ast.ListComp(elt=element, generators=generators) | ast.GeneratorExp(elt=element, generators=generators)
            ):
                return [self.value(element) for _ in self.each(generators)]
            case ast.DictComp(key=key, value=item, generators=generators):
                return {self.value(key): self.value(item) for _ in self.each(generators)}
            case ast.BoolOp(op=op, values=values):
                result = self.value(values[0])
                for other in values[1:]:
                    if bool(result) is isinstance(op, ast.Or):
                        break
                    result = self.value(other)
                return result
            case ast.BinOp(left=left, op=op, right=right):
                return self.data(node, apply(op, self.value(left), self.value(right)))
            case ast.UnaryOp(op=op, operand=operand):
                return self.data(node, apply(op, self.value(operand)))
            case ast.Compare(left=first, ops=ops, comparators=others):
                left, result = self.value(first), True
                for comparison, other in zip(ops, others, strict=True):
                    right = self.value(other)
                    result = self.data(node, apply(comparison, left, right))
                    if not result:
                        break
                    left = right
                return result
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test) else orelse)
            case ast.Attribute(value=owner, attr=key):
                match self.value(owner):
                    case dict(table) if key in table:
                        return table[key]
                    case PurePosixPath() as path:
                        return self.data(node, path_part(path, key))
            case ast.Subscript(value=owner, slice=key):
                container, index = self.value(owner), self.value(key)
                try:
                    return container[index]
                except (TypeError, ValueError, LookupError) as error:
                    raise self.fail(node, f"{self.code(node)} does not exist: {error!r}") from error
            case ast.Slice(lower=lower, upper=upper, step=step):
                return slice(*(None if part is None else self.value(part) for part in (lower, upper, step)))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return self.call(node, function, self.items(arguments), keywords)
        if isinstance(node, ast.Name):
            raise self.fail(node, f"{node.id!r} has no known value")
        raise self.not_data(node)

    def each(self, generators: list[ast.comprehension]) -> Iterator[None]:
        """Bind the names of a comprehension to each combination in turn."""
        first, *rest = generators
        bound = [n.id for n in ast.walk(first.target) if isinstance(n, ast.Name)]
        before = {name: self.names[name] for name in bound if name in self.names}
        for value in list(self.value(first.iter)):
            self.assign(first.target, value)
            if all(self.value(condition) for condition in first.ifs):
                if rest:
                    yield from self.each(rest)
                else:
                    yield
        for name in bound:
            self.names.pop(name, None)
        self.names |= before

    def items(self, nodes: list[ast.expr]) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found.extend(self.value(node.value))
            else:
                found.append(self.value(node))
        return found

    def call(self, node: ast.Call, function: ast.expr, arguments: list[Any], keywords: list[ast.keyword]) -> Any:
        named: dict[str, Any] = {}
        for keyword in keywords:
            code = self.imported_name(keyword.value) if keyword.arg == "type" else ""
            value: Any = code.split(".")[-1] if code else self.value(keyword.value)
            named.update(value if keyword.arg is None else {keyword.arg: value})
        if (pure := IMPORTED.get(self.imported_name(function))) is not None:
            return pure(*arguments, **named)
        if isinstance(function, ast.Name) and function.id in FUNCTIONS.keys() - self.names.keys():
            return FUNCTIONS[function.id](*arguments, **named)
        if not isinstance(function, ast.Attribute):
            raise self.not_data(node)
        owner, method = self.value(function.value), function.attr
        if method == "merge" and isinstance(owner, dict):
            if len(arguments) != 1 or not isinstance(arguments[0], dict):
                raise ValueError("merge takes one dictionary")
            merged = merge(owner, arguments[0], f"{self.path}:{node.lineno}")
            owner.clear()
            owner.update(merged)
            return None
        result = self.data(node, call_method(owner, method, arguments, named))
        self.charged(node, owner)
        return result

    def imported_name(self, node: ast.expr) -> str:
        """Return the full name of an imported object, such as ``os.path.join``; empty for anything else."""
        match node:
            case ast.Name(id=name) if name not in self.names:
                return self.imported.get(name, "")
            case ast.Attribute(value=owner, attr=attribute) if whole := self.imported_name(owner):
                return f"{whole}.{attribute}"
        return ""

    def data(self, node: ast.AST, result: Any) -> Any:
        """Return the result of an operation. Raises ``ConfigError`` if the operation is not supported."""
        if result is NOT_DATA:
            raise self.not_data(node)
        return result

    def formatted(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.FormattedValue(value=inner, conversion=conversion, format_spec=spec):
                kind = chr(conversion) if conversion > 0 else ""
                return format_value(self.value(inner), "" if spec is None else self.value(spec), kind)
        raise self.not_data(node)

    def fill(self, node: ast.AST, text: str) -> Any:
        """Substitute values in ``'{{ fileDirname }}'`` and ``'{{_base_.x}}'``."""
        known = {
            "fileDirname": str(self.path.parent),
            "fileBasename": self.path.name,
            "fileBasenameNoExtension": self.path.stem,
            "fileExtname": self.path.suffix,
        }

        def one(inside: str) -> Any:
            inside = inside.strip()
            if inside in known:
                return known[inside]
            root, *keys = inside.split(".")
            value: Any = self.base if root == "_base_" and keys else None
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                return self.charged(node, value)
            raise self.fail(node, f"{{{{{inside}}}}} is not known; allowed: {', '.join(known)}, _base_.<name>")

        whole = _SUBSTITUTION.fullmatch(text)
        return one(whole[1]) if whole else _SUBSTITUTION.sub(lambda m: str(one(m[1])), text)
