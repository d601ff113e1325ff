"""What a notebook has come to: values that it recorded, and how it looks when it has run."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from taskflow.contrib.notebooks.places import write
from taskflow.errors import UsageError, nearest

__all__ = ["NotebookResult", "as_plain", "record", "recorded", "trace_of", "value_of"]

SCRAP = "application/scrapbook.scrap.json+json"
"""How values are recorded in an output: as scrapbook does, which so reads ours, and we read its."""
_TRACE_CHARS = 6_000
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class NotebookResult:
    """What a notebook has come to.

    Args:
        name: Of the notebook.
        output: Where the executed notebook was written, if it was.
        values: What it recorded, by name: by `record`, or by scrapbook's ``glue``.
        value: What its last cell showed as its value: read when it is a literal, else the text.
        cells: How many cells ran.
        took_s: How long that took.
        notebook: The executed notebook as text, when it was not written.
    """

    name: str
    output: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    value: Any = None
    cells: int = 0
    took_s: float = 0.0
    notebook: str | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Any:
        """A value that it recorded."""
        if name not in self.values:
            raise KeyError(f"{self.name} has recorded no {name!r}.{nearest(name, self.values)}")
        return self.values[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the executed notebook, when it was not written.

        Raises:
            UsageError: It was.
        """
        if self.notebook is None:
            raise UsageError(f"The executed notebook was written: it is in {self.output}.")
        write(os.fspath(path), self.notebook)


def record(**values: Any) -> None:
    """Called inside of a notebook: keep values in it, for whoever has called it; numbers are seen at once.

    Args:
        **values: What JSON has: numbers, text, lists, dictionaries.

    Raises:
        UsageError: JSON has no such value.
    """
    plain = {name: as_plain(name, value) for name, value in values.items()}
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is None:
        return
    for name, value in plain.items():
        scrap = {"name": name, "data": value, "encoder": "json", "version": 1}
        told = {"scrapbook": {"name": name, "data": True, "display": False}}
        display({SCRAP: scrap}, raw=True, metadata=told)  # type: ignore[no-untyped-call]


def as_plain(name: str, value: Any) -> Any:
    """A value that can be written as text in any language."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Path, date)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [as_plain(name, one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): as_plain(name, one) for key, one in value.items()}
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number of numpy
        return as_plain(name, value.item())
    raise UsageError(
        f"{name!r} is a {type(value).__name__}: notebooks are given, and record, numbers, text, lists and"
        " dictionaries. Write it to a file, and give its path."
    )


def trace_of(cell: Any) -> str:
    """The end of the traceback that a cell has shown, without colours."""
    traces = [output.get("traceback", ()) for output in cell.outputs if output.output_type == "error"]
    return _ANSI.sub("", "\n".join(traces[-1]))[-_TRACE_CHARS:] if traces else ""


def recorded(cell: Any) -> dict[str, Any]:
    """What a cell has recorded: ours, and scrapbook's values and texts."""
    found = {}
    for output in cell.outputs:
        for kind, scrap in output.get("data", {}).items():
            if kind in (SCRAP, SCRAP.replace(".json+", ".text+")) and isinstance(scrap, Mapping):
                found[str(scrap.get("name"))] = scrap.get("data")
    return found


def value_of(cell: Any) -> Any:
    """What a cell has shown as its value: read when it is a literal of Python, else its text."""
    shown = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    text = shown[-1].get("text/plain") if shown else None
    try:
        return None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
