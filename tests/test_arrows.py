"""Allowed imports: between packages, of third parties, and at start-up."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidcore.plugins.catalog import load_plugins

CORE, RECOGNITION, LOCALIZATION, SKELETON = "vidcore", "vid_recognition", "vid_localization", "vid_skeleton"
ARROWS = {
    CORE: set(),
    RECOGNITION: {CORE},
    LOCALIZATION: {CORE},
    SKELETON: {CORE, RECOGNITION},
    "vid_annotations": {CORE},
    "vid_detection": {CORE, RECOGNITION},
    "vid_retrieval": {CORE},
    "vid_persons": {CORE},
    "vid_mmaction2": {CORE, RECOGNITION, LOCALIZATION, SKELETON, "vid_detection", "vid_retrieval"},
    "vid_example": {CORE},
}
"""Package -> our packages that it may import."""

KERNEL = (
    ("collectives", "errors", "processes", "randomness", "typing"),
    ("validators", "locks", "launchers"),
    ("files",),
    ("mending", "pickles", "plugins"),
    ("config",),
    ("video", "weights"),
    ("video.exact", "geometry"),
    ("record",),
    ("records",),
    ("persons", "sample"),
    ("batch", "predictions"),
    ("protocols",),
    ("matching", "nn", "metrics", "transforms"),
    ("data",),
    ("data.pool",),
    ("engine",),
    ("task",),
)
"""Floors of the core, from the bottom: a file or folder imports only from lower floors."""
TOOLS = (("tools", "testing"), ("jobs", "predict", "training"), ("features",), ("cli",))
"""The ring above: the kernel never imports it."""

WRAPPED = {
    "albumentations": "vidcore.transforms.libraries",
    "timm": "vid_recognition.models.timm_backbone",
    "torchvision": "vidcore.transforms.libraries",
}
"""Libraries that users may install -> the only module that imports them, when it is used."""
FORBIDDEN = {"torchaudio", "mmcv", "mmengine", "mmaction", "mmdet", "mmpose", "pytorchvideo"}
DROP_IN = {"decord": "decord2"}
"""Module -> the distribution that we declare for it; a different one may be installed."""

HEAVY = {"av", "cv2", "decord", "matplotlib", "numpy", "rich", "scipy", "torch"}
"""Libraries that listing, checking and help must not import."""

LIGHT = (
    "vidcore",
    "vidcore.cli",
    "vidcore.config",
    "vidcore.errors",
    "vidcore.plugins.hooks",
    "vidcore.protocols",
    "vidcore.plugins.catalog",
    "vidcore.task.task",
)
"""Modules that every command imports, beside plugin modules and commands."""

WITHOUT_TORCH = (
    "vidcore.predictions",
    "vidcore.randomness",
    "vidcore.sample",
    "vidcore.task.report",
    "vidcore.transforms.compose",
    "vidcore.video.open",
)
"""Modules that read video, prepare data and score predictions, and work without PyTorch."""


def imports(path: Path, module: str, at_import_time: bool = False) -> Iterator[str]:
    """Return the full names that a file imports; ``at_import_time`` skips those in functions and for types."""
    todo: list[ast.AST] = [ast.parse(path.read_text(), str(path))]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    while todo:
        node = todo.pop()
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level])
                base = f"{parent}.{base}".rstrip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        todo += ast.iter_child_nodes(node)


def modules_imported(dist: Any) -> dict[str, set[str]]:
    """Return the modules of a distribution, each with those that it imports, also for type checkers."""
    found: dict[str, set[str]] = {}
    for module, path in dist.modules.items():
        names = set()
        for name in imports(path, module):
            while name and name not in dist.modules:
                name = name.rpartition(".")[0]
            names.add(name)
        found[module] = names - {"", module, dist.package}  # a folder's docstring is not a dependency
    return found


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return a circle of imports; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(arrows.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def folder(module: str, modules: dict[str, Path]) -> str:
    """Return the folder of a module, or the module itself if it is directly in the package."""
    if modules[module].name == "__init__.py" or module.count(".") == 1:
        return module
    return module.rpartition(".")[0]


def top(name: str) -> str:
    return name.partition(".")[0]


def test_packages_import_only_along_the_arrows(dist: Any) -> None:
    files = {**dist.modules, **{p.stem: p for p in sorted((dist.folder / "tests").rglob("*.py"))}}
    wrong = [
        f"{path}: {name}"
        for module, path in files.items()
        for name in imports(path, module)
        if top(name) in ARROWS and top(name) not in ARROWS[dist.package] | {dist.package}
    ]
    assert not wrong


def test_nothing_imports_in_a_circle(dist: Any) -> None:
    arrows = modules_imported(dist)
    assert not circle(arrows)
    folders: dict[str, set[str]] = {}
    for module, names in arrows.items():
        here = folder(module, dist.modules)
        folders.setdefault(here, set()).update({folder(name, dist.modules) for name in names} - {here})
    assert not circle(folders)


def test_files_of_the_core_import_from_lower_floors(workspace: dict[str, Any]) -> None:
    core = workspace["vidcore"]
    height = {name: level for level, names in enumerate((*KERNEL, *TOOLS)) for name in names}

    def floor(module: str) -> int:
        name = folder(module, core.modules).removeprefix("vidcore.")
        assert name in height, f"{module} stands on no floor: add it to KERNEL or TOOLS"
        return height[name]

    wrong = [
        f"{module} imports {name}"
        for module, names in modules_imported(core).items()
        for name in names
        if module not in ("vidcore", "vidcore.__main__")
        if folder(name, core.modules) != folder(module, core.modules) and floor(name) >= floor(module)
    ]
    assert not wrong


def test_the_diagram_of_the_floors_is_complete() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "architecture.md").read_text()
    picture = page.partition("## Floors of the core")[2].partition("```mermaid")[2].partition("```")[0]
    drawn = [set(floor.split(" · ")) for floor in re.findall(r'\w\["([^"]+)"\]', re.sub(r"subgraph .*", "", picture))]
    assert drawn == [set(floor) for floor in (*reversed(TOOLS), *reversed(KERNEL))]


def test_third_parties_are_declared_and_needed(dist: Any) -> None:
    used = {top(name) for module, path in dist.modules.items() for name in imports(path, module)}
    used -= sys.stdlib_module_names | {dist.package} | WRAPPED.keys()
    assert not used & FORBIDDEN
    providers = importlib.metadata.packages_distributions()
    names = {name: {p.lower().replace("_", "-") for p in providers.get(name, [name])} for name in used}
    names |= {name: names[name] | {DROP_IN[name]} for name in used & DROP_IN.keys()}
    declared = {*dist.requirements, *dist.asked_of_the_core}
    undeclared = {name for name, providing in names.items() if not providing & declared}
    assert not undeclared, f"imported by {dist.package} and not declared in its pyproject.toml"
    unused = set(dist.requirements) - set().union(*names.values())
    assert not unused, f"declared by {dist.package} and imported nowhere"


def test_wrapped_libraries_are_imported_in_one_place(dist: Any) -> None:
    for module, path in dist.modules.items():
        found = {top(name) for name in imports(path, module)} & WRAPPED.keys()
        assert {WRAPPED[name] for name in found} <= {module}
        assert not {top(name) for name in imports(path, module, at_import_time=True)} & WRAPPED.keys()


def test_a_plugin_offers_its_own_code_or_a_third_partys(workspace: dict[str, Any]) -> None:
    packages = {name: d.package for name, d in workspace.items()}
    catalog = load_plugins()
    wrong = [
        component
        for component in (*catalog.components.values(), *catalog.commands.values())
        if top(component.module) in set(ARROWS) - {packages[component.plugin]}
    ]
    assert not wrong


def test_help_and_lists_import_nothing_heavy(workspace: dict[str, Any]) -> None:
    modules = {name: path for d in workspace.values() for name, path in d.modules.items()}
    catalog = load_plugins()
    todo = [*LIGHT, *(c.module for c in catalog.commands.values())]
    todo += [name for name in modules if name.endswith(".plugin")]
    todo += [name for name in modules if name.startswith(("vidcore.config.", "vidcore.cli."))]
    assert not imported_on_the_way(todo, modules, HEAVY)


def test_reading_and_preparing_data_works_without_torch(workspace: dict[str, Any]) -> None:
    modules = workspace["vidcore"].modules
    prepared = {
        c.module for c in load_plugins().components.values() if c.kind in ("transforms", "decoders", "datasets")
    }
    assert not imported_on_the_way([*WITHOUT_TORCH, *(prepared & modules.keys())], modules, {"torch"})


def imported_on_the_way(roots: list[str], modules: dict[str, Path], unwanted: set[str]) -> list[str]:
    """Return the modules that import one of the ``unwanted`` libraries when the ``roots`` are imported."""
    todo = list(roots)
    came_from: dict[str, str] = {}
    wrong = []
    while todo:
        module = todo.pop()
        names = {*imports(modules[module], module, at_import_time=True), module.rpartition(".")[0]}
        for name in names:
            if top(name) in unwanted:
                wrong.append(
                    f"{module} imports {name}" + (f" (for {came_from[module]})" if module in came_from else "")
                )
            if name in modules and name not in came_from:
                came_from[name] = module
                todo.append(name)
    return wrong


def test_exact_reading_is_fenced(workspace: dict[str, Any]) -> None:
    """Code outside ``vidcore.video.exact`` imports its public names, never its files."""
    fence = "vidcore.video.exact"
    wrong = [
        f"{path}: {name}"
        for d in workspace.values()
        for module, path in d.modules.items()
        if module != fence and not module.startswith(f"{fence}.")
        for name in imports(path, module)
        if name.startswith(f"{fence}.") and name.removeprefix(f"{fence}.") not in {"PyAVReader", "read_motion_vectors"}
    ]
    assert not wrong
