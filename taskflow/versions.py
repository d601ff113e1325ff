"""What matters of the versions on both sides."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import taskflow
from taskflow.errors import VersionMismatch

__all__ = ["compare", "here"]

_PACKAGES = ("cloudpickle", "numpy", "pandas")
_SAME = ("python", "cloudpickle")


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
    """Refuse sides that cannot understand each other's functions.

    Raises:
        VersionMismatch: They differ in the minor version of Python, or the major one of cloudpickle.
    """
    lines = []
    for name in _SAME:
        depth = 2 if name == "python" else 1
        seen = {side: str(v[name]) for side, v in sides.items() if name in v}
        if len({tuple(version.split(".")[:depth]) for version in seen.values()}) > 1:
            lines += [f"  {name:<12} {side:<32} {version}" for side, version in seen.items()]
    if lines:
        raise VersionMismatch("\n".join(["The two sides run different versions:", *lines]))
