"""Reading of MMAction2 configuration files as data. Nothing in them is executed.

A ``.py`` file is parsed, and its assignments are evaluated by the rules below, which support plain data only:
literals, ``dict(...)``, previously assigned names, arithmetic, string formatting, comprehensions, ``os.path.join``,
``pathlib.Path``, the methods that configurations call on lists and dictionaries, and both kinds of inheritance
(``_base_ = [...]`` and ``with read_base(): from .x import *``). Statements that cannot change a value
(``os.environ["X"] = "1"``) are skipped. Everything else is an error that names file and line.

Time and memory are bounded: a value has a maximum size, counted as if nothing in it were shared, and the sizes of
all computed values count against a budget that all files of a configuration share.
"""

from __future__ import annotations

import ast
import operator
import posixpath
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from attrs import define, field

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
MAX_FILE = 1_000_000
"""Maximum bytes of a file."""
MAX_SIZE = 200_000
"""Maximum elements of a value at all depths; eight characters of a string count as one."""
MAX_DEPTH = 50
"""Maximum depth of a value."""
MAX_WORK = 5_000_000
"""Maximum sum of the sizes of all computed values."""
STEP = 25
"""Cost of computing a value, in addition to its size."""
MAX_WIDTH = 999
"""Maximum width or precision of a formatted value."""
_SUBSTITUTION = re.compile(r"\{\{([^{}]*)\}\}")
_PERCENT_KEY = re.compile(r"%\([^()]*\)")
_PERCENT = re.compile(r"%[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?")


def _format(value: Any, spec: str) -> str:
    if any(len(number) > len(str(MAX_WIDTH)) for number in re.findall(r"\d+", spec)):
        raise ValueError(f"widths must be at most {MAX_WIDTH}")
    return format(str(value) if isinstance(value, PurePosixPath) else value, spec)


class _Formatter(string.Formatter):
    """``str.format`` without attribute access, and with bounded widths and length."""

    def __init__(self) -> None:
        self.length = 0

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if "." in field_name:
            raise ValueError(f"{{{field_name}}} reads an attribute")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        text = _format(value, format_spec)
        self.length += len(text)
        if self.length > 8 * MAX_SIZE:
            raise ValueError("the result is too long")
        return text


def _percent(text: str, values: Any) -> str:
    without_keys = _PERCENT_KEY.sub("%", text)
    if "%(" in without_keys:
        raise ValueError("keys of % must not contain brackets")
    specs = _PERCENT.findall(without_keys)
    if any(number == "*" or len(number) > len(str(MAX_WIDTH)) for spec in specs for number in spec):
        raise ValueError(f"widths must be at most {MAX_WIDTH}")
    if len(specs) * _size(values) > MAX_SIZE:
        raise ValueError("the result may be too long")
    return str(text % values)


def _join(separator: str, parts: Any) -> str:
    if len(separator) * len(parts) > 8 * MAX_SIZE:
        raise ValueError("the result is too long")
    return separator.join(parts)


def _range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > MAX_SIZE:
        raise ValueError(f"more than {MAX_SIZE} numbers")
    return list(numbers)


def _sum(values: Any, start: Any = 0) -> Any:
    return [*start, *chain.from_iterable(values)] if isinstance(start, list) else sum(values, start)


