"""Where notebooks are: files, and URLs by fsspec."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskflow.errors import ConfigError, MissingExtra, UsageError
from taskflow.pools.context import current, inside

__all__ = ["filled", "place_of_failed", "read", "write"]


def filled(place: str, parameters: Mapping[str, Any]) -> str:
    """A place with names of parameters filled in.

    Raises:
        UsageError: One is not given.
    """
    own = {"id": current().id} if inside() else {}
    try:
        return place.format(**own | dict(parameters))
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"output={place!r} needs {error}: in braces there are names of parameters that are given."
        ) from None


def read(place: str) -> str:
    """The text that is there.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        if "://" not in place:
            return Path(place).read_text(encoding="utf-8")
        with _fsspec().open(place, "r", encoding="utf-8") as file:
            return str(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The notebook {place} cannot be read: {error}") from error


def write(place: str, text: str) -> None:
    """Write it whole or not at all."""
    if "://" in place:
        with _fsspec().open(place, "w", encoding="utf-8") as file:
            file.write(text)
        return
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("A URL needs fsspec: pip install 'jupyter-taskflow[fsspec]'") from None
    return fsspec


def place_of_failed(name: str) -> Path:
    """Where what failed is kept when no other place was named."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = home / "taskflow" / "notebooks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    task = current().id if inside() else f"{os.getpid()}"
    index = f"-{current().index}" if inside() and current().array else ""
    return folder / f"{name}-{task}{index}.ipynb"
