"""The parameters of a component, read from its source without importing it.

Importing a model imports torch, which takes seconds; a typo in a Task should be reported at once. So
parameters, their types and defaults are read from the syntax tree. The rules are those of Python: an attrs
class or dataclass takes its fields, any other class takes the parameters of its ``__init__``; ``**kwargs``
there stands for the parameters of the base class.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from functools import cache
from operator import attrgetter
from typing import Any

from attrs import field, frozen

from vidcore.config.source import Module, find_module
from vidcore.config.types import ANY, ByName, Choice, DictOf, ListOf, Object, Record, Scalar, TupleOf, Type, Union
from vidcore.errors import PluginError, missing_library

__all__ = ["Parameter", "Signature", "read_signature"]

SCALARS = {"int", "float", "bool", "str", "Path"}
LISTS = {"list", "List", "Sequence", "Iterable", "Collection"}
DICTS = {"dict", "Dict", "Mapping"}
FIELDS = {"attrib", "field", "ib"}
OPAQUE = {"torch", "numpy", "collections", "typing", "pathlib", *sys.stdlib_module_names}


@frozen
class Parameter:
    """One argument of a component."""

    name: str
    type: Type = ANY
    required: bool = True
    default: Any = None
    """The default if it is a literal, else None."""
    untyped: str = ""
    """``file:line`` if it has no type there."""


@frozen
class Signature:
    """The arguments of a component, in order."""

    parameters: dict[str, Parameter] = field(factory=dict)
    open: bool = False
    """Whether it takes keyword arguments that cannot be read, so that unknown keys are allowed."""

    @property
    def untyped(self) -> list[str]:
        """``file:line: argument 'name'`` of each argument in a source file that has no type."""
        return [f"{p.untyped}: argument {p.name!r}" for p in self.parameters.values() if p.untyped]


@cache
def read_signature(target: str) -> Signature:
    """Return the signature of ``"module:attribute"``; it is imported only if it has no Python source.

    Raises ``PluginError`` if the target does not exist, ``MissingLibraryError`` if it belongs to an optional library
    that is not installed.
    """
    module_name, _, attribute = target.partition(":")
    module = find_module(module_name)
    found = module.definition(attribute) if module else None
    if found is None:
        return _by_import(module_name, attribute)
    home, node = found
    return _of_class(home, node) if isinstance(node, ast.ClassDef) else _of_function(home, node)


def _of_class(module: Module, node: ast.ClassDef) -> Signature:
    if _has_fields(node):
        return Signature(_fields(module, node))
    init = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)
    if init is None:
        return _base(module, node)
    own = _of_function(module, init, skip_first=True).parameters
    if init.args.kwarg is None:
        return Signature(own)
    base = _base(module, node)
    return Signature(own | {n: p for n, p in base.parameters.items() if n not in own}, base.open)


def _base(module: Module, node: ast.ClassDef) -> Signature:
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id not in ("object", "Protocol", "ABC", "Generic"):
            found = module.definition(base.id)
            if found is None:
                return Signature(open=True)
            home, definition = found
            return _of_class(home, definition) if isinstance(definition, ast.ClassDef) else Signature(open=True)
    return Signature()  # nn.Module, for example, takes nothing


def _has_fields(node: ast.ClassDef) -> bool:
    decorators = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return any(_last_name(d) in ("define", "frozen", "mutable", "dataclass") for d in decorators)


def _last_name(node: ast.expr) -> str:
    """``y`` for ``y`` and for ``x.y``."""
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _fields(module: Module, node: ast.ClassDef) -> dict[str, Parameter]:
    out: dict[str, Parameter] = {}
    for base in node.bases:
        match module.definition(base.id) if isinstance(base, ast.Name) else None:
            case (where, ast.ClassDef() as inherited) if _has_fields(inherited):
                out |= _fields(where, inherited)
    for statement in node.body:
        match statement:  # attrs takes it if no field has a type
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=made)) if _last_name(made) in FIELDS:
                out[name] = Parameter(name, untyped=f"{module.file}:{statement.lineno}")
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" in ast.dump(statement.annotation):
            continue
        name, default = statement.target.id.lstrip("_"), statement.value
        if isinstance(default, ast.Call) and _last_name(default.func) == "field":
            given = {k.arg: k.value for k in default.keywords}
            if isinstance(init := given.get("init"), ast.Constant) and init.value is False:
                continue
            if isinstance(alias := given.get("alias"), ast.Constant):
                name = str(alias.value)
            has_default = "default" in given or "factory" in given or "default_factory" in given
            default = given.get("default", ast.Constant(None) if has_default else None)
        out[name] = Parameter(name, _type(module, statement.annotation), default is None, _literal(default))
    return out


def _of_function(module: Module, node: ast.FunctionDef, skip_first: bool = False) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = list(zip(positional, defaults, strict=True))[1 if skip_first else 0 :]
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    parameters = {
        a.arg: Parameter(
            a.arg,
            ANY if a.annotation is None else _type(module, a.annotation),
            default is None,
            _literal(default),
            "" if a.annotation else f"{module.file}:{a.lineno}",
        )
        for a, default in pairs
    }
    return Signature(parameters, arguments.kwarg is not None)


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _type(module: Module, node: ast.expr) -> Type:
    """Convert an annotation to a Type; anything that is not plain data is a component."""
    match node:
        case ast.Constant(value=str(text)):
            return _type(module, ast.parse(text, mode="eval").body)
        case ast.Constant(value=None):
            return Choice((None,))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(_type(module, left), _type(module, right))
        case ast.Attribute(attr=name):
            return Scalar("Path") if name == "Path" else ANY if name == "Any" else Object(name)
        case ast.Name(id=name):
            return _named(module, name)
        case ast.Subscript(value=value, slice=inside):
            return _generic(module, ast.unparse(value).rpartition(".")[2], inside)
    return ANY


def _generic(module: Module, name: str, inside: ast.expr) -> Type:
    items = list(inside.elts) if isinstance(inside, ast.Tuple) else [inside]
    if name == "Literal":
        return Choice(tuple(ast.literal_eval(i) for i in items))
    if name == "Optional":
        return _union(_type(module, items[0]), Choice((None,)))
    if name == "Union":
        return _union(*(_type(module, i) for i in items))
    if name in LISTS:
        return ListOf(_type(module, items[0]), as_tuple=name not in ("list", "List"))
    if name in ("tuple", "Tuple"):
        if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is Ellipsis:
            return ListOf(_type(module, items[0]), as_tuple=True)
        return TupleOf(tuple(_type(module, i) for i in items))
    if name in DICTS:
        return DictOf(_type(module, items[1]))
    if name == "Named":
        return ByName(_annotation_name(items[0]))
    if name in ("Annotated", "Final"):
        return _type(module, items[0])
    return Object(name)


def _annotation_name(node: ast.expr) -> str:
    """Return the last name of an annotation: ``Decoder`` for ``reader.Decoder`` and for ``"Decoder"``."""
    return str(node.value).rpartition(".")[2] if isinstance(node, ast.Constant) else _last_name(node)


def _named(module: Module, name: str) -> Type:
    if name in SCALARS:
        return Scalar(name)
    if name in LISTS or name in ("tuple", "Tuple"):
        return ListOf(ANY, as_tuple=name not in ("list", "List"))
    if name in DICTS:
        return DictOf(ANY)
    if name in ("Any", "object"):
        return ANY
    node = module.names.get(name)
    if isinstance(node, ast.Assign):  # an alias: Size = tuple[int, int]
        return _type(module, node.value)
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return _type(module, node.value)
    if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] in OPAQUE:
        return Object(name)
    if isinstance(node, ast.ImportFrom):  # an alias may be in another module, too
        other, original = module.imported(node, name)
        if other and isinstance(other.names.get(original), ast.Assign | ast.AnnAssign):
            return _named(other, original)
    found = module.definition(name)
    if found and isinstance(found[1], ast.ClassDef) and _has_fields(found[1]):
        return Record(f"{found[0].name}:{found[1].name}")
    return Object(name)


def _union(*options: Type) -> Type:
    flat: list[Type] = []
    for option in options:
        flat += option.options if isinstance(option, Union) else (option,)
    if len(flat) > 1:  # "float | Tensor" of torch's optimizers: a table cannot make a tensor
        flat = [option for option in flat if option != Object("Tensor")]
    return Union(tuple(dict.fromkeys(flat)))


def _by_import(module_name: str, attribute: str) -> Signature:
    """Return names and defaults, without types, of what has no Python source or is made at run time."""
    try:
        value = attrgetter(attribute)(importlib.import_module(module_name))
        parameters = inspect.signature(value).parameters.values()
    except Exception as error:  # importing runs code of a plugin, which may raise anything
        if missing := missing_library(attribute, error):
            raise missing from error
        raise PluginError(f"'{module_name}:{attribute}' cannot be read: {error}") from error
    named = {
        p.name: Parameter(
            p.name,
            required=p.default is p.empty,
            default=None if p.default is p.empty else p.default,
        )
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    return Signature(named, any(p.kind is p.VAR_KEYWORD for p in parameters))