def _round(value: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > MAX_WIDTH:
        raise ValueError(f"digits must be at most {MAX_WIDTH}")
    return round(value, digits)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (dict, list, tuple, str, int, float, bool, len, max, min, abs, sorted)},
    "enumerate": lambda values, start=0: list(enumerate(values, start)),
    "range": _range,
    "round": _round,
    "sum": _sum,
    "zip": lambda *values: list(zip(*values, strict=False)),
}
_IMPORTED: dict[str, Callable[..., Any]] = {
    **{f"os.path.{f.__name__}": f for f in (posixpath.join, posixpath.dirname, posixpath.basename, posixpath.normpath)},
    **{f"pathlib.{name}": PurePosixPath for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")},
}
_METHODS: dict[type, tuple[str, ...]] = {
    dict: ("copy", "get", "items", "keys", "pop", "setdefault", "update", "values"),
    list: ("append", "copy", "extend", "index", "insert", "pop", "remove"),
    str: ("endswith", "format", "join", "lower", "replace", "split", "startswith", "strip", "upper"),
    PurePosixPath: ("as_posix", "joinpath", "with_name", "with_suffix"),
}
_PATH_PARTS = ("name", "parent", "stem", "suffix")


def _size(value: Any) -> int:
    """Return the number of elements at all depths. Raises ``ValueError`` for a value that is too large or too deep."""
    size, depth, level = 1, 0, [value]
    while level:
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is list or kind is tuple:
                inner.extend(item)
            elif kind is dict:
                inner.extend(chain.from_iterable(item.items()))
            elif kind is int:
                if item.bit_length() > 1024:
                    raise ValueError("an integer of more than 1024 bits")
            elif kind is str or kind is PurePosixPath:
                text = str(item)
                if not text.isascii():
                    text.encode()  # a lone surrogate cannot be written
                size += len(text) // 8
            if size + len(inner) > MAX_SIZE:
                raise ValueError(f"more than {MAX_SIZE} elements")
        size, depth, level = size + len(inner), depth + 1, inner
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")
    return size


@define
class _Reading:
    """State shared by all files of a configuration."""

    skipped: list[str] = field(factory=list)
    """``file:line: statement``, one for each statement that cannot change a value."""
    work: int = 0

    def charge_file(self, length: int) -> None:
        """Charge a file. Raises ``ValueError`` if the budget is exceeded."""
        self.work += MAX_WORK // 1000 + length
        if self.work > MAX_WORK:
            raise ValueError("the configuration has too many files, or takes too many steps")

    def charge(self, value: Any) -> None:
        """Charge a value. Raises ``ValueError`` if it is too large, or the budget is exceeded."""
        self.work += STEP + _size(value)
        if self.work > MAX_WORK:
            raise ValueError("the configuration takes too many steps")


def read_config(path: str | Path, skipped: list[str] | None = None) -> dict[str, Any]:
    """Return the whole configuration, with inheritance resolved, as plain data (as in JSON).

    Args:
        path: a ``.py`` or ``.json`` file.
        skipped: list to which ``file:line: statement`` is appended for each statement that cannot change a value.

    Raises:
        ConfigError: the file is missing, contains something that is not plain data (``file:line``), or exceeds a
            limit.
    """
    reading = _Reading()
    config = _with_lists(_load_config(Path(path), (), reading))
    if skipped is not None:
        skipped.extend(reading.skipped)
    return config  # type: ignore[no-any-return]


def _load_config(path: Path, below: tuple[Path, ...], reading: _Reading) -> dict[str, Any]:
    origin = f" (named by {below[-1]})" if below else ""
    try:
        path = path.resolve()
        if path in below:
            raise ConfigError("configurations inherit in a cycle: " + " -> ".join(str(p) for p in (*below, path)))
        if path.suffix not in (".py", ".json") and not path.is_dir():
            found = path.suffix or "no suffix"
            raise ConfigError(f"{path}: a configuration must be a .py or .json file, found {found!r}{origin}")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: cannot be read: it is not a file{origin}")
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigError(f"{path}: a configuration may have at most {MAX_FILE} bytes{origin}")
        reading.charge_file(len(content))
        text = content.decode("utf-8-sig")
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a cycle of links
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{ascii(str(path))[1:-1]}: cannot be read: {reason}{origin}") from error
    try:
        if path.suffix != ".json":
            return _Module(path, text, below, reading).run()
        own = _parse_json(path, text)
        if not isinstance(own, dict):
            raise ConfigError(f"{path}: a configuration must be a dictionary, found {type(own).__name__}")
        reading.charge(own)
        base = _bases(path, own.pop("_base_", []), below, reading)
        merged = merge(base, own, str(path))
        reading.charge(merged)
        return merged
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _parse_json(path: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error


def _bases(path: Path, names: Any, below: tuple[Path, ...], reading: _Reading) -> dict[str, Any]:
    """Return the merged files of ``_base_``; no key may be in two of them."""
    joined: dict[str, Any] = {}
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)):
        raise ConfigError(f"{path}: _base_ must be paths relative to this file, found {type(names).__name__}")
    for name in names:
        if not isinstance(name, str) or "::" in name:
            raise ConfigError(f"{path}: _base_ must be paths relative to this file, found {name!r}")
        table = _load_config(path.parent / name, (*below, path), reading)
        if twice := sorted(map(str, joined.keys() & table.keys())):
            raise ConfigError(f"{path}: more than one file of _base_ defines {', '.join(twice)}")
        joined.update(table)
    return joined


def merge(base: dict[str, Any], own: dict[str, Any], where: str, inside: str = "") -> dict[str, Any]:
    """Merge ``own`` into ``base``: dictionaries merge, other values replace; ``_delete_`` replaces a dictionary."""
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
            raise ConfigError(f"{where}: {inside}{key} is a dictionary here and {found} in _base_; add _delete_=True")
    return merged


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _with_lists(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_lists(v) for v in value]
    return str(value) if isinstance(value, PurePosixPath) else value


