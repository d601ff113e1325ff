"""What matters of the versions on both sides."""

from __future__ import annotations

import importlib.metadata
import platform
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import taskflow
from taskflow.errors import VersionMismatch

__all__ = ["compare", "differences", "here"]

_PACKAGES = ("cloudpickle", "numpy", "pandas")
_SAME = ("python", "cloudpickle")
_ALIKE = ("numpy", "pandas")


def here() -> dict[str, str]:
    """The versions of this process; packages that are not installed are left out."""
    found = {"taskflow": taskflow.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def compare(sides: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse sides that cannot understand each other's functions; warn when it may be so of arrays or frames.

    Raises:
        VersionMismatch: They differ in the minor version of Python, or the major one of cloudpickle.
    """
    if lines := _table(sides, _SAME):
        raise VersionMismatch("\n".join(["The two sides run different versions:", *lines]))
    if lines := _table(sides, _ALIKE):
        warnings.warn("\n".join(["The two sides have different packages:", *lines]), stacklevel=2)


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """In which packages two sides differ so that they may not understand each other."""
    return [name for name in (*_SAME, *_ALIKE) if _table({"mine": mine, "theirs": theirs}, (name,))]


def _table(sides: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    lines = []
    for name in names:
        depth = 2 if name == "python" else 1
        seen = {side: str(v[name]) for side, v in sides.items() if name in v}
        if len({tuple(version.split(".")[:depth]) for version in seen.values()}) > 1:
            lines += [f"  {name:<12} {side:<32} {version}" for side, version in seen.items()]
    return lines
