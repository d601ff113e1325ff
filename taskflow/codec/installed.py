"""What is installed, and does not change before its version does."""

from __future__ import annotations

import functools
import os
import sys
from typing import Final

__all__ = ["PYTHON", "is_installed", "version_of"]

PYTHON: Final = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
"""The Python that makes the code of functions, as far as its version tells that."""

_PLACES = frozenset({"site-packages", "dist-packages"})
_OURS = "taskflow"


def is_installed(name: str | None) -> bool:
    """Whether a module is of Python, or of a package that was installed.

    Example:
        >>> is_installed("json.decoder"), is_installed("__main__")
        (True, False)
    """
    if not name or name == "__main__":
        return False
    top = name.partition(".")[0]
    if top == _OURS or top in sys.stdlib_module_names:
        return True
    module = sys.modules.get(name) or sys.modules.get(top)
    return _is_in_place(getattr(module, "__file__", None))


@functools.lru_cache(maxsize=4096)
def _is_in_place(file: str | None) -> bool:
    return file is not None and not _PLACES.isdisjoint(file.split(os.sep))


@functools.lru_cache(maxsize=1024)
def version_of(name: str) -> str:
    """The version of the package that a module is of, as it says itself; that of Python for Python's own.

    Example:
        >>> version_of("json") == PYTHON
        True
    """
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return PYTHON
    told = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(told, str):
        return told
    import importlib.metadata

    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return ""
