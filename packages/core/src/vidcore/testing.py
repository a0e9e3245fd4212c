"""Checks of components, for the tests of a plugin.

One test checks every component of a plugin, also those that are added later::

    import pytest
    from vidcore.plugins.catalog import load_plugins
    from vidcore.testing import check_component, components_of

    CATALOG = load_plugins()
    ARGUMENTS = {"MyHead": {"num_classes": 3, "in_channels": 8}}  # of components that require some

    @pytest.mark.parametrize("component", components_of("my-plugin", CATALOG), ids=lambda component: component.name)
    def test_component(component):
        check_component(component, CATALOG, ARGUMENTS.get(component.name, {}))
"""

from __future__ import annotations

import ast
import copy
import importlib.metadata
import inspect
import pickle
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from vidcore.config.bind import build_component
from vidcore.config.signature import Parameter, read_signature
from vidcore.config.source import Definition, Module, find_module
from vidcore.errors import PluginError
from vidcore.plugins.catalog import Catalog, Component

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_component", "components_of"]

CALLED_LATER = ("decoders", "drawers", "optimizers", "readers", "writers")
"""Kinds whose first arguments come from the caller, such as a path. Their protocol describes them."""
SENT_TO_WORKERS = ("datasets", "transforms")


def components_of(plugin: str, catalog: Catalog) -> list[Component]:
    """Return the components of a plugin, by name.

    Args:
        plugin: name of the distribution, or of the file for one that is not installed.
        catalog: what ``load_plugins`` returns. It raises if another plugin offers one of the names.

    Raises:
        PluginError: there is no such plugin, or it cannot be imported.
    """
    found = next((p for p in catalog.plugins if p.name == plugin), None)
    if found is None or found.error is not None:
        known = ", ".join(p.name for p in catalog.plugins)
        raise PluginError(f"{plugin}: {found.error if found else f'is not installed; there are {known}'}")
    return [component for _, component in sorted(catalog.components.items()) if component.plugin == plugin]


def check_component(
    component: Component, catalog: Catalog, arguments: Mapping[str, Any] | None = None, *, build: bool = True
) -> None:
    """Check what vidcore expects of any component.

    It can be imported and has a docstring. Each argument has a type, and a docstring names it or stands below it. The
    arguments in its source are those that Python finds. It can be built; an object for worker processes can be pickled,
    and the weights of a model can be loaded into another.

    Args:
        component: one of ``components_of``.
        catalog: has the component, and those in its arguments.
        arguments: those that it requires, as in a table of a Task.
        build: whether to build it; not if it needs something that a test does not have.

    Raises:
        AssertionError: lists everything that is wrong, one line each.
    """
    problems = list(_problems(component))
    if build and not problems and component.kind not in CALLED_LATER:
        problems = list(_problems_when_built(component, arguments or {}, catalog))
    assert not problems, "\n".join(f"{component.name}: {problem}" for problem in problems)


def _problems(component: Component) -> Iterator[str]:
    made = component.load()
    if not callable(made):
        yield "is not a class or function"
        return
    if not (made.__doc__ or "").strip():
        yield "has no docstring"
    signature = read_signature(component.target)
    yield from (f"{untyped} has no type" for untyped in signature.untyped)
    yield from _differences(made, signature.parameters)
    module = find_module(component.module)
    found = module.definition(component.attribute) if module else None
    if found is not None and not _is_foreign(component):
        if signature.open:
            yield "takes **kwargs that no base class names, so that a Task may contain misspelled keys"
        known = set(_described(*found))
        own = signature.parameters if component.kind not in CALLED_LATER else ()
        yield from (f"argument {name!r} is not described" for name in own if name not in known)


@cache
def _providers() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _is_foreign(component: Component) -> bool:
    """Whether a plugin offers code of another distribution, such as an optimizer of PyTorch."""
    providers = _providers().get(component.module.partition(".")[0])
    return providers is not None and component.plugin not in providers


def _differences(made: Any, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield how the arguments that were read from the source differ from those of the object."""
    real = inspect.signature(made).parameters.values()
    named = {p.name: p for p in real if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    inherits = any(p.kind is p.VAR_KEYWORD for p in real)  # arguments of the base class, which only the source has
    if set(named) - set(parameters) or (not inherits and list(named) != list(parameters)):
        yield f"takes {', '.join(named)}, but its source has {', '.join(parameters)}"
    for name in named.keys() & parameters.keys():
        if parameters[name].required != (named[name].default is inspect.Parameter.empty):
            yield f"argument {name!r} has a default in one of source and object"


def _described(module: Module, node: Definition) -> Iterator[str]:
    """Yield the words of the docstrings of a function or class, its ``__init__``, fields and bases.

    A docstring below a field describes this field, whether or not it names it.
    """
    yield from re.findall(r"\w+", ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            match statement, following:
                case ast.FunctionDef(name="__init__"), _:
                    yield from re.findall(r"\w+", ast.get_docstring(statement) or "")
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield from (name.lstrip("_"), *re.findall(r"\w+", text))
        for base in node.bases:
            if isinstance(base, ast.Name) and (found := module.definition(base.id)):
                yield from _described(*found)


def _problems_when_built(component: Component, arguments: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    table = {"type": component.name, **arguments}
    built = build_component(table, component.kind, catalog)
    if component.kind in SENT_TO_WORKERS:
        pickle.loads(pickle.dumps(built))
    if component.kind == "models":
        import torch

        if isinstance(built, torch.nn.Module):
            yield from _state_dict_differences(built)


def _state_dict_differences(model: nn.Module) -> Iterator[str]:
    """Yield the tensors that are lost if a model is loaded into another one."""
    import torch

    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    state = model.state_dict()
    result = other.load_state_dict(state, strict=False)
    yield from (f"{name} is missing from the state dict" for name in result.missing_keys)
    yield from (f"{name} of the state dict is not loaded" for name in result.unexpected_keys)
    for name, value in other.state_dict().items():
        if name in state and not torch.equal(value, state[name]):
            yield f"{name} is not loaded from the state dict"
