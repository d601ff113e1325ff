"""The modules of the package, for tests that look at all of them."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import taskflow


def module_names() -> list[str]:
    """Every module that can be imported without being run."""
    found = pkgutil.walk_packages(taskflow.__path__, "taskflow.")
    return ["taskflow", *sorted(m.name for m in found if not m.name.endswith("__main__"))]


def source_of(module: str) -> Path:
    """The file of a module."""
    path = Path(taskflow.__path__[0]).parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
