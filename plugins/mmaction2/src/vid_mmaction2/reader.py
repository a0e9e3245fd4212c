"""Reading MMAction2 configuration files as data. Nothing in them is ever executed.

A ``.py`` file is parsed and its assignments are evaluated by the rules below, which know plain
data only: literals, ``dict(...)``, names assigned before, arithmetic, string formatting, ``os.path.join``, the
handful of methods that configurations use on lists and tables, and both kinds of inheritance
(``_base_ = [...]`` and ``with read_base(): from .x import *``). Everything else is an error
that names file and line.
"""

from __future__ import annotations

import ast
import operator
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidcore.errors import ConfigError
from vidcore.files import parse_json

__all__ = ["read_config"]

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (dict, list, tuple, str, int, float, bool, len, max, min, abs, round, sum)
}
_METHODS: dict[type, tuple[str, ...]] = {
    dict: ("copy", "get", "pop", "setdefault", "update"),
    list: ("append", "copy", "extend", "insert", "pop"),
    str: ("format", "join", "lower", "upper"),
}
_SUBSTITUTION = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
MAX_REPEATED = 100_000
"""Most elements a repetition like ``[0] * n`` may have."""


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the whole configuration, inheritance resolved, as plain data (what JSON could hold).

    Args:
        path: a ``.py`` or ``.json`` file.

    Raises:
        ConfigError: the file is missing, or holds something that is not plain data (``file:line``).
    """
    return _with_lists(_load_config(Path(path), ()))  # type: ignore[no-any-return]


def _load_config(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in below:
        raise ConfigError("configurations inherit in a circle: " + " -> ".join(str(p) for p in (*below, path)))
    if path.suffix not in (".py", ".json") and not path.is_dir():
        raise ConfigError(f"{path}: configurations are .py or .json files, found {path.suffix or 'no suffix'!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix == ".json":
        try:
            own = parse_json(text)
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON: {error}") from error
        if not isinstance(own, dict):
            raise ConfigError(f"{path}: a configuration is a table, found {type(own).__name__}")
        base = _bases(path, own.pop("_base_", []), below)
        return merge(base, own, str(path))
    try:
        return _Module(path, text, below).run()
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None


def _bases(path: Path, names: Any, below: tuple[Path, ...]) -> dict[str, Any]:
    """The files named by ``_base_``, joined; they may not define the same key."""
    joined: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names:
        if not isinstance(name, str) or "::" in name:
            raise ConfigError(f"{path}: _base_ must name files beside this one, found {name!r}")
        table = _load_config(path.parent / name, (*below, path))
        if twice := sorted(joined.keys() & table.keys()):
            raise ConfigError(f"{path}: more than one file of _base_ defines {', '.join(twice)}")
        joined.update(table)
    return joined


def merge(base: dict[str, Any], own: dict[str, Any], where: str, inside: str = "") -> dict[str, Any]:
    """Lay one table over another: tables merge, everything else replaces, ``_delete_`` replaces a table."""
    merged = dict(base)
    for key, value in own.items():
        if not isinstance(value, dict):
            merged[key] = value
            continue
        value = dict(value)
        if value.pop("_delete_", False) or key not in base or base[key] is None:
            merged[key] = value
        elif isinstance(base[key], dict):
            merged[key] = merge(base[key], value, where, f"{inside}{key}.")
        else:
            found = type(base[key]).__name__
            raise ConfigError(f"{where}: {inside}{key} is a table here and {found} in _base_; add _delete_=True")
    return merged


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _with_lists(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_lists(v) for v in value]
    return value


class _Module:
    """One ``.py`` file: its statements in order, over the names assigned so far."""

    def __init__(self, path: Path, text: str, below: tuple[Path, ...]) -> None:
        self.path, self.below = path, below
        self.names: dict[str, Any] = {}
        self.imported: dict[str, str] = {}
        self.base: dict[str, Any] = {}
        try:
            self.tree = ast.parse(text, filename=str(path))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise ConfigError(f"{path}:{line}: not Python: {error.args[0]}") from error

    def run(self) -> dict[str, Any]:
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and _is_name(statement.targets[0], "_base_"):
                self.base = _bases(self.path, self.value(statement.value), self.below)
        for statement in self.tree.body:
            self.statement(statement)
        self.names.pop("_base_", None)
        return merge(self.base, self.names, str(self.path))

    def fail(self, node: ast.AST, why: str) -> ConfigError:
        return ConfigError(f"{self.path}:{getattr(node, 'lineno', 1)}: {why}")

    def not_data(self, node: ast.AST) -> ConfigError:
        code = ast.unparse(node).split("\n")[0]
        return self.fail(node, f"this is code, not data, and is not executed: {code[:80]}")

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=expression):
                value = self.value(expression)
                for target in targets:
                    self.assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as expression):
                self.assign(target, self.value(expression))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=expression):
                old = self.value(ast.copy_location(ast.Name(name, ast.Load()), node))
                self.names[name] = self.operate(node, op, old, self.value(expression))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute()) as call):
                self.value(call)
            case ast.Delete(targets=targets) if all(isinstance(t, ast.Name) and t.id in self.names for t in targets):
                for target in targets:
                    del self.names[target.id]  # type: ignore[attr-defined]
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name(id="read_base")))], body=body):
                for inner in body:
                    self.inherit(inner)
            case ast.Import(names=names):
                for alias in names:  # `import a.b` gives the name a, `import a.b as c` the name c
                    top = alias.name.split(".")[0]
                    self.imported[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=module, names=names):
                self.imported.update({a.asname or a.name: f"{module}.{a.name}" for a in names})
            case _:
                raise self.not_data(node)

    def inherit(self, node: ast.stmt) -> None:
        """``from .._base_.models.tsn_r50 import *`` inside ``with read_base():``."""
        if not (isinstance(node, ast.ImportFrom) and node.level and node.module):
            raise self.not_data(node)
        folder = self.path.parents[node.level - 1]
        table = _load_config(folder.joinpath(*node.module.split(".")).with_suffix(".py"), (*self.below, self.path))
        for alias in node.names:
            if alias.name == "*":
                self.names.update(table)
            elif alias.name in table:
                self.names[alias.asname or alias.name] = table[alias.name]
            else:
                raise self.fail(node, f"{node.module} defines no {alias.name!r}")

    def assign(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Subscript(value=container, slice=key):
                try:
                    self.value(container)[self.value(key)] = value
                except (TypeError, LookupError) as error:
                    raise self.fail(target, f"cannot assign to {ast.unparse(target)}: {error}") from error
            case ast.Tuple(elts=targets) if isinstance(value, (tuple, list)) and len(value) == len(targets):
                for inner, part in zip(targets, value, strict=True):
                    self.assign(inner, part)
            case _:
                raise self.not_data(target)

    def value(self, node: ast.expr) -> Any:
        """What an expression stands for."""
        match node:
            case ast.Constant(value=str() as text):
                return self.fill(node, text)
            case ast.Constant(value=value) if not isinstance(value, (bytes, complex)) and value is not ...:
                return value
            case ast.Name(id="_base_"):
                return self.base
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Name(id=name) if (whole := self.imported.get(name, "").split("."))[-1][:1].isupper():
                return whole[-1]  # `type=Recognizer2D` instead of `type="Recognizer2D"`: the name is all that counts
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
            case ast.BinOp(left=left, op=op, right=right):
                return self.operate(node, op, self.value(left), self.value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return self.operate(node, op, self.value(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.operate(node, op, self.value(left), self.value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test) else orelse)
            case ast.Attribute(value=owner, attr=key) if isinstance(table := self.value(owner), dict) and key in table:
                return table[key]
            case ast.Subscript(value=owner, slice=key):
                try:
                    return self.value(owner)[self.value(key)]
                except (TypeError, LookupError) as error:
                    raise self.fail(node, f"{ast.unparse(node)} does not exist: {error!r}") from error
            case ast.Slice(lower=lower, upper=upper, step=step):
                return slice(*(None if part is None else self.value(part) for part in (lower, upper, step)))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return self.call(node, function, self.items(arguments), keywords)
        if isinstance(node, ast.Name):
            raise self.fail(node, f"{node.id!r} has no value known here")
        raise self.not_data(node)

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
        try:
            if self.imported_name(function) == "os.path.join":
                return posixpath.join(*arguments)
            if isinstance(function, ast.Name) and function.id in _FUNCTIONS:
                return _FUNCTIONS[function.id](*arguments, **named)
            if isinstance(function, ast.Attribute):
                owner = self.value(function.value)
                if function.attr == "merge" and isinstance(owner, dict) and len(arguments) == 1:
                    merged = merge(owner, arguments[0], f"{self.path}:{node.lineno}")
                    owner.clear()
                    owner.update(merged)
                    return None
                if function.attr in _METHODS.get(type(owner), ()):
                    return getattr(owner, function.attr)(*arguments, **named)
        except (TypeError, ValueError, LookupError) as error:
            if isinstance(error, ConfigError):
                raise
            raise self.fail(node, f"{ast.unparse(node)[:80]}: {error}") from error
        raise self.not_data(node)

    def imported_name(self, node: ast.expr) -> str:
        """The whole name of what comes from an import, ``os.path.join``; empty for anything else."""
        match node:
            case ast.Name(id=name) if name not in self.names:
                return self.imported.get(name, "")
            case ast.Attribute(value=owner, attr=attribute) if whole := self.imported_name(owner):
                return f"{whole}.{attribute}"
        return ""

    def operate(self, node: ast.AST, op: ast.AST, *values: Any) -> Any:
        if type(op) not in _OPERATORS:
            raise self.not_data(node)
        if isinstance(op, ast.Mult) and any(isinstance(v, (str, list, tuple)) for v in values):
            sizes = [len(v) if isinstance(v, (str, list, tuple)) else v for v in values]
            if all(isinstance(s, int) for s in sizes) and sizes[0] * sizes[1] > MAX_REPEATED:
                raise self.fail(node, f"a repetition of more than {MAX_REPEATED} elements is refused")
        try:
            return _OPERATORS[type(op)](*values)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise self.fail(node, f"{ast.unparse(node)[:80]}: {error}") from error

    def formatted(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=spec):
                try:
                    return format(self.value(inner), "" if spec is None else self.value(spec))
                except (TypeError, ValueError) as error:
                    raise self.fail(node, f"{ast.unparse(node)[:80]}: {error}") from error
        raise self.not_data(node)

    def fill(self, node: ast.AST, text: str) -> Any:
        """Put values into ``'{{ fileDirname }}'`` and ``'{{_base_.x}}'``."""
        known = {
            "fileDirname": str(self.path.parent),
            "fileBasename": self.path.name,
            "fileBasenameNoExtension": self.path.stem,
            "fileExtname": self.path.suffix,
        }

        def one(inside: str) -> Any:
            if re.fullmatch(r"_base_(\.\w+)+", inside):
                return self.value(ast.parse(inside, mode="eval").body)
            if inside in known:
                return known[inside]
            raise self.fail(node, f"{{{{{inside}}}}} cannot be filled in; known are {', '.join(known)}, _base_.<name>")

        whole = _SUBSTITUTION.fullmatch(text)
        return one(whole[1]) if whole else _SUBSTITUTION.sub(lambda m: str(one(m[1])), text)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