class _Module:
    """Evaluates the statements of one ``.py`` file, in order."""

    def __init__(self, path: Path, text: str, below: tuple[Path, ...], reading: _Reading) -> None:
        self.path, self.text, self.below, self.reading = path, text, below, reading
        self.names: dict[str, Any] = {}
        self.imported: dict[str, str] = {}
        self.base: dict[str, Any] = {}
        try:
            self.tree = ast.parse(text, filename=str(path))
        except (RecursionError, MemoryError):
            raise ConfigError(f"{path}: nested too deeply") from None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise ConfigError(f"{path}:{line}: not Python: {error.args[0]}") from error

    def run(self) -> dict[str, Any]:
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and _is_name(statement.targets[0], "_base_"):
                self.base = _bases(self.path, self.value(statement.value), self.below, self.reading)
        for statement in self.tree.body:
            self.statement(statement)
        self.names.pop("_base_", None)
        merged = merge(self.base, self.names, str(self.path))
        self.reading.charge(merged)
        return merged

    def fail(self, node: ast.AST, why: str) -> ConfigError:
        short = why if len(why) <= 500 else f"{why[:500]}..."
        return ConfigError(f"{self.path}:{getattr(node, 'lineno', 1)}: {short}")

    def code(self, node: ast.AST) -> str:
        """Return the first line of an expression, for messages."""
        source = ast.get_source_segment(self.text, node) or ""  # ast.unparse fails for large integers
        return source.split("\n")[0][:80]

    def not_data(self, node: ast.AST) -> ConfigError:
        return self.fail(node, f"code is not executed, only data is read: {self.code(node)}")

    def refuse(self, node: ast.AST, error: Exception) -> NoReturn:
        """Raise the error of an operation as a ``ConfigError``."""
        if isinstance(error, ConfigError):
            raise error
        raise self.fail(node, f"{self.code(node)}: {error}") from error

    def statement(self, node: ast.stmt) -> None:
        match node:
            case _ if self.is_harmless(node):
                self.reading.skipped.append(f"{self.path}:{node.lineno}: {self.code(node)}")
            case ast.Assign(targets=targets, value=expression):
                value = self.value(expression)
                for target in targets:
                    self.assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as expression):
                self.assign(target, self.value(expression))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=expression):
                old = self.value(ast.copy_location(ast.Name(name, ast.Load()), node))
                self.names[name] = self.charged(node, self.operate(node, op, old, self.value(expression)))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute()) as call):
                self.value(call)
            case ast.If(test=test, body=body, orelse=orelse):
                for inner in body if self.value(test) else orelse:
                    self.statement(inner)
            case ast.Delete(targets=targets) if all(isinstance(t, ast.Name) and t.id in self.names for t in targets):
                for target in targets:
                    self.names.pop(target.id, None)  # type: ignore[attr-defined]
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name(id="read_base")))], body=body):
                for inner in body:
                    self.inherit(inner)
            case ast.Import(names=names):
                for alias in names:  # `import a.b` binds a, `import a.b as c` binds c
                    top = alias.name.split(".")[0]
                    self.imported[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=module, names=names):
                self.imported.update({a.asname or a.name: f"{module}.{a.name}" for a in names})
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
                path = isinstance(self.names.get(root), PurePosixPath)
                return path or self.is_imported(function) or (isinstance(function, ast.Name) and root in self.imported)
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
        table = _load_config(file, (*self.below, self.path), self.reading)
        for alias in node.names:
            if alias.name == "*":
                self.names.update(table)
            elif alias.name in table:
                self.names[alias.asname or alias.name] = table[alias.name]
            else:
                raise self.fail(node, f"{node.module} does not define {alias.name!r}")

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
        try:
            return self.charged(node, self.evaluate(node))
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError) as error:
            self.refuse(node, error)

    def charged(self, node: ast.AST, value: Any) -> Any:
        try:
            self.reading.charge(value)
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
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot() as op], comparators=[ast.Constant(value=None)]):
                return (self.value(left) is None) is isinstance(op, ast.Is)
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[right]):
                return (self.value(left) in self.value(right)) is isinstance(op, ast.In)
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
            case ast.Attribute(value=owner, attr=key) if key in _PATH_PARTS and isinstance(
                path := self.value(owner), PurePosixPath
            ):
                return getattr(path, key)
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
        if (pure := _IMPORTED.get(self.imported_name(function))) is not None:
            return pure(*arguments, **named)
        if isinstance(function, ast.Name) and function.id in _FUNCTIONS:
            return _FUNCTIONS[function.id](*arguments, **named)
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
        if method not in _METHODS.get(type(owner), ()):
            raise self.not_data(node)
        if method == "format":
            return _Formatter().vformat(owner, arguments, named)
        if method == "join":
            return _join(owner, *arguments)
        if method == "replace" and len(arguments) > 1 and len(owner) * len(str(arguments[1])) > 8 * MAX_SIZE:
            raise ValueError("the result may be too long")
        result = getattr(owner, method)(*arguments, **named)
        self.charged(node, owner)
        return list(result) if method in ("items", "keys", "values") else result

    def imported_name(self, node: ast.expr) -> str:
        """Return the full name of an imported object, such as ``os.path.join``; empty for anything else."""
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
            if all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] > MAX_SIZE:
                raise self.fail(node, f"a repetition may have at most {MAX_SIZE} elements")
        try:
            if isinstance(op, ast.Mod) and isinstance(values[0], str):
                return _percent(*values)
            return _OPERATORS[type(op)](*values)
        except (TypeError, ValueError, ArithmeticError) as error:
            self.refuse(node, error)

    def formatted(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=spec):
                return _format(self.value(inner), "" if spec is None else self.value(spec))
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


def _root(node: ast.expr) -> str:
    """Return the first name of an expression: ``os`` of ``os.environ["X"]``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
