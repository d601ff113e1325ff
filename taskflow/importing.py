"""What is done once a library of others has been imported: it is not imported for that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["when_imported"]


def when_imported(name: str, then: Callable[[], object]) -> None:
    """Call a function when a module has been imported, or now if that is so.

    The same function is called once, however often it is asked for before the module is there.

    Args:
        name: The module, with its packages.
        then: Called in the thread that imports it; what it raises, the import raises.

    Example:
        >>> when_imported("sys", lambda: print("it is here"))
        it is here
    """
    if name in sys.modules:
        then()
    elif not any(isinstance(finder, _After) and finder.is_for(name, then) for finder in sys.meta_path):
        sys.meta_path.insert(0, _After(name, then))


class _After(MetaPathFinder):
    """Finds one module as the others do, once, and has it loaded with something behind it."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self._name = name
        self._then = then

    def is_for(self, name: str, then: Callable[[], object]) -> bool:
        """Whether this is what it does."""
        return (self._name, self._then) == (name, then)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loading(spec.loader, self._then)
        return spec


class _Loading(Loader):
    """Loads a module as its own loader does, and then does something."""

    def __init__(self, loader: Loader, then: Callable[[], object]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then()
