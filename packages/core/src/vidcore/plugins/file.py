"""Plugins that are one Python file, which is not installed: ``vidcore --plugin my_model.py``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from vidcore.errors import PluginError, UserError, missing_library
from vidcore.plugins.place import failed_at

__all__ = ["import_file", "nothing_offered"]


def import_file(path: Path) -> ModuleType:
    """Import a Python file as a module that other processes can import by its name.

    Its folder is appended to ``sys.path``, which worker processes inherit.

    Raises:
        PluginError: the file does not exist, another module has its name, or it raises an exception.
    """
    name = path.stem
    if not path.is_file() or path.suffix != ".py" or not name.isidentifier():
        raise PluginError(f"{path}: a plugin must be a Python file with a name like my_model.py")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(name)
    origin = spec.origin if spec else None
    if origin is None or not Path(origin).is_file() or not path.samefile(origin):
        raise PluginError(f"{path}: another module is called {name!r} ({origin or 'without a file'}); rename the file")
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if missing := missing_library(path.name, error):
            raise missing from error
        raise PluginError(f"{failed_at(error) or path}: {type(error).__name__}: {error}") from error


def nothing_offered(path: Path, module: ModuleType) -> PluginError:
    """Return the error for a file without components, which shows how to offer them."""
    own = (value.__name__ for value in vars(module).values() if isinstance(value, type))
    name = next((name for name in own if vars(module)[name].__module__ == path.stem), "MyModel")
    return PluginError(
        f"{path}: offers nothing; add a function vidcore_components with the decorator "
        f'vidcore.plugins.hooks.hookimpl that returns {{"models": {{"{name}": "{path.stem}:{name}"}}}}, for example'
    )
